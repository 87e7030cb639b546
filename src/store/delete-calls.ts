import type { Client, Metadata, ServiceError } from '@grpc/grpc-js'
import { PolicyError, StoreError } from '../errors.ts'
import { digestOfCid } from './cid.ts'
import { cidOfRef, itemError } from './embedded-store.ts'
import { callStatusOf } from './grpc-call.ts'
import { SERVICE, asBytes } from './grpc-peer.ts'
import { decodeFaults, encodeRef } from './messages.ts'
import type { LaneRules } from './operation-lane.ts'
import { STATUS, errorOfStatus, verdictOf, type CallStatus } from './store-status.ts'
import type { RefLike, RefResult } from './store.ts'

/** A ref on its way. */
interface Pending {
  readonly index: number
  readonly cid: string
}

/** What ended a call for several refs. */
class CallEnded extends Error {
  readonly status: CallStatus

  constructor(status: CallStatus) {
    super(status.message)
    this.status = status
  }
}

/**
 * Deletes by calls that have one answer for all their refs. When one fails, nobody knows for which of them: so it is halved, and
 * halved again, until the bad one stands alone. To delete what has gone already is no error, so nothing is lost by asking again.
 */
export class DeleteCalls {
  readonly #begin: () => Promise<{ readonly client: Client; readonly metadata: Metadata }>
  readonly #rules: Omit<LaneRules, 'window'>
  readonly #signal: AbortSignal

  constructor(
    begin: () => Promise<{ readonly client: Client; readonly metadata: Metadata }>,
    rules: Omit<LaneRules, 'window'>,
    signal: AbortSignal,
  ) {
    this.#begin = begin
    this.#rules = rules
    this.#signal = signal
  }

  /** The results of a run of refs whose first has the number `first`. */
  async delete(refs: readonly RefLike[], first: number): Promise<RefResult[]> {
    const pending: Pending[] = []
    const results = refs.map((ref, i): RefResult => {
      const index = first + i
      try {
        const cid = cidOfRef(ref)
        digestOfCid(cid)
        pending.push({ index, cid })
        return { index, ref: { cid } }
      } catch (error) {
        return { index, error: itemError(error, index) }
      }
    })
    if (pending.length > 0) {
      for (const error of await this.#deleteAll(pending))
        results[error.index! - first] = { index: error.index!, error }
    }
    return results
  }

  /** Gives the errors of those that failed. */
  async #deleteAll(pending: readonly Pending[]): Promise<StoreError[]> {
    let attempts = 0
    for (;;) {
      attempts++
      const [only] = pending as [Pending]
      try {
        const { breaker } = this.#rules
        const call = () => this.#call(pending)
        return await (breaker === undefined ? call() : breaker.execute(call, this.#signal))
      } catch (error) {
        this.#signal.throwIfAborted()
        if (error instanceof PolicyError) {
          return pending.map(
            ({ index }) =>
              new StoreError('ERR_MILLRACE_STORE_UNAVAILABLE', 'connection', error.message, {
                index,
                cause: error,
              }),
          )
        }
        if (!(error instanceof CallEnded)) throw error
        const { status } = error
        const verdict = verdictOf(status, 0)
        if (verdict === 'all' || (verdict === 'retry' && attempts > this.#rules.retries)) {
          return pending.map(({ index }) => errorOfStatus(status, index, attempts))
        }
        if (verdict !== 'retry') {
          if (pending.length > 1) return this.#halves(pending)
          if (verdict === 'item' || attempts > 1) return [errorOfStatus(status, only.index, 1)]
        }
        await this.#pause(status, attempts)
      }
    }
  }

  async #halves(pending: readonly Pending[]): Promise<StoreError[]> {
    const middle = pending.length >> 1
    const errors = await this.#deleteAll(pending.slice(0, middle))
    return [...errors, ...(await this.#deleteAll(pending.slice(middle)))]
  }

  /** One call. What says something of an item resolves or throws later: for the breaker, the server is well. */
  async #call(pending: readonly Pending[]): Promise<StoreError[]> {
    const { client, metadata } = await this.#begin()
    const { answerTimeout } = this.#rules
    const options = answerTimeout === Infinity ? {} : { deadline: Date.now() + answerTimeout }
    const answer = await new Promise<Buffer>((resolve, reject) => {
      const call = client.makeClientStreamRequest(
        `${SERVICE}/Delete`,
        asBytes,
        asBytes,
        metadata,
        options,
        (error: ServiceError | null, bytes?: Buffer) => {
          this.#signal.removeEventListener('abort', onAbort)
          if (error === null) resolve(bytes!)
          // what is gone is what was asked for
          else if ((error.code as number) === STATUS.NOT_FOUND && pending.length === 1)
            resolve(Buffer.alloc(0))
          else reject(new CallEnded(callStatusOf(error)))
        },
      )
      const onAbort = () => call.cancel()
      this.#signal.addEventListener('abort', onAbort, { once: true })
      for (const { cid } of pending) call.write(encodeRef(cid))
      call.end()
    })
    return decodeFaults(answer)
      .filter(({ code }) => code !== STATUS.NOT_FOUND)
      .map(({ code, message, index }) =>
        errorOfStatus({ code, message, fromServer: true }, pending[index]!.index, 1),
      )
  }

  async #pause(status: CallStatus, attempts: number): Promise<void> {
    const { minDelay, maxDelay, random, clock, onRetry } = this.#rules
    const delay = random() * Math.min(maxDelay, minDelay * 2 ** (attempts - 1))
    onRetry?.(status, delay)
    await clock.sleep(delay, this.#signal)
  }
}

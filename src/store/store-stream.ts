import { Readable } from 'node:stream'
import { StateError, StoreError, asError } from '../errors.ts'
import { StatsCounter, type StatsHooks, type StreamStats } from '../flow/index.ts'

/** What a stream of results is made of. */
export interface StoreStreamPlan<R> extends StatsHooks {
  /** Name in the statistics. */
  readonly stage: string
  readonly signal?: AbortSignal | undefined
  /** Gives runs of results, in order. Is called once, when somebody reads. */
  run(counter: StatsCounter, signal: AbortSignal): AsyncIterable<readonly R[]>
}

/**
 * The results of one operation, in the order of its items: to be iterated over, once, or read as a Readable. Nothing happens
 * until somebody reads, and no more than the window while nobody does. Leaving the loop ends the operation.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { pipeline } from 'node:stream/promises'
 * import { MemoryStore } from 'millrace/store'
 *
 * const store = new MemoryStore()
 * const results = store.pushStream([{ a: 1 }, 'no record', { a: 2 }])
 * const cids: (string | undefined)[] = []
 * await pipeline(results.stream(), async (each) => {
 *   for await (const { ref } of each) cids.push(ref?.cid)
 * })
 * assert.equal(cids[0]?.slice(0, 7), 'baearei')
 * assert.equal(cids[1], undefined)
 * assert.equal(results.stats().errors, 1)
 * ```
 */
export class StoreStream<R extends { readonly error?: unknown }> implements AsyncIterable<R> {
  readonly #plan: StoreStreamPlan<R>
  readonly #counter: StatsCounter
  #used = false

  /** Made by the stores, and by `operationStream`. */
  constructor(plan: StoreStreamPlan<R>) {
    this.#plan = plan
    this.#counter = new StatsCounter(plan.stage, plan)
  }

  /** What was done so far; `recordsIn` are items, `errors` those that failed, bytes those of records and messages. */
  stats(): StreamStats {
    return this.#counter.snapshot()
  }

  /** The results as a Readable in object mode. */
  stream(options: { readonly highWaterMark?: number } = {}): Readable {
    const { signal } = this.#plan
    return Readable.from(this, { ...options, objectMode: true, ...(signal && { signal }) })
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<R, void, undefined> {
    for await (const results of this.batches()) yield* results
  }

  /** The results in runs, as they come: cheaper where there are many. */
  async *batches(): AsyncGenerator<readonly R[], void, undefined> {
    if (this.#used) {
      throw new StateError('ERR_MILLRACE_STORE_CLOSED', 'results: expected one reader, got another')
    }
    this.#used = true
    const counter = this.#counter
    const { signal: asked } = this.#plan
    const abort = new AbortController()
    const onAbort = () => abort.abort(asked?.reason)
    if (asked?.aborted === true) onAbort()
    asked?.addEventListener('abort', onAbort, { once: true })
    try {
      abort.signal.throwIfAborted()
      for await (const results of this.#plan.run(counter, abort.signal)) {
        for (const { error } of results) if (error !== undefined) counter.errors++
        counter.sent(0, results.length)
        yield results
      }
      counter.completed()
    } catch (error) {
      const fault = asked?.aborted === true ? aborted(asked.reason) : asError(error)
      counter.failed(fault)
      throw fault
    } finally {
      asked?.removeEventListener('abort', onAbort)
      abort.abort()
    }
  }
}

function aborted(reason: unknown): StoreError {
  return new StoreError('ERR_MILLRACE_STORE_ABORTED', 'aborted', 'the operation was aborted', {
    cause: reason,
  })
}

/** The only result of a stream of one item. @throws its error. */
export async function only<R extends { readonly error?: unknown }>(stream: StoreStream<R>): Promise<R> {
  for await (const result of stream) {
    if (result.error !== undefined) throw asError(result.error)
    return result
  }
  /* v8 ignore next 2 -- every item has a result */
  throw new StateError('ERR_MILLRACE_STORE_CLOSED', 'results: expected one, got none')
}

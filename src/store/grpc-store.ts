import { OptionError, StateError } from '../errors.ts'
import { CircuitBreaker, mapOrdered } from '../flow/index.ts'
import { checkBoolean, checkChoice, checkInteger, checkSignal } from '../options.ts'
import { digestOfCid } from './cid.ts'
import { DeleteCalls } from './delete-calls.ts'
import { cidOfRef } from './embedded-store.ts'
import { GrpcChannel, type ChannelCallOptions, type GrpcChannelOptions } from './grpc-channel.ts'
import { GrpcJsChannel } from './grpc-js-channel.ts'
import { IN_BAND, SERVICE } from './grpc-peer.ts'
import { itemBatches } from './item-batches.ts'
import {
  DEFAULT_MAX_MESSAGE_LENGTH,
  decodeFaults,
  decodeMeta,
  decodeRecord,
  decodeRef,
  encodeRecord,
  encodeRef,
  isFault,
} from './messages.ts'
import type { OpenCall } from './operation-lane.ts'
import { checkRules, resultsOf, type RetryRules } from './operation-stream.ts'
import { corrupt } from './proto-reader.ts'
import { errorOfStatus, isTooLarge, STATUS, type CallStatus } from './store-status.ts'
import { StoreStream } from './store-stream.ts'
import {
  DEFAULT_WINDOW,
  type ItemSource,
  type MetaResult,
  type RecordResult,
  type RefLike,
  type RefResult,
  type StoreStreamOptions,
} from './store.ts'
import { StreamStore } from './stream-store.ts'

/** Failures in a row after which a {@link GrpcStore} leaves its server alone: more than the retries of one item. */
export const DEFAULT_STORE_BREAKER_FAILURES = 12

/** Refs that a delete tells a server at once. */
const DELETE_RUN = 64

/** Options of {@link GrpcStore}. */
export interface GrpcStoreOptions extends RetryRules, GrpcChannelOptions {
  /**
   * What carries the calls: `'http2'` is Node's own, `'grpc-js'` the package `@grpc/grpc-js`, which is slower, and knows names
   * like `dns:///host`, balancing of load, and proxies.
   * @defaultValue `'http2'`
   */
  readonly transport?: 'http2' | 'grpc-js'
  /** Bearer token for each call, or what gives one. Travels in the clear unless there is TLS. */
  readonly token?: string | (() => string | Promise<string>)
  /** Metadata for each call. */
  readonly metadata?: Readonly<Record<string, string>>
  /** Longest message, in bytes, either way. @defaultValue 4 MiB */
  readonly maxMessageLength?: number
  /** Whether errors in-band are offered to the server: of no effect on one that does not know them. @defaultValue true */
  readonly inBandErrors?: boolean
}

/**
 * A store behind a server of `agntcy.dir.store.v1.StoreService`: agntcy/dir's own, or a `StoreServer`. Items that the server
 * refuses are errors of their results, and the others go on: on the unmodified protocol, whose server ends the stream at the
 * first bad item, by sending again what followed it. Lost connections, restarts, and streams that end by age are survived.
 *
 * @remarks
 * Holds `window × concurrency` items and results, and as many bytes as they have. While the
 * circuit breaker is open (12 failures in a row, for 10 s), items fail at once with the category `'connection'`.
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { GrpcStore, MemoryStore, StoreServer } from 'millrace/store'
 *
 * const server = new StoreServer(new MemoryStore())
 * const store = new GrpcStore(`127.0.0.1:${await server.start()}`)
 *
 * const records = [{ name: 'one' }, 'not a record', { name: 'two' }]
 * const cids: string[] = []
 * for await (const { ref, error, index } of store.pushStream(records, { window: 128 })) {
 *   if (ref) cids.push(ref.cid)
 *   else assert.deepEqual([index, error.category], [1, 'item'])
 * }
 * assert.deepEqual(await store.pull(cids[1]!), { name: 'two' })
 *
 * await store.close()
 * await server.stop()
 * ```
 */
export class GrpcStore extends StreamStore {
  readonly #channel: GrpcChannel | GrpcJsChannel
  readonly #options: GrpcStoreOptions
  readonly #rules: RetryRules
  readonly #maxMessageLength: number
  #closed = false

  constructor(address: string, options: GrpcStoreOptions = {}) {
    super()
    const { token, transport = 'http2', maxMessageLength = DEFAULT_MAX_MESSAGE_LENGTH } = options
    checkChoice('transport', transport, ['http2', 'grpc-js'])
    const { tls, compression, keepalive } = options
    const channelOptions = {
      ...(tls !== undefined && { tls }),
      ...(compression !== undefined && { compression }),
      ...(keepalive !== undefined && { keepalive }),
      maxMessageLength,
    }
    this.#channel = new (transport === 'http2' ? GrpcChannel : GrpcJsChannel)(address, channelOptions)
    if (token !== undefined && typeof token !== 'string' && typeof token !== 'function') {
      throw new OptionError('token', token, 'a string, or a function that gives one')
    }
    this.#maxMessageLength = maxMessageLength
    if (options.inBandErrors !== undefined) checkBoolean('inBandErrors', options.inBandErrors)
    checkRules(options)
    this.#options = options
    this.#rules = {
      ...options,
      breaker:
        options.breaker ??
        new CircuitBreaker({ failures: DEFAULT_STORE_BREAKER_FAILURES, isFailure: () => true }),
    }
  }

  pushStream(records: ItemSource<unknown>, options: StoreStreamOptions = {}): StoreStream<RefResult> {
    return this.#operation('Push', records, options, {
      encode: (record) => encodeRecord(record, this.#maxMessageLength),
      decode: (answer, index): RefResult => {
        const cid = decodeRef(answer)
        // so said versions of agntcy/dir that did not end the stream
        if (cid.startsWith('ERROR: '))
          throw errorOfStatus(
            { code: STATUS.INVALID_ARGUMENT, message: cid.slice(7), fromServer: true },
            index,
            1,
          )
        if (cid === '') throw corrupt('expected a CID, got none')
        return { index, ref: { cid } }
      },
    })
  }

  pullStream(refs: ItemSource<RefLike>, options: StoreStreamOptions = {}): StoreStream<RecordResult> {
    return this.#operation('Pull', refs, options, {
      encode: encodeRefLike,
      decode: (answer, index): RecordResult => ({ index, record: decodeRecord(answer) }),
    })
  }

  lookupStream(refs: ItemSource<RefLike>, options: StoreStreamOptions = {}): StoreStream<MetaResult> {
    return this.#operation('Lookup', refs, options, {
      encode: encodeRefLike,
      decode: (answer, index): MetaResult => ({ index, meta: decodeMeta(answer) }),
    })
  }

  deleteStream(refs: ItemSource<RefLike>, options: StoreStreamOptions = {}): StoreStream<RefResult> {
    const { window = DEFAULT_WINDOW, concurrency = 1, signal, ...hooks } = options
    checkInteger('window', window, 1)
    checkInteger('concurrency', concurrency, 1)
    checkSignal('signal', signal)
    const rules = checkRules(this.#rules)
    const { answerTimeout } = rules
    const open = this.#call('Delete', answerTimeout === Infinity ? {} : { timeout: answerTimeout })
    return new StoreStream<RefResult>({
      stage: 'deleteStream',
      signal,
      ...hooks,
      run: async function* (counter, inner) {
        let count = 0
        const runs = async function* () {
          for await (const run of itemBatches(refs, Math.min(window, DELETE_RUN), inner)) {
            counter.received(0, run.length)
            yield { first: count, run }
            count += run.length
          }
        }
        const calls = new DeleteCalls(open, rules, inner)
        const work = ({ first, run }: { readonly first: number; readonly run: readonly RefLike[] }) =>
          calls.delete(run, first)
        yield* mapOrdered(runs(), work, { concurrency, window: concurrency, signal: inner })
      },
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#channel.close()
  }

  #operation<I, R extends { readonly error?: unknown }>(
    method: 'Push' | 'Pull' | 'Lookup',
    source: ItemSource<I>,
    options: StoreStreamOptions,
    { encode, decode }: { encode: (item: I) => Buffer; decode: (answer: Buffer, index: number) => R },
  ): StoreStream<R> {
    const call = this.#call(method)
    // refs are short: a message that is too long is an answer, though grpc-js says so in the words of a server
    const open: OpenCall<Buffer, Buffer> =
      method === 'Push'
        ? call
        : (events) =>
            call({
              ...events,
              onEnd: (status: CallStatus) =>
                events.onEnd(isTooLarge(status) ? { ...status, fromServer: false } : status),
            })
    const stage = `${method.toLowerCase()}Stream`
    return resultsOf<I, Buffer, Buffer, Buffer, R>(
      source,
      open,
      { ...this.#rules, ...options, stage, encode, decode: (answer) => answer },
      (index, answer) => {
        if (!isFault(answer)) return decode(answer, index)
        const [fault] = decodeFaults(answer)
        throw errorOfStatus({ code: fault!.code, message: fault!.message, fromServer: true }, index, 1)
      },
    )
  }

  #call(method: string, options: Pick<ChannelCallOptions, 'timeout'> = {}): OpenCall<Buffer, Buffer> {
    return this.#channel.call(`${SERVICE}/${method}`, { ...options, metadata: () => this.#metadata() })
  }

  async #metadata(): Promise<Record<string, string>> {
    if (this.#closed) throw new StateError('ERR_MILLRACE_STORE_CLOSED', 'store: it is closed')
    const { token, metadata, inBandErrors = true } = this.#options
    return {
      ...metadata,
      ...(inBandErrors && { [IN_BAND]: '1' }),
      ...(token !== undefined && {
        authorization: `Bearer ${typeof token === 'string' ? token : await token()}`,
      }),
    }
  }
}

/** A malformed CID is told here: a server would end the stream for it. */
function encodeRefLike(ref: RefLike): Buffer {
  const cid = cidOfRef(ref)
  digestOfCid(cid)
  return encodeRef(cid)
}

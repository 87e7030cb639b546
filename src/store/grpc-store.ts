import type { ChannelCredentials, Client, Metadata } from '@grpc/grpc-js'
import { OptionError, StateError } from '../errors.ts'
import { CircuitBreaker, mapOrdered } from '../flow/index.ts'
import { checkBoolean, checkChoice, checkInteger, checkLimit, checkSignal, checkString } from '../options.ts'
import type { JsonObject } from './canonical-json.ts'
import { digestOfCid } from './cid.ts'
import { DeleteCalls } from './delete-calls.ts'
import { cidOfRef } from './embedded-store.ts'
import { IN_BAND, SERVICE, loadGrpc, type Grpc } from './grpc-peer.ts'
import { grpcCall } from './grpc-call.ts'
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
  type RecordMeta,
} from './messages.ts'
import { checkRules, resultsOf, type RetryRules } from './operation-stream.ts'
import { corrupt } from './proto-reader.ts'
import { errorOfStatus, isTooLarge, STATUS, type CallStatus } from './store-status.ts'
import { StoreStream, only } from './store-stream.ts'
import {
  DEFAULT_WINDOW,
  type ItemSource,
  type MetaResult,
  type RecordRef,
  type RecordResult,
  type RefLike,
  type RefResult,
  type Store,
  type StoreStreamOptions,
} from './store.ts'

/** Failures in a row after which a {@link GrpcStore} leaves its server alone: more than the retries of one item. */
export const DEFAULT_STORE_BREAKER_FAILURES = 12

/** Pause between two pings unless told otherwise, in milliseconds. agntcy/dir ends connections that ping more than once a minute. */
export const DEFAULT_KEEPALIVE = 120_000
const MIN_KEEPALIVE = 60_000
const KEEPALIVE_TIMEOUT = 20_000

/** Refs that a delete tells a server at once. */
const DELETE_RUN = 64

/** How a client proves who it is, and checks who the server is. All in PEM. */
export interface ClientTls {
  /** Authorities to trust. @defaultValue those of Node */
  readonly ca?: Uint8Array | string
  /** Certificate and key of the client, for mutual TLS. */
  readonly cert?: Uint8Array | string
  readonly key?: Uint8Array | string
  /** Name that the server's certificate must have. @defaultValue the host of the address */
  readonly serverName?: string
}

/** Options of {@link GrpcStore}. */
export interface GrpcStoreOptions extends RetryRules {
  /** TLS with the authorities of Node (`true`) or others; without it, nothing is encrypted. */
  readonly tls?: boolean | ClientTls
  /** Bearer token for each call, or what gives one. Travels in the clear unless there is TLS. */
  readonly token?: string | (() => string | Promise<string>)
  /** Metadata for each call. */
  readonly metadata?: Readonly<Record<string, string>>
  /** How messages are compressed. @defaultValue `'none'` */
  readonly compression?: 'none' | 'gzip'
  /** Longest message, in bytes, either way. @defaultValue 4 MiB */
  readonly maxMessageLength?: number
  /** Milliseconds between pings, at least 60000, or `Infinity` for none. @defaultValue 120000 */
  readonly keepalive?: number
  /** Whether errors in-band are offered to the server: of no effect on one that does not know them. @defaultValue true */
  readonly inBandErrors?: boolean
}

/**
 * A store behind a server of `agntcy.dir.store.v1.StoreService`: agntcy/dir's own, or a `StoreServer`. Items that the server
 * refuses are errors of their results, and the others go on: on the unmodified protocol, whose server ends the stream at the
 * first bad item, by sending again what followed it. Lost connections, restarts, and streams that end by age are survived.
 *
 * @remarks
 * Needs the package `@grpc/grpc-js`. Holds `window × concurrency` items and results, and as many bytes as they have. While the
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
export class GrpcStore implements Store {
  readonly #address: string
  readonly #options: GrpcStoreOptions
  readonly #rules: RetryRules
  readonly #maxMessageLength: number
  #connection: Promise<{ readonly grpc: Grpc; readonly client: Client }> | undefined
  #closed = false

  constructor(address: string, options: GrpcStoreOptions = {}) {
    this.#address = checkString('address', address)
    const {
      tls,
      token,
      compression = 'none',
      maxMessageLength = DEFAULT_MAX_MESSAGE_LENGTH,
      keepalive = DEFAULT_KEEPALIVE,
    } = options
    if (tls !== undefined && typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null)) {
      throw new OptionError('tls', tls, 'true, false, or certificates')
    }
    if (token !== undefined && typeof token !== 'string' && typeof token !== 'function') {
      throw new OptionError('token', token, 'a string, or a function that gives one')
    }
    checkChoice('compression', compression, ['none', 'gzip'])
    this.#maxMessageLength = checkInteger('maxMessageLength', maxMessageLength, 1, 2 ** 31 - 1)
    checkLimit('keepalive', keepalive, MIN_KEEPALIVE)
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
    const begin = async () => this.#begin()
    const rules = checkRules(this.#rules)
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
        const calls = new DeleteCalls(begin, rules, inner)
        const work = ({ first, run }: { readonly first: number; readonly run: readonly RefLike[] }) =>
          calls.delete(run, first)
        yield* mapOrdered(runs(), work, { concurrency, window: concurrency, signal: inner })
      },
    })
  }

  async push(record: unknown, options?: StoreStreamOptions): Promise<RecordRef> {
    return (await only(this.pushStream([record], options))).ref!
  }

  async pull(ref: RefLike, options?: StoreStreamOptions): Promise<JsonObject> {
    return (await only(this.pullStream([ref], options))).record!
  }

  async lookup(ref: RefLike, options?: StoreStreamOptions): Promise<RecordMeta> {
    return (await only(this.lookupStream([ref], options))).meta!
  }

  async delete(ref: RefLike, options?: StoreStreamOptions): Promise<void> {
    await only(this.deleteStream([ref], options))
  }

  async close(): Promise<void> {
    this.#closed = true
    const connection = this.#connection
    this.#connection = undefined
    if (connection !== undefined) (await connection).client.close()
  }

  #operation<I, R extends { readonly error?: unknown }>(
    method: 'Push' | 'Pull' | 'Lookup',
    source: ItemSource<I>,
    options: StoreStreamOptions,
    { encode, decode }: { encode: (item: I) => Buffer; decode: (answer: Buffer, index: number) => R },
  ): StoreStream<R> {
    const open = async (events: Parameters<ReturnType<typeof grpcCall>>[0]) => {
      const { client, metadata } = await this.#begin()
      const call = grpcCall(client, `${SERVICE}/${method}`, () => metadata)
      if (method === 'Push') return call(events)
      // refs are short: a message that is too long is an answer, though grpc-js says so in the words of a server
      const onEnd = (status: CallStatus) =>
        events.onEnd(isTooLarge(status) ? { ...status, fromServer: false } : status)
      return call({ ...events, onEnd })
    }
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

  async #begin(): Promise<{ readonly grpc: Grpc; readonly client: Client; readonly metadata: Metadata }> {
    if (this.#closed) throw new StateError('ERR_MILLRACE_STORE_CLOSED', 'store: it is closed')
    this.#connection ??= this.#connect()
    const { grpc, client } = await this.#connection
    const { token, metadata = {}, inBandErrors = true } = this.#options
    const all = new grpc.Metadata()
    for (const [name, value] of Object.entries(metadata)) all.set(name, value)
    if (inBandErrors) all.set(IN_BAND, '1')
    if (token !== undefined)
      all.set('authorization', `Bearer ${typeof token === 'string' ? token : await token()}`)
    return { grpc, client, metadata: all }
  }

  async #connect(): Promise<{ readonly grpc: Grpc; readonly client: Client }> {
    const grpc = await loadGrpc()
    const { keepalive = DEFAULT_KEEPALIVE, compression, tls } = this.#options
    const serverName = typeof tls === 'object' ? tls.serverName : undefined
    const client = new grpc.Client(this.#address, credentialsOf(grpc, tls), {
      'grpc.max_send_message_length': this.#maxMessageLength,
      'grpc.max_receive_message_length': this.#maxMessageLength,
      // the retries are ours: those of the channel would buffer messages, and know nothing of answers
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 5000,
      ...(keepalive !== Infinity && {
        'grpc.keepalive_time_ms': keepalive,
        'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT,
      }),
      ...(compression === 'gzip' && {
        'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip,
      }),
      ...(serverName !== undefined && {
        'grpc.ssl_target_name_override': serverName,
        'grpc.default_authority': serverName,
      }),
    })
    return { grpc, client }
  }
}

/** A malformed CID is told here: a server would end the stream for it. */
function encodeRefLike(ref: RefLike): Buffer {
  const cid = cidOfRef(ref)
  digestOfCid(cid)
  return encodeRef(cid)
}

function credentialsOf(grpc: Grpc, tls: boolean | ClientTls | undefined): ChannelCredentials {
  if (tls === undefined || tls === false) return grpc.credentials.createInsecure()
  const { ca, cert, key } = tls === true ? ({} as ClientTls) : tls
  return grpc.credentials.createSsl(pem(ca), pem(key), pem(cert))
}

export function pem(text: Uint8Array | string | undefined): Buffer | null {
  return text === undefined ? null : Buffer.from(text as string)
}

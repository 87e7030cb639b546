import { timingSafeEqual } from 'node:crypto'
import { OptionError, StateError, StoreError, asError } from '../errors.ts'
import { RecordBatch } from '../flow/index.ts'
import { checkBoolean, checkChoice, checkInteger, checkLimit, checkMethods, checkString } from '../options.ts'
import { unusable } from './canonical-block.ts'
import { canonicalOfMessage } from './canonical-record.ts'
import { digestOf } from './cid.ts'
import { itemError } from './embedded-store.ts'
import { pem } from './grpc-channel.ts'
import { listenByGrpcJs } from './grpc-js-carrier.ts'
import { IN_BAND, SERVICE } from './grpc-peer.ts'
import { listenByHttp2 } from './http2-carrier.ts'
import {
  DEFAULT_MAX_MESSAGE_LENGTH,
  decodeRef,
  encodeFaults,
  encodeMeta,
  encodeRecord,
  encodeRef,
  type Fault,
} from './messages.ts'
import { MessageFault, type CallEnd, type Carrier, type ServeCall, type ServerCall } from './server-call.ts'
import { STATUS, statusOfError } from './store-status.ts'
import type { StoreStream } from './store-stream.ts'
import { DEFAULT_WINDOW, type Store, type StoreStreamOptions } from './store.ts'

/** Streams that a connection may have open unless told otherwise, as agntcy/dir has it. */
export const DEFAULT_MAX_STREAMS = 1000

/** Items that are answered together: fewer than the window of a client, so that it has others under way meanwhile. */
const MAX_RUN = 32

/** Faults that the answer to a delete may hold. */
const MAX_FAULTS = 10_000

/** How a server proves who it is, and whom it lets in. All in PEM. */
export interface ServerTls {
  readonly cert: Uint8Array | string
  readonly key: Uint8Array | string
  /** Authorities of clients: with them, a client must have a certificate of theirs (mutual TLS). */
  readonly clientCa?: Uint8Array | string
}

/** Options of {@link StoreServer}. */
export interface StoreServerOptions {
  /**
   * What carries the calls: Node's own `'http2'`, or the package `@grpc/grpc-js`, which is slower.
   * @defaultValue `'http2'`
   */
  readonly transport?: 'http2' | 'grpc-js'
  readonly tls?: ServerTls
  /** Bearer tokens that let a client in. @defaultValue none is asked for */
  readonly tokens?: readonly string[]
  /** Longest message, in bytes, either way. @defaultValue 4 MiB */
  readonly maxMessageLength?: number
  /** Streams of a connection at once. @defaultValue 1000 */
  readonly maxStreams?: number
  /** Items of a stream under way. @defaultValue 64 */
  readonly window?: number
  /** Milliseconds after which a connection is asked to go and come back, or `Infinity`. @defaultValue Infinity */
  readonly maxConnectionAge?: number
  /** Milliseconds that streams have to end then. @defaultValue 300000 */
  readonly maxConnectionAgeGrace?: number
  /** Whether errors are told in-band to clients that offer to read them; otherwise they end the stream. @defaultValue true */
  readonly inBandErrors?: boolean
}

/** What a handler gives for one message. */
type Answered = { readonly index: number; readonly error?: StoreError | undefined; readonly answer?: Buffer }

/**
 * Serves any store as `agntcy.dir.store.v1.StoreService` (Push, Pull, Lookup, Delete): a client of agntcy/dir works against it.
 * Answers come in the order of the messages, and the first item that fails ends its stream with a status, as there. A client
 * that offers it (as `GrpcStore` does) gets the error in the place of the answer, and the stream goes on.
 *
 * @remarks Holds a window of messages for each stream, and 1 MiB of those that came.
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { GrpcStore, MemoryStore, StoreServer } from 'millrace/store'
 *
 * const server = new StoreServer(new MemoryStore(), { tokens: ['secret'] })
 * const port = await server.start()
 * const store = new GrpcStore(`127.0.0.1:${port}`, { token: 'secret' })
 * const { cid } = await store.push({ served: true })
 * assert.deepEqual(await store.pull(cid), { served: true })
 *
 * const stranger = new GrpcStore(`127.0.0.1:${port}`)
 * await assert.rejects(stranger.pull(cid), { category: 'connection', status: 16 })
 * await Promise.all([store.close(), stranger.close(), server.stop()])
 * ```
 */
export class StoreServer {
  readonly #store: Store
  readonly #options: StoreServerOptions
  readonly #window: number
  readonly #maxMessageLength: number
  readonly #tokens: readonly Buffer[] | undefined
  #carrier: Carrier | undefined

  constructor(store: Store, options: StoreServerOptions = {}) {
    this.#store = checkMethods('store', store, ['pushStream', 'pullStream', 'lookupStream', 'deleteStream'])
    const { window = DEFAULT_WINDOW, maxMessageLength = DEFAULT_MAX_MESSAGE_LENGTH, tls, tokens } = options
    this.#window = checkInteger('window', window, 1)
    this.#maxMessageLength = checkInteger('maxMessageLength', maxMessageLength, 1, 2 ** 31 - 1)
    checkChoice('transport', options.transport ?? 'http2', ['http2', 'grpc-js'])
    checkInteger('maxStreams', options.maxStreams ?? DEFAULT_MAX_STREAMS, 1)
    checkLimit('maxConnectionAge', options.maxConnectionAge ?? Infinity)
    checkLimit('maxConnectionAgeGrace', options.maxConnectionAgeGrace ?? Infinity)
    if (options.inBandErrors !== undefined) checkBoolean('inBandErrors', options.inBandErrors)
    if (
      tls !== undefined &&
      (typeof tls !== 'object' || tls === null || tls.cert === undefined || tls.key === undefined)
    ) {
      throw new OptionError('tls', tls, 'an object with cert and key')
    }
    if (
      tokens !== undefined &&
      !(Array.isArray(tokens) && tokens.every((token) => typeof token === 'string'))
    ) {
      throw new OptionError('tokens', tokens, 'an array of strings')
    }
    // of one length each, so that the comparison tells nothing
    this.#tokens = tokens?.map((token: string) => Buffer.from(digestOf(token), 'latin1'))
    this.#options = options
  }

  /** Begins to listen, and gives the port. */
  async start({
    host = '127.0.0.1',
    port = 0,
  }: { readonly host?: string; readonly port?: number } = {}): Promise<number> {
    checkString('host', host)
    checkInteger('port', port, 0, 65_535)
    if (this.#carrier !== undefined)
      throw new StateError('ERR_MILLRACE_STORE_CLOSED', 'server: it is started already')
    const {
      tls,
      transport = 'http2',
      maxStreams = DEFAULT_MAX_STREAMS,
      maxConnectionAge = Infinity,
      maxConnectionAgeGrace = 300_000,
    } = this.#options
    const store = this.#store
    const services = new Map<string, ServeCall>([
      [
        `${SERVICE}/Push`,
        this.#stream((messages, options) =>
          answersOf(store.pushStream(recordsIn(messages), options), ({ ref }) => encodeRef(ref!.cid)),
        ),
      ],
      [
        `${SERVICE}/Pull`,
        this.#stream((messages, options) =>
          answersOf(store.pullStream(refsIn(messages), options), ({ record }) =>
            encodeRecord(record, this.#maxMessageLength),
          ),
        ),
      ],
      [
        `${SERVICE}/Lookup`,
        this.#stream((messages, options) =>
          answersOf(store.lookupStream(refsIn(messages), options), ({ meta }) => encodeMeta(meta!)),
        ),
      ],
      [`${SERVICE}/Delete`, (call) => this.#delete(call)],
    ])
    const listen = transport === 'http2' ? listenByHttp2 : listenByGrpcJs
    this.#carrier = await listen(services, {
      host,
      port,
      tls: tls && {
        cert: pem(tls.cert),
        key: pem(tls.key),
        clientCa: tls.clientCa === undefined ? undefined : pem(tls.clientCa),
      },
      maxMessageLength: this.#maxMessageLength,
      maxStreams,
      maxConnectionAge,
      maxConnectionAgeGrace,
    })
    return this.#carrier.port
  }

  /**
   * Ends it: no new streams, and those that are open have `grace` milliseconds to end. The store stays open.
   */
  async stop({ grace = 1000 }: { readonly grace?: number } = {}): Promise<void> {
    const carrier = this.#carrier
    this.#carrier = undefined
    await carrier?.stop(grace)
  }

  #stream(
    work: (
      messages: AsyncIterable<readonly Buffer[]>,
      options: StoreStreamOptions,
    ) => AsyncIterable<readonly Answered[]>,
  ): ServeCall {
    return async (call) => {
      if (!this.#isWelcome(call)) return call.end(STRANGER)
      const inBand = this.#isInBand(call)
      const { signal } = call
      try {
        for await (const run of work(call.messages(), { window: Math.min(this.#window, MAX_RUN), signal })) {
          const answers: Buffer[] = []
          let refusal: CallEnd | undefined
          for (const { error, answer } of run) {
            const bytes = answer ?? (inBand ? encodeFaults([faultOf(error!, 0)]) : undefined)
            // what came behind is not answered: whoever reads the n-th answer must find the n-th message in it
            if (bytes === undefined) {
              refusal = statusOfError(error!)
              break
            }
            answers.push(bytes)
          }
          const written = answers.length > 0 ? call.write(answers) : undefined
          if (refusal !== undefined) return call.end(refusal)
          if (written !== undefined) await written
          if (signal.aborted) return
        }
        call.end()
      } catch (error) {
        if (!signal.aborted) call.end(statusOfFailure(error))
      }
    }
  }

  async #delete(call: ServerCall): Promise<void> {
    if (!this.#isWelcome(call)) return call.end(STRANGER)
    const inBand = this.#isInBand(call)
    const { signal } = call
    const faults: Fault[] = []
    try {
      for await (const { error, index } of this.#store.deleteStream(refsIn(call.messages()), {
        window: this.#window,
        signal,
      })) {
        if (error === undefined) continue
        if (!inBand || faults.length === MAX_FAULTS) return call.end(statusOfError(error))
        faults.push(faultOf(error, index))
      }
      void call.write([encodeFaults(faults)])
      call.end()
    } catch (error) {
      if (!signal.aborted) call.end(statusOfFailure(error))
    }
  }

  #isWelcome(call: ServerCall): boolean {
    if (this.#tokens === undefined) return true
    const token = /^bearer (.*)$/i.exec(call.header('authorization') ?? '')?.[1]
    if (token === undefined) return false
    const digest = Buffer.from(digestOf(token), 'latin1')
    return this.#tokens.some((known) => timingSafeEqual(known, digest))
  }

  /** Whether the client offered to read errors in-band, and if so says that it will. */
  #isInBand(call: ServerCall): boolean {
    if (this.#options.inBandErrors === false || call.header(IN_BAND) !== '1') return false
    call.sendHeaders({ [IN_BAND]: '1' })
    return true
  }
}

const STRANGER: CallEnd = { code: STATUS.UNAUTHENTICATED, details: 'expected a bearer token that is known' }

function faultOf(error: StoreError, index: number): Fault {
  const { code, details } = statusOfError(error)
  return { code, message: details, index }
}

function statusOfFailure(error: unknown): CallEnd {
  if (error instanceof StoreError) return statusOfError(error)
  return {
    code: error instanceof MessageFault ? error.code : STATUS.INTERNAL,
    details: asError(error).message,
  }
}

/** Records of messages. What is damaged is told by the store, in its place. */
async function* recordsIn(
  runs: AsyncIterable<readonly Buffer[]>,
): AsyncGenerator<RecordBatch, void, undefined> {
  let index = 0
  for await (const messages of runs) {
    yield new RecordBatch(
      index,
      messages.map((message): unknown => {
        try {
          return canonicalOfMessage(message)
        } catch (error) {
          return unusable(error)
        }
      }),
    )
    index += messages.length
  }
}

async function* refsIn(
  runs: AsyncIterable<readonly Buffer[]>,
): AsyncGenerator<RecordBatch<string>, void, undefined> {
  let index = 0
  for await (const messages of runs) {
    yield new RecordBatch(
      index,
      messages.map((message) => {
        try {
          return decodeRef(message)
        } catch {
          // no CID either
          return ''
        }
      }),
    )
    index += messages.length
  }
}

async function* answersOf<R extends { readonly index: number; readonly error?: StoreError | undefined }>(
  results: StoreStream<R>,
  encode: (result: R) => Buffer,
): AsyncGenerator<Answered[]> {
  for await (const run of results.batches()) {
    yield run.map((result): Answered => {
      if (result.error !== undefined) return { index: result.index, error: result.error }
      try {
        return { index: result.index, answer: encode(result) }
      } catch (error) {
        return { index: result.index, error: itemError(error, result.index) }
      }
    })
  }
}

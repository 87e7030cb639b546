import { timingSafeEqual } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Metadata, Server, ServerDuplexStream, ServerReadableStream, sendUnaryData } from '@grpc/grpc-js'
import { OptionError, StateError, StoreError, asError } from '../errors.ts'
import { checkBoolean, checkInteger, checkLimit, checkMethods, checkString } from '../options.ts'
import { digestOf } from './cid.ts'
import { itemError } from './embedded-store.ts'
import { IN_BAND, SERVICE, asBytes, loadGrpc } from './grpc-peer.ts'
import { pem } from './grpc-store.ts'
import {
  DEFAULT_MAX_MESSAGE_LENGTH,
  decodeRecord,
  decodeRef,
  encodeFaults,
  encodeMeta,
  encodeRecord,
  encodeRef,
  type Fault,
} from './messages.ts'
import { STATUS, statusOfError } from './store-status.ts'
import type { StoreStream } from './store-stream.ts'
import { DEFAULT_WINDOW, type Store, type StoreStreamOptions } from './store.ts'

/** Streams that a connection may have open unless told otherwise, as agntcy/dir has it. */
export const DEFAULT_MAX_STREAMS = 1000

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
 * @remarks Needs the package `@grpc/grpc-js`. Holds a window of messages for each stream.
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
  #server: Server | undefined

  constructor(store: Store, options: StoreServerOptions = {}) {
    this.#store = checkMethods('store', store, ['pushStream', 'pullStream', 'lookupStream', 'deleteStream'])
    const { window = DEFAULT_WINDOW, maxMessageLength = DEFAULT_MAX_MESSAGE_LENGTH, tls, tokens } = options
    this.#window = checkInteger('window', window, 1)
    this.#maxMessageLength = checkInteger('maxMessageLength', maxMessageLength, 1, 2 ** 31 - 1)
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
    if (this.#server !== undefined)
      throw new StateError('ERR_MILLRACE_STORE_CLOSED', 'server: it is started already')
    const grpc = await loadGrpc()
    const {
      tls,
      maxStreams = DEFAULT_MAX_STREAMS,
      maxConnectionAge = Infinity,
      maxConnectionAgeGrace = 300_000,
    } = this.#options
    const server = new grpc.Server({
      'grpc.max_receive_message_length': this.#maxMessageLength,
      'grpc.max_send_message_length': this.#maxMessageLength,
      'grpc.max_concurrent_streams': maxStreams,
      ...(maxConnectionAge !== Infinity && {
        'grpc.max_connection_age_ms': maxConnectionAge,
        'grpc.max_connection_age_grace_ms': maxConnectionAgeGrace,
      }),
    })
    const definition = (method: string, responseStream: boolean) => ({
      path: `${SERVICE}/${method}`,
      requestStream: true as const,
      responseStream,
      requestSerialize: asBytes,
      requestDeserialize: asBytes,
      responseSerialize: asBytes,
      responseDeserialize: asBytes,
    })
    const makeMetadata = () => new grpc.Metadata()
    const store = this.#store
    const handlers = {
      Push: this.#stream(makeMetadata, (messages, options) =>
        answersOf(store.pushStream(recordsIn(messages), options), ({ ref }) => encodeRef(ref!.cid)),
      ),
      Pull: this.#stream(makeMetadata, (messages, options) =>
        answersOf(store.pullStream(refsIn(messages), options), ({ record }) =>
          encodeRecord(record, this.#maxMessageLength),
        ),
      ),
      Lookup: this.#stream(makeMetadata, (messages, options) =>
        answersOf(store.lookupStream(refsIn(messages), options), ({ meta }) => encodeMeta(meta!)),
      ),
      Delete: (call: ServerReadableStream<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
        void this.#delete(call, callback, makeMetadata)
      },
    }
    server.addService(
      {
        Push: definition('Push', true),
        Pull: definition('Pull', true),
        Lookup: definition('Lookup', true),
        Delete: definition('Delete', false),
      },
      handlers,
    )
    const credentials =
      tls === undefined
        ? grpc.ServerCredentials.createInsecure()
        : grpc.ServerCredentials.createSsl(
            pem(tls.clientCa),
            [{ private_key: pem(tls.key)!, cert_chain: pem(tls.cert)! }],
            tls.clientCa !== undefined,
          )
    const address = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
    const bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`${address}:${port}`, credentials, (error, actual) =>
        error ? reject(error) : resolve(actual),
      )
    })
    this.#server = server
    return bound
  }

  /**
   * Ends it: no new streams, and those that are open have `grace` milliseconds to end. The store stays open.
   */
  async stop({ grace = 1000 }: { readonly grace?: number } = {}): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    const timer = setTimeout(() => server.forceShutdown(), grace)
    await new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
    clearTimeout(timer)
  }

  #stream(
    makeMetadata: () => Metadata,
    work: (
      messages: AsyncIterable<Buffer>,
      options: StoreStreamOptions,
    ) => AsyncIterable<readonly Answered[]>,
  ): (call: ServerDuplexStream<Buffer, Buffer>) => void {
    return (call) => void this.#serve(call, makeMetadata, work)
  }

  async #serve(
    call: ServerDuplexStream<Buffer, Buffer>,
    makeMetadata: () => Metadata,
    work: (
      messages: AsyncIterable<Buffer>,
      options: StoreStreamOptions,
    ) => AsyncIterable<readonly Answered[]>,
  ): Promise<void> {
    const abort = new AbortController()
    call.on('cancelled', () => abort.abort())
    call.on('error', () => abort.abort())
    const fail = (status: Refusal) => void call.emit('error', status)
    if (!this.#isWelcome(call.metadata)) return fail(STRANGER)
    const inBand = this.#isInBand(call, makeMetadata)
    try {
      for await (const run of work(messagesOf(call), { window: this.#window, signal: abort.signal })) {
        for (const { error, answer } of run) {
          const bytes = answer ?? (inBand ? encodeFaults([faultOf(error!, 0)]) : undefined)
          // what came behind is not answered: whoever reads the n-th answer must find the n-th message in it
          if (bytes === undefined) return fail(statusOfError(error!))
          call.write(bytes)
        }
        if (call.writableNeedDrain) await drained(call)
        if (abort.signal.aborted) return
      }
      call.end()
    } catch (error) {
      if (!abort.signal.aborted) fail(statusOfFailure(error))
    }
  }

  async #delete(
    call: ServerReadableStream<Buffer, Buffer>,
    callback: sendUnaryData<Buffer>,
    makeMetadata: () => Metadata,
  ): Promise<void> {
    const abort = new AbortController()
    call.on('cancelled', () => abort.abort())
    call.on('error', () => abort.abort())
    if (!this.#isWelcome(call.metadata)) return callback(STRANGER)
    const inBand = this.#isInBand(call, makeMetadata)
    const faults: Fault[] = []
    try {
      for await (const { error, index } of this.#store.deleteStream(refsIn(messagesOf(call)), {
        window: this.#window,
        signal: abort.signal,
      })) {
        if (error === undefined) continue
        if (!inBand || faults.length === MAX_FAULTS) return callback(statusOfError(error))
        faults.push(faultOf(error, index))
      }
      callback(null, encodeFaults(faults))
    } catch (error) {
      if (!abort.signal.aborted) callback(statusOfFailure(error))
    }
  }

  #isWelcome(metadata: Metadata): boolean {
    if (this.#tokens === undefined) return true
    const [given] = metadata.get('authorization')
    const token = /^bearer (.*)$/i.exec(typeof given === 'string' ? given : '')?.[1]
    if (token === undefined) return false
    const digest = Buffer.from(digestOf(token), 'latin1')
    return this.#tokens.some((known) => timingSafeEqual(known, digest))
  }

  /** Whether the client offered to read errors in-band, and if so says that it will. */
  #isInBand(
    call: { readonly metadata: Metadata; sendMetadata(metadata: Metadata): void },
    makeMetadata: () => Metadata,
  ): boolean {
    if (this.#options.inBandErrors === false || call.metadata.get(IN_BAND)[0] !== '1') return false
    const metadata = makeMetadata()
    metadata.set(IN_BAND, '1')
    call.sendMetadata(metadata)
    return true
  }
}

/** A status as a handler gives it. */
interface Refusal {
  readonly code: number
  readonly details: string
}

const STRANGER: Refusal = { code: STATUS.UNAUTHENTICATED, details: 'expected a bearer token that is known' }

function faultOf(error: StoreError, index: number): Fault {
  const { code, details } = statusOfError(error)
  return { code, message: details, index }
}

function statusOfFailure(error: unknown): { readonly code: number; readonly details: string } {
  if (error instanceof StoreError) return statusOfError(error)
  return { code: STATUS.INTERNAL, details: asError(error).message }
}

/** Messages that wait for the store before the connection is held back. */
const HELD_MESSAGES = 16

/** The messages of a call. Node's own iterator would destroy the call at their end, with the answers still to come. */
async function* messagesOf(call: Readable): AsyncGenerator<Buffer, void, undefined> {
  let held: Buffer[] = []
  let ended = false
  let wake = () => {}
  const onData = (message: Buffer) => {
    held.push(message)
    if (held.length >= HELD_MESSAGES) call.pause()
    wake()
  }
  const onEnd = () => {
    ended = true
    wake()
  }
  call.on('data', onData).on('end', onEnd).on('close', onEnd)
  try {
    for (;;) {
      if (held.length > 0) {
        const run = held
        held = []
        if (call.isPaused()) call.resume()
        yield* run
      } else if (ended) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  } finally {
    call.off('data', onData).off('end', onEnd).off('close', onEnd)
    // what still comes is of no use, and must not keep the call from ending
    call.resume()
  }
}

/** Records of messages. What is damaged is told by the store, in its place. */
async function* recordsIn(messages: AsyncIterable<Buffer>): AsyncGenerator {
  for await (const message of messages) {
    try {
      yield decodeRecord(message)
    } catch (error) {
      yield unreadable(error)
    }
  }
}

async function* refsIn(messages: AsyncIterable<Buffer>): AsyncGenerator<string> {
  for await (const message of messages) {
    let cid = ''
    try {
      cid = decodeRef(message)
    } catch {
      // no CID either
    }
    yield cid
  }
}

function unreadable(error: unknown): { toJSON(): never } {
  const { message } = asError(error)
  return {
    toJSON() {
      throw new StoreError('ERR_MILLRACE_STORE_INVALID', 'item', message)
    },
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

function drained(call: ServerDuplexStream<Buffer, Buffer>): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off('drain', done).off('close', done).off('cancelled', done)
      resolve()
    }
    call.on('drain', done).on('close', done).on('cancelled', done)
  })
}

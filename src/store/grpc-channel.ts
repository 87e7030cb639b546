import {
  connect,
  constants,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
} from 'node:http2'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { OptionError, StateError, asError } from '../errors.ts'
import { checkChoice, checkInteger, checkLimit, checkString } from '../options.ts'
import { encodeTimeout, isGrpc, statusIn, statusOfHttp, type CallMetadata } from './grpc-headers.ts'
import { DEFAULT_MAX_MESSAGE_LENGTH } from './messages.ts'
import { FramingError, MessageReader, frameMessages, type MessageEncoding } from './message-framing.ts'
import type { CallEvents, OpenCall, OperationCall } from './operation-lane.ts'
import { STATUS, type CallStatus } from './store-status.ts'

/** Pause between two pings unless told otherwise, in milliseconds. agntcy/dir ends connections that ping more than once a minute. */
export const DEFAULT_KEEPALIVE = 120_000
/** Shortest pause between two pings that servers have to bear, in milliseconds. */
const MIN_KEEPALIVE = 60_000
/** How long the answer to a ping may take, in milliseconds. */
export const KEEPALIVE_TIMEOUT = 20_000

/** What one side may send before the other has read it, in bytes: of a stream, and of a connection. */
export const STREAM_WINDOW = 4 * 1024 * 1024
export const SESSION_WINDOW = 16 * 1024 * 1024
/** Longest frame of HTTP/2 that is taken, in bytes: fewer of them are fewer calls from Node's C++ into JavaScript. */
export const MAX_FRAME_SIZE = 1024 * 1024
/** Megabytes that Node lets a session have; its default of 10 is less than the windows. */
export const SESSION_MEMORY = 256

/** Bytes of messages that are written at once, without waiting for the turn of the event loop to end. */
const WRITE_LENGTH = 32 * 1024

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

/** Options of {@link GrpcChannel}. */
export interface GrpcChannelOptions {
  /** TLS with the authorities of Node (`true`) or others; without it, nothing is encrypted. */
  readonly tls?: boolean | ClientTls
  /** How messages are compressed. @defaultValue `'none'` */
  readonly compression?: 'none' | 'gzip'
  /** Longest message that is taken, in bytes. @defaultValue 4 MiB */
  readonly maxMessageLength?: number
  /** Milliseconds between pings, at least 60000, or `Infinity` for none. @defaultValue 120000 */
  readonly keepalive?: number
}

/** Options of one call. */
export interface ChannelCallOptions {
  /** Headers of the call: names in lower case. Asked for each call. */
  readonly metadata?: () => CallMetadata | Promise<CallMetadata>
  /** Milliseconds after which the call is given up, by both sides. @defaultValue never */
  readonly timeout?: number
}

/**
 * Calls of gRPC over one connection of `node:http2`, for {@link operationStream}: all messages that are sent in one turn of the
 * event loop go out in one write. Connects when a call begins, and again when the connection was lost or its server asked it to go.
 *
 * @remarks
 * Holds what the server has not read yet: at most 4 MiB for a call and 16 MiB for the connection. Compression is done in the
 * thread that calls.
 * @throws {@link OptionError} if an option is out of range.
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { GrpcChannel, MemoryStore, StoreServer, operationStream } from 'millrace/store'
 *
 * const server = new StoreServer(new MemoryStore())
 * const channel = new GrpcChannel(`127.0.0.1:${await server.start()}`)
 *
 * const lookup = channel.call('/agntcy.dir.store.v1.StoreService/Lookup')
 * const codes: unknown[] = []
 * const results = operationStream(['no CID', 'none either'], lookup, {
 *   // RecordRef { string cid = 1 }
 *   encode: (text: string) => Buffer.concat([Buffer.from([0x0a, text.length]), Buffer.from(text)]),
 *   decode: (meta) => meta.length,
 * })
 * for await (const { output, error } of results) codes.push(output ?? error?.code)
 * assert.deepEqual(codes, ['ERR_MILLRACE_STORE_INVALID', 'ERR_MILLRACE_STORE_INVALID'])
 *
 * await channel.close()
 * await server.stop()
 * ```
 */
export class GrpcChannel {
  readonly #url: URL
  readonly #tls: ClientTls | undefined
  readonly #encoding: MessageEncoding
  readonly #maxMessageLength: number
  readonly #keepalive: number
  #connection: Connection | undefined
  readonly #connections = new Set<Connection>()
  #closed = false

  constructor(
    address: string,
    {
      tls,
      compression = 'none',
      maxMessageLength = DEFAULT_MAX_MESSAGE_LENGTH,
      keepalive = DEFAULT_KEEPALIVE,
    }: GrpcChannelOptions = {},
  ) {
    checkString('address', address)
    if (tls !== undefined && typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null)) {
      throw new OptionError('tls', tls, 'true, false, or certificates')
    }
    this.#tls = tls === true ? {} : tls === false ? undefined : tls
    const url = `${this.#tls === undefined ? 'http' : 'https'}://${address}${/:\d+$/.test(address) ? '' : ':443'}`
    if (!URL.canParse(url) || !/^[^/?#@]+$/.test(address))
      throw new OptionError('address', address, 'HOST:PORT')
    this.#url = new URL(url)
    checkChoice('compression', compression, ['none', 'gzip'])
    this.#encoding = compression === 'gzip' ? 'gzip' : 'identity'
    this.#maxMessageLength = checkInteger('maxMessageLength', maxMessageLength, 1, 2 ** 31 - 1)
    this.#keepalive = checkLimit('keepalive', keepalive, MIN_KEEPALIVE)
  }

  /** A method, by its path, as what `operationStream` calls: messages and answers are bytes. */
  call(path: string, { metadata, timeout }: ChannelCallOptions = {}): OpenCall<Buffer, Buffer> {
    checkString('path', path)
    if (timeout !== undefined) checkInteger('timeout', timeout, 1)
    return async (events) => {
      const given = metadata === undefined ? {} : await metadata()
      if (this.#closed) throw new StateError('ERR_MILLRACE_STORE_CLOSED', 'channel: it is closed')
      return this.#open(path, given, timeout, events)
    }
  }

  /** Ends what is under way, and the connection. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#connections].map((connection) => connection.destroy()))
  }

  #open(
    path: string,
    metadata: CallMetadata,
    timeout: number | undefined,
    events: CallEvents<Buffer>,
  ): OperationCall<Buffer> {
    const connection = this.#connect()
    const serverName = this.#tls?.serverName
    const stream = connection.session.request(
      {
        ...metadata,
        ':method': 'POST',
        ':path': path,
        ...(serverName !== undefined && { ':authority': serverName }),
        'content-type': 'application/grpc',
        te: 'trailers',
        'user-agent': 'millrace',
        'grpc-accept-encoding': 'identity,gzip',
        ...(this.#encoding !== 'identity' && { 'grpc-encoding': this.#encoding }),
        ...(timeout !== undefined && { 'grpc-timeout': encodeTimeout(timeout) }),
      },
      { endStream: false },
    )
    const call = new ChannelCall(stream, this.#encoding, this.#maxMessageLength, timeout, events, () =>
      this.#leave(connection),
    )
    connection.add(stream)
    return call
  }

  #connect(): Connection {
    if (this.#connection?.isUsable === true) return this.#connection
    const socket = this.#socket()
    const session = connect(this.#url, {
      settings: { initialWindowSize: STREAM_WINDOW, maxFrameSize: MAX_FRAME_SIZE, enablePush: false },
      maxSessionMemory: SESSION_MEMORY,
      createConnection: () => socket,
    })
    const connection = new Connection(session, socket, this.#keepalive, () =>
      this.#connections.delete(connection),
    )
    this.#connections.add(connection)
    this.#connection = connection
    return connection
  }

  #socket(): Socket {
    const { hostname, port } = this.#url
    const host = hostname.replace(/^\[|\]$/g, '')
    // `URL` leaves out the port that its scheme has anyway
    const to = { host, port: Number(port === '' ? (this.#tls === undefined ? 80 : 443) : port) }
    if (this.#tls === undefined) return connectTcp(to)
    const { ca, cert, key, serverName } = this.#tls
    const name = serverName ?? host
    return connectTls({
      ...to,
      ALPNProtocols: ['h2'],
      // an address is no name that a server could be asked by
      ...(isIP(name) === 0 && { servername: name }),
      ...(ca !== undefined && { ca: pem(ca) }),
      ...(cert !== undefined && { cert: pem(cert) }),
      ...(key !== undefined && { key: pem(key) }),
    })
  }

  /** A connection that is silent may be dead: others must not meet it. */
  #leave(connection: Connection): void {
    if (this.#connection === connection) this.#connection = undefined
    connection.leave()
  }
}

/** One connection, kept alive while it has calls, and no reason to keep the process alive when it has none. */
class Connection {
  readonly session: ClientHttp2Session
  readonly #socket: Socket
  readonly #keepalive: number
  readonly #closed: Promise<void>
  #streams = 0
  #timer: NodeJS.Timeout | undefined

  constructor(session: ClientHttp2Session, socket: Socket, keepalive: number, onClose: () => void) {
    this.session = session
    this.#socket = socket
    this.#keepalive = keepalive
    // what went wrong is told by its streams
    session.on('error', () => {})
    session.once('connect', () => session.setLocalWindowSize(SESSION_WINDOW))
    this.#closed = new Promise((resolve) => {
      // of the socket: a session that was refused during the handshake of TLS is never closed
      socket.once('close', () => {
        clearTimeout(this.#timer)
        onClose()
        resolve()
      })
    })
  }

  get isUsable(): boolean {
    return !this.session.closed && !this.session.destroyed
  }

  add(stream: ClientHttp2Stream): void {
    if (this.#streams++ === 0) {
      this.session.ref()
      this.#pingLater()
    }
    stream.once('close', () => {
      if (--this.#streams > 0) return
      clearTimeout(this.#timer)
      if (!this.session.destroyed) this.session.unref()
    })
  }

  /** No more calls; those that it has may end. */
  leave(): void {
    if (this.#streams <= 1) void this.destroy()
    else this.session.close()
  }

  destroy(): Promise<void> {
    this.session.destroy()
    this.#socket.destroy()
    return this.#closed
  }

  #pingLater(): void {
    clearTimeout(this.#timer)
    if (this.#keepalive === Infinity || this.session.destroyed) return
    this.#timer = setTimeout(() => this.#ping(), this.#keepalive)
    this.#timer.unref()
  }

  #ping(): void {
    this.#timer = setTimeout(() => void this.destroy(), KEEPALIVE_TIMEOUT)
    this.#timer.unref()
    this.session.ping((error) => {
      if (error === null) this.#pingLater()
    })
  }
}

/** One call on the wire. */
class ChannelCall implements OperationCall<Buffer> {
  readonly #stream: ClientHttp2Stream
  readonly #encoding: MessageEncoding
  readonly #events: CallEvents<Buffer>
  readonly #leave: () => void
  readonly #timer: NodeJS.Timeout | undefined
  #reader: MessageReader
  #held: Buffer[] = []
  #heldLength = 0
  #flushing = false
  #ended = false
  #over = false
  #status: CallStatus | undefined

  constructor(
    stream: ClientHttp2Stream,
    encoding: MessageEncoding,
    maxMessageLength: number,
    timeout: number | undefined,
    events: CallEvents<Buffer>,
    leave: () => void,
  ) {
    this.#stream = stream
    this.#encoding = encoding
    this.#events = events
    this.#leave = leave
    this.#reader = new MessageReader(maxMessageLength)
    if (timeout !== undefined) {
      const message = `expected the end of the call within ${timeout} ms`
      this.#timer = setTimeout(() => {
        this.#give({ code: STATUS.DEADLINE_EXCEEDED, message, fromServer: false })
        leave()
      }, timeout)
    }
    stream
      .on('response', (headers: IncomingHttpHeaders) => this.#begin(headers, maxMessageLength))
      .on('data', (chunk: Buffer) => this.#read(chunk))
      .on('trailers', (headers: IncomingHttpHeaders) => (this.#status ??= statusIn(headers)))
      .on('drain', () => events.onDrain())
      // what came has been read
      .on('end', () => this.#end())
      .on('error', (error: NodeJS.ErrnoException) => {
        // a reset has a code of its own
        if (error.code !== 'ERR_HTTP2_STREAM_ERROR') this.#status ??= lost(asError(error).message)
      })
      .on('close', () => this.#give(this.#status ?? statusOfReset(stream.rstCode)))
  }

  send(message: Buffer): boolean {
    this.#held.push(message)
    this.#heldLength += message.length
    if (this.#heldLength >= WRITE_LENGTH) this.#flush()
    else if (!this.#flushing) {
      this.#flushing = true
      // not sooner: what one chunk of answers brings about is one write
      setImmediate(() => {
        this.#flushing = false
        this.#flush()
      })
    }
    return !this.#stream.writableNeedDrain
  }

  end(): void {
    this.#ended = true
    if (!this.#flushing) this.#flush()
  }

  cancel(isSilent = false): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#held = []
    this.#stream.close(constants.NGHTTP2_CANCEL)
    if (isSilent) this.#leave()
  }

  #flush(): void {
    const stream = this.#stream
    if (this.#over || stream.destroyed || stream.writableEnded) return
    if (this.#held.length > 0) {
      const bytes = frameMessages(this.#held, this.#encoding)
      this.#held = []
      this.#heldLength = 0
      if (this.#ended) stream.end(bytes)
      else stream.write(bytes)
    } else if (this.#ended) stream.end()
  }

  #begin(headers: IncomingHttpHeaders, maxMessageLength: number): void {
    this.#status = statusIn(headers)
    if (this.#status === undefined && !isGrpc(headers)) this.#give(statusOfHttp(headers))
    this.#reader = new MessageReader(maxMessageLength, String(headers['grpc-encoding'] ?? 'identity'))
  }

  #read(chunk: Buffer): void {
    if (this.#over) return
    const answers: Buffer[] = []
    let fault: FramingError | undefined
    try {
      this.#reader.push(chunk, answers)
    } catch (error) {
      fault = error as FramingError
    }
    for (const answer of answers) {
      // an answer may bring about that it is given up
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- by `cancel`
      if (this.#over) return
      this.#events.onAnswer(answer)
    }
    if (fault !== undefined) this.#give(fault.status)
  }

  #end(): void {
    if (this.#status === undefined) return
    this.#give(this.#reader.isEmpty ? this.#status : lost('it ended in the middle of a message'))
  }

  /** Tells the status, once. */
  #give(status: CallStatus): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#held = []
    // a server may end the call before it has heard all
    if (!this.#stream.closed) this.#stream.close(constants.NGHTTP2_CANCEL)
    this.#events.onEnd(status)
  }
}

function lost(message: string): CallStatus {
  return { code: STATUS.UNAVAILABLE, message: `connection lost: ${message.trim()}`, fromServer: false }
}

/** Codes of HTTP/2 for which gRPC has its own; the others are faults of one side. */
function statusOfReset(code: number | undefined): CallStatus {
  const codes: Record<number, number> = {
    [constants.NGHTTP2_NO_ERROR]: STATUS.UNAVAILABLE,
    [constants.NGHTTP2_REFUSED_STREAM]: STATUS.UNAVAILABLE,
    [constants.NGHTTP2_CANCEL]: STATUS.CANCELLED,
    [constants.NGHTTP2_ENHANCE_YOUR_CALM]: STATUS.RESOURCE_EXHAUSTED,
  }
  return {
    code: codes[code ?? 0] ?? STATUS.INTERNAL,
    message: `the call was cut off (HTTP/2 code ${String(code)})`,
    fromServer: false,
  }
}

/** PEM as `node:tls` takes it. */
export function pem(text: Uint8Array | string): Buffer {
  return Buffer.from(text as string)
}

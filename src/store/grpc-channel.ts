import { connect } from 'node:http2'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { OptionError, StateError } from '../errors.ts'
import { checkChoice, checkInteger, checkLimit, checkString } from '../options.ts'
import { ChannelCall } from './channel-call.ts'
import { GrpcConnection } from './grpc-connection.ts'
import { encodeTimeout, type CallMetadata } from './grpc-headers.ts'
import { MAX_FRAME_SIZE, SESSION_MEMORY, STREAM_WINDOW } from './http2-limits.ts'
import { DEFAULT_MAX_MESSAGE_LENGTH } from './messages.ts'
import type { MessageEncoding } from './message-framing.ts'
import type { CallEvents, OpenCall, OperationCall } from './operation-lane.ts'

/** Pause between two pings unless told otherwise, in milliseconds. agntcy/dir ends connections that ping more than once a minute. */
export const DEFAULT_KEEPALIVE = 120_000
/** Shortest pause between two pings that servers have to bear, in milliseconds. */
const MIN_KEEPALIVE = 60_000
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
  #connection: GrpcConnection | undefined
  readonly #connections = new Set<GrpcConnection>()
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

  #connect(): GrpcConnection {
    if (this.#connection?.isUsable === true) return this.#connection
    const socket = this.#socket()
    const session = connect(this.#url, {
      settings: { initialWindowSize: STREAM_WINDOW, maxFrameSize: MAX_FRAME_SIZE, enablePush: false },
      maxSessionMemory: SESSION_MEMORY,
      createConnection: () => socket,
    })
    const connection = new GrpcConnection(session, socket, this.#keepalive, () =>
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
  #leave(connection: GrpcConnection): void {
    if (this.#connection === connection) this.#connection = undefined
    connection.leave()
  }
}

/** PEM as `node:tls` takes it. */
export function pem(text: Uint8Array | string): Buffer {
  return Buffer.from(text as string)
}

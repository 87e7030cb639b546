import { Writable, addAbortSignal } from 'node:stream'
import type { WebSocket } from 'ws'
import { WebSocketError, asError } from '../errors.ts'
import {
  RecordBatch,
  StatsCounter,
  type PolicyLike,
  type StatsHooks,
  type StreamStats,
} from '../flow/index.ts'
import { checkFunction, checkInteger, checkSignal } from '../options.ts'
import {
  DEFAULT_MAX_RECONNECTS,
  checkSocketOptions,
  defaultSocketPolicy,
  openSocket,
  type SocketOptions,
} from './open-socket.ts'

/** Options of {@link WebSocketSink}. */
export interface WebSocketSinkOptions<T> extends SocketOptions, StatsHooks {
  /**
   * The message of a record, or of the records of a batch.
   * @defaultValue JSON; bytes and texts as they are
   */
  readonly serialize?: (record: T | readonly T[]) => string | Uint8Array
  /**
   * How long the server may take to take one message, in milliseconds; then the connection counts as broken.
   * @defaultValue 30000
   */
  readonly stallTimeout?: number
  readonly signal?: AbortSignal
  /**
   * Records to hold while the server is slow.
   * @defaultValue 16
   */
  readonly highWaterMark?: number
}

/**
 * Records in, one message each to a WebSocket server; a batch becomes one message. When the connection breaks, another one is made, and the
 * message that was under way is sent again.
 *
 * @remarks Backpressure: a write is done when the kernel has taken its message. What a kernel had taken when the connection broke may not
 * have arrived: this protocol has no receipts, so a server that must miss nothing has to ask. The end closes with 1000 and waits for the server's
 * answer. Needs the package `ws`.
 * @throws {@link OptionError} from the constructor; as `error` events {@link WebSocketError} with the index of the message, and
 * {@link MissingPeerError} without `ws`.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { once } from 'node:events'
 * import { Readable } from 'node:stream'
 * import { pipeline } from 'node:stream/promises'
 * import { WebSocketServer } from 'ws'
 * import { WebSocketSink } from 'millrace/websocket'
 *
 * const server = new WebSocketServer({ port: 0 })
 * const got = []
 * server.on('connection', (client) => client.on('message', (data) => got.push(JSON.parse(String(data)))))
 * await once(server, 'listening')
 * await pipeline(Readable.from([{ a: 1 }, { a: 2 }]), new WebSocketSink(`ws://localhost:${server.address().port}`))
 * assert.deepEqual(got, [{ a: 1 }, { a: 2 }])
 * server.close()
 * ```
 */
export class WebSocketSink<T = unknown> extends Writable {
  readonly #url: string
  readonly #options: WebSocketSinkOptions<T>
  readonly #policy: PolicyLike
  readonly #serialize: (record: T | readonly T[]) => string | Uint8Array
  readonly #stallTimeout: number
  readonly #counter: StatsCounter
  readonly #abort = new AbortController()
  #socket: WebSocket | undefined
  #index = 0

  constructor(url: string | URL, options: WebSocketSinkOptions<T> = {}) {
    const { serialize = toMessage, signal, highWaterMark, policy, stallTimeout = 30_000 } = options
    const address = checkSocketOptions(url, options)
    checkFunction('serialize', serialize)
    checkInteger('stallTimeout', stallTimeout, 1, 2 ** 31 - 1)
    checkSignal('signal', signal)
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark, 1)
    super({ objectMode: true, highWaterMark: highWaterMark ?? 16 })
    this.#url = address
    this.#options = options
    this.#policy = policy ?? defaultSocketPolicy()
    this.#serialize = serialize
    this.#stallTimeout = stallTimeout
    this.#counter = new StatsCounter('WebSocketSink', options)
    if (signal) addAbortSignal(signal, this)
  }

  /** `bytesOut` and `recordsOut` count what the kernel has taken. */
  stats(): StreamStats {
    return this.#counter.snapshot()
  }

  override _write(
    chunk: T | RecordBatch<T>,
    _encoding: BufferEncoding,
    callback: (error?: Error | null) => void,
  ): void {
    this.#deliver(chunk).then(
      () => callback(),
      (error: unknown) => callback(asError(error)),
    )
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#finish().then(
      () => callback(),
      (error: unknown) => callback(asError(error)),
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#abort.abort(error ?? undefined)
    this.#socket?.terminate()
    this.#socket = undefined
    try {
      if (error !== null) this.#counter.failed(error)
      callback(error)
    } catch (thrown) {
      callback(asError(thrown))
    }
  }

  async #deliver(chunk: T | RecordBatch<T>): Promise<void> {
    const index = this.#index++
    const isBatch = RecordBatch.is(chunk)
    const records = isBatch ? chunk.length : 1
    let message: string | Uint8Array
    try {
      message = this.#serialize(isBatch ? chunk.records : chunk)
      if (typeof message !== 'string' && !(message instanceof Uint8Array))
        throw new TypeError('no text and no bytes')
    } catch (cause) {
      const text = `${this.#url}: record ${index} cannot be written: ${asError(cause).message}`
      throw new WebSocketError('ERR_MILLRACE_WEBSOCKET_MESSAGE', text, { index, cause })
    }
    this.#counter.received(0, records)
    const most = this.#options.maxReconnects ?? DEFAULT_MAX_RECONNECTS
    let breaks = 0
    let cause: unknown
    while (breaks <= most) {
      const socket = await this.#connected()
      try {
        await this.#send(socket, message)
        this.#counter.sent(Buffer.byteLength(message), records)
        return
      } catch (error) {
        socket.terminate()
        if (this.#socket === socket) this.#socket = undefined
        this.#abort.signal.throwIfAborted()
        cause = error
        breaks++
      }
    }
    const text = `${this.#url}: message ${index} was not taken in ${breaks} attempts: ${asError(cause).message}`
    throw new WebSocketError('ERR_MILLRACE_WEBSOCKET_CLOSED', text, { index, attempts: breaks, cause })
  }

  async #connected(): Promise<WebSocket> {
    if (this.#socket && this.#socket.readyState === this.#socket.OPEN) return this.#socket
    const socket = await openSocket(this.#url, this.#options, this.#policy, this.#abort.signal)
    // what a server answers is read, so that its pings and its goodbye are heard, and dropped
    socket.on('message', () => {})
    socket.resume()
    return (this.#socket = socket)
  }

  #send(socket: WebSocket, message: string | Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the server took nothing for ${this.#stallTimeout} ms`)),
        this.#stallTimeout,
      )
      const onClose = (code: number) => settle(new Error(`the connection was closed with ${code}`))
      const settle = (error?: Error | null) => {
        clearTimeout(timer)
        socket.off('close', onClose)
        if (error) reject(error)
        else resolve()
      }
      socket.on('close', onClose)
      socket.send(message, settle)
    })
  }

  async #finish(): Promise<void> {
    // a server that was sent nothing still learns that there was nothing
    const socket = await this.#connected()
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    socket.close(1000)
    await closed
    this.#counter.completed()
  }
}

function toMessage(record: unknown): string | Uint8Array {
  if (typeof record === 'string' || record instanceof Uint8Array) return record
  return JSON.stringify(record)
}

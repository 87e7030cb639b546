import { Readable, addAbortSignal } from 'node:stream'
import type { RawData, WebSocket } from 'ws'
import { OptionError, WebSocketError, asError } from '../errors.ts'
import {
  StatsCounter,
  failAfterDelivery,
  type PolicyLike,
  type StatsHooks,
  type StreamStats,
} from '../flow/index.ts'
import { checkInteger, checkSignal } from '../options.ts'
import { messageBytes } from './message-bytes.ts'
import {
  DEFAULT_MAX_RECONNECTS,
  checkSocketOptions,
  defaultSocketPolicy,
  openSocket,
  type SocketOptions,
} from './open-socket.ts'

/** The server has said all it had to say. */
const NORMAL_CLOSURE = 1000

/** Options of {@link WebSocketSource}. */
export interface WebSocketSourceOptions<T> extends SocketOptions, StatsHooks {
  /** Messages to send on every connection, such as the request that the stream answers. */
  readonly hello?: readonly (string | Uint8Array)[]
  /**
   * What a message becomes: parsed JSON, text, bytes, or what a function gives; `undefined` leaves the message out.
   * @defaultValue 'json'
   */
  readonly parse?: 'json' | 'text' | 'bytes' | ((message: Buffer, isBinary: boolean) => T | undefined)
  readonly signal?: AbortSignal
  /**
   * Messages to read ahead.
   * @defaultValue 16
   */
  readonly highWaterMark?: number
}

/**
 * The messages of a WebSocket server as a stream of objects. When the connection breaks, another one is made, which begins with
 * `hello` again; what the server sent to nobody meanwhile is not repeated by this protocol. A close with code 1000 is the end.
 *
 * @remarks Backpressure reaches the server through TCP: while the reader has enough, nothing is read. Holds `highWaterMark` messages. Needs the
 * package `ws`.
 * @throws {@link OptionError} from the constructor; as `error` events {@link WebSocketError} for a message that cannot be parsed or a connection that
 * breaks too often, after all messages before, and {@link MissingPeerError} without `ws`.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { WebSocketSource, WebSocketStreamingGenerator } from 'millrace/websocket'
 *
 * let next = 0
 * const generator = { generate: (count) => Array.from({ length: count }, () => ({ id: next++ })) }
 * const server = new WebSocketStreamingGenerator({ port: 0, generator })
 * const { url } = await server.start()
 *
 * const source = new WebSocketSource(url, { hello: ['{"action":"generate","count":250}'] })
 * const ids = []
 * for await (const { records, status } of source) {
 *   ids.push(...records.map(({ id }) => id))
 *   if (status === 'complete') break
 * }
 * assert.deepEqual(ids, Array.from({ length: 250 }, (_, i) => i))
 * await server.stop()
 * ```
 */
export class WebSocketSource<T = unknown> extends Readable {
  readonly #url: string
  readonly #options: WebSocketSourceOptions<T>
  readonly #policy: PolicyLike
  readonly #parse: (message: Buffer, isBinary: boolean) => unknown
  readonly #counter: StatsCounter
  readonly #abort = new AbortController()
  #socket: WebSocket | undefined
  /** Connections in a row that have brought nothing. */
  #barren = 0
  #connecting = false
  #index = 0

  constructor(url: string | URL, options: WebSocketSourceOptions<T> = {}) {
    const { parse = 'json', signal, highWaterMark, policy } = options
    const address = checkSocketOptions(url, options)
    const parser = typeof parse === 'function' ? parse : PARSERS[parse]
    if (parser === undefined) throw new OptionError('parse', parse, "'json', 'text', 'bytes' or a function")
    checkSignal('signal', signal)
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark, 1)
    super({ objectMode: true, highWaterMark: highWaterMark ?? 16 })
    this.#url = address
    this.#options = options
    this.#policy = policy ?? defaultSocketPolicy()
    this.#parse = parser
    this.#counter = new StatsCounter('WebSocketSource', options)
    if (signal) addAbortSignal(signal, this)
  }

  stats(): StreamStats {
    return this.#counter.snapshot()
  }

  override _read(): void {
    if (this.#socket !== undefined) this.#socket.resume()
    else if (!this.#connecting) void this.#connect()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#abort.abort(error ?? undefined)
    const socket = this.#socket
    this.#socket = undefined
    socket?.removeAllListeners('message')
    socket?.terminate()
    try {
      if (error !== null) this.#counter.failed(error)
      callback(error)
    } catch (thrown) {
      callback(asError(thrown))
    }
  }

  async #connect(): Promise<void> {
    this.#connecting = true
    try {
      const socket = await openSocket(this.#url, this.#options, this.#policy, this.#abort.signal)
      this.#socket = socket
      socket.on('message', (data, isBinary) => this.#take(data, isBinary))
      socket.on('close', (code, reason) => this.#closed(code, String(reason)))
      for (const message of this.#options.hello ?? []) socket.send(message)
      socket.resume()
    } catch (error) {
      if (!this.destroyed) failAfterDelivery(this, asError(error))
    } finally {
      this.#connecting = false
    }
  }

  #take(data: RawData, isBinary: boolean): void {
    if (this.destroyed) return
    const bytes = messageBytes(data)
    const index = this.#index++
    let value: unknown
    try {
      this.#counter.received(bytes.length, 1)
      value = this.#parse(bytes, isBinary)
      if (value === undefined) return
      if (value === null) throw new Error('null cannot travel in a stream of objects')
      this.#counter.sent(bytes.length, 1)
    } catch (cause) {
      const message = `${this.#url}: message ${index} of ${bytes.length} bytes cannot be used: ${asError(cause).message}`
      this.#fail(new WebSocketError('ERR_MILLRACE_WEBSOCKET_MESSAGE', message, { index, cause }))
      return
    }
    this.#barren = 0
    if (!this.push(value)) this.#socket?.pause()
  }

  #closed(code: number, reason: string): void {
    this.#socket = undefined
    if (this.destroyed) return
    if (code === NORMAL_CLOSURE) {
      this.#counter.completed()
      this.push(null)
      return
    }
    if (++this.#barren > (this.#options.maxReconnects ?? DEFAULT_MAX_RECONNECTS)) {
      const why = reason === '' ? '' : `, ${JSON.stringify(reason)}`
      const message = `${this.#url}: closed with ${code}${why}, ${this.#barren} times without a message`
      this.#fail(
        new WebSocketError('ERR_MILLRACE_WEBSOCKET_CLOSED', message, {
          actual: code,
          attempts: this.#barren,
        }),
      )
      return
    }
    void this.#connect()
  }

  #fail(error: Error): void {
    // what comes after has nowhere to go
    this.#socket?.removeAllListeners('message')
    failAfterDelivery(this, error)
  }
}

const PARSERS: Record<string, (message: Buffer) => unknown> = {
  json: (message) => JSON.parse(String(message)) as unknown,
  text: String,
  bytes: (message) => message,
}

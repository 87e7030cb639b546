import type { RawData, WebSocket } from 'ws'
import { WebSocketError } from '../errors.ts'
import type { StatsCounter } from '../flow/index.ts'
import type { BatchSource } from './batch-source.ts'
import { messageBytes } from './message-bytes.ts'
import {
  errorMessage,
  parseRequest,
  statusMessage,
  type GenerateRequest,
  type RequestId,
  type RequestLimits,
} from './protocol.ts'

/** Close codes of RFC 6455 and its registry. */
export const CLOSE = { goingAway: 1001, tryAgainLater: 1013 } as const

/** What all sessions of a server share. */
export interface SessionPlan {
  readonly source: BatchSource
  readonly limits: RequestLimits
  /** Requests that one client may have under way. */
  readonly maxRequests: number
  /** How long a client may take to receive one message, in milliseconds. */
  readonly stallTimeout: number
  readonly counter: StatsCounter
  /** What the action `stats` answers with. */
  stats(): object
}

/** One client: takes its requests, and answers them side by side, each batch made only when the one before has left. */
export class ClientSession {
  readonly #socket: WebSocket
  readonly #plan: SessionPlan
  readonly #running = new Map<RequestId | undefined, AbortController>()
  #alive = true

  constructor(socket: WebSocket, plan: SessionPlan) {
    this.#socket = socket
    this.#plan = plan
    socket.on('message', (data, isBinary) => void this.#receive(data, isBinary))
    socket.on('pong', () => (this.#alive = true))
    // too large a message and the like: ws closes the connection by itself
    socket.on('error', () => {})
    socket.on('close', () => this.#abortAll())
  }

  /** Asks for a sign of life; ends the connection when the last time brought none. */
  ping(): void {
    if (!this.#alive) return this.#socket.terminate()
    this.#alive = false
    this.#socket.ping()
  }

  /** Ends all answers and says goodbye. */
  close(code: number, reason: string): void {
    this.#abortAll()
    this.#socket.close(code, reason)
  }

  terminate(): void {
    this.#socket.terminate()
  }

  async #receive(data: RawData, isBinary: boolean): Promise<void> {
    let id: RequestId | undefined
    try {
      if (isBinary) throw requestError('request: expected a text message, got a binary one')
      const request = parseRequest(messageBytes(data).toString(), this.#plan.limits)
      id = request.id
      if (request.action === 'generate') await this.#answer(request)
      else if (request.action === 'cancel') this.#cancel(id)
      else await this.#send(statusMessage('stats', id, { stats: this.#plan.stats() }))
    } catch (error) {
      if (error instanceof Gone) return
      this.#plan.counter.errors++
      id ??= (error as { id?: RequestId }).id
      await this.#send(errorMessage(error, id)).catch(() => {})
    }
  }

  /** The answer that ends says so itself. */
  #cancel(id: RequestId | undefined): void {
    const running = this.#running.get(id)
    if (running === undefined) throw requestError(`cancel: no request ${label(id)} is under way`)
    running.abort()
  }

  async #answer(request: GenerateRequest): Promise<void> {
    const { id, count, batchSize } = request
    if (this.#running.has(id)) throw requestError(`request: ${label(id)} is still being answered`)
    if (this.#running.size >= this.#plan.maxRequests) {
      throw requestError(`request: ${this.#plan.maxRequests} are being answered, which is as many as may be`)
    }
    const next = this.#plan.source.open(request)
    const abort = new AbortController()
    this.#running.set(id, abort)
    let batch = 0
    let sent = 0
    try {
      while (sent < count && !abort.signal.aborted) {
        const made = await next(Math.min(batchSize, count - sent), batch + 1)
        if (made === undefined || abort.signal.aborted) break
        await this.#send(made.message)
        batch++
        sent += made.count
        this.#plan.counter.sent(made.message.length, made.count)
        // a message that the kernel takes at once would leave the others no turn
        await new Promise((resolve) => setImmediate(resolve))
      }
    } finally {
      this.#running.delete(id)
    }
    const status = abort.signal.aborted ? 'cancelled' : 'complete'
    await this.#send(statusMessage(status, id, { count: sent, batches: batch }))
  }

  /** Resolves when the kernel has taken the message: a client that does not read keeps it here, and nothing else is made for it. */
  #send(message: string | Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#socket.readyState !== this.#socket.OPEN) return reject(new Gone())
      const timer = setTimeout(() => {
        this.close(CLOSE.tryAgainLater, `no message was taken for ${this.#plan.stallTimeout} ms`)
        reject(new Gone())
      }, this.#plan.stallTimeout)
      this.#socket.send(message, { binary: false }, (error) => {
        clearTimeout(timer)
        if (error) reject(new Gone())
        else resolve()
      })
    })
  }

  #abortAll(): void {
    for (const running of this.#running.values()) running.abort()
  }
}

/** The client cannot be told anything any more. */
class Gone extends Error {}

function label(id: RequestId | undefined): string {
  return id === undefined ? 'without an id' : `with id ${JSON.stringify(id)}`
}

function requestError(message: string): WebSocketError {
  return new WebSocketError('ERR_MILLRACE_WEBSOCKET_REQUEST', message)
}

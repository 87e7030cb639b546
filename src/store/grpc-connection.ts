import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { SESSION_WINDOW } from './http2-limits.ts'

/** How long the answer to a ping may take, in milliseconds. */
export const KEEPALIVE_TIMEOUT = 20_000

/** One connection, kept alive while it has calls, and no reason to keep the process alive when it has none. */
export class GrpcConnection {
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

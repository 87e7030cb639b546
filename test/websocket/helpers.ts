import { EventEmitter, on, once } from 'node:events'
import { WebSocket, type ClientOptions } from 'ws'

/** A message of the server, as the documented clients see it. */
export interface Message {
  readonly id?: string | number
  readonly records: Record<string, unknown>[]
  readonly batch?: number
  readonly status?: string
  readonly code?: string
  readonly message?: string
  readonly count?: number
  readonly batches?: number
  readonly stats?: Record<string, unknown>
}

/** A client that sends objects and reads messages one after another. */
export class Client {
  readonly socket: WebSocket
  readonly #messages: AsyncIterator<unknown[]>

  private constructor(socket: WebSocket) {
    this.socket = socket
    this.#messages = on(socket, 'message')
  }

  static async open(url: string, options: ClientOptions = {}): Promise<Client> {
    const socket = new WebSocket(url, options)
    const client = new Client(socket)
    await once(socket as EventEmitter, 'open')
    return client
  }

  send(request: unknown): void {
    this.socket.send(
      typeof request === 'string' || Buffer.isBuffer(request) ? request : JSON.stringify(request),
    )
  }

  async next(): Promise<Message> {
    const { value } = (await this.#messages.next()) as { value: [data: Buffer] }
    return JSON.parse(String(value[0])) as Message
  }

  /** All messages up to the one with a status. */
  async answer(request?: unknown): Promise<Message[]> {
    if (request !== undefined) this.send(request)
    const messages: Message[] = []
    do messages.push(await this.next())
    while (messages.at(-1)?.status === undefined)
    return messages
  }

  async close(): Promise<void> {
    this.socket.close()
    await once(this.socket as EventEmitter, 'close')
  }
}

/** The status of HTTP that a handshake is refused with, and its headers. */
export async function refusal(url: string, options: ClientOptions = {}) {
  const socket = new WebSocket(url, options)
  socket.on('error', () => {})
  const [, response] = (await once(socket as EventEmitter, 'unexpected-response')) as [
    unknown,
    { statusCode: number; headers: Record<string, string> },
  ]
  return { status: response.statusCode, headers: response.headers }
}

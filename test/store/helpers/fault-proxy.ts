import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** What the proxy does to a connection. */
export interface Faults {
  /** Bytes from the server after which the connection is cut, asked for each connection; Infinity for never. */
  cutAfter?(): number
  /** Milliseconds that each chunk is held, asked for each chunk. */
  delay?(): number
  /** True swallows everything from now on, in both directions, without a sign. */
  blackHole?: boolean
}

/** TCP between a client and a server, with faults. */
export class FaultProxy {
  faults: Faults
  cuts = 0
  readonly #target: () => number
  readonly #sockets = new Set<Socket>()
  #server: Server | undefined
  port = 0

  constructor(target: () => number, faults: Faults = {}) {
    this.#target = target
    this.faults = faults
  }

  async start(): Promise<this> {
    this.#server = createServer((client) => this.#join(client)).listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
    return this
  }

  /** Cuts all connections. */
  cut(): void {
    this.cuts++
    for (const socket of this.#sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    const closed = once(this.#server!, 'close')
    this.#server!.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #join(client: Socket): void {
    const server = connect(this.#target(), '127.0.0.1')
    let left = this.faults.cutAfter?.() ?? Infinity
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        client.destroy()
        server.destroy()
      })
    }
    const pass = (from: Socket, to: Socket) => {
      let line = Promise.resolve()
      let isHeld = false
      from.on('data', (chunk: Buffer) => {
        if (this.faults.blackHole === true) return
        if (from === server) left -= chunk.length
        const part = from === server && left < 0 ? chunk.subarray(0, Math.max(0, chunk.length + left)) : chunk
        const send = () => {
          if (!to.destroyed) to.write(part)
          if (left >= 0) return
          this.cuts++
          // what was written before goes out first
          to.end(() => client.destroy())
        }
        const delay = this.faults.delay?.() ?? 0
        isHeld ||= delay > 0
        if (!isHeld) return send()
        // one after another: a line is slow, and never out of order
        line = line.then(() => sleep(delay)).then(send)
      })
    }
    pass(client, server)
    pass(server, client)
  }
}

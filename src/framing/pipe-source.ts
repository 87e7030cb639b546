import { Socket } from 'node:net'
import { ReadStream, isatty } from 'node:tty'
import type { ChunkSource, ReadCallback } from './chunk-source.ts'
import type { Descriptor } from './file-source.ts'

export { isatty as isTerminal }

/**
 * Reads a pipe, FIFO, socket or terminal through the event loop. `fs.read` would block a thread of libuv's pool until
 * data comes, and an abort, or the end of the process, would have to wait for that.
 */
export class PipeSource implements ChunkSource {
  readonly name: string
  readonly size = undefined
  readonly #stream: Socket
  #pending: (() => void) | undefined
  #error: Error | null = null
  #ended = false

  readonly #afterwards: Descriptor['close']

  /**
   * Takes the descriptor over, and closes it in the end (but never one of 0, 1 and 2: libuv spares them).
   * `afterwards` is called then.
   */
  constructor(name: string, fd: number, afterwards: Descriptor['close']) {
    this.name = name
    this.#afterwards = afterwards
    this.#stream = isatty(fd) ? new ReadStream(fd) : new Socket({ fd, readable: true, writable: false })
    this.#stream.on('readable', () => this.#pending?.())
    this.#stream.on('end', () => this.#finish(null))
    this.#stream.on('error', (error) => this.#finish(error))
    this.#stream.on('close', () => this.#finish(null))
  }

  read(target: Buffer, length: number, _position: number, done: ReadCallback): void {
    const attempt = () => {
      const stream = this.#stream
      const chunk: Buffer | null =
        stream.readableLength > 0 ? stream.read(Math.min(length, stream.readableLength)) : null
      if (chunk === null && !this.#ended) {
        this.#pending = attempt
        // without this the stream would not notice its end, nor ask for more
        stream.read(0)
        return
      }
      this.#pending = undefined
      if (chunk) done(null, chunk.copy(target))
      else done(this.#error, 0)
    }
    attempt()
  }

  close(done: (error: Error | null) => void): void {
    if (this.#stream.closed) return this.#afterwards(done)
    this.#stream.once('close', () => this.#afterwards(done))
    this.#stream.destroy()
  }

  #finish(error: Error | null): void {
    this.#ended = true
    this.#error ??= error
    this.#pending?.()
  }
}

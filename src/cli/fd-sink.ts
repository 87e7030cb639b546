import { write } from 'node:fs'
import { Writable } from 'node:stream'

/** How long to wait when a non-blocking descriptor is full, in milliseconds. */
const RETRY_MS = 2

/**
 * Bytes to a file descriptor that somebody else owns, such as stdout. It writes in libuv's pool, one chunk at a time:
 * `process.stdout` writes to pipes and files synchronously, which would keep signals from being heard while the reader is
 * slow. A finished stream means that every byte was written; the descriptor stays open.
 */
export class FdSink extends Writable {
  readonly #fd: number

  constructor(fd: number) {
    super({ highWaterMark: 1 << 20, decodeStrings: true })
    this.#fd = fd
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    write(this.#fd, chunk, 0, chunk.byteLength, null, (error, written) => {
      if (error?.code === 'EAGAIN') setTimeout(() => this._write(chunk, _encoding, done), RETRY_MS)
      else if (error) done(error)
      else if (written < chunk.byteLength) this._write(chunk.subarray(written), _encoding, done)
      else done()
    })
  }
}

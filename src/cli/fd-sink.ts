import { write, writeSync } from 'node:fs'
import { Writable } from 'node:stream'

/** How long to wait when a non-blocking descriptor is full, in milliseconds. */
const RETRY_MS = 2

/** Most bytes of one write to a file. Linux was measured to take 2 MiB at once five times as long as in four pieces. */
const FILE_WRITE_BYTES = 524_288

/** Bytes written to a file before timers, signals and other streams get their turn. */
const TURN_BYTES = 2_097_152

export interface FdSinkOptions {
  /** Whether the descriptor is a regular file, whose writes wait for nobody. */
  readonly isFile: boolean
  /** Closes the descriptor in the end; without it, it stays open. */
  readonly close?: () => Promise<void>
}

/**
 * Bytes to a file descriptor. A finished stream means that every byte was written. Pipes are written to in libuv's pool, one chunk
 * at a time: `process.stdout` writes synchronously, which would keep signals from being heard while the reader is slow. Files are
 * written to at once: in the pool each write would stand in line behind the blocks that are packed or unpacked there.
 */
export class FdSink extends Writable {
  readonly #fd: number
  readonly #options: FdSinkOptions
  #turnBytes = 0

  constructor(fd: number, options: FdSinkOptions) {
    super({ highWaterMark: 1 << 20, decodeStrings: true })
    this.#fd = fd
    this.#options = options
  }

  override _write(chunk: Buffer, encoding: string, done: (error?: Error | null) => void): void {
    if (this.#options.isFile) return this.#writeFile(chunk, done)
    write(this.#fd, chunk, 0, chunk.byteLength, null, (error, written) => {
      if (error?.code === 'EAGAIN') setTimeout(() => this._write(chunk, encoding, done), RETRY_MS)
      else if (error) done(error)
      else if (written < chunk.byteLength) this._write(chunk.subarray(written), encoding, done)
      else done()
    })
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const closed = this.#options.close?.() ?? Promise.resolve()
    closed.then(
      () => done(error),
      (failure: Error) => done(error ?? failure),
    )
  }

  #writeFile(chunk: Buffer, done: (error?: Error | null) => void): void {
    try {
      for (let at = 0; at < chunk.byteLength;) {
        at += writeSync(this.#fd, chunk, at, Math.min(FILE_WRITE_BYTES, chunk.byteLength - at))
      }
    } catch (error) {
      done(error as Error)
      return
    }
    this.#turnBytes += chunk.byteLength
    if (this.#turnBytes < TURN_BYTES) return done()
    this.#turnBytes = 0
    // a source that never waits would keep a signal from being heard for ever
    setImmediate(done)
  }
}

import type { Transform } from 'node:stream'

/** Packed bytes that a stream of zlib gets at once. */
export const FEED_BYTES = 32_768
/** Raw bytes of one step, in bytes: a piece that gives more, such as a bomb, is unpacked in several. */
const STEP_BYTES = 8_388_608

type ZlibStream = Transform & { readonly bytesWritten: number }

/** What came of a piece of input so far. */
export interface Fed {
  readonly output: Buffer[]
  /** Whether the piece is used up, or its packed data is over; else there is more to come of it. */
  readonly done: boolean
  /** Bytes of the piece that were used: once it is done, fewer than all where the packed data ended. */
  readonly used: number
  readonly error?: Error
}

/**
 * A stream of zlib that is fed piece by piece and gives what it unpacked in steps of a bounded size, all of it before an error: as a
 * plain stream it would drop what its own queue still holds.
 */
export class ZlibFeed {
  readonly #stream: ZlibStream
  #output: Buffer[] = []
  #bytes = 0
  #before = 0
  #done = true
  #error: Error | undefined
  #settle: () => void = () => {}

  constructor(stream: ZlibStream) {
    this.#stream = stream
    stream.on('data', (chunk: Buffer) => {
      this.#output.push(chunk)
      this.#bytes += chunk.length
      if (this.#bytes < STEP_BYTES) return
      stream.pause()
      this.#settle()
    })
    const finish = () => {
      this.#done = true
      this.#settle()
    }
    stream.on('error', (error) => {
      this.#error = error
      finish()
    })
    stream.on('end', finish)
    // a write that fails is never called back
    stream.on('close', finish)
  }

  /** Whether the piece that was given last is used up. */
  get idle(): boolean {
    return this.#done
  }

  /** Gives a piece; `undefined` is the end. */
  give(bytes: Buffer | undefined): void {
    const stream = this.#stream
    this.#before = stream.bytesWritten
    if (stream.readableEnded || this.#error !== undefined) return
    this.#done = false
    if (bytes === undefined) stream.end()
    else {
      stream.write(bytes, () => {
        this.#done = true
        this.#settle()
      })
    }
  }

  /** Waits until the piece is used up, or a step is full. */
  async step(): Promise<Fed> {
    if (!this.#done) {
      await new Promise<void>((resolve) => {
        this.#settle = resolve
        this.#stream.resume()
      })
    }
    // what was pushed with the last of the piece may wait to be told; reading tells it at once
    while (this.#done && this.#error === undefined && this.#stream.readableLength > 0) this.#stream.read()
    const output = this.#output
    this.#output = []
    this.#bytes = 0
    const used = this.#stream.bytesWritten - this.#before
    return { output, done: this.#done, used, ...(this.#error && { error: this.#error }) }
  }

  close(): void {
    this.#stream.destroy()
  }
}

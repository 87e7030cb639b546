import { Duplex, addAbortSignal, type DuplexOptions } from 'node:stream'
import { asError } from '../errors.ts'
import { failAfterDelivery } from './fail-after-delivery.ts'
import type { StatsCounter, StreamStats } from './stream-stats.ts'

/** The work of a stage that may give any number of chunks for one, without a stream in it. */
export interface PullCore<I, O> {
  /** Takes the next chunk, which is lent until `next()` returns `undefined`. */
  write(chunk: I): void
  /** There is no more. Does not throw. */
  end(): void
  /**
   * Gives the next chunk out, or `undefined` when it needs more in, or after the end has no more.
   *
   * @throws what ends the stage, after everything that comes before it was given.
   */
  next(): O | undefined
}

/**
 * Bytes from which on the work on a chunk starts a moment after its write. A file stream asks for its next chunk one
 * tick after it has written this one, so the disk reads while this one is worked on: 6 to 8 % of JSON parsing.
 */
const LARGE_CHUNK = 16 * 1024

/**
 * The stream around a {@link PullCore}. A Transform must push all that one chunk gives at once; this one asks for the
 * next piece only while the reader has room, so that a chunk of a million records never stands in its queue, and an
 * error waits until all before it is read.
 */
export abstract class PullStage<I, O> extends Duplex {
  readonly #core: PullCore<I, O>
  readonly #counter: StatsCounter
  /** Of the write, or of the end, that is not used up yet. */
  #callback: ((error?: Error | null) => void) | undefined
  #ending = false
  #hasRoom = true
  #pumping = false

  constructor(core: PullCore<I, O>, counter: StatsCounter, { signal, ...options }: DuplexOptions) {
    super(options)
    this.#core = core
    this.#counter = counter
    // not as an option: a signal that is aborted already would destroy the stage before its fields are there
    if (signal) addAbortSignal(signal, this)
  }

  stats(): StreamStats {
    return this.#counter.snapshot()
  }

  override _write(chunk: I, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    // no closure here: this runs for every single record of an object stream
    try {
      this.#core.write(chunk)
    } catch (error) {
      failAfterDelivery(this, asError(error))
      return
    }
    this.#callback = callback
    if (chunk instanceof Uint8Array && chunk.length >= LARGE_CHUNK) {
      process.nextTick(() => process.nextTick(() => this.#pump()))
    } else {
      this.#pump()
    }
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#ending = true
    this.#core.end()
    this.#callback = callback
    this.#pump()
  }

  override _read(): void {
    this.#hasRoom = true
    this.#pump()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#callback = undefined
    try {
      if (error !== null) this.#counter.failed(error)
      callback(error)
    } catch (thrown) {
      callback(asError(thrown))
    }
  }

  #pump(): void {
    // push() and the callback may come back here through a reader or writer that acts at once
    if (this.#pumping) return
    this.#pumping = true
    try {
      while (this.#callback !== undefined && this.#hasRoom) {
        const chunk = this.#next()
        if (chunk !== undefined) this.#hasRoom = this.push(chunk)
        else if (this.#callback !== undefined) this.#release(this.#callback)
      }
    } finally {
      this.#pumping = false
    }
  }

  #next(): O | undefined {
    try {
      return this.#core.next()
    } catch (error) {
      // the callback is never called: what is written after the error has nowhere to go
      this.#callback = undefined
      failAfterDelivery(this, asError(error))
      return undefined
    }
  }

  #release(callback: (error?: Error | null) => void): void {
    this.#callback = undefined
    if (this.#ending) {
      try {
        this.#counter.completed()
      } catch (error) {
        failAfterDelivery(this, asError(error))
        return
      }
      this.push(null)
    }
    callback()
  }
}

import { Duplex, addAbortSignal } from 'node:stream'
import { BufferFullError } from '../errors.ts'
import { checkBoolean, checkSignal } from '../options.ts'
import { BoundedQueue, type BufferStrategy, type BufferVerdict } from './bounded-queue.ts'
import { failAfterDelivery } from './fail-after-delivery.ts'
import { bytesOf, recordsOf } from './measure-chunk.ts'
import { StatsCounter, type StatsHooks, type StreamStats } from './stream-stats.ts'

/** Chunks that a buffer holds, unless `maxChunks` says otherwise. */
export const DEFAULT_BUFFER_CHUNKS = 3

/** Options of {@link StreamBuffer}. */
export interface StreamBufferOptions extends StatsHooks {
  /**
   * Most chunks to hold.
   *
   * @defaultValue 3
   */
  readonly maxChunks?: number
  /**
   * Most bytes to hold. A single chunk that is larger is held alone. For buffers and strings: other records have no size.
   *
   * @defaultValue Infinity
   */
  readonly maxBytes?: number
  /**
   * What becomes of a chunk for which there is no room: a {@link BufferVerdict}, or an object that decides.
   *
   * @defaultValue `'block'`
   */
  readonly strategy?: BufferVerdict | BufferStrategy
  /**
   * Whether records pass, or bytes.
   *
   * @defaultValue false
   */
  readonly objectMode?: boolean
  /** Destroys the buffer when it is aborted. */
  readonly signal?: AbortSignal
}

/** What a {@link StreamBuffer} has done so far. */
export interface StreamBufferStats extends StreamStats {
  /** Chunks dropped. */
  readonly dropped: number
  readonly droppedBytes: number
  /** Records of the chunks dropped, in object mode. */
  readonly droppedRecords: number
  /** Chunks held now. */
  readonly held: number
  readonly heldBytes: number
}

/**
 * Any stream in; the same chunks out, in order, with a bounded queue between, so that a producer and a consumer of uneven
 * pace wait less for each other. With `'block'` nothing is lost; with the strategies that drop, the producer never waits.
 *
 * @remarks
 * Holds `maxChunks` chunks and `maxBytes` bytes (or one chunk that is larger), and with `'block'` one more that waits to be
 * let in; neither side buffers anything else. It cannot deadlock: an empty buffer takes any chunk. A chunk costs O(1).
 * With `'error'` all that is held is delivered before the error.
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { StreamBuffer } from 'millrace'
 *
 * // a display that only wants what is latest
 * const latest = new StreamBuffer({ maxChunks: 1, strategy: 'drop-oldest', objectMode: true })
 * for (const frame of ['a', 'b', 'c']) latest.write(frame)
 * latest.end()
 * assert.deepEqual(await latest.toArray(), ['c'])
 * assert.equal(latest.dropped, 2)
 * ```
 */
export class StreamBuffer extends Duplex {
  readonly #queue: BoundedQueue<unknown>
  readonly #counter: StatsCounter
  readonly #objectMode: boolean
  #dropped = 0
  #droppedBytes = 0
  #droppedRecords = 0
  /** The chunk that waits to be let in. */
  #waiting: { readonly chunk: unknown; readonly done: (error?: Error | null) => void } | undefined
  #wanted = false
  #finished = false
  #fault: Error | undefined

  constructor({
    maxChunks = DEFAULT_BUFFER_CHUNKS,
    maxBytes = Infinity,
    strategy = 'block',
    objectMode = false,
    signal,
    ...hooks
  }: StreamBufferOptions = {}) {
    checkBoolean('objectMode', objectMode)
    checkSignal('signal', signal)
    // the queue is the buffer: marks of Node's own would hold more chunks, where no strategy reaches them
    super({
      objectMode,
      readableHighWaterMark: 0,
      writableHighWaterMark: strategy === 'block' ? 1 : objectMode ? 16 : 65_536,
    })
    this.#queue = new BoundedQueue({
      maxChunks,
      maxBytes,
      strategy,
      onDrop: (chunk, bytes) => {
        this.#dropped++
        this.#droppedBytes += bytes
        if (objectMode) this.#droppedRecords += recordsOf(chunk)
      },
    })
    this.#objectMode = objectMode
    this.#counter = new StatsCounter('StreamBuffer', hooks)
    // not through super(): an aborted signal would destroy the stage before it has its fields
    if (signal) addAbortSignal(signal, this)
  }

  /** Chunks dropped so far. */
  get dropped(): number {
    return this.#dropped
  }

  stats(): StreamBufferStats {
    return {
      ...this.#counter.snapshot(),
      dropped: this.#dropped,
      droppedBytes: this.#droppedBytes,
      droppedRecords: this.#droppedRecords,
      held: this.#queue.length,
      heldBytes: this.#queue.bytes,
    }
  }

  override _write(chunk: unknown, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#counter.received(bytesOf(chunk), this.#objectMode ? recordsOf(chunk) : 0)
    this.#waiting = { chunk, done }
    this.#move()
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#finished = true
    // not when the queue is empty: whoever reads only after 'finish' would wait for ever
    done()
    this.#move()
  }

  override _read(): void {
    this.#wanted = true
    this.#move()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#queue.clear()
    this.#waiting = undefined
    try {
      if (error) this.#counter.failed(error)
    } catch {
      // onError threw: the stage fails already, and the first error is the one that explains
    }
    done(error)
  }

  /** Lets in what waits, sends on what is wanted, and again, as each makes room for the other. */
  #move(): void {
    try {
      do this.#admit()
      while (this.#send())
    } catch (thrown) {
      // a hook or a strategy threw
      this.destroy(thrown as Error)
    }
  }

  #admit(): void {
    if (!this.#waiting || this.#fault) return
    const { chunk, done } = this.#waiting
    try {
      if (this.#queue.offer(chunk, bytesOf(chunk)) === 'blocked') return
    } catch (error) {
      if (!(error instanceof BufferFullError)) throw error
      // comes after all that is held; the writer gets no answer any more
      this.#fault = error
      return
    }
    this.#waiting = undefined
    done()
  }

  /** Sends one chunk, or the end; true if that made room. */
  #send(): boolean {
    if (!this.#wanted) return false
    if (this.#queue.length > 0) {
      const chunk = this.#queue.take()
      const bytes = bytesOf(chunk)
      this.#counter.sent(bytes, this.#objectMode ? recordsOf(chunk) : 0)
      // Node ignores an empty chunk of bytes, and does not ask again
      if (bytes === 0 && !this.#objectMode) return true
      this.#wanted = false
      this.push(chunk)
      return true
    }
    this.#wanted = false
    if (this.#fault) failAfterDelivery(this, this.#fault)
    else if (this.#finished) {
      this.#counter.completed()
      this.push(null)
    } else this.#wanted = true
    return false
  }
}

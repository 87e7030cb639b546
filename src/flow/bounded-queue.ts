import { BufferFullError } from '../errors.ts'
import { checkChoice, checkInteger, checkLimit, checkMethods } from '../options.ts'

/** What can become of a chunk for which there is no room. */
export const BUFFER_VERDICTS = ['block', 'drop-oldest', 'drop-newest', 'error'] as const

/**
 * What becomes of a chunk for which there is no room: `'block'` makes it wait, and with it the producer, so nothing is
 * lost. `'drop-oldest'` drops what has been held longest, `'drop-newest'` the chunk itself, and `'error'` fails with a
 * {@link BufferFullError}.
 */
export type BufferVerdict = (typeof BUFFER_VERDICTS)[number]

/** How full a buffer is. */
export interface BufferFill {
  readonly chunks: number
  readonly bytes: number
  readonly maxChunks: number
  readonly maxBytes: number
  /** Chunks dropped so far. */
  readonly dropped: number
}

/** A strategy of one's own: what to do when, told from how full the buffer is and what went on. */
export interface BufferStrategy {
  /**
   * Asked when a chunk comes for which there is no room; after `'drop-oldest'` asked again if there is still none, and
   * after `'block'` when a chunk has gone on.
   */
  onFull(fill: BufferFill): BufferVerdict
  /** Told the bytes of every chunk that goes on. */
  onSent?(bytes: number): void
}

/** Options of {@link BoundedQueue}. */
export interface BoundedQueueOptions<T> {
  readonly maxChunks: number
  readonly maxBytes: number
  readonly strategy: BufferVerdict | BufferStrategy
  /** Told every chunk that is dropped. */
  readonly onDrop?: (chunk: T, bytes: number) => void
}

interface Held<T> {
  readonly chunk: T
  readonly bytes: number
}

/** Consumed places at the front of the array that are worth a move of the rest. */
const COMPACT_AT = 1024

/**
 * A queue of at most `maxChunks` chunks and `maxBytes` bytes, and what to do beyond. A single chunk is held whatever its
 * size: it could never pass otherwise. Every call is O(1), amortised.
 */
export class BoundedQueue<T> {
  readonly #maxChunks: number
  readonly #maxBytes: number
  readonly #strategy: BufferStrategy
  readonly #onDrop: ((chunk: T, bytes: number) => void) | undefined
  #held: Held<T>[] = []
  /** Where in `#held` the oldest is. */
  #head = 0
  #bytes = 0
  #dropped = 0

  constructor({ maxChunks, maxBytes, strategy, onDrop }: BoundedQueueOptions<T>) {
    this.#maxChunks = checkInteger('maxChunks', maxChunks, 1)
    this.#maxBytes = checkLimit('maxBytes', maxBytes)
    this.#onDrop = onDrop
    if (typeof strategy === 'object') {
      this.#strategy = checkMethods('strategy', strategy, ['onFull'])
    } else {
      const verdict = checkChoice('strategy', strategy, BUFFER_VERDICTS)
      this.#strategy = { onFull: () => verdict }
    }
  }

  /** Chunks held. */
  get length(): number {
    return this.#held.length - this.#head
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Offers a chunk. `'blocked'` means that it was not taken, and is to be offered again after a `take()`.
   *
   * @throws {@link BufferFullError} if that is the strategy's verdict.
   */
  offer(chunk: T, bytes: number): 'held' | 'dropped' | 'blocked' {
    while (this.length > 0 && (this.length >= this.#maxChunks || this.#bytes + bytes > this.#maxBytes)) {
      const fill = this.#fill()
      const verdict = checkChoice('strategy.onFull()', this.#strategy.onFull(fill), BUFFER_VERDICTS)
      if (verdict === 'block') return 'blocked'
      if (verdict === 'error') throw fullError(fill, bytes)
      if (verdict === 'drop-newest') {
        this.#drop({ chunk, bytes })
        return 'dropped'
      }
      this.#drop(this.#shift())
    }
    this.#held.push({ chunk, bytes })
    this.#bytes += bytes
    return 'held'
  }

  /** The oldest chunk, which goes on; undefined if none is held. */
  take(): T | undefined {
    if (this.length === 0) return undefined
    const { chunk, bytes } = this.#shift()
    this.#strategy.onSent?.(bytes)
    return chunk
  }

  /** Lets go of everything, without counting it as dropped. */
  clear(): void {
    this.#held = []
    this.#head = this.#bytes = 0
  }

  #shift(): Held<T> {
    const oldest = this.#held[this.#head]!
    // a place that is kept would keep its chunk alive
    this.#held[this.#head++] = undefined as never
    this.#bytes -= oldest.bytes
    if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#held.length) {
      this.#held = this.#held.slice(this.#head)
      this.#head = 0
    }
    return oldest
  }

  #drop({ chunk, bytes }: Held<T>): void {
    this.#dropped++
    this.#onDrop?.(chunk, bytes)
  }

  #fill(): BufferFill {
    return {
      chunks: this.length,
      bytes: this.#bytes,
      maxChunks: this.#maxChunks,
      maxBytes: this.#maxBytes,
      dropped: this.#dropped,
    }
  }
}

function fullError({ chunks, bytes, maxChunks, maxBytes }: BufferFill, more: number): BufferFullError {
  const byCount = chunks >= maxChunks
  return new BufferFullError(
    'ERR_MILLRACE_BUFFER_FULL',
    byCount
      ? `buffer: expected at most ${maxChunks} chunks, got one more`
      : `buffer: expected at most ${maxBytes} bytes, got ${more} more than the ${bytes} held`,
    { expected: byCount ? maxChunks : maxBytes, actual: byCount ? chunks + 1 : bytes + more },
  )
}

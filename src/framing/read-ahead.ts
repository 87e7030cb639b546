import type { BufferLender } from '../flow/buffer-pool.ts'
import type { ChunkSource } from './chunk-source.ts'

/** What a {@link ReadAhead} reads, and with what. */
export interface ReadAheadOptions {
  /** Offset of the first byte. */
  readonly start: number
  /** Offset after the last byte; reading ends earlier where the source does. */
  readonly end: number
  /** Most bytes of a chunk, at most the pool's `size`. */
  readonly chunkSize: number
  /** Buffers in use at a time, of which one is with the consumer. */
  readonly buffers: number
}

/** One buffer being read into. */
interface Read {
  readonly buffer: Buffer
  readonly length: number
  bytes: number
  error: Error | null
  pending: boolean
  wake: (() => void) | undefined
}

/**
 * Reads ahead into recycled buffers and gives them out in order. What `next()` gave is the consumer's until it calls
 * `next()` again.
 *
 * One promise a chunk, and no generator of its own: the garbage of each chunk would be more than half of what a reader
 * costs in memory.
 */
export class ReadAhead {
  readonly #source: ChunkSource
  readonly #pool: BufferLender
  readonly #options: ReadAheadOptions
  readonly #depth: number
  /** In order of their offsets. */
  readonly #reads: Read[] = []
  /** Where the next read begins. */
  #asked: number
  /** Where the next chunk begins; in the end, where the source did. */
  #position: number
  #lent: Buffer | undefined
  #error: Error | null = null
  #ended = false

  constructor(source: ChunkSource, pool: BufferLender, options: ReadAheadOptions) {
    this.#source = source
    this.#pool = pool
    this.#options = options
    this.#asked = this.#position = options.start
    // without offsets, only one read at a time keeps its place
    this.#depth = source.size === undefined ? 1 : Math.max(1, options.buffers - 1)
  }

  /** Offset after the last byte given out. */
  get position(): number {
    return this.#position
  }

  /** The next chunk, or undefined at the end. An error of the source comes after the bytes that were read before it. */
  async next(): Promise<Buffer | undefined> {
    this.#takeBack()
    if (this.#error) throw this.#error
    if (this.#ended) return undefined
    this.#start()
    const read = this.#reads[0]
    if (read === undefined) return undefined
    await settled(read)
    this.#reads.shift()
    this.#lent = read.buffer
    this.#position += read.bytes
    this.#error = read.error
    this.#ended = read.bytes === 0 || (this.#source.size !== undefined && read.bytes < read.length)
    if (read.bytes === 0) return this.next()
    // the disk works while the consumer does; a lone buffer is with the consumer now
    if (this.#options.buffers > 1) this.#start()
    return read.bytes === read.buffer.byteLength ? read.buffer : read.buffer.subarray(0, read.bytes)
  }

  /** Waits for the reads under way and returns all buffers. */
  async close(): Promise<void> {
    this.#takeBack()
    this.#ended = true
    for (const read of this.#reads) {
      await settled(read)
      this.#pool.put(read.buffer)
    }
    this.#reads.length = 0
  }

  #start(): void {
    const { end, chunkSize } = this.#options
    const sized = this.#source.size !== undefined
    if (!sized) this.#asked = this.#position
    while (this.#reads.length < this.#depth && this.#asked < end && !this.#ended && !this.#error) {
      const length = Math.min(chunkSize, end - this.#asked)
      const read: Read = {
        buffer: this.#pool.get(),
        length,
        bytes: 0,
        error: null,
        pending: true,
        wake: undefined,
      }
      this.#reads.push(read)
      this.#source.read(read.buffer, length, this.#asked, (error, bytes) => {
        read.error = error
        read.bytes = bytes
        read.pending = false
        read.wake?.()
      })
      if (sized) this.#asked += length
    }
  }

  #takeBack(): void {
    if (this.#lent) this.#pool.put(this.#lent)
    this.#lent = undefined
  }
}

function settled(read: Read): Promise<void> | undefined {
  return read.pending ? new Promise((resolve) => (read.wake = resolve)) : undefined
}

import { BufferPool } from '../flow/buffer-pool.ts'

/** Free block buffers that are kept. */
const KEPT_BUFFERS = 32

/**
 * Cuts bytes into blocks of one size, the last one shorter. Blocks lie in buffers that are used again: each is to be given back, or
 * kept for good.
 */
export class BlockCutter {
  readonly #blockSize: number
  readonly #pool: BufferPool
  /** Buffers that a reader was given to fill. */
  readonly #lent = new Map<ArrayBufferLike, Buffer>()
  #chunk: Buffer | undefined
  #at = 0
  /** The block that is being filled. */
  #open: Buffer | undefined
  #filled = 0
  #ended = false

  constructor(blockSize: number) {
    this.#blockSize = blockSize
    this.#pool = new BufferPool({ size: blockSize, max: KEPT_BUFFERS })
  }

  /** Memory that a reader may fill and write: it becomes a block without a copy. */
  alloc(size: number): Buffer {
    const buffer = this.#pool.get()
    this.#lent.set(buffer.buffer, buffer)
    return size < buffer.length ? buffer.subarray(0, size) : buffer
  }

  /** Takes back what {@link BlockCutter.alloc} gave and nobody wrote. */
  release(chunk: Buffer): void {
    const buffer = this.#lent.get(chunk.buffer)
    if (buffer && this.#lent.delete(chunk.buffer)) this.#pool.put(buffer)
  }

  write(chunk: Buffer): void {
    const lent = this.#lent.get(chunk.buffer)
    if (lent === undefined || this.#open !== undefined || chunk.byteOffset !== lent.byteOffset) {
      this.#chunk = chunk
      this.#at = 0
      return
    }
    this.#lent.delete(chunk.buffer)
    this.#open = lent
    this.#filled = chunk.length
  }

  end(): void {
    this.#ended = true
  }

  /** The next block, or undefined when it is not full yet, or there is none. */
  next(): Buffer | undefined {
    if (this.#filled < this.#blockSize && this.#chunk !== undefined) {
      if (this.#at < this.#chunk.length) {
        this.#open ??= this.#pool.get()
        const copied = this.#chunk.copy(this.#open, this.#filled, this.#at)
        this.#filled += copied
        this.#at += copied
      }
      if (this.#at === this.#chunk.length) {
        this.release(this.#chunk)
        this.#chunk = undefined
      }
    }
    const open = this.#open
    if (open === undefined || (this.#filled < this.#blockSize && !this.#ended)) return undefined
    const block = open.subarray(0, this.#filled)
    this.#open = undefined
    this.#filled = 0
    return block
  }

  /** Takes a block back. */
  recycle(block: Buffer): void {
    this.#pool.put(Buffer.from(block.buffer, 0, this.#blockSize))
  }
}

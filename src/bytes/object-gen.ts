import { OptionError } from '../errors.ts'
import { checkInteger } from '../options.ts'
import { PIECE, sharedKernel, type ByteKernel } from './byte-kernel.ts'
import {
  BLOCK_SIZE,
  layOut,
  OBJECT_FORMAT,
  PAGE_SIZE,
  seedBits,
  type Codec,
  type ObjectLayout,
  type ObjectOptions,
  type Seed,
} from './object-format.ts'
import { ObjectReader, type ObjectReaderOptions } from './object-reader.ts'

/** All that an object follows from. Plain data: it can be stored as JSON (unless the seed is a bigint) or sent to a worker. */
export interface ObjectIdentity extends Required<ObjectOptions> {
  readonly format: typeof OBJECT_FORMAT
  readonly seed: Seed
}

/** Where a byte of an object lies. */
export interface BytePlace {
  /** Number of the 64 KiB block, from 0. */
  readonly block: number
  /** Number of the unique block that it holds, from 0. */
  readonly uniqueBlock: number
  /** Number of the 4 KiB page in the block, 0 to 15. */
  readonly page: number
}

/** Reads of up to this many bytes are cut from a slab: a buffer of its own costs them more than their bytes do. */
const SMALL_READ = 8192
const SLAB_SIZE = 262_144

/** A place in an object, as a walk needs it. */
interface Cursor {
  unique: number
  inBlock: number
  /** Where the first byte of the last piece lies in the kernel's memory. */
  from: number
}

let slab = Buffer.alloc(0)
let slabUsed = 0

function allocate(length: number): Buffer {
  if (length > SMALL_READ) return allocateLarge(length)
  if (slabUsed + length > slab.length) {
    slab = Buffer.allocUnsafeSlow(SLAB_SIZE)
    slabUsed = 0
  }
  const piece = slab.subarray(slabUsed, slabUsed + length)
  // what follows stays aligned, which the copy is faster for; nothing handed out is ever used again
  slabUsed += (length + 63) & ~63
  return piece
}

function allocateLarge(length: number): Buffer {
  try {
    return Buffer.allocUnsafeSlow(length)
  } catch {
    throw new OptionError('length', length, 'a length that a buffer can have; larger ones are streamed')
  }
}

/**
 * One object: a function from an offset to bytes, and a position for those who read it from front to back. Made by
 * {@link DataGenerator.beginObject}.
 *
 * @remarks The bytes depend on seed, key, size, dedup, compress and codec alone: not on chunk sizes, the order of reads,
 * threads, platform or endianness. Nothing is kept beside a few numbers; a read costs O(range) and starts anywhere at the
 * same cost.
 *
 * @see docs/bytes.md for the format, byte by byte.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { DataGenerator } from 'millrace'
 *
 * const object = new DataGenerator({ seed: 42 }).beginObject({ size: 300_000, dedup: 2, compress: 3 })
 * const chunk = Buffer.alloc(99_991)
 * const parts: Buffer[] = []
 * while (!object.isComplete) parts.push(Buffer.from(chunk.subarray(0, object.fillChunk(chunk))))
 * assert.deepEqual(Buffer.concat(parts), object.read(0, 300_000))
 * ```
 */
export class ObjectGen {
  /** Seed, key, size, ratios and format: what to write down to make the same object again. */
  readonly identity: ObjectIdentity
  readonly size: number
  readonly key: string
  /** Blocks of 64 KiB, the last of which may be shorter; at least 1. */
  readonly blocks: number
  /** Different blocks among them. */
  readonly uniqueBlocks: number
  readonly #layout: ObjectLayout
  readonly #kernel: ByteKernel
  #position = 0

  /** `kernel` is for tests: all kernels give the same bytes. */
  constructor(seed: Seed, options: ObjectOptions, kernel: ByteKernel = sharedKernel()) {
    const { key = '', size, dedup = 1, compress = 1, codec = 'zstd' } = options
    const all = { key, size, dedup, compress, codec } satisfies Required<ObjectOptions> & { codec: Codec }
    this.#layout = layOut(seedBits(seed), all)
    this.#kernel = kernel
    this.identity = { format: OBJECT_FORMAT, seed, ...all }
    this.size = size
    this.key = key
    this.blocks = this.#layout.blocks
    this.uniqueBlocks = this.#layout.uniqueBlocks
  }

  /** Where the next {@link fillChunk} begins, in bytes. */
  get position(): number {
    return this.#position
  }

  /** True when the position is at the end; from the start on for an object of 0 bytes. */
  get isComplete(): boolean {
    return this.#position === this.size
  }

  /** Moves the position back to the start. */
  reset(): void {
    this.#position = 0
  }

  /** Fills `target` from the position on, moves the position, and returns the number of bytes written: fewer at the end only. */
  fillChunk(target: Uint8Array): number {
    const written = this.readInto(target, this.#position)
    this.#position += written
    return written
  }

  /** The bytes from the position to the end, in one fresh buffer. @throws {@link OptionError} if no buffer can hold them. */
  fillRemaining(): Buffer {
    const rest = this.read(this.#position, this.size - this.#position)
    this.#position = this.size
    return rest
  }

  /** Fills `target` with the bytes from `offset` on and returns how many there were: fewer at the end only. */
  readInto(target: Uint8Array, offset: number): number {
    checkInteger('offset', offset, 0, this.size)
    if (!ArrayBuffer.isView(target)) throw new OptionError('target', target, 'a Uint8Array')
    const length = Math.min(target.length, this.size - offset)
    const { memory, piece } = this.#kernel
    const cursor = this.#cursorAt(offset)
    for (let written = 0; written < length;) {
      const count = this.#fillPiece(cursor, length - written)
      // a view that is there already: making one costs as much as copying 4 KiB
      if (count === PIECE) target.set(piece, written)
      else memory.copy(target, written, cursor.from, cursor.from + count)
      written += count
    }
    return length
  }

  /** `length` bytes from `offset` on, in a fresh buffer. @throws {@link OptionError} for a range outside the object. */
  read(offset: number, length: number): Buffer {
    checkInteger('offset', offset, 0, this.size)
    checkInteger('length', length, 0, this.size - offset)
    const target = allocate(length)
    this.readInto(target, offset)
    return target
  }

  /**
   * The first offset at which `bytes`, taken as standing at `offset`, differ from the object, or -1. Compares in place:
   * nothing is copied. @throws {@link OptionError} for bytes that reach outside the object.
   */
  firstDifference(bytes: Uint8Array, offset: number): number {
    checkInteger('offset', offset, 0, this.size)
    checkInteger('bytes.length', bytes.length, 0, this.size - offset)
    const { memory } = this.#kernel
    const cursor = this.#cursorAt(offset)
    for (let done = 0; done < bytes.length;) {
      const count = this.#fillPiece(cursor, bytes.length - done)
      const { from } = cursor
      if (memory.compare(bytes, done, done + count, from, from + count) !== 0) {
        let i = 0
        while (memory[from + i] === bytes[done + i]) i++
        return offset + done + i
      }
      done += count
    }
    return -1
  }

  /** Where the byte at `offset` lies. */
  placeOf(offset: number): BytePlace {
    const block = Math.floor(offset / BLOCK_SIZE)
    return {
      block,
      uniqueBlock: block % this.uniqueBlocks,
      page: Math.floor((offset % BLOCK_SIZE) / PAGE_SIZE),
    }
  }

  /** The object, or a range of it, as a stream of fresh buffers. */
  stream(options: ObjectReaderOptions = {}): ObjectReader {
    return new ObjectReader(this, options)
  }

  /**
   * Writes bytes `[offset, offset + length)` to the memory of a kernel, the first of them at most 4095 bytes after `to`,
   * and returns where that is. The memory must have 4096 bytes more than the range. No copy is made.
   */
  fillKernel(kernel: ByteKernel, to: number, offset: number, length: number): number {
    const { keyLow, keyHigh, rate } = this.#layout
    const cursor = this.#cursorAt(offset)
    const first = to + (cursor.inBlock & (PAGE_SIZE - 1))
    for (let rest = length; rest > 0;) {
      const { unique, inBlock } = cursor
      const page = inBlock >>> 12
      const stop = Math.min(BLOCK_SIZE, inBlock + rest)
      kernel.fill(to, keyLow, keyHigh, unique | 0, (unique / 2 ** 32) | 0, page, stop, rate)
      to += stop - page * PAGE_SIZE
      rest -= stop - inBlock
      this.#advance(cursor, stop)
    }
    return first
  }

  /** Divisions of numbers past 2^31 are slow, so a walk makes them once and counts from there. */
  #cursorAt(offset: number): Cursor {
    const block = Math.floor(offset / BLOCK_SIZE)
    const unique = block < this.uniqueBlocks ? block : block % this.uniqueBlocks
    return { unique, inBlock: offset - block * BLOCK_SIZE, from: 0 }
  }

  #advance(cursor: Cursor, stop: number): void {
    cursor.inBlock = stop
    if (stop < BLOCK_SIZE) return
    cursor.inBlock = 0
    cursor.unique = cursor.unique + 1 === this.uniqueBlocks ? 0 : cursor.unique + 1
  }

  /** Generates from the cursor to the end of its piece, `rest` bytes at most, moves it, and returns the number of bytes. */
  #fillPiece(cursor: Cursor, rest: number): number {
    const { keyLow, keyHigh, rate } = this.#layout
    const { unique, inBlock } = cursor
    const stop = Math.min((inBlock | (PIECE - 1)) + 1, inBlock + rest)
    this.#kernel.fill(0, keyLow, keyHigh, unique | 0, (unique / 2 ** 32) | 0, inBlock >>> 12, stop, rate)
    cursor.from = inBlock & (PAGE_SIZE - 1)
    this.#advance(cursor, stop)
    return stop - inBlock
  }
}

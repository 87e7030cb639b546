import { Readable } from 'node:stream'
import { StatsCounter, type StatsHooks, type StreamStats } from '../flow/index.ts'
import { checkInteger, checkSignal } from '../options.ts'

/** Bytes of a known length that can be read at any offset. */
export interface RandomAccess {
  readonly size: number
  /** Fills `target` with the bytes from `offset` on, and returns how many there were. */
  readInto(target: Uint8Array, offset: number): number
}

/** A half-open range of an object: the byte at `start` is included, the byte at `end` is not. */
export interface ByteRange {
  /** In bytes. @defaultValue 0 */
  readonly start?: number
  /** In bytes. @defaultValue the size of the object */
  readonly end?: number
}

/** Options of {@link ObjectReader}. */
export interface ObjectReaderOptions extends ByteRange, StatsHooks {
  /** Bytes a chunk, 1 to 64 MiB. @defaultValue 256 KiB */
  readonly chunkSize?: number
  /** Bytes to read ahead of the consumer. @defaultValue `chunkSize` */
  readonly highWaterMark?: number
  readonly signal?: AbortSignal
}

/** In bytes: measured the fastest of 16 KiB to 1 MiB within a process. For a pipe, 64 KiB is: what the kernel takes at once. */
export const DEFAULT_CHUNK_SIZE = 262_144
/** Longest chunk, in bytes. */
export const MAX_CHUNK_SIZE = 67_108_864

/** Checks a range against the size of what it is a range of. */
export function checkRange(
  size: number,
  { start = 0, end = size }: ByteRange,
): { start: number; end: number } {
  checkInteger('end', end, 0, size)
  checkInteger('start', start, 0, end)
  return { start, end }
}

/**
 * Turns a range of an object into a stream of `Buffer` chunks. Made by {@link ObjectGen.stream}.
 *
 * @remarks Each chunk is a fresh buffer that belongs to who reads it, so the stream can be collected, teed or handed to a
 * worker. Memory: `highWaterMark` plus one chunk, whatever the size. O(1) to start anywhere.
 *
 * @throws {@link OptionError} for a range outside the object or a `chunkSize` outside its limits.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { buffer } from 'node:stream/consumers'
 * import { DataGenerator, ObjectReader } from 'millrace'
 *
 * const object = new DataGenerator({ seed: 42 }).beginObject({ size: 2 ** 40 })
 * const tail = new ObjectReader(object, { start: 2 ** 40 - 1000 })
 * assert.deepEqual(await buffer(tail), object.read(2 ** 40 - 1000, 1000))
 * ```
 */
export class ObjectReader extends Readable {
  readonly start: number
  readonly end: number
  readonly #source: RandomAccess
  readonly #chunkSize: number
  readonly #stats: StatsCounter
  #position: number

  constructor(source: RandomAccess, options: ObjectReaderOptions = {}) {
    const { chunkSize = DEFAULT_CHUNK_SIZE, signal } = options
    const { start, end } = checkRange(source.size, options)
    checkInteger('chunkSize', chunkSize, 1, MAX_CHUNK_SIZE)
    checkSignal('signal', signal)
    const highWaterMark = checkInteger('highWaterMark', options.highWaterMark ?? chunkSize)
    super({ highWaterMark, ...(signal && { signal }) })
    this.#source = source
    this.#stats = new StatsCounter('ObjectReader', options)
    this.#chunkSize = chunkSize
    this.#position = start
    this.start = start
    this.end = end
  }

  /** Offset in the object of the next byte to be generated. */
  get position(): number {
    return this.#position
  }

  stats(): StreamStats {
    return this.#stats.snapshot()
  }

  override _read(): void {
    if (this.#position === this.end) {
      this.#stats.completed()
      this.push(null)
      return
    }
    // allocUnsafeSlow: a chunk of Node's shared pool could not be transferred to a worker
    const chunk = Buffer.allocUnsafeSlow(Math.min(this.#chunkSize, this.end - this.#position))
    this.#source.readInto(chunk, this.#position)
    this.#position += chunk.length
    this.#stats.sent(chunk.length)
    this.push(chunk)
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (error !== null) this.#stats.failed(error)
    callback(error)
  }
}

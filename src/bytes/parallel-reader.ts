import { Readable } from 'node:stream'
import { availableParallelism } from 'node:os'
import { extname } from 'node:path'
import { OptionError } from '../errors.ts'
import { StatsCounter, type StatsHooks, type StreamStats } from '../flow/index.ts'
import { checkInteger, checkSignal } from '../options.ts'
import { offloadBorrowed, type OffloadOptions } from '../workers/index.ts'
import type { PartRequest } from './make-part.ts'
import type { ObjectGen } from './object-gen.ts'
import { checkRange, DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE, type ByteRange } from './object-reader.ts'

/** Options of {@link ParallelReader}. */
export interface ParallelReaderOptions extends ByteRange, StatsHooks {
  /** Bytes a part, which one worker makes at once: 1 to 64 MiB. @defaultValue 2 MiB */
  readonly partSize?: number
  /** Bytes a chunk; the last chunk of a part may be shorter. @defaultValue 256 KiB */
  readonly chunkSize?: number
  /** Number of threads; 0 makes all parts in this thread. @defaultValue `os.availableParallelism()` */
  readonly workers?: number
  /** A pool to share, see `createPool`; it decides the number of threads. */
  readonly pool?: Exclude<OffloadOptions['pool'], undefined>
  readonly signal?: AbortSignal
}

/** In bytes. Smaller parts cost more to hand over than threads gain; larger ones leave the cache before they are read. */
export const DEFAULT_PART_SIZE = 2_097_152
/** Shortest part, in bytes. */
export const MIN_PART_SIZE = 1_048_576

/** Parts in the making and made, for each thread: one being made, one waiting for it, one being read. */
const SLOTS_PER_WORKER = 3

const HANDLER = new URL(`./object-part.worker${extname(import.meta.url)}`, import.meta.url)

/**
 * Makes one object, or a range of it, in several threads, and turns it into a stream of `Buffer` chunks in order: the same
 * bytes as `object.stream()`.
 *
 * @remarks Parts are written to slots of shared memory by the workers, and copied from there to fresh chunks. That takes 45 ms to
 * start, so it pays for objects from about a gigabyte up, where there are cores to spare. Memory: three
 * parts a worker, and two chunks. {@link ParallelReader.borrowed} gives the slots themselves, without the copy.
 *
 * @throws {@link OptionError} for a range outside the object or a `partSize` outside its limits.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { DataGenerator, ParallelReader, verify } from 'millrace'
 *
 * const object = new DataGenerator({ seed: 42 }).beginObject({ size: 20_000_000, dedup: 2 })
 * const { ok } = await verify(new ParallelReader(object, { workers: 2 }), object)
 * assert(ok)
 * ```
 */
export class ParallelReader extends Readable {
  readonly start: number
  readonly end: number
  readonly #object: ObjectGen
  readonly #options: ParallelReaderOptions
  readonly #partSize: number
  readonly #chunkSize: number
  readonly #slots: number
  readonly #stats: StatsCounter
  #parts: AsyncGenerator<Buffer> | undefined
  /** What is left of the part that is being read. */
  #part: Buffer = Buffer.alloc(0)
  readonly #abort = new AbortController()
  #isRead = false

  constructor(object: ObjectGen, options: ParallelReaderOptions = {}) {
    const { partSize = DEFAULT_PART_SIZE, workers = availableParallelism(), pool, signal } = options
    const { start, end } = checkRange(object.size, options)
    const chunkSize = checkInteger('chunkSize', options.chunkSize ?? DEFAULT_CHUNK_SIZE, 1, MAX_CHUNK_SIZE)
    checkInteger('partSize', partSize, MIN_PART_SIZE, MAX_CHUNK_SIZE)
    checkInteger('workers', workers)
    checkSignal('signal', signal)
    super({ highWaterMark: chunkSize, ...(signal && { signal }) })
    this.#object = object
    this.#options = options
    this.#partSize = partSize
    this.#chunkSize = chunkSize
    this.#slots = SLOTS_PER_WORKER * Math.max(1, pool?.options.maxThreads ?? workers)
    this.#stats = new StatsCounter('ParallelReader', options)
    this.start = start
    this.end = end
  }

  stats(): StreamStats {
    return this.#stats.snapshot()
  }

  /**
   * The parts in order, each in the shared memory that a worker wrote it to: valid until the next one is asked for. In place
   * of the stream, not beside it.
   */
  async *borrowed(): AsyncGenerator<Buffer> {
    if (this.#isRead) throw new OptionError('reader', this, 'one that is not read yet')
    this.#isRead = true
    const { workers, pool } = this.#options
    const parts = offloadBorrowed(HANDLER, this.#requests(), {
      out: 'bytes',
      blockSize: this.#partSize,
      window: this.#slots,
      ...(workers !== undefined && { workers }),
      ...(pool !== undefined && { pool }),
      workerData: this.#object.identity,
      signal: this.#abort.signal,
    })
    for await (const { bytes } of parts) {
      this.#stats.sent(bytes!.length)
      yield bytes!
    }
    this.#stats.completed()
  }

  override _read(): void {
    if (this.#part.length > 0) {
      this.#pushChunk()
      return
    }
    this.#parts ??= this.borrowed()
    this.#parts.next().then(
      ({ value, done }) => {
        this.#part = done === true ? this.#part : value
        if (done === true) this.push(null)
        else this.#pushChunk()
      },
      (error: Error) => this.destroy(error),
    )
  }

  /** A small copy finds memory that was used before; one of the whole part would cost more page faults than copying. */
  #pushChunk(): void {
    const chunk = Buffer.allocUnsafeSlow(Math.min(this.#chunkSize, this.#part.length))
    chunk.set(this.#part.subarray(0, chunk.length))
    this.#part = this.#part.subarray(chunk.length)
    this.push(chunk)
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (error !== null) this.#stats.failed(error)
    this.#abort.abort()
    // no thread is left when the stream is closed
    const done = () => callback(error)
    void (this.#parts?.return(undefined) ?? Promise.resolve()).then(done, done)
  }

  *#requests(): Generator<readonly PartRequest[]> {
    for (let offset = this.start; offset < this.end; offset += this.#partSize) {
      yield [{ offset, length: Math.min(this.#partSize, this.end - offset) }]
    }
  }
}

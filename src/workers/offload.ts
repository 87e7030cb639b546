import { Duplex, addAbortSignal } from 'node:stream'
import { OffloadError, asError } from '../errors.ts'
import { failAfterDelivery } from '../flow/fail-after-delivery.ts'
import {
  RecordBatch,
  StatsCounter,
  withPosition,
  type BlockPosition,
  type StreamStats,
} from '../flow/index.ts'
import type { ChunkAllocator, FileRange } from '../framing/index.ts'
import { ChunkSource, RangeSource, RecordSource, TextSource, type BlockSource } from './block-source.ts'
import { OffloadEngine, type Outcome } from './offload-engine.ts'
import { planOffload, streamOptions, type OffloadOptions, type OffloadPlan } from './offload-options.ts'

const COMMA = 0x2c
const OPEN_ARRAY = 0x5b

interface Rest {
  readonly records: readonly unknown[]
  next: number
  readonly error: unknown
}

/**
 * The stage that {@link offload} gives. As an allocator it hands out its shared memory, so that a reader can fill it without a copy.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { writeFile } from 'node:fs/promises'
 * import { pipeline } from 'node:stream/promises'
 * import { ChunkedReader, offload } from 'millrace'
 *
 * await writeFile('big.bin', Buffer.alloc(300_000, 1))
 * await writeFile('sum.mjs', `
 *   export default (block) => Buffer.from([block.reduce((sum, byte) => sum + byte) % 256])
 * `)
 * const stage = offload('sum.mjs', { workers: 1 })
 * const reader = new ChunkedReader('big.bin', { chunkSize: 100_000, into: stage })
 * const sums = await pipeline(reader, stage, (source) => source.toArray())
 * assert.deepEqual(Buffer.concat(sums), Buffer.alloc(3, 100_000 % 256))
 * assert.equal(stage.stats().bytesIn, 300_000)
 * ```
 */
export class Offload extends Duplex implements ChunkAllocator {
  readonly #plan: OffloadPlan
  readonly #engine: OffloadEngine
  readonly #source: BlockSource
  readonly #stats: StatsCounter
  /** Read buffers of {@link Offload.alloc} that came back, and those that are out; only where chunks are cut here. */
  readonly #spare: Buffer[] = []
  readonly #lent = new Set<ArrayBufferLike>()
  #chunk: Uint8Array | undefined
  #written: (() => void) | undefined
  #ending: (() => void) | undefined
  /** The readable side can take more. */
  #wanted = false
  #working = false
  /** Something came in while `#work` was on its way. */
  #woken = false
  #finishing = false
  /** Records of a block that did not all fit. */
  #rest: Rest | undefined
  #recordsOut = 0
  /** No byte of the joined array is out yet. */
  #first = true
  /** The input failed: surfaces when all blocks before are out. */
  #inputFault: { readonly error: unknown } | undefined
  /** An error is on its way, behind all that was pushed. */
  #failed = false

  constructor(module: string | URL, options: OffloadOptions = {}) {
    super(streamOptions(options))
    this.#plan = planOffload(module, options)
    this.#stats = new StatsCounter('Offload', options)
    this.#source = sourceFor(this.#plan)
    this.#engine = new OffloadEngine(this.#plan, () => this.#work())
    // not by the stream's own option: an aborted signal would destroy it before the fields above are there
    if (options.signal) addAbortSignal(options.signal, this)
  }

  stats(): StreamStats {
    return this.#stats.snapshot()
  }

  /**
   * Gives memory that is to be filled and written to this stage, once, from its start: then it is not copied. Waits until
   * some is free.
   */
  alloc(size: number): Buffer | Promise<Buffer> {
    if (this.#plan.in === 'bytes')
      return this.#engine.alloc(size, this.#written !== undefined || this.writableLength > 0)
    const at = this.#spare.findIndex((buffer) => buffer.byteLength >= size)
    const [spare = Buffer.allocUnsafeSlow(size)] = at < 0 ? [] : this.#spare.splice(at, 1)
    this.#lent.add(spare.buffer)
    return spare.subarray(0, size)
  }

  /** Takes back memory of {@link Offload.alloc} that is not to be written after all. */
  release(buffer: Buffer): void {
    this.#engine.release(buffer)
    this.#reclaim(buffer)
  }

  override _write(chunk: unknown, _encoding: BufferEncoding, callback: () => void): void {
    if (chunk instanceof Uint8Array) {
      this.#stats.received(chunk.byteLength)
      this.#chunk = chunk
    } else if (this.#plan.in === 'ranges')
      this.#stats.received(Number((chunk as Partial<FileRange>).length) || 0)
    else this.#stats.received(0, RecordBatch.is(chunk) ? chunk.length : 1)
    this.#source.write(chunk)
    this.#written = callback
    this.#work()
  }

  override _final(callback: () => void): void {
    this.#source.end()
    this.#ending = callback
    this.#work()
  }

  override _read(): void {
    this.#wanted = true
    this.#work()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    void this.#end(error).then(callback)
  }

  async #end(error: Error | null): Promise<Error | null> {
    try {
      if (error) this.#stats.failed(error)
      return error
    } catch (thrown) {
      return asError(thrown)
    } finally {
      await this.#engine.close()
    }
  }

  /** Moves all that can be moved: blocks into the window, outcomes out of it. */
  #work(): void {
    this.#woken = true
    if (this.#working) return
    this.#working = true
    try {
      while (this.#woken && !this.destroyed && !this.#finishing && !this.#failed) {
        this.#woken = false
        if (this.#feed()) this.#woken = true
        while (this.#wanted && !this.#failed && this.#emit()) this.#woken = true
        if (!this.#woken && this.#engine.size === 0 && this.#rest === undefined) this.#settle()
      }
    } catch (error) {
      // a hook of the user threw
      this.destroy(asError(error))
    }
    this.#working = false
  }

  /** Fills the window. True when something was put in. */
  #feed(): boolean {
    if (this.#inputFault) return false
    let fed = false
    while (this.#engine.hasRoom()) {
      let block
      try {
        block = this.#source.next()
      } catch (error) {
        this.#inputFault = { error }
        return fed
      }
      if (block === undefined) {
        this.#takeMore()
        return fed
      }
      this.#engine.submit(block)
      fed = true
    }
    return fed
  }

  /** The chunk is used up. */
  #takeMore(): void {
    const written = this.#written
    if (written === undefined) return
    this.#written = undefined
    if (this.#chunk) this.#reclaim(this.#chunk)
    this.#chunk = undefined
    written()
  }

  #reclaim({ buffer }: Uint8Array): void {
    if (this.#lent.delete(buffer)) this.#spare.push(Buffer.from(buffer))
  }

  /** Sends the next outcome on. False when there is none. */
  #emit(): boolean {
    if (this.#rest) return this.#emitRest(this.#rest)
    const outcome = this.#engine.shift()
    if (outcome === undefined) return false
    const { index, at, reports, records, bytes, error } = outcome
    if (this.#plan.in !== 'records') this.#stats.recordsIn += outcome.recordsIn
    for (const data of reports) this.#plan.onReport?.(data, { index, position: at })
    if (bytes) this.#emitBytes(bytes, outcome)
    // of a block that gives nothing, its source still wants to hear
    else if (!records && this.readableObjectMode && at.source !== undefined)
      this.#push(withPosition(Buffer.alloc(0), at))
    outcome.release()
    if (records && this.#plan.batches) this.#emitBatch(records, at)
    else if (records) return this.#emitRest((this.#rest = { records, next: 0, error }))
    if (error !== undefined) this.#fail(error)
    return true
  }

  #emitBytes(bytes: Buffer, outcome: Outcome): void {
    let chunk
    if (this.#plan.out === 'json') {
      chunk = Buffer.allocUnsafeSlow(bytes.length + 1)
      chunk[0] = this.#first ? OPEN_ARRAY : COMMA
      chunk.set(bytes, 1)
      this.#first = false
    } else chunk = Buffer.from(bytes)
    this.#stats.sent(chunk.length, outcome.recordsOut)
    this.#push(withPosition(chunk, outcome.at))
  }

  #push(chunk: unknown): void {
    // `push` may ask for more before it returns
    this.#wanted = false
    if (this.push(chunk)) this.#wanted = true
  }

  #emitBatch(records: readonly unknown[], at: BlockPosition): void {
    // an empty batch still says how far its source has been worked through
    if (records.length === 0 && at.source === undefined) return
    this.#stats.sent(0, records.length)
    const batch = new RecordBatch(this.#recordsOut, records)
    this.#recordsOut += records.length
    this.#push(withPosition(batch, at))
  }

  #emitRest(rest: Rest): boolean {
    while (this.#wanted && rest.next < rest.records.length) {
      const record = rest.records[rest.next++]
      if (record === null || record === undefined) {
        this.#rest = undefined
        this.#fail(cannotTravel(record, this.#recordsOut))
        return true
      }
      this.#recordsOut++
      this.#push(record)
    }
    if (rest.next < rest.records.length) return false
    this.#rest = undefined
    if (rest.records.length > 0) this.#stats.sent(0, rest.records.length)
    if (rest.error !== undefined) this.#fail(rest.error)
    return true
  }

  /** The window is empty: is this the end, good or bad? */
  #settle(): void {
    if (this.#inputFault) this.#fail(this.#inputFault.error)
    else if (this.#ending) void this.#finish(this.#ending)
  }

  async #finish(callback: () => void): Promise<void> {
    this.#finishing = true
    try {
      if (this.#plan.out === 'json') {
        const tail = Buffer.from(this.#first ? '[]' : ']')
        this.#stats.sent(tail.length)
        this.push(tail)
      }
      // first, so that whoever sees the end sees no thread left
      await this.#engine.close()
      if (this.destroyed) return
      this.#stats.completed()
      this.push(null)
      callback()
    } catch (error) {
      this.destroy(asError(error))
    }
  }

  #fail(error: unknown): void {
    this.#failed = true
    void this.#engine.close()
    failAfterDelivery(this, asError(error))
  }
}

function sourceFor(plan: OffloadPlan): BlockSource {
  if (plan.in === 'bytes') return new ChunkSource()
  if (plan.in === 'ranges') return new RangeSource()
  if (plan.in === 'records') return new RecordSource(plan.batchSize)
  const { in: format, blockSize, maxValueBytes, maxDepth, allowEmpty, path } = plan
  return new TextSource({ format, blockSize, maxValueBytes, maxDepth, allowEmpty, path })
}

function cannotTravel(record: null | undefined, index: number): OffloadError {
  const message = `record ${index} is ${record}, which cannot travel alone in an object stream (batches: true)`
  return new OffloadError('ERR_MILLRACE_OFFLOAD_RESULT', message, { index })
}

/**
 * Takes a stream, runs a function of a module on its blocks in worker threads, and gives the results as a stream, in
 * order: a parallel map with backpressure. Bytes, records, or JSON text that is parsed and written in the workers.
 *
 * The module's export gets `(block, context)`, see {@link OffloadContext}. An error surfaces at its position: everything
 * before it has been read. What a handler throws keeps its name, code, own fields and causes; what its property `partial` holds
 * is delivered first. A worker that dies takes down only the block that killed it, and that one is run again if
 * `retries` says so. After the end, an error, or `destroy()` no thread is left. The threads start with the call.
 *
 * @remarks
 * Holds at most `window` blocks, each with its input and output. A block costs 15 to 25 µs beside the work itself, so
 * blocks should take a millisecond or more. Bytes travel through shared memory, which was measured to be worth
 * more than a third of the speed where blocks are large and work on them is light.
 * @throws {@link OptionError} when an option is wrong.
 * @see https://github.com/piscinajs/piscina the pool beneath
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { writeFile } from 'node:fs/promises'
 * import { Readable } from 'node:stream'
 * import { text } from 'node:stream/consumers'
 * import { offload } from 'millrace'
 *
 * await writeFile('years.mjs', 'export default (movies) => movies.map(({ title, date }) => ({ title, year: +date.slice(-4) }))')
 * const input = Readable.from([Buffer.from('{"title":"Alien","date":"May 25 1979"}\n{"title":"Heat",'), Buffer.from('"date":"Dec 15 1995"}')])
 * const output = await text(input.pipe(offload('years.mjs', { in: 'ndjson', workers: 2 })))
 * assert.equal(output, '{"title":"Alien","year":1979}\n{"title":"Heat","year":1995}\n')
 * ```
 */
export function offload(module: string | URL, options: OffloadOptions = {}): Offload {
  return new Offload(module, options)
}

import { extname } from 'node:path'
import { Readable, addAbortSignal } from 'node:stream'
import { MillraceError, OptionError, asError } from '../errors.ts'
import {
  RecordBatch,
  StatsCounter,
  failAfterDelivery,
  systemClock,
  type Clock,
  type StatsHooks,
  type StreamStats,
} from '../flow/index.ts'
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkLimit,
  checkMethods,
  checkNumber,
  checkSignal,
} from '../options.ts'
import { offload, type OffloadOptions } from '../workers/index.ts'
import { BLOCK_RECORDS, type DrawOptions } from './block-sampler.ts'
import type { ModelData } from './model-data.ts'
import { framesOf, textOf, type RecordFormat } from './record-writer.ts'
import { sourceOf, type RecordGenerator, type RecordSource } from './record-source.ts'
import { Renderer, type RecordRange } from './render.ts'
import type { SampleSpec } from './sample-task.ts'
import type { Row, Value } from './schema.ts'

/** Options of {@link RecordStream}. */
export interface RecordStreamOptions extends DrawOptions, StatsHooks {
  /** Records to make. @defaultValue Infinity */
  readonly count?: number
  /** Number of the first record: what comes is what would come after that many. @defaultValue 0 */
  readonly skip?: number
  /** Gives text in place of records: a line of JSON each, one JSON array, or CSV with a header line. */
  readonly format?: RecordFormat
  /** Gives {@link RecordBatch}es in place of single records. @defaultValue false */
  readonly batches?: boolean
  /** Records of a batch, or of a chunk of text; the last may have fewer. Records do not depend on it. @defaultValue 1024 */
  readonly batchSize?: number
  /** Batches to make at most. @defaultValue Infinity */
  readonly maxBatches?: number
  /** Pause after each batch, in milliseconds. @defaultValue 0 */
  readonly delayBetweenBatches?: number
  /** Records a second at most. @defaultValue Infinity */
  readonly rate?: number
  /** Adds to each record `_generated_at` (ISO 8601) and `_batch_id` (`batch-001`). The clock makes records differ from run to run. @defaultValue false */
  readonly includeMetadata?: boolean
  /**
   * Threads that make records, with the same result; 0 makes them in this one. Text gains by it; objects cost more to hand over
   * than to make.
   *
   * @defaultValue 0
   */
  readonly workers?: number
  /** A pool to share, see `createPool`; it decides the number of threads. */
  readonly pool?: Exclude<OffloadOptions['pool'], undefined>
  /** For `rate`, pauses and metadata. @defaultValue the clock of the machine */
  readonly clock?: Clock
  readonly signal?: AbortSignal
  /** Records, batches, or bytes of text to make ahead of the reader. @defaultValue 16 records, 2 batches, or 1 MiB */
  readonly highWaterMark?: number
}

/** Counters of a stream of records. */
export interface RecordStreamStats extends StreamStats {
  readonly batchesOut: number
}

/** Blocks that a worker makes at once: some 1.2 MB of text. By single blocks, handing over took more than half as much CPU again. */
const TASK_BLOCKS = 4
/** Of a slot of shared memory, half of which a task fills at 512 bytes a record; longer text is moved. Pages that are not used cost nothing. */
const TASK_BYTES = 2_097_152
/** Batches a second at most where a rate is asked for, so that records do not come in lumps. */
const RATE_STEPS = 20

const HANDLER = new URL(`./sample.worker${extname(import.meta.url)}`, import.meta.url)

/**
 * A stream of synthetic records: single ones, batches, or text. Made by {@link Model.stream}, or of a generator of your own.
 *
 * @remarks
 * Record `i` follows from the model, the seed, the conditions and `i`: not from `batchSize`, `workers`, or where the stream began.
 * Memory: one batch and what waits for the reader; with workers four tasks of 4096 records for each.
 *
 * @throws {@link OptionError} and {@link ConditionError} before the first record, and {@link ConditionError} when conditions turn
 * out to be too rare, after all records before.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { text } from 'node:stream/consumers'
 * import { RecordStream, fit } from 'millrace/records'
 *
 * const model = await fit(Array.from({ length: 100 }, (_, i) => ({ n: i % 10, even: i % 2 === 0 })))
 * const csv = await text(model.stream({ count: 1000, format: 'csv', seed: 3, conditions: { even: true } }))
 * assert.equal(csv.split('\n')[0], 'n,even')
 * assert(!csv.includes('false'))
 *
 * let next = 0
 * const own = new RecordStream({ generate: (count) => Array.from({ length: count }, () => ({ id: next++ })) }, { count: 3 })
 * assert.deepEqual(await own.toArray(), [{ id: 0 }, { id: 1 }, { id: 2 }])
 * ```
 */
export class RecordStream extends Readable {
  readonly #options: RecordStreamOptions
  readonly #data: ModelData | undefined
  readonly #source: RecordSource
  /** Makes text without making records. */
  readonly #renderer: Renderer | undefined
  readonly #counter: StatsCounter
  readonly #clock: Clock
  readonly #abort = new AbortController()
  /** Aborted when no more is to be made, too. */
  readonly #stopping = new AbortController()
  readonly #batchSize: number
  readonly #end: number
  #chunks: AsyncGenerator<Produced> | undefined
  /** Single records that wait for room. */
  #held: readonly Row[] = []
  #heldAt = 0
  #batchesOut = 0
  #names: readonly string[] | undefined

  constructor(source: ModelData | RecordGenerator, options: RecordStreamOptions = {}) {
    const {
      count = Infinity,
      skip = 0,
      batchSize = BLOCK_RECORDS,
      maxBatches = Infinity,
      format,
      batches = false,
    } = options
    const {
      delayBetweenBatches = 0,
      rate = Infinity,
      includeMetadata = false,
      workers = 0,
      clock = systemClock,
    } = options
    const { minAcceptance, signal, highWaterMark } = options
    if (format !== undefined) checkChoice('format', format, ['ndjson', 'json', 'csv'])
    checkBoolean('batches', batches)
    checkLimit('count', count, 0)
    checkInteger('skip', skip)
    checkInteger('batchSize', batchSize, 1, MAX_BATCH)
    checkLimit('maxBatches', maxBatches, 0)
    checkNumber('delayBetweenBatches', delayBetweenBatches, 0)
    if (rate !== Infinity) checkNumber('rate', rate, Number.MIN_VALUE)
    if (minAcceptance !== undefined) checkNumber('minAcceptance', minAcceptance, 1e-9, 1)
    checkBoolean('includeMetadata', includeMetadata)
    checkInteger('workers', workers)
    checkMethods('clock', clock, ['now', 'sleep'])
    checkSignal('signal', signal)
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
    if (format !== undefined && batches)
      throw new OptionError('batches', batches, `false with format '${format}'`)
    const byDefault = format === undefined ? (batches ? 2 : 16) : 1 << 20
    super({ objectMode: format === undefined, highWaterMark: highWaterMark ?? byDefault })
    this.#options = options
    this.#clock = clock
    // few at a time where they come slowly; what follows from a number of batches is not touched
    this.#batchSize =
      rate === Infinity || maxBatches !== Infinity
        ? batchSize
        : Math.max(1, Math.min(batchSize, Math.ceil(rate / RATE_STEPS)))
    this.#end = Math.min(skip + count, skip + maxBatches * batchSize)
    this.#counter = new StatsCounter('RecordStream', options)
    if ('generate' in source) {
      checkMethods('generator', source, ['generate'])
      for (const name of ['workers', 'pool', 'conditions'] as const) {
        if (options[name] !== undefined && options[name] !== 0) {
          throw new OptionError(name, options[name], 'nothing with a generator of your own')
        }
      }
      this.#source = sourceOf(source)
    } else {
      const renderer = new Renderer(source, drawOf(options))
      this.#data = source
      this.#names = renderer.names
      this.#source = this.#renderer = renderer
    }
    if (signal) addAbortSignal(signal, this)
  }

  stats(): RecordStreamStats {
    return { ...this.#counter.snapshot(), batchesOut: this.#batchesOut }
  }

  /** Ends the stream early: no more batches are made, and what is there is still read, to the end of the JSON array. */
  stop(): void {
    this.#stopping.abort()
  }

  override _read(): void {
    if (this.#heldAt < this.#held.length) {
      this.#pushHeld()
      return
    }
    this.#chunks ??= this.#produce()
    this.#chunks.next().then(
      ({ value, done }) => {
        if (this.destroyed) return
        try {
          if (done === true) this.#complete()
          else this.#push(value)
        } catch (error) {
          failAfterDelivery(this, asError(error))
        }
      },
      (error: unknown) => {
        if (!this.destroyed) failAfterDelivery(this, asError(error))
      },
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#abort.abort()
    this.#stopping.abort()
    // a generator of the user's own may never answer
    const ended = (this.#data && this.#chunks?.return(undefined)) ?? Promise.resolve()
    const done = () => {
      try {
        if (error !== null) this.#counter.failed(error)
      } catch (thrown) {
        callback(asError(thrown))
        return
      }
      callback(error)
    }
    ended.then(done, done)
  }

  #complete(): void {
    this.#counter.completed()
    this.push(null)
  }

  #push({ records, text, count, index }: Produced): void {
    if (count > 0) this.#batchesOut++
    this.#counter.sent(text?.length ?? 0, count)
    if (text !== undefined) this.push(text)
    else if (this.#options.batches === true) this.push(new RecordBatch(index, records!))
    else {
      this.#held = records!
      this.#heldAt = 0
      this.#pushHeld()
    }
  }

  #pushHeld(): void {
    while (this.#heldAt < this.#held.length) if (!this.push(this.#held[this.#heldAt++])) return
  }

  async *#produce(): AsyncGenerator<Produced> {
    const { format, delayBetweenBatches = 0, rate = Infinity } = this.#options
    const startedAt = this.#clock.now()
    const { skip = 0 } = this.#options
    let made = 0
    for await (const batch of this.#batches()) {
      if (this.#stopping.signal.aborted) break
      if (made === 0 && format !== undefined) {
        const head = framesOf(format, this.#names ?? []).head
        if (head !== '') yield { text: Buffer.from(head), count: 0, index: skip }
      }
      if (made > 0 && delayBetweenBatches > 0) await this.#pause(delayBetweenBatches)
      if (rate !== Infinity) await this.#pause(startedAt + (made * 1000) / rate - this.#clock.now())
      yield batch
      made += batch.count
    }
    if (format === undefined) return
    const { tail, tailIfEmpty } = framesOf(format, this.#names ?? [])
    const last = made === 0 ? tailIfEmpty : tail
    if (last !== '') yield { text: Buffer.from(last), count: 0, index: this.#end }
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#stopping
    try {
      if (ms > 0) await this.#clock.sleep(ms, signal)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  async *#batches(): AsyncGenerator<Produced> {
    const { format, workers = 0, pool, includeMetadata = false } = this.#options
    if (workers > 0 || pool !== undefined) {
      yield* includeMetadata ? this.#marked(this.#offloaded(undefined)) : this.#offloaded(format)
      return
    }
    const isFast = format !== undefined && !includeMetadata && this.#renderer !== undefined
    yield* isFast ? this.#inline(format) : this.#marked(this.#inline(undefined))
  }

  /** Batches that are made in this thread. */
  async *#inline(format: RecordFormat | undefined): AsyncGenerator<Produced> {
    const { skip = 0 } = this.#options
    for (let from = skip; from < this.#end; from += this.#batchSize) {
      const range = { from, to: Math.min(this.#end, from + this.#batchSize) }
      if (format !== undefined) {
        const text = this.#renderer!.text(range, format)
        yield {
          text: from === skip ? withoutComma(text, format, skip) : text,
          count: range.to - from,
          index: from,
        }
        continue
      }
      const records = await this.#source.records(range)
      if (records.length > 0) yield { records, count: records.length, index: from }
      if (records.length < range.to - from) return
    }
  }

  /** Text goes on as it comes from the workers; records are put into batches again. */
  async *#offloaded(format: RecordFormat | undefined): AsyncGenerator<Produced> {
    const { workers, pool, skip = 0 } = this.#options
    const sizes: number[] = []
    const stage = offload(HANDLER, {
      in: 'records',
      out: format === undefined ? 'records' : 'bytes',
      batchSize: 1,
      blockSize: TASK_BYTES,
      ...(format === undefined && { batches: true }),
      ...(pool === undefined ? { workers: workers! } : { pool }),
      onChunk: ({ bytes }) => sizes.push(bytes),
      workerData: { data: this.#data!, draw: drawOf(this.#options), format } satisfies SampleSpec,
    })
    const tasks = Readable.from(tasksOf(skip, this.#end))
    tasks.pipe(stage)
    const onAbort = () => stage.destroy()
    this.#abort.signal.addEventListener('abort', onAbort, { once: true })
    let index = skip
    try {
      if (format === undefined) {
        let held: Row[] = []
        for await (const batch of stage as AsyncIterable<RecordBatch<Row>>) {
          held.push(...batch.records)
          for (; held.length >= this.#batchSize; index += this.#batchSize) {
            yield { records: held.slice(0, this.#batchSize), count: this.#batchSize, index }
            held = held.slice(this.#batchSize)
          }
        }
        if (held.length > 0) yield { records: held, count: held.length, index }
        return
      }
      for await (const chunk of stage as AsyncIterable<Buffer>) {
        const first = index
        // a stream of bytes may give several of what was pushed as one
        for (let left = chunk.length; left > 0; index = Math.min(this.#end, nextTask(index)))
          left -= sizes.shift()!
        yield {
          text: first === skip ? withoutComma(chunk, format, skip) : chunk,
          count: index - first,
          index: first,
        }
      }
    } catch (error) {
      // what sampling threw is what the reader should see, not that a worker threw it
      throw causeOf(error)
    } finally {
      tasks.destroy()
      stage.destroy()
    }
  }

  /** Adds what is asked for to records, and makes text of them if that is asked for. */
  async *#marked(batches: AsyncGenerator<Produced>): AsyncGenerator<Produced> {
    const { format, includeMetadata = false } = this.#options
    let number = 0
    for await (const batch of batches) {
      number++
      let records = batch.records!
      if (includeMetadata) {
        const mark = {
          _generated_at: new Date(this.#clock.now()).toISOString(),
          _batch_id: `batch-${String(number).padStart(3, '0')}`,
        }
        records = records.map((record) => ({ ...record, ...mark }))
      }
      if (format === undefined) {
        yield { ...batch, records }
        continue
      }
      if (number === 1) this.#names = Object.keys(records[0]!)
      const text = this.#textOf(records, format, number === 1)
      yield { text: Buffer.from(text), count: batch.count, index: batch.index }
    }
  }

  #textOf(records: readonly Row[], format: RecordFormat, isFirst: boolean): string {
    if (format === 'ndjson') return records.map((record) => `${JSON.stringify(record)}\n`).join('')
    if (format === 'json')
      return (isFirst ? '' : ',\n') + records.map((record) => JSON.stringify(record)).join(',\n')
    const names = this.#names!
    const line = (record: Row) => names.map((name) => textOf('csv', record[name] as Value)).join(',')
    return records.map((record) => `${line(record)}\n`).join('')
  }
}

/** Records that a batch may have: more would be made before the first is read. */
const MAX_BATCH = 1_000_000

interface Produced {
  readonly records?: readonly Row[]
  readonly text?: Buffer
  readonly count: number
  readonly index: number
}

function drawOf({ seed, conditions, minAcceptance }: DrawOptions): DrawOptions {
  return {
    ...(seed !== undefined && { seed }),
    ...(conditions !== undefined && { conditions }),
    ...(minAcceptance !== undefined && { minAcceptance }),
  }
}

/** The text of record 0 has no comma before it; that of another first one has. */
function withoutComma(text: Buffer, format: RecordFormat, skip: number): Buffer {
  return format === 'json' && skip > 0 ? text.subarray(2) : text
}

const nextTask = (from: number) => {
  const size = TASK_BLOCKS * BLOCK_RECORDS
  return (Math.floor(from / size) + 1) * size
}

/** Whole blocks, so that none is drawn twice. */
function* tasksOf(skip: number, end: number): Generator<RecordRange> {
  for (let from = skip; from < end; from = nextTask(from)) yield { from, to: Math.min(end, nextTask(from)) }
}

function causeOf(error: unknown): unknown {
  const { code, cause } = (error ?? {}) as { code?: string; cause?: unknown }
  return MillraceError.is(error) && code === 'ERR_MILLRACE_OFFLOAD_HANDLER' && cause instanceof Error
    ? cause
    : error
}

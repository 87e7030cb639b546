import { Readable, addAbortSignal } from 'node:stream'
import { OptionError, asError } from '../errors.ts'
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
import type { OffloadOptions } from '../workers/index.ts'
import { BLOCK_RECORDS, type DrawOptions } from './block-sampler.ts'
import type { ModelData } from './model-data.ts'
import { recordBatches, textBatches } from './inline-batches.ts'
import { markedBatches } from './marked-batches.ts'
import { TASK_RECORDS, offloadedBatches } from './offloaded-batches.ts'
import type { Produced } from './produced.ts'
import { framesOf, type RecordFormat } from './record-writer.ts'
import { sourceOf, type RecordGenerator, type RecordSource } from './record-source.ts'
import { Renderer } from './render.ts'
import type { Row } from './schema.ts'

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

/** Batches a second at most where a rate is asked for, so that records do not come in lumps. */
const RATE_STEPS = 20

/**
 * A stream of synthetic records: single ones, batches, or text. Made by {@link Model.stream}, or of a generator of your own.
 *
 * @remarks
 * Record `i` follows from the model, the seed, the conditions and `i`: not from `batchSize`, `workers`, or where the stream began.
 * Memory: one batch and what waits for the reader; with workers four tasks of 8192 records for each.
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
      const isFirst = made === 0
      if (isFirst && format !== undefined) {
        const head = framesOf(format, this.#names ?? []).head
        if (head !== '') yield { text: Buffer.from(head), count: 0, index: skip }
      }
      if (made > 0 && delayBetweenBatches > 0) await this.#pause(delayBetweenBatches)
      if (rate !== Infinity) await this.#pause(startedAt + (made * 1000) / rate - this.#clock.now())
      // an array has no comma before its first record
      yield isFirst && format === 'json' ? { ...batch, text: batch.text!.subarray(2) } : batch
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

  #batches(): AsyncGenerator<Produced> {
    const { format, workers = 0, pool, includeMetadata = false, skip = 0 } = this.#options
    const range = { from: skip, to: this.#end }
    const isMarked = includeMetadata || this.#renderer === undefined
    const made = isMarked ? undefined : format
    let batches
    if (workers > 0 || pool !== undefined) {
      const spec = { data: this.#data!, draw: drawOf(this.#options), format: made }
      const bound = made === undefined ? undefined : this.#renderer!.bound(TASK_RECORDS, made)
      const signal = this.#abort.signal
      batches = offloadedBatches(spec, range, this.#batchSize, bound, {
        signal,
        ...(pool === undefined ? { workers } : { pool }),
      })
    } else if (made !== undefined) batches = textBatches(this.#renderer!, range, this.#batchSize, made)
    else batches = recordBatches(this.#source, range, this.#batchSize)
    if (!isMarked) return batches
    const clock = includeMetadata ? this.#clock : undefined
    return markedBatches(batches, format, clock, (names) => {
      this.#names = names
    })
  }
}

/** Records that a batch may have: more would be made before the first is read. */
const MAX_BATCH = 1_000_000

function drawOf({ seed, conditions, minAcceptance }: DrawOptions): DrawOptions {
  return {
    ...(seed !== undefined && { seed }),
    ...(conditions !== undefined && { conditions }),
    ...(minAcceptance !== undefined && { minAcceptance }),
  }
}

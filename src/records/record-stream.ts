import { Readable, addAbortSignal } from 'node:stream'
import { OptionError, asError } from '../errors.ts'
import { RecordBatch, StatsCounter, failAfterDelivery, type Clock, type StreamStats } from '../flow/index.ts'
import { checkMethods } from '../options.ts'
import type { DrawOptions } from './block-sampler.ts'
import type { ModelData } from './model-data.ts'
import { recordBatches, textBatches } from './inline-batches.ts'
import { markedBatches } from './marked-batches.ts'
import { TASK_RECORDS, offloadedBatches } from './offloaded-batches.ts'
import type { Produced } from './produced.ts'
import { sourceOf, type RecordGenerator, type RecordSource } from './record-source.ts'
import { planRecordStream, type RecordStreamOptions } from './record-stream-options.ts'
import { framesOf } from './record-writer.ts'
import { Renderer, type RecordRange } from './render.ts'
import type { Row } from './schema.ts'

/** Counters of a stream of records. */
export interface RecordStreamStats extends StreamStats {
  readonly batchesOut: number
}

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
  readonly #range: RecordRange
  #chunks: AsyncGenerator<Produced> | undefined
  /** Single records that wait for room. */
  #held: readonly Row[] = []
  #heldAt = 0
  #batchesOut = 0
  #names: readonly string[] | undefined

  constructor(source: ModelData | RecordGenerator, options: RecordStreamOptions = {}) {
    const { format, signal } = options
    const { skip, end, batchSize, clock, highWaterMark } = planRecordStream(options)
    super({ objectMode: format === undefined, highWaterMark })
    this.#options = options
    this.#range = { from: skip, to: end }
    this.#batchSize = batchSize
    this.#clock = clock
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
    const { from, to } = this.#range
    let made = 0
    for await (const batch of this.#batches()) {
      if (this.#stopping.signal.aborted) break
      const isFirst = made === 0
      if (isFirst && format !== undefined) {
        const head = framesOf(format, this.#names ?? []).head
        if (head !== '') yield { text: Buffer.from(head), count: 0, index: from }
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
    if (last !== '') yield { text: Buffer.from(last), count: 0, index: to }
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
    const { format, workers = 0, pool, includeMetadata = false } = this.#options
    const range = this.#range
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

function drawOf({ seed, conditions, minAcceptance }: DrawOptions): DrawOptions {
  return {
    ...(seed !== undefined && { seed }),
    ...(conditions !== undefined && { conditions }),
    ...(minAcceptance !== undefined && { minAcceptance }),
  }
}

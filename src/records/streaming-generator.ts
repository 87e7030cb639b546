import { OptionError, StateError } from '../errors.ts'
import { RecordBatch, StatsCounter, type StatsHooks, type StreamStats } from '../flow/index.ts'
import { checkInteger, checkMethods } from '../options.ts'
import type { DrawOptions } from './block-sampler.ts'
import { fit, type FitOptions } from './fit.ts'
import type { ModelData } from './model-data.ts'
import { Model } from './model.ts'
import type { TableSource } from './read-rows.ts'
import {
  isPromise,
  sourceOf,
  type MaybePromise,
  type RecordGenerator,
  type RecordSource,
} from './record-source.ts'
import type { RecordStreamOptions } from './record-stream-options.ts'
import { RecordStream } from './record-stream.ts'
import { Renderer } from './render.ts'
import type { Row } from './schema.ts'
import type { Table } from './table.ts'
import type { UpdateOptions } from './update-model.ts'

/** Options of {@link StreamingGenerator}. */
export interface StreamingGeneratorOptions extends DrawOptions, StatsHooks {
  /** Records of a batch. Records do not depend on it. @defaultValue 1000 */
  readonly batchSize?: number
  /** Batches that a stream has at most; 0 is none. @defaultValue Infinity */
  readonly maxBatches?: number
  /** Pause after each batch, in milliseconds. @defaultValue 0 */
  readonly delayBetweenBatches?: number
  /** Adds `_generated_at` and `_batch_id` to the records of streams. @defaultValue false */
  readonly includeMetadata?: boolean
  /** A generator of your own, in place of a model that is fitted or loaded. */
  readonly generator?: RecordGenerator
}

/** Counters of a {@link StreamingGenerator}: of all that it has made in any way. */
export interface GeneratorStats extends StreamStats {
  readonly batchesOut: number
  /** How often the model was updated by `partialFit`. */
  readonly updates: number
}

/** Records of a batch unless told otherwise. */
export const DEFAULT_GENERATOR_BATCH = 1000

/**
 * Learns a table, or loads a model, and gives records: some, in batches, or as a stream without end.
 *
 * `generate` and `generateStream` go on where the last call ended; `stream` begins at the first record each time.
 *
 * @remarks Memory: the model and one batch.
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { StreamingGenerator } from 'millrace/records'
 *
 * const generator = new StreamingGenerator({ batchSize: 100, maxBatches: 3, seed: 7 })
 * await generator.fit(Array.from({ length: 500 }, (_, i) => ({ region: ['West', 'East'][i % 2], age: 18 + (i % 60) })))
 * for await (const batch of generator.generateStream({ conditions: { age: { gte: 21 }, region: 'West' } })) {
 *   assert(batch.records.every(({ age, region }) => age >= 21 && region === 'West'))
 * }
 * assert.equal(generator.stats().recordsOut, 300)
 * ```
 */
export class StreamingGenerator implements RecordGenerator {
  readonly #options: StreamingGeneratorOptions
  readonly #batchSize: number
  readonly #counter: StatsCounter
  #model: Model | undefined
  #source: RecordSource | undefined
  #position = 0
  #batchesOut = 0
  #updates = 0

  constructor(options: StreamingGeneratorOptions = {}) {
    const { batchSize = DEFAULT_GENERATOR_BATCH, generator } = options
    this.#batchSize = checkInteger('batchSize', batchSize, 1)
    if (generator !== undefined) this.#source = sourceOf(checkMethods('generator', generator, ['generate']))
    this.#options = options
    this.#counter = new StatsCounter('StreamingGenerator', options)
    // what a stream would refuse is refused now
    if (generator !== undefined) this.stream().destroy()
  }

  /** Learns a table. Without a `method` that is `bayes_net`. */
  async fit(data: Table | TableSource, options: FitOptions = {}): Promise<this> {
    return this.#use(await fit(data, options))
  }

  /** Takes a model that was learnt before: a `Model`, what its `toJSON` gave, or the path of its file. */
  async load(model: Model | ModelData | string): Promise<this> {
    if (typeof model === 'string') return this.#use(await Model.load(model))
    return this.#use(model instanceof Model ? model : Model.fromJSON(model))
  }

  /** The model, once there is one. */
  get model(): Model | undefined {
    return this.#model
  }

  /**
   * The next `count` records: at once, or as a promise if a generator of your own gives one.
   *
   * @throws {@link StateError} before `fit` or `load`.
   */
  generate(count: number): MaybePromise<Row[]> {
    checkInteger('count', count)
    const source = this.#records()
    const from = this.#position
    this.#position += count
    const records = source.records({ from, to: from + count })
    return isPromise(records) ? records.then((all) => this.#count(all)) : this.#count(records)
  }

  /** Batch after batch, up to `maxBatches`. Leaving the loop ends it at once. */
  async *generateStream(
    options: Pick<RecordStreamOptions, 'conditions' | 'signal' | 'clock'> = {},
  ): AsyncGenerator<RecordBatch<Row>> {
    const { conditions = this.#options.conditions } = options
    const skip = this.#model === undefined ? 0 : this.#position
    const stream = this.stream({
      ...options,
      ...(conditions !== undefined && { conditions }),
      batches: true,
      skip,
    })
    for await (const batch of stream as AsyncIterable<RecordBatch<Row>>) {
      this.#position += batch.length
      yield batch
    }
  }

  /** A stream of all its records, with the options of this generator unless told otherwise. See {@link RecordStream}. */
  stream(options: RecordStreamOptions = {}): RecordStream {
    const { generator, onChunk: _, onError: _error, onComplete: _complete, ...own } = this.#options
    const source = generator ?? this.#fitted().toJSON()
    return new RecordStream(source, {
      ...own,
      batchSize: this.#batchSize,
      ...options,
      onChunk: (chunk) => {
        this.#counter.sent(chunk.bytes, chunk.records)
        if (chunk.records > 0) this.#batchesOut++
        options.onChunk?.(chunk)
      },
      onError: (error) => {
        this.#counter.failed(error)
        options.onError?.(error)
      },
    })
  }

  /** Learns from new rows too; what is made from now on is of the new model. See `Model.partialFit`. */
  partialFit(rows: Table | Iterable<object>, options: UpdateOptions = {}): this {
    const model = this.#fitted().partialFit(rows, options)
    this.#updates++
    return this.#use(model)
  }

  /** Begins again at the first record. */
  reset(): void {
    this.#position = 0
  }

  stats(): GeneratorStats {
    return { ...this.#counter.snapshot(), batchesOut: this.#batchesOut, updates: this.#updates }
  }

  #use(model: Model): this {
    if (this.#options.generator !== undefined) {
      throw new OptionError('generator', this.#options.generator, 'none, to use a model')
    }
    this.#model = model
    this.#source = new Renderer(model.toJSON(), this.#options)
    return this
  }

  #fitted(): Model {
    if (this.#model !== undefined) return this.#model
    throw new StateError('ERR_MILLRACE_NOT_FITTED', 'generator: expected fit() or load() before this')
  }

  #records(): RecordSource {
    if (this.#source === undefined) this.#fitted()
    return this.#source!
  }

  #count(records: readonly Row[]): Row[] {
    this.#batchesOut++
    this.#counter.sent(0, records.length)
    return records as Row[]
  }
}

import { Readable, type Duplex } from 'node:stream'
import { OptionError } from '../errors.ts'
import { RecordBatch } from '../flow/index.ts'
import { checkInteger, checkMethods } from '../options.ts'
import { BatchIterator } from './batch-iterator.ts'
import type { MaybePromise, RecordGenerator } from './record-source.ts'
import type { Row } from './schema.ts'
import { DEFAULT_GENERATOR_BATCH } from './streaming-generator.ts'

/**
 * One step of a {@link DataStreamProcessor}: a function of a batch's records, or of each record: `{ map }` changes it, `{ filter }`
 * decides whether it stays. All may be async.
 */
export type RecordTransformer =
  | ((records: readonly Row[]) => MaybePromise<readonly object[]>)
  | { readonly map: (record: Row) => MaybePromise<object> }
  | { readonly filter: (record: Row) => MaybePromise<boolean> }

/** Options of {@link DataStreamProcessor}. */
export interface DataStreamProcessorOptions {
  /** Steps that each batch goes through, in order. @defaultValue none */
  readonly transformers?: readonly RecordTransformer[]
  /** Records that are generated at once. @defaultValue 1000 */
  readonly batchSize?: number
}

/**
 * Takes a generator and gives its records, changed and filtered batch by batch until as many as asked for were generated.
 *
 * @remarks Memory: a batch for each step. The steps are a `chain()` of stream-chain, so one batch can be in each of them.
 * @throws {@link OptionError} if an option is out of range; what a transformer throws.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { DataStreamProcessor } from 'millrace/records'
 *
 * let next = 0
 * const generator = { generate: (count) => Array.from({ length: count }, () => ({ n: next++ })) }
 * const processor = new DataStreamProcessor(generator, {
 *   transformers: [{ filter: ({ n }) => n % 2 === 0 }, { map: async ({ n }) => ({ half: n / 2 }) }],
 *   batchSize: 10,
 * })
 * const halves = []
 * for await (const batch of processor.process(20)) halves.push(...batch.records)
 * assert.deepEqual(halves.map(({ half }) => half), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
 * ```
 */
export class DataStreamProcessor {
  readonly #generator: RecordGenerator
  readonly #steps: readonly ((records: readonly Row[]) => MaybePromise<readonly object[]>)[]
  readonly #batchSize: number

  constructor(
    generator: RecordGenerator,
    { transformers = [], batchSize = DEFAULT_GENERATOR_BATCH }: DataStreamProcessorOptions = {},
  ) {
    this.#generator = checkMethods('generator', generator, ['generate'])
    this.#batchSize = checkInteger('batchSize', batchSize, 1)
    if (!Array.isArray(transformers)) throw new OptionError('transformers', transformers, 'an array')
    this.#steps = transformers.map(stepOf)
  }

  /** Batches of what is left of `totalRecords` records, without empty ones. */
  async *process(totalRecords: number): AsyncGenerator<RecordBatch<Row>> {
    const batches = new BatchIterator(this.#generator, { totalRecords, batchSize: this.#batchSize })
    const source = Readable.from(batches, { highWaterMark: 1 })
    const steps = await this.stream()
    source.once('error', (error) => steps.destroy(error))
    try {
      for await (const batch of source.pipe(steps) as AsyncIterable<RecordBatch<Row>>) yield batch
    } finally {
      source.destroy()
      steps.destroy()
    }
  }

  /** The steps as a stage: batches in, batches out. `index` counts what comes out. */
  async stream(): Promise<Duplex> {
    const { chain, none } = await import('stream-chain')
    let index = 0
    const steps = this.#steps.map((step) => async (batch: RecordBatch<Row>) => {
      const records = await step(batch.records)
      if (!Array.isArray(records))
        throw new OptionError('transformers', records, 'functions that give an array of records')
      return records.length === 0 ? none : new RecordBatch(batch.index, records)
    })
    const number = (batch: RecordBatch<Row>) => {
      const numbered = new RecordBatch(index, batch.records)
      index += batch.length
      return numbered
    }
    return chain([...steps, number] as never, { highWaterMark: 1 })
  }
}

function stepOf(
  transformer: RecordTransformer,
): (records: readonly Row[]) => MaybePromise<readonly object[]> {
  if (typeof transformer === 'function') return transformer
  if (typeof transformer === 'object' && transformer !== null) {
    if ('map' in transformer) {
      const { map } = checkMethods('transformers', transformer, ['map'])
      return (records) => Promise.all(records.map(async (record) => map(record)))
    }
    if ('filter' in transformer) {
      const { filter } = checkMethods('transformers', transformer, ['filter'])
      return async (records) => {
        const kept = await Promise.all(records.map(async (record) => filter(record)))
        return records.filter((_, i) => kept[i])
      }
    }
  }
  throw new OptionError('transformers', transformer, 'functions, { map } or { filter }')
}

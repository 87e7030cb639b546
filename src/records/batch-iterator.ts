import { StateError } from '../errors.ts'
import { RecordBatch } from '../flow/index.ts'
import { checkInteger, checkMethods } from '../options.ts'
import { inOrder } from './in-order.ts'
import { isPromise, type RecordGenerator } from './record-source.ts'
import { DEFAULT_GENERATOR_BATCH } from './streaming-generator.ts'

/** Options of {@link BatchIterator}. */
export interface BatchIteratorOptions {
  /** Records of all batches together. */
  readonly totalRecords: number
  /** Records of a batch; the last may have fewer. @defaultValue 1000 */
  readonly batchSize?: number
}

/**
 * Takes anything with `generate(count)` and gives batches, a known number of them: to be iterated over once, with `for` or `for await`.
 *
 * @remarks Memory: one batch.
 * @throws {@link OptionError} if an option is out of range; {@link StateError} when `for` meets a generator that gives promises.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { BatchIterator, fit } from 'millrace/records'
 *
 * const model = await fit(Array.from({ length: 100 }, (_, i) => ({ n: i % 7 })))
 * const batches = new BatchIterator(model, { totalRecords: 2500, batchSize: 1000 })
 * assert.equal(batches.length, 3)
 * assert.deepEqual([...batches].map(({ length }) => length), [1000, 1000, 500])
 * ```
 */
export class BatchIterator implements Iterable<RecordBatch>, AsyncIterable<RecordBatch> {
  /** Number of batches. */
  readonly length: number
  readonly #generator: RecordGenerator
  readonly #total: number
  readonly #batchSize: number

  constructor(
    generator: RecordGenerator,
    { totalRecords, batchSize = DEFAULT_GENERATOR_BATCH }: BatchIteratorOptions,
  ) {
    checkMethods('generator', generator, ['generate'])
    this.#generator = inOrder(generator)
    this.#total = checkInteger('totalRecords', totalRecords)
    this.#batchSize = checkInteger('batchSize', batchSize, 1)
    this.length = Math.ceil(totalRecords / batchSize)
  }

  *[Symbol.iterator](): Generator<RecordBatch> {
    for (const [index, count] of this.#sizes()) {
      const records = this.#generator.generate(count)
      if (isPromise(records)) {
        throw new StateError(
          'ERR_MILLRACE_GENERATOR',
          'generate(): expected records, got a promise (use for await)',
        )
      }
      yield new RecordBatch(index, records)
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RecordBatch> {
    for (const [index, count] of this.#sizes())
      yield new RecordBatch(index, await this.#generator.generate(count))
  }

  *#sizes(): Generator<readonly [number, number]> {
    for (let index = 0; index < this.#total; index += this.#batchSize) {
      yield [index, Math.min(this.#batchSize, this.#total - index)]
    }
  }
}

import { RecordBatch } from '../flow/index.ts'
import { checkInteger, checkMethods } from '../options.ts'
import { BatchIterator, type BatchIteratorOptions } from './batch-iterator.ts'
import type { MaybePromise, RecordGenerator } from './record-source.ts'

/** Where batches are put. A `put` that waits makes the generator wait. */
export interface BatchSink {
  /** Takes a batch, or null: there are no more. */
  put(batch: RecordBatch | null): MaybePromise<unknown>
  /** Takes what ended it early, in place of the null. */
  fail?(error: unknown): MaybePromise<unknown>
}

/** Batches that a {@link BatchQueue} holds unless told otherwise. */
export const DEFAULT_QUEUE_BATCHES = 10

/**
 * A queue of batches between one that puts and any number that take: bounded, so that who puts waits when it is full, and who
 * takes waits when it is empty. The end and an error come after all batches that were put before, to everyone who takes.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { BatchQueue, generateToQueue } from 'millrace/records'
 *
 * const queue = new BatchQueue({ maxBatches: 2 })
 * const generator = { generate: (count) => Array.from({ length: count }, (_, n) => ({ n })) }
 * const filling = generateToQueue(generator, queue, { totalRecords: 25, batchSize: 10 })
 * const sizes = []
 * for (let batch = await queue.take(); batch !== null; batch = await queue.take()) sizes.push(batch.length)
 * await filling
 * assert.deepEqual(sizes, [10, 10, 5])
 * ```
 */
export class BatchQueue implements BatchSink, AsyncIterable<RecordBatch> {
  readonly #maxBatches: number
  readonly #held: RecordBatch[] = []
  #ended = false
  #fault: { readonly error: unknown } | undefined
  #waiting: (() => void)[] = []

  constructor({ maxBatches = DEFAULT_QUEUE_BATCHES }: { readonly maxBatches?: number } = {}) {
    this.#maxBatches = checkInteger('maxBatches', maxBatches, 1)
  }

  /** Batches that wait to be taken. */
  get length(): number {
    return this.#held.length
  }

  async put(batch: RecordBatch | null): Promise<void> {
    if (batch === null) this.#ended = true
    else {
      while (this.#held.length >= this.#maxBatches) await this.#change()
      this.#held.push(batch)
    }
    this.#wake()
  }

  fail(error: unknown): void {
    this.#fault = { error }
    this.#wake()
  }

  /** The next batch, or null at the end. @throws what `fail` was given, after the last batch. */
  async take(): Promise<RecordBatch | null> {
    for (;;) {
      const batch = this.#held.shift()
      if (batch !== undefined) {
        this.#wake()
        return batch
      }
      if (this.#fault !== undefined) throw this.#fault.error
      if (this.#ended) return null
      await this.#change()
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RecordBatch> {
    for (let batch = await this.take(); batch !== null; batch = await this.take()) yield batch
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}

/**
 * Takes a generator, puts its records into a queue batch by batch, and then null; what goes wrong is put too, so that nobody waits
 * for ever, and thrown. A sink without `fail` gets the null.
 *
 * @throws what the generator or the queue threw.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { BatchQueue, generateToQueue } from 'millrace/records'
 *
 * const queue = new BatchQueue()
 * const broken = { generate: () => { throw new Error('out of ideas') } }
 * const filling = generateToQueue(broken, queue, { totalRecords: 10 })
 * await assert.rejects(queue.take(), /out of ideas/)
 * await assert.rejects(filling, /out of ideas/)
 * ```
 */
export async function generateToQueue(
  generator: RecordGenerator,
  queue: BatchSink,
  options: BatchIteratorOptions,
): Promise<void> {
  checkMethods('queue', queue, ['put'])
  const batches = new BatchIterator(generator, options)
  try {
    for await (const batch of batches) await queue.put(batch)
  } catch (error) {
    await (queue.fail === undefined ? queue.put(null) : queue.fail(error))
    throw error
  }
  await queue.put(null)
}

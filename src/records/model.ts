import { readFile, writeFile } from 'node:fs/promises'
import { ModelError } from '../errors.ts'
import { checkInteger, checkNumber } from '../options.ts'
import type { DrawOptions } from './block-sampler.ts'
import { checkModelData, type Method, type ModelData } from './model-data.ts'
import type { RecordStreamOptions } from './record-stream-options.ts'
import { RecordStream } from './record-stream.ts'
import { Renderer } from './render.ts'
import type { Row, Schema } from './schema.ts'
import type { Table } from './table.ts'
import { driftOf, updated, type UpdateOptions } from './update-model.ts'

/**
 * What was learnt from a table: makes records without end, the same for the same seed. Made by {@link fit}, or loaded.
 *
 * Values that are not numbers over a wide range are values of the table, rare ones too: a model is not anonymous by itself. `evaluate`
 * says how much of the rows it gives away.
 *
 * @remarks Memory: the model, and one block of 1024 records for each reader. Nothing grows with the number of records.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Model, fit } from 'millrace/records'
 *
 * const model = await fit(Array.from({ length: 200 }, (_, i) => ({ age: 20 + (i % 50), vip: i % 5 === 0 })))
 * await model.save('customers.model.json')
 * const same = await Model.load('customers.model.json')
 * const options = { seed: 1, conditions: { age: { gte: 65 } } }
 * assert.deepEqual(same.generate(100, options), model.generate(100, options))
 * assert(same.generate(100, options).every(({ age }) => age >= 65))
 * ```
 */
export class Model {
  readonly #data: ModelData

  /** @internal Made by `fit` and `load`. */
  constructor(data: ModelData) {
    this.#data = data
  }

  /** Reads a model from a file. @throws {@link ModelError} if it is none, damaged, or of another version. */
  static async load(path: string): Promise<Model> {
    const text = await readFile(path, 'utf8')
    let data: unknown
    try {
      data = JSON.parse(text)
    } catch (cause) {
      throw new ModelError(
        'ERR_MILLRACE_MODEL_FORMAT',
        `model: ${path} is not JSON: ${(cause as Error).message}`,
        { cause },
      )
    }
    return Model.fromJSON(data)
  }

  /** Takes what {@link toJSON} gave. @throws {@link ModelError} like {@link load}. */
  static fromJSON(data: unknown): Model {
    return new Model(checkModelData(data))
  }

  get method(): Method {
    return this.#data.method
  }

  /** Rows that it was learnt from. */
  get rows(): number {
    return this.#data.rows
  }

  /** The columns of its records. */
  get schema(): Schema {
    return this.#data.schema
  }

  /** The model as plain data, to be stored or sent to a worker. It is the model's own: it must not be changed. */
  toJSON(): ModelData {
    return this.#data
  }

  /** Writes it to a file, as JSON. Saving and loading changes nothing about its records. */
  async save(path: string): Promise<void> {
    await writeFile(path, `${JSON.stringify(this.#data)}\n`)
  }

  /**
   * The first `count` records, or those from record `skip` on.
   *
   * @throws {@link OptionError} and {@link ConditionError} for conditions.
   */
  generate(count: number, { skip = 0, ...options }: DrawOptions & { readonly skip?: number } = {}): Row[] {
    checkInteger('count', count)
    checkInteger('skip', skip)
    checkDraw(options)
    return new Renderer(this.#data, options).records({ from: skip, to: skip + count })
  }

  /** Its records as a stream: single ones, batches, or text. See {@link RecordStream}. */
  stream(options: RecordStreamOptions = {}): RecordStream {
    return new RecordStream(this.#data, options)
  }

  /**
   * How far rows have moved away from what this model makes: the mean over its columns of the total variation between their
   * values, 0 to 1. Values that it does not know count as moved.
   */
  drift(rows: Table | Iterable<object>): number {
    return driftOf(this.#data, rows)
  }

  /**
   * A model that has learnt from new rows too. What depends on what stays as it is; how often is counted on: exactly, as if the
   * rows had been there from the start. Values that are new to a category are added, and ranges reach as far as they must.
   *
   * @throws {@link ModelError} if the rows have not the columns of the model.
   */
  partialFit(rows: Table | Iterable<object>, options: UpdateOptions = {}): Model {
    return new Model(updated(this.#data, rows, options))
  }
}

/** Checks what decides the records before anything is made. */
function checkDraw({ minAcceptance }: DrawOptions): void {
  if (minAcceptance !== undefined) checkNumber('minAcceptance', minAcceptance, 1e-9, 1)
}

import type { BlockSampler } from './block-sampler.ts'
import type { Row, Value } from './schema.ts'

type Make = (values: readonly Value[]) => Row

/** Turns blocks of codes into records. */
export class RecordBuilder {
  readonly #sampler: BlockSampler
  readonly #make: Make
  readonly #values: Value[]

  constructor(sampler: BlockSampler) {
    this.#sampler = sampler
    const names = sampler.codecs.map(({ model }) => model.name)
    this.#make = compileMake(names)
    this.#values = names.map(() => null)
  }

  /** Record `row` of the block that was drawn last; `record` is its number. */
  build(row: number, record: number): Row {
    const { codecs, ids, codes, words } = this.#sampler
    const values = this.#values
    for (let column = 0; column < codecs.length; column++) {
      const id = ids[column]
      values[column] =
        id === undefined
          ? codecs[column]!.decode(codes[column]![row]!, words[column]![row]!)
          : id.make(record)
    }
    return this.#make(values)
  }
}

/**
 * A function that makes a record of its values. An object literal is three times faster than fields set one by one, and
 * only those are left where code must not be made of strings.
 */
export function compileMake(names: readonly string[]): Make {
  try {
    // computed keys, since "__proto__" as a plain one would be no field
    const fields = names.map((name, i) => `[${JSON.stringify(name)}]: values[${i}]`)
    // oxlint-disable-next-line typescript/no-implied-eval -- names are quoted, and nothing else is the user's
    return new Function('values', `return { ${fields.join(', ')} }`) as Make
  } catch {
    return (values) => Object.fromEntries(names.map((name, i) => [name, values[i]!]))
  }
}

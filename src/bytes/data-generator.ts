import { ObjectGen } from './object-gen.ts'
import { freshSeed, seedBits, type ObjectOptions, type Seed } from './object-format.ts'

/** Options of {@link DataGenerator}. */
export interface DataGeneratorOptions {
  /** @defaultValue fresh entropy for each generator; read it back from {@link DataGenerator.seed} */
  readonly seed?: Seed
}

/**
 * Makes objects of any size whose every byte follows from a seed and a few parameters.
 *
 * @remarks The number 42 and the bigint 42n are the same seed; the string `'42'` is another. Objects of different seeds or
 * keys share nothing: keys are hashed, never added.
 *
 * @throws {@link OptionError} for a seed that is not a whole number of at most 64 bits or a string.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { DataGenerator } from 'millrace'
 *
 * const generator = new DataGenerator({ seed: 'nightly run 7' })
 * const object = generator.beginObject({ key: 'images/1', size: 2 ** 40, dedup: 2.5, compress: 1.7 })
 * const page = object.read(2 ** 39, 4096) // at once: nothing before it is generated
 *
 * const again = new DataGenerator({ seed: generator.seed }).beginObject(object.identity)
 * assert.deepEqual(again.read(2 ** 39, 4096), page)
 * ```
 */
export class DataGenerator {
  /** The seed given, or the fresh one: give it to another generator to make the same objects. */
  readonly seed: Seed

  constructor({ seed = freshSeed() }: DataGeneratorOptions = {}) {
    seedBits(seed)
    this.seed = seed
  }

  /** An object of these parameters; the same parameters give the same object, whatever was made before. O(1). */
  beginObject(options: ObjectOptions): ObjectGen {
    return new ObjectGen(this.seed, options)
  }
}

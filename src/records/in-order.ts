import { Model } from './model.ts'
import type { RecordGenerator } from './record-source.ts'
import { Renderer } from './render.ts'

/** A model gives the same records to each call of `generate`; those of what is given back go on where the last one ended. Generators that are no model do that by themselves. */
export function inOrder(generator: RecordGenerator): RecordGenerator {
  if (!(generator instanceof Model)) return generator
  const source = new Renderer(generator.toJSON(), {})
  let from = 0
  return {
    generate(count) {
      const records = source.records({ from, to: from + count })
      from += count
      return records
    },
  }
}

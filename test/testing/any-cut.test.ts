import * as fc from 'fast-check'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { anyCut } from '../../src/testing/any-cut.ts'

t.test('anyCut: the chunks of a cut are the bytes', async () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }).chain((bytes) => fc.tuple(fc.constant(bytes), anyCut(bytes))),
      ([bytes, chunks]) => Buffer.concat(chunks).equals(bytes),
    ),
  )
})

t.test('anyCut: takes an arbitrary of bytes', async () => {
  const bytes = fc.constantFrom(Buffer.from('abc'), new Uint8Array(Buffer.from('xabcx')).subarray(1, 4))
  fc.assert(fc.property(anyCut(bytes), (chunks) => Buffer.concat(chunks).toString() === 'abc'))
})

t.test('anyCut: all kinds of chunks come up', async (t) => {
  const bytes = Buffer.alloc(100, 7)
  const cuts = fc.sample(anyCut(bytes), { numRuns: 500, seed: 1 })
  t.ok(cuts.some((chunks) => chunks.length === 1))
  t.ok(cuts.some((chunks) => chunks.length === 100 && chunks.every((chunk) => chunk.length === 1)))
  t.ok(cuts.some((chunks) => chunks.some((chunk) => chunk.length === 0)))
  t.ok(cuts.some((chunks) => chunks.length > 1 && chunks[0]!.length > 40))
  t.ok(
    cuts.flat().every((chunk) => chunk.byteOffset > 0 && chunk.length < chunk.buffer.byteLength),
    'every chunk is a view',
  )
  t.ok(
    cuts.flat().every((chunk) => new Uint8Array(chunk.buffer)[chunk.byteOffset + chunk.length] === 0xdb),
    'what follows a chunk in memory is not what follows it in the stream',
  )
})

t.test('anyCut: an empty input has cuts too', async (t) => {
  const cuts = fc.sample(anyCut(Buffer.alloc(0)), { numRuns: 200, seed: 1 })
  t.ok(cuts.some((chunks) => chunks.length === 0))
  t.ok(cuts.some((chunks) => chunks.length > 1))
})

t.test('anyCut: maxChunks and empty are kept', async (t) => {
  const bytes = Buffer.alloc(50)
  fc.assert(
    fc.property(anyCut(bytes, { maxChunks: 3, empty: false }), (chunks) => {
      t.ok(chunks.length <= 3)
      return chunks.every((chunk) => chunk.length > 0) && Buffer.concat(chunks).length === 50
    }),
  )
  fc.assert(fc.property(anyCut(bytes, { maxChunks: 1 }), (chunks) => chunks.length === 1))
  t.throws(() => anyCut(bytes, { maxChunks: 0 }), OptionError)
  t.throws(() => anyCut(bytes, { empty: 1 as unknown as boolean }), OptionError)
})

t.test('anyCut: a failing cut shrinks to a single cut', async (t) => {
  const bytes = Buffer.from('0123456789')
  const details = fc.check(
    fc.property(anyCut(bytes), (chunks) => {
      // a stage that loses what stands on both sides of a cut after the fourth byte
      let at = 0
      return chunks.every((chunk) => (at += chunk.length) !== 4)
    }),
    { seed: 3, numRuns: 1000 },
  )
  t.ok(details.failed)
  t.strictSame(
    details.counterexample?.[0].map(String).filter((text) => text !== ''),
    ['0123', '456789'],
  )
})

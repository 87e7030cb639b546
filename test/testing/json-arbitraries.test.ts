import * as fc from 'fast-check'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import {
  JSON_DOCUMENT_FORMATS,
  jsonDocument,
  jsonText,
  jsonValue,
} from '../../src/testing/json-arbitraries.ts'

const draw = <T>(arbitrary: fc.Arbitrary<T>) => fc.sample(arbitrary, { numRuns: 1500, seed: 7 })

t.test('jsonText: every text is one JSON value', async (t) => {
  for (const text of draw(jsonText())) JSON.parse(text)
  t.ok(draw(jsonText({ lineBreaks: false })).every((text) => !/[\n\r]/.test(text)))
})

t.test('jsonText: what readers stumble over comes up', async (t) => {
  const texts = draw(jsonText())
  for (const pattern of [
    /-0\b/,
    /1e400/,
    /\\u[dD]83[dD]"/,
    /\\u00[0-9]*[A-F]/,
    /\\n/,
    /__proto__/,
    /\[{20}/,
    /"[^"]*[[{][^"]*"/,
    /[^\0-\u{ffff}]/u,
    /\n\t? *[,\]}]/,
    /\[\s+\]/,
    /^\s*null$/,
  ]) {
    t.ok(
      texts.some((text) => pattern.test(text)),
      String(pattern),
    )
  }
  const depth = (text: string) => /^\[*/.exec(text)![0].length
  t.ok(draw(jsonText({ maxDepth: 3 })).every((text) => depth(text) <= 3 + 3))
})

t.test('jsonValue: gives what only JSON.parse can', async (t) => {
  const values = draw(jsonValue())
  t.ok(values.some((value) => Object.is(value, -0)))
  t.ok(values.includes(Infinity))
  t.ok(
    values.some((value) => typeof value === 'object' && value !== null && Object.hasOwn(value, '__proto__')),
  )
})

t.test('jsonDocument: the bytes of each format hold the records', async (t) => {
  const read = {
    array: (text: string) => JSON.parse(text) as unknown[],
    ndjson: (text: string) =>
      text.split(/\r?\n/).flatMap((line) => (line.trim() === '' ? [] : [JSON.parse(line)])),
    seq: (text: string) =>
      text
        .split('\u001e')
        .slice(1)
        .map((part) => JSON.parse(part) as unknown),
    // no second reader of this format is at hand: the texts that were put together are
    concat: undefined,
  }
  for (const format of JSON_DOCUMENT_FORMATS) {
    const documents = draw(jsonDocument({ format }))
    t.ok(documents.some(({ records }) => records.length === 0))
    t.ok(documents.some(({ records }) => records.length === 10))
    for (const { bytes, records } of documents) {
      const found = read[format]?.(String(bytes))
      if (found && JSON.stringify(found) !== JSON.stringify(records)) t.same(found, records, String(bytes))
    }
  }
  const letters = draw(jsonDocument({ format: 'concat', record: fc.constantFrom('1', '"a"', '[]') }))
  for (const { bytes, records } of letters) {
    t.strictSame(
      String(bytes).match(/1|"a"|\[\]/g) ?? [],
      records.map((record) => JSON.stringify(record)),
    )
    t.notMatch(String(bytes), /1[1"[]/)
  }
  t.ok(
    letters.some(({ bytes }) => /\]\[/.test(String(bytes))),
    'values that show their end stand side by side',
  )
})

t.test('jsonDocument: options out of range are refused', async (t) => {
  t.throws(() => jsonDocument({ format: 'csv' as never }), OptionError)
  t.throws(() => jsonDocument({ format: 'array', maxRecords: -1 }), OptionError)
  t.throws(() => jsonText({ maxDepth: 0 }), OptionError)
  t.throws(() => jsonText({ lineBreaks: 1 as never }), OptionError)
  t.strictSame(fc.sample(jsonDocument({ format: 'seq', maxRecords: 0 }), 1)[0], {
    bytes: Buffer.alloc(0),
    records: [],
  })
})

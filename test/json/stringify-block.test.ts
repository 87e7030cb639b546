import * as fc from 'fast-check'
import t from 'tap'
import { stringifyBlock, type JsonTextFormat } from '../../src/json/stringify-block.ts'
import { anyJson } from './fixtures/vectors.ts'

const formats: JsonTextFormat[] = ['array', 'ndjson', 'seq']
/** The same text as the default, but record by record. */
const oneByOne = (record: unknown) => JSON.stringify(record)

t.test('stringifyBlock: writes what JSON.stringify does, in every format', async (t) => {
  fc.assert(
    fc.property(fc.array(anyJson), (records) => {
      const texts = records.map((record) => JSON.stringify(record))
      t.equal(stringifyBlock(records, 'array').text, texts.join(','))
      t.equal(stringifyBlock(records, 'ndjson').text, texts.map((text) => `${text}\n`).join(''))
      t.equal(stringifyBlock(records, 'seq').text, texts.map((text) => `\u001e${text}\n`).join(''))
    }),
  )
  t.equal(stringifyBlock([Number.NaN, [Number.NaN]], 'array').text, 'null,[null]')
  t.equal(stringifyBlock(['\ud800'], 'ndjson').text, '"\\ud800"\n')
})

const cycle: unknown[] = []
cycle.push(cycle)
const withToJson = (toJSON: unknown) => ({ toJSON })
const odd: [string, unknown, RegExp | string][] = [
  ['undefined', undefined, /record 42 cannot be JSON: undefined/],
  ['a function', () => 1, /a function/],
  ['a symbol', Symbol('x'), /a symbol/],
  ['a BigInt', 1n, /BigInt/],
  ['a BigInt within', { a: [1n] }, /BigInt/],
  ['a cycle', cycle, /circular/],
  ['toJSON that gives undefined', withToJson(() => undefined), /its text is undefined/],
  [
    'toJSON that throws',
    withToJson(() => {
      throw new Error('no')
    }),
    /record 42 cannot be JSON: no/,
  ],
  [
    'toJSON that throws no error',
    withToJson(() => {
      throw 'no'
    }),
    /record 42 cannot be JSON: no/,
  ], // oxlint-disable-line no-throw-literal
]

t.test(
  'stringifyBlock: a record that JSON cannot hold ends the block, in all formats and ways alike',
  async (t) => {
    for (const format of formats) {
      for (const [name, record, message] of odd) {
        for (const stringify of [undefined, oneByOne]) {
          const block = stringifyBlock([1, { a: 2 }, record, 3], format, 40, { stringify })
          t.match(block.error, { code: 'ERR_MILLRACE_JSON_VALUE', index: 42, message }, `${format} ${name}`)
          t.equal(block.text, stringifyBlock([1, { a: 2 }], format).text)
          t.equal(block.written, 2)
          const rest = stringifyBlock([record, 1, record, { a: 2 }, record], format, 0, {
            stringify,
            onInvalid: 'skip',
          })
          t.match(rest, {
            text: stringifyBlock([1, { a: 2 }], format).text,
            written: 2,
            skipped: 3,
            error: undefined,
          })
        }
      }
    }
    // oxlint-disable-next-line no-sparse-arrays
    t.match(stringifyBlock([1, , 2], 'array').error, { index: 1 })
  },
)

t.test('stringifyBlock: toJSON is told the same key wherever the record stands', async (t) => {
  const keys: unknown[] = []
  const record = withToJson((key: string) => {
    keys.push(key)
    return 'x'
  })
  for (const format of formats) t.match(stringifyBlock([1, record], format).text, /"x"/)
  t.same(keys, ['', '', ''])
  t.equal(
    stringifyBlock([withToJson(1), new Date(0)], 'array').text,
    '{"toJSON":1},"1970-01-01T00:00:00.000Z"',
  )
  const callable = Object.assign(() => 1, { toJSON: () => 7 })
  t.equal(stringifyBlock([callable], 'array').text, '7')
})

t.test('stringifyBlock: onInvalid replaces, leaves out, or fails with what it throws', async (t) => {
  const calls: unknown[] = []
  const block = stringifyBlock([1n, 2, undefined], 'array', 5, {
    onInvalid: (error, record) => {
      calls.push([error.index, record])
      return typeof record === 'bigint' ? String(record) : undefined
    },
  })
  t.match(block, { text: '"1",2', written: 2, skipped: 1, error: undefined })
  t.same(calls, [
    [5, 1n],
    [7, undefined],
  ])
  const mine = new Error('mine')
  t.equal(
    stringifyBlock([1n], 'array', 0, {
      onInvalid: () => {
        throw mine
      },
    }).error,
    mine,
  )
  t.match(stringifyBlock([1n], 'array', 9, { onInvalid: () => 2n }).error, { index: 9 })
})

t.test('stringifyBlock: a stringify of the caller is used for every record', async (t) => {
  const stringify = (record: unknown) => `<${String(record)}>`
  t.equal(stringifyBlock([1, 2], 'array', 0, { stringify }).text, '<1>,<2>')
  t.match(stringifyBlock(['a\nb'], 'ndjson', 3, { stringify }).error, { index: 3, message: /line feed/ })
  t.equal(stringifyBlock(['a\nb'], 'seq', 3, { stringify }).error, undefined)
  const wrong = (() => 1) as unknown as (record: unknown) => string
  t.match(stringifyBlock([{}], 'array', 0, { stringify: wrong }).error, {
    message: 'record 0 cannot be JSON: its text is a number',
  })
})

import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import * as fc from 'fast-check'
import t from 'tap'
import type { JsonError } from '../../src/errors.ts'
import { RecordBatch } from '../../src/flow/index.ts'
import { JsonSelector, type JsonSelectorOptions } from '../../src/json/json-selector.ts'
import type { JsonToken } from '../../src/json/selector-core.ts'
import { anyCut } from '../../src/testing/any-cut.ts'
import { anyJson, isJson, mutated, vectors } from './fixtures/vectors.ts'

type Input = string | Uint8Array | readonly Uint8Array[]

async function select(input: Input, options?: JsonSelectorOptions) {
  const chunks =
    typeof input === 'string' ? [Buffer.from(input)] : input instanceof Uint8Array ? [input] : input
  const records: unknown[] = []
  try {
    for await (const chunk of Readable.from(chunks).pipe(new JsonSelector(options))) {
      if (RecordBatch.is(chunk)) records.push(...chunk.records)
      else records.push(chunk)
    }
  } catch (error) {
    return { records, error: error as JsonError }
  }
  return { records }
}

const document =
  '{"total":3,"data":{"items":[{"id":1,"x":[1]},{"id":2,"x":null},{"id":3}],"é":"€"},"items":[9]}'

t.test(
  'JsonSelector: picks parts, leaves out parts, and takes them whole, by element or by member',
  async (t) => {
    const cases: [JsonSelectorOptions, unknown[]][] = [
      [{}, [JSON.parse(document)]],
      [{ pick: 'data.items' }, [[{ id: 1, x: [1] }, { id: 2, x: null }, { id: 3 }]]],
      [{ pick: 'data.items', records: 'elements' }, [{ id: 1, x: [1] }, { id: 2, x: null }, { id: 3 }]],
      [{ pick: /^data\.items\.\d+\.id$/ }, [1, 2, 3]],
      [{ pick: (path) => path.at(-1) === 'x' && path.length === 4, nulls: 'skip' }, [[1]]],
      [{ pick: 'data.items', records: 'elements', ignore: /\.?x$/ }, [{ id: 1 }, { id: 2 }, { id: 3 }]],
      [
        { records: 'members', ignore: /items/ },
        [
          { key: 'total', value: 3 },
          { key: 'data', value: { é: '€' } },
        ],
      ],
      [{ pick: 'nothing' }, []],
    ]
    for (const [options, expected] of cases) {
      for (const batches of [false, true])
        t.same(await select(document, { ...options, batches }), { records: expected })
    }
    const lines = await select('{"a":1}\n{"a":2}[3]', { format: 'concat', pick: 'a' })
    t.same(lines, { records: [1, 2] })
    t.same(await select('', { format: 'concat' }), { records: [] })
  },
)

t.test('JsonSelector: reads a giant value token by token', async (t) => {
  const giant = 'x'.repeat(300_000)
  const selector = new JsonSelector<JsonToken>({ records: 'tokens', pick: 'blob', maxValueBytes: 100_000 })
  selector.end(`{"blob":"${giant}","id":7}`)
  let length = 0
  let longest = 0
  const names = new Set<string>()
  for await (const token of selector) {
    names.add(token.name)
    if (token.name === 'stringChunk') {
      length += token.value.length
      longest = Math.max(longest, token.value.length)
    }
  }
  t.equal(length, giant.length)
  t.ok(longest < 20_000)
  t.same([...names], ['startString', 'stringChunk', 'endString'])
})

t.test('JsonSelector: characters of many bytes may stand on the edge of what is read at once', async (t) => {
  for (let pad = 16 * 1024 - 12; pad < 16 * 1024 + 2; pad++) {
    const text = `${'x'.repeat(pad)}😀€é`
    t.same(await select(JSON.stringify([text]), { batches: true }), { records: [[text]] })
  }
})

t.test('JsonSelector: takes and refuses what JSON.parse does', async (t) => {
  for (const { name, bytes } of vectors) {
    // (stream-json keeps the order of keys, JSON.parse sorts those that look like indices)
    const { error } = await select(bytes, { batches: true, maxDepth: Infinity })
    const text = bytes.toString().replace(/^\ufeff/, '')
    t.equal(
      error === undefined,
      isJson(bytes) || (text !== bytes.toString() && isJson(Buffer.from(text))),
      name,
    )
    if (error !== undefined) t.match(error, { name: 'JsonError', code: /^ERR_MILLRACE_JSON_/ })
  }
})

t.test('JsonSelector: output does not depend on how the bytes were cut', async (t) => {
  const bytes = fc
    .array(anyJson, { maxLength: 5 })
    .map((records) => Buffer.from(JSON.stringify({ a: records })))
  const input = fc.oneof(bytes, mutated(bytes)).chain((bytes) => fc.tuple(fc.constant(bytes), anyCut(bytes)))
  const records = fc.constantFrom('values', 'tokens')
  await fc.assert(
    fc.asyncProperty(input, records, async ([bytes, chunks], records) => {
      const options = { records, batches: true, pick: 'a' }
      const whole = await select(bytes, options)
      const cut = await select(chunks, options)
      t.equal(JSON.stringify(cut.records), JSON.stringify(whole.records))
      t.equal(cut.error?.message, whole.error?.message)
      t.equal(cut.error?.offset, whole.error?.offset)
    }),
    { numRuns: 200 },
  )
})

t.test('JsonSelector: an error says what and where, and comes after the records before it', async (t) => {
  const elements = { records: 'elements' } as const
  const cases: [string | Uint8Array, JsonSelectorOptions, number, Partial<JsonError>][] = [
    ['[1,\n2,x]', elements, 2, { code: 'ERR_MILLRACE_JSON_SYNTAX', offset: 6, line: 2, column: 3 }],
    ['["€",\n"é",\n tru]', elements, 2, { code: 'ERR_MILLRACE_JSON_SYNTAX', offset: 15, line: 3, column: 2 }],
    ['[1,2', elements, 1, { code: 'ERR_MILLRACE_JSON_TRUNCATED', offset: 4 }],
    ['', {}, 0, { code: 'ERR_MILLRACE_JSON_EMPTY', offset: 0 }],
    ['[1]2', {}, 1, { code: 'ERR_MILLRACE_JSON_SYNTAX', offset: 3 }],
    [
      Buffer.from('["a","\xff"]', 'latin1'),
      elements,
      1,
      { code: 'ERR_MILLRACE_JSON_UTF8', offset: 6, column: 7 },
    ],
    [Buffer.from('["a","\xe2\x82', 'latin1'), elements, 1, { code: 'ERR_MILLRACE_JSON_UTF8', offset: 6 }],
    ['{"a":1}', elements, 0, { code: 'ERR_MILLRACE_JSON_PATH', index: 0 }],
    ['[1,null]', elements, 1, { code: 'ERR_MILLRACE_JSON_NULL', index: 1 }],
    ['[1,[[[]]]]', { ...elements, maxDepth: 3 }, 1, { code: 'ERR_MILLRACE_JSON_DEPTH', index: 1 }],
    [`[1,${'['.repeat(100_000)}`, elements, 1, { code: 'ERR_MILLRACE_JSON_DEPTH' }],
    [
      '["a","bcdefgh"]',
      { ...elements, maxValueBytes: 6 },
      1,
      { code: 'ERR_MILLRACE_JSON_TOO_LONG', index: 1 },
    ],
    [
      `["a","${'x'.repeat(100_000)}"]`,
      { ...elements, maxValueBytes: 50_000 },
      1,
      { code: 'ERR_MILLRACE_JSON_TOO_LONG' },
    ],
  ]
  for (const [input, options, count, facts] of cases) {
    const { records, error } = await select(input, options)
    t.equal(records.length, count, JSON.stringify(facts))
    t.match(error, facts)
  }
  const far = `[${'"€",\n'.repeat(20_000)} x]`
  const { records, error } = await select(far, elements)
  t.equal(records.length, 20_000)
  t.match(error, { offset: 1 + 20_000 * 7 + 1, line: 20_001, column: 2 })
})

t.test(
  'JsonSelector: reads a real file, a byte order mark, null in batches; counts; ends on abort',
  async (t) => {
    const path = new URL('../../node_modules/vega-datasets/data/earthquakes.json', import.meta.url)
    const { features } = JSON.parse(await readFile(path, 'utf8')) as { features: { properties: unknown }[] }
    const selector = new JsonSelector({ pick: /^features\.\d+\.properties$/ })
    t.same(
      await createReadStream(path).pipe(selector).toArray(),
      features.map(({ properties }) => properties),
    )
    t.match(selector.stats(), { recordsOut: features.length, errors: 0 })
    t.same(await select('\ufeff[1,null]', { batches: true, records: 'elements' }), { records: [1, null] })
    const aborted = new JsonSelector({ signal: AbortSignal.abort() })
    await t.rejects(aborted.toArray(), { name: 'AbortError' })
  },
)

t.test('JsonSelector: refuses options that are out of range', async (t) => {
  const wrong = {
    pick: 1,
    ignore: [],
    records: 'all',
    format: 'auto',
    batches: 1,
    nulls: 'keep',
    maxDepth: 0,
    maxValueBytes: 0,
    signal: 1,
    highWaterMark: -1,
  }
  for (const [option, value] of Object.entries(wrong)) {
    t.throws(() => new JsonSelector({ [option]: value }), { code: 'ERR_MILLRACE_OPTION', option })
  }
})

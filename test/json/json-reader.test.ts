import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Duplex, PassThrough, Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import { chain, many, none } from 'stream-chain'
import t from 'tap'
import type { JsonError } from '../../src/errors.ts'
import { RecordBatch, positionOf } from '../../src/flow/index.ts'
import { JsonChunker } from '../../src/json/json-chunker.ts'
import { JsonReader, type JsonReaderOptions } from '../../src/json/json-reader.ts'
import { readJson } from '../../src/json/read-json.ts'
import { anyCut } from '../../src/testing/any-cut.ts'
import { anyJson, isJson, mutated, vectors } from './fixtures/vectors.ts'

type Input = string | Uint8Array | readonly Uint8Array[]
const chunksOf = (input: Input): readonly Uint8Array[] =>
  typeof input === 'string' ? [Buffer.from(input)] : input instanceof Uint8Array ? [input] : input

interface Result {
  readonly records: unknown[]
  readonly error?: JsonError
}

/** What comes out up to the end or the error, by the stage. */
async function read(input: Input, options?: JsonReaderOptions): Promise<Result> {
  const records: unknown[] = []
  try {
    for await (const chunk of Readable.from(chunksOf(input)).pipe(new JsonReader(options))) {
      if (RecordBatch.is(chunk)) records.push(...chunk.records)
      else records.push(chunk)
    }
  } catch (error) {
    return { records, error: error as JsonError }
  }
  return { records }
}

/** The same by the iterable, which is synchronous inside and so much faster for thousands of cases. */
async function iterate(input: Input, options?: JsonReaderOptions): Promise<Result> {
  const records: unknown[] = []
  try {
    const { nulls: _, ...others } = options ?? {}
    for await (const batch of readJson(chunksOf(input), { ...others, batches: true }))
      records.push(...batch.records)
  } catch (error) {
    return { records, error: error as JsonError }
  }
  return { records }
}

/** What must be the same however the bytes were cut. */
const summary = ({ records, error }: Result) =>
  JSON.stringify([
    records,
    error && [error.code, error.message, error.index, error.offset, error.line, error.column],
  ])

async function all<T>(records: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const record of records) list.push(record)
  return list
}

const cuts = (bytes: Uint8Array, size: number) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))

const unlimited = { maxDepth: Infinity, maxValueBytes: Infinity }
const brackets = (bytes: Uint8Array) => Buffer.concat([Buffer.from('['), bytes, Buffer.from(']')])

t.test(
  'JsonReader: takes and refuses what JSON.parse does, for each document of the suite as an element',
  async (t) => {
    for (const { name, bytes } of vectors) {
      const wrapped = brackets(bytes)
      const expected = isJson(wrapped) ? JSON.stringify(JSON.parse(wrapped.toString())) : undefined
      for (const size of wrapped.length > 5000 ? [64, 65536] : [1, 7, 64]) {
        const { records, error } = await iterate(cuts(wrapped, size), {
          ...unlimited,
          format: 'array',
          blockSize: 16,
        })
        t.equal(error === undefined ? JSON.stringify(records) : undefined, expected, `${name} cut at ${size}`)
      }
    }
  },
)

t.test(
  'JsonReader: takes and refuses what JSON.parse does, for each array of the suite by itself',
  async (t) => {
    for (const { name, bytes } of vectors) {
      const text = bytes.toString().replace(/^\ufeff/, '')
      if (text.trimStart()[0] !== '[') continue
      const decoded =
        isJson(Buffer.from(text)) && isJson(bytes.subarray(bytes.length - Buffer.byteLength(text)))
      for (const format of ['array', 'auto'] as const) {
        const { records, error } = await iterate(bytes, { ...unlimited, format })
        t.equal(error === undefined, decoded, `${format} ${name}`)
        if (decoded) t.equal(JSON.stringify(records), JSON.stringify(JSON.parse(text)))
      }
    }
  },
)

const text = fc
  .tuple(fc.array(anyJson, { maxLength: 12 }), fc.constantFrom(undefined, 1, '\n\t'))
  .map(([records, space]) => Buffer.from(JSON.stringify(records, null, space)))

t.test('JsonReader: takes and refuses what JSON.parse does, for broken arrays too', async () => {
  await fc.assert(
    fc.asyncProperty(mutated(text), fc.constantFrom(1, 20, 65536), async (bytes, blockSize) => {
      const { error } = await iterate(bytes, { ...unlimited, format: 'array', blockSize })
      const isArray = isJson(bytes) && Array.isArray(JSON.parse(bytes.toString()))
      return (error === undefined) === isArray
    }),
    { numRuns: 2000 },
  )
})

t.test('JsonReader: records and errors do not depend on how the bytes were cut', async (t) => {
  const formats = fc.constantFrom('auto', 'array', 'ndjson', 'concat', 'seq')
  const input = fc.tuple(formats, fc.array(anyJson, { maxLength: 8 })).map(([format, records]) => {
    const texts = records.map((record) => JSON.stringify(record))
    const lines = texts.map((text) => (format === 'seq' ? `\u001e${text}\n` : `${text}\n`)).join('')
    return {
      format,
      bytes: Buffer.from(format === 'auto' || format === 'array' ? `[${texts.join(', ')}]` : lines),
    }
  })
  const cut = input.chain(({ format, bytes }) =>
    fc
      .oneof(fc.constant(bytes), mutated(fc.constant(bytes)))
      .chain((bytes) =>
        fc.record({ format: fc.constant(format), bytes: fc.constant(bytes), chunks: anyCut(bytes) }),
      ),
  )
  const limits = fc.record({
    blockSize: fc.constantFrom(1, 10, 65536),
    maxValueBytes: fc.constantFrom(12, 1 << 26),
    maxDepth: fc.constantFrom(1, 1024),
    onInvalid: fc.constantFrom('throw', 'skip'),
  })
  await fc.assert(
    fc.asyncProperty(cut, limits, async ({ format, bytes, chunks }, limits) => {
      const options = { ...limits, format, batches: true }
      const whole = summary(await iterate(bytes, options))
      t.equal(summary(await iterate(chunks, options)), whole)
      t.equal(summary(await read(chunks, options)), whole)
    }),
    { numRuns: 300 },
  )
})

t.test('JsonReader: batch edges do not depend on how the bytes were cut', async (t) => {
  const records = Array.from({ length: 500 }, (_, i) => ({ id: i, text: 'x'.repeat(i % 50) }))
  const bytes = Buffer.from(JSON.stringify(records))
  const edges = async (chunks: readonly Uint8Array[]) => {
    const seen: unknown[] = []
    for await (const batch of readJson(chunks, { batches: true, blockSize: 1000 })) {
      seen.push([batch.index, batch.length, positionOf(batch)])
    }
    return seen
  }
  const whole = await edges([bytes])
  t.ok(whole.length > 10)
  for (const size of [1, 999, 5000]) t.same(await edges(cuts(bytes, size)), whole, String(size))
  t.match(whole[0], [0, Number, { index: 0, offset: 1, line: 1, column: 2 }])
  await fc.assert(
    fc.asyncProperty(anyCut(bytes), async (chunks) => t.same(await edges(chunks), whole)),
    { numRuns: 20 },
  )
})

t.test('JsonReader: what JsonChunker writes comes back the same', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyJson),
      fc.constantFrom('array', 'ndjson', 'seq'),
      async (records, format) => {
        const written = Readable.from([new RecordBatch(0, records)]).pipe(
          new JsonChunker({ format, threshold: 20 }),
        )
        const back: unknown[] = []
        for await (const record of readJson(written, { format })) back.push(record)
        return JSON.stringify(back) === JSON.stringify(records)
      },
    ),
  )
})

t.test('JsonReader: auto finds out what the bytes are', async (t) => {
  const cases: [string, unknown[]][] = [
    ['[1,2]', [1, 2]],
    [' \n[ ]', []],
    ['{"a":1}', [{ a: 1 }]],
    ['{\n "a": 1\n}', [{ a: 1 }]],
    ['{"a":1}\n{"a":2}\r\n\n{"a":3}', [{ a: 1 }, { a: 2 }, { a: 3 }]],
    ['{"a":1}{"a":2}', [{ a: 1 }, { a: 2 }]],
    ['{\n"a":1}\n{"a"\n:2}', [{ a: 1 }, { a: 2 }]],
    ['1 2 "3"true', [1, 2, '3', true]],
    ['42', [42]],
    ['\ufeff{"a":1}\n2', [{ a: 1 }, 2]],
    ['\ufeff[1]', [1]],
  ]
  for (const [text, expected] of cases) {
    for (const size of [1, 3, 100])
      t.same(await read(cuts(Buffer.from(text), size)), { records: expected }, encodeURI(text))
  }
})

t.test('JsonReader: an error says what and where, and comes after the good records', async (t) => {
  const cases: [JsonReaderOptions['format'], string | Uint8Array, number, string, Partial<JsonError>][] = [
    ['array', '[1,2,{"a":x}]', 2, 'SYNTAX', { index: 2, offset: 10, line: 1, column: 11 }],
    ['array', '[1,\n2,\n]', 2, 'SYNTAX', { offset: 7, line: 3, column: 1 }],
    ['array', '[1,2', 1, 'TRUNCATED', { offset: 4 }],
    ['array', '[1,{"a":[2', 1, 'TRUNCATED', { offset: 10 }],
    ['array', '[1,2] x', 2, 'TRAILING', { offset: 6 }],
    ['array', '[1][2]', 1, 'TRAILING', { offset: 3 }],
    ['array', '[1}', 0, 'SYNTAX', { offset: 2 }],
    ['array', '{"a":1}', 0, 'SYNTAX', { offset: 0 }],
    ['array', '42', 0, 'SYNTAX', { offset: 0 }],
    ['array', '', 0, 'EMPTY', { offset: 0 }],
    ['auto', ' \n', 0, 'EMPTY', { offset: 2 }],
    ['ndjson', '1\n\n[1\n2\n', 1, 'SYNTAX', { index: 1, offset: 5, line: 3, column: 3 }],
    ['ndjson', '1\n{"a":', 1, 'TRUNCATED', { index: 1, offset: 7, line: 2, column: 6 }],
    ['concat', '{}[]tru', 2, 'SYNTAX', { index: 2, offset: 7 }],
    ['concat', '{}{"a":', 1, 'TRUNCATED', { offset: 7 }],
    ['seq', '\u001e1\n\u001e2', 1, 'TRUNCATED', { index: 1, offset: 5 }],
    ['seq', '1\n', 0, 'SYNTAX', { offset: 0 }],
    ['array', Buffer.from('[1,"\xff"]', 'latin1'), 1, 'UTF8', { index: 1, offset: 4 }],
    ['ndjson', Buffer.from('1\n"\xc3"', 'latin1'), 1, 'UTF8', { index: 1, offset: 3 }],
    ['array', Buffer.from([0xef, 0x5b, 0x5d]), 0, 'SYNTAX', { offset: 1 }],
    ['array', Buffer.from([0xef, 0xbb, 0x5b, 0x5d]), 0, 'SYNTAX', { offset: 2 }],
    ['ndjson', Buffer.from('\ufeff1\n\ufeff2\n'), 1, 'SYNTAX', { index: 1, offset: 5 }],
  ]
  for (const [format, input, good, code, facts] of cases) {
    for (const size of [1, 1000]) {
      const { records, error } = await read(cuts(Buffer.from(input as string), size), {
        format: format ?? 'auto',
      })
      t.equal(records.length, good, `${format} ${String(input)}`.replaceAll(/[^ -~]/g, '.'))
      t.match(error, { name: 'JsonError', code: `ERR_MILLRACE_JSON_${code}`, ...facts })
    }
  }
  for (const format of ['array', 'auto'] as const)
    t.same(await read('', { format, allowEmpty: true }), { records: [] })
  for (const format of ['ndjson', 'concat', 'seq'] as const)
    t.same(await read('', { format }), { records: [] })
})

t.test('JsonReader: records before the error reach a slow reader of one record at a time', async (t) => {
  const good = Array.from({ length: 100 }, (_, i) => i)
  const source = Readable.from([Buffer.from(`[${good.join(',')},x]`)])
  const seen: unknown[] = []
  await t.rejects(
    async () => {
      for await (const record of source.pipe(new JsonReader({ highWaterMark: 3 }))) {
        await new Promise((resolve) => setImmediate(resolve))
        seen.push(record)
      }
    },
    { code: 'ERR_MILLRACE_JSON_SYNTAX', index: 100 },
  )
  t.same(seen, good)
})

t.test('JsonReader: limits hold at the byte', async (t) => {
  for (const format of ['array', 'concat'] as const) {
    const write = (depth: number) =>
      (format === 'array' ? '[0,' : '0 ') +
      '['.repeat(depth) +
      ']'.repeat(depth) +
      (format === 'array' ? ']' : '')
    t.equal((await read(write(1024), { format })).error, undefined)
    const { records, error } = await read(write(1025), { format })
    t.same(records, [0])
    t.match(error, { code: 'ERR_MILLRACE_JSON_DEPTH' })
    t.match((await read(write(100_000), { format })).error, { code: 'ERR_MILLRACE_JSON_DEPTH' })
  }
  for (const [format, before, between, after, extra] of [
    ['array', '[', ',', ']', 0],
    ['ndjson', '', '\n', '\n', 1],
    ['concat', '', '', '', 0],
    ['seq', '\u001e', '\n\u001e', '\n', 2],
  ] as const) {
    const value = JSON.stringify('x'.repeat(98))
    const input = before + [value, value].join(between) + after
    for (const blockSize of [1, 50, 65536]) {
      const options = { format, blockSize }
      t.equal(
        (await read(input, { ...options, maxValueBytes: 100 + extra })).records.length,
        2,
        `${format} ${blockSize}`,
      )
      const { error } = await read(input, { ...options, maxValueBytes: 99 + extra })
      t.match(error, { code: 'ERR_MILLRACE_JSON_TOO_LONG', index: 0 }, `${format} ${blockSize}`)
    }
  }
})

t.test('JsonReader: path leads to the array or object whose parts are the records', async (t) => {
  const inner = fc.oneof(
    fc.array(anyJson, { maxLength: 4 }),
    fc.dictionary(fc.string(), anyJson, { maxKeys: 4 }),
  )
  const key = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('__proto__', '"', '\\', 'a'))
  const layer = fc.record({ key, before: fc.dictionary(key, anyJson, { maxKeys: 2 }), after: anyJson })
  const input = fc.record({ inner, layers: fc.array(layer, { maxLength: 3 }) }).chain(({ inner, layers }) => {
    let text = JSON.stringify(inner)
    for (const { key, before, after } of layers.toReversed()) {
      const others = Object.entries(before).filter(([other]) => other !== key)
      const members = others.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}, `)
      text = `{${members.join('')}${JSON.stringify(key)} :${text}, "after":${JSON.stringify(after)}}`
    }
    const path = layers.map(({ key }) => key)
    return fc.record({
      inner: fc.constant(inner),
      path: fc.constant(path),
      chunks: anyCut(Buffer.from(text)),
    })
  })
  await fc.assert(
    fc.asyncProperty(input, fc.constantFrom(1, 10, 65536), async ({ inner, path, chunks }, blockSize) => {
      const { records, error } = await iterate(chunks, { path, blockSize })
      t.equal(error, undefined)
      const expected = Array.isArray(inner)
        ? inner
        : Object.entries(inner).map(([key, value]) => ({ key, value }))
      // (Object.entries sorts keys that look like indices, the document does not)
      const texts = (records: unknown[]) => records.map((record) => JSON.stringify(record)).sort()
      t.same(texts(records), texts(expected))
    }),
    { numRuns: 300 },
  )
  const path = ['data', 'items']
  const good = '{"x":[{"items":1}],"d\\u0061ta":{"items":[1,{"a":2}]},"y":"]"} \n'
  t.same(await read(good, { path }), { records: [1, { a: 2 }] })
  const cases: [string, unknown[], Partial<JsonError>][] = [
    ['{"data":{"items":[1,x]}}', [1], { code: 'ERR_MILLRACE_JSON_SYNTAX', index: 1, offset: 20 }],
    ['{"data":{"items":[1,2]}', [1, 2], { code: 'ERR_MILLRACE_JSON_TRUNCATED', offset: 23 }],
    ['{"data":{"items":[1,2]}}]', [1, 2], { offset: 24 }],
    [
      '{"data":{"items":{"a":1,"b" 2}}}',
      [{ key: 'a', value: 1 }],
      { code: 'ERR_MILLRACE_JSON_SYNTAX', offset: 28 },
    ],
    ['{"data":{"items":7}}', [], { code: 'ERR_MILLRACE_JSON_PATH' }],
    ['{"data":{}}', [], { code: 'ERR_MILLRACE_JSON_PATH' }],
    ['[1]', [], { code: 'ERR_MILLRACE_JSON_PATH' }],
  ]
  for (const [text, expected, facts] of cases) {
    for (const size of [1, 1000]) {
      const { records, error } = await read(cuts(Buffer.from(text), size), { path })
      t.same(records, expected, text)
      t.match(error, { name: 'JsonError', ...facts }, text)
    }
  }
  t.throws(() => new JsonReader({ path, format: 'ndjson' }), { code: 'ERR_MILLRACE_OPTION', option: 'path' })
})

t.test('JsonReader: null alone is an error that names the ways out, and a record in a batch', async (t) => {
  for (const input of ['[1,null,2]', '1\nnull\n2\n']) {
    const { records, error } = await read(input)
    t.same(records, [1])
    t.match(error, { code: 'ERR_MILLRACE_JSON_NULL', index: 1, message: /batches: true.*nulls: 'skip'/ })
    t.same(await read(input, { nulls: 'skip' }), { records: [1, 2] })
    t.same(await read(input, { batches: true }), { records: [1, null, 2] })
    t.same(await read(input, { batches: true, nulls: 'skip' }), { records: [1, 2] })
    t.same(await all(readJson([Buffer.from(input)])), [1, null, 2])
    t.same(await all(readJson([Buffer.from(input)], { nulls: 'skip' })), [1, 2])
  }
})

t.test('JsonReader: numbers of records count what was left out, numbers of batches do not', async (t) => {
  const reader = new JsonReader<RecordBatch>({ batches: true, blockSize: 6, onInvalid: 'skip' })
  reader.end('1\n2\nx\n4\n5\ny\n7\n')
  const batches = await reader.toArray()
  t.same(
    batches.map((batch: RecordBatch) => [batch.index, batch.records, positionOf(batch)?.index]),
    [
      [0, [1, 2], 0],
      [2, [4, 5], 3],
      [4, [7], 6],
    ],
  )
})

t.test('JsonReader: onInvalid and reviver see each record', async (t) => {
  const lines = '{"a":1}\n{"a":\n{"a":3}\n'
  const onInvalid = ({ index, line }: JsonError) => ({ index, line })
  t.same((await read(lines, { onInvalid })).records, [{ a: 1 }, { index: 1, line: 2 }, { a: 3 }])
  t.same((await read('[1,tru,3]', { onInvalid: 'skip' })).records, [1, 3])
  t.same((await read('[1,2]', { reviver: (_, value) => (value as number) + 1 })).records, [2, 3])
})

t.test('JsonReader: the queue holds what highWaterMark allows, and no more', async (t) => {
  const bytes = Buffer.from(JSON.stringify(Array.from({ length: 20_000 }, (_, i) => i)))
  for (const highWaterMark of [1, 5, 16]) {
    const reader = new JsonReader({ highWaterMark })
    let most = 0
    let count = 0
    const slow = new Writable({
      objectMode: true,
      highWaterMark: 1,
      write(_record, _encoding, callback) {
        most = Math.max(most, reader.readableLength)
        if (++count % 1000 === 0) setImmediate(callback)
        else callback()
      },
    })
    await pipeline(Readable.from(cuts(bytes, 30_000)), reader, slow)
    t.equal(count, 20_000)
    t.ok(most <= highWaterMark, `${most} of ${highWaterMark}`)
  }
  const source = Readable.from(cuts(bytes, 1000))
  const stuck = source.pipe(new JsonReader({ batches: true, blockSize: 1000 }))
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
  t.equal(stuck.readableLength, 2)
  t.notOk(source.readableEnded, 'the source waits')
  stuck.destroy()
})

t.test('JsonReader: leaving a loop, aborting and destroying end the stage and its source', async (t) => {
  const file = new URL('../../node_modules/vega-datasets/data/movies.json', import.meta.url)
  const source = createReadStream(file)
  for await (const record of readJson<Record<string, unknown>>(source)) {
    t.ok(record['Title'])
    break
  }
  t.ok(source.destroyed)

  const controller = new AbortController()
  const second = createReadStream(file)
  await t.rejects(
    async () => {
      for await (const batch of readJson(second, { batches: true, signal: controller.signal })) {
        t.ok(batch.length)
        controller.abort()
      }
    },
    { name: 'AbortError' },
  )
  t.ok(second.destroyed)
  await t.rejects(all(readJson(cuts(Buffer.from('[1,2]'), 1), { signal: AbortSignal.abort() })), {
    name: 'AbortError',
  })

  const third = new AbortController()
  const sink = new PassThrough({ objectMode: true })
  const running = pipeline(createReadStream(file), new JsonReader({ signal: third.signal }), sink)
  third.abort()
  await t.rejects(running, { name: 'AbortError' })
  await t.rejects(new JsonReader({ signal: AbortSignal.abort() }).toArray(), { name: 'AbortError' })
})

t.test('JsonReader: reads real files, in a pipeline, a chain and a web stream', async (t) => {
  const path = new URL('../../node_modules/vega-datasets/data/movies.json', import.meta.url)
  const expected = JSON.parse(await readFile(path, 'utf8')) as unknown[]
  t.same(await createReadStream(path).pipe(new JsonReader()).toArray(), expected)
  const titles = chain([
    createReadStream(path),
    new JsonReader<{ Title: string | null }>(),
    (movie: { Title: string | null }) => (movie.Title === null ? none : many([movie.Title, movie.Title])),
  ] as never) as unknown as Readable
  const twice = (expected as { Title: string | null }[]).flatMap(({ Title }) =>
    Title === null ? [] : [Title, Title],
  )
  t.same(await titles.toArray(), twice)
  const { readable, writable } = Duplex.toWeb(new JsonReader())
  const [web] = await Promise.all([
    all(readable as AsyncIterable<unknown>),
    (Readable.toWeb(createReadStream(path)) as ReadableStream).pipeTo(writable),
  ])
  t.same(web, expected)
})

t.test('JsonReader: two streams side by side do not disturb each other', async (t) => {
  const texts = [
    ['\\"[', 1, 'x'],
    [{ a: '"]' }, 2, '\\', '['],
  ].map((records) => JSON.stringify(records))
  const bytes = texts.map((text) => Buffer.from(text))
  const readers = bytes.map(() => new JsonReader())
  for (let at = 0; at < 40; at++)
    readers.forEach((reader, i) => at < bytes[i]!.length && reader.write(bytes[i]!.subarray(at, at + 1)))
  readers.forEach((reader) => reader.end())
  for (const [i, reader] of readers.entries()) t.same(await reader.toArray(), JSON.parse(texts[i]!))
})

t.test('JsonReader: takes strings, Uint8Array and views, and counts', async (t) => {
  const bytes = new Uint8Array(Buffer.from('##[1,{"a":2}]##')).subarray(2, -2)
  t.same(await read([bytes]), { records: [1, { a: 2 }] })
  t.same(await all(readJson(['[1,"', 'é"]'])), [1, 'é'])
  const events: unknown[] = []
  const reader = new JsonReader({
    batches: true,
    onChunk: ({ stage, records, index }) => events.push([stage, records, index]),
    onComplete: ({ recordsOut, bytesIn }) => events.push([recordsOut, bytesIn]),
  })
  reader.end('[1,2]')
  await reader.toArray()
  t.same(events, [
    ['JsonReader', 2, 0],
    [2, 5],
  ])
  t.match(reader.stats(), { bytesIn: 5, recordsOut: 2, chunks: 1, errors: 0 })
  const errors: unknown[] = []
  await read('[', { onError: (error) => errors.push(error) })
  await iterate('[', { onError: (error) => errors.push(error) })
  t.match(errors, [{ code: 'ERR_MILLRACE_JSON_TRUNCATED' }, { code: 'ERR_MILLRACE_JSON_TRUNCATED' }])
})

t.test('JsonReader: refuses options that are out of range', async (t) => {
  const wrong = {
    format: 'json',
    path: 'a',
    batches: 1,
    nulls: 'keep',
    onInvalid: 'report',
    reviver: 1,
    maxDepth: 0,
    maxValueBytes: 0.5,
    blockSize: 0,
    allowEmpty: 1,
    signal: 1,
    highWaterMark: -1,
    onChunk: 1,
  }
  for (const [option, value] of Object.entries(wrong)) {
    t.throws(() => new JsonReader({ [option]: value }), { code: 'ERR_MILLRACE_OPTION', option })
    if (!['highWaterMark', 'onChunk', 'nulls'].includes(option))
      t.throws(() => readJson([], { [option]: value }), { code: 'ERR_MILLRACE_OPTION', option })
  }
})

t.test('readJson: eager gives what each chunk completes at once, and the same records in all', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc
        .array(fc.nat(1000), { maxLength: 30 })
        .chain((records) =>
          fc.tuple(
            fc.constant(records),
            anyCut(Buffer.from(records.map((record) => `${record}\n`).join(''))),
          ),
        ),
      async ([records, cut]) => {
        let read = ''
        const given: unknown[] = []
        async function* source() {
          for (const chunk of cut) {
            read += chunk.toString()
            yield chunk
            // asked for more: what was complete has been given
            assert.equal(given.length, read.split('\n').length - 1)
          }
        }
        const options = { format: 'ndjson', eager: true, allowEmpty: true } as const
        for await (const record of readJson(source(), options)) given.push(record)
        assert.deepEqual(given, records)
      },
    ),
  )
})

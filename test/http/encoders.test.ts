import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import protobuf from 'protobufjs'
import t from 'tap'
import { HttpError, OptionError } from '../../src/errors.ts'
import { ChunkJoiner } from '../../src/http/chunk-joiner.ts'
import {
  csvEncoder,
  jsonEncoder,
  jsonSeqEncoder,
  messagePackEncoder,
  ndjsonEncoder,
  protobufEncoder,
  receive,
  type RecordEncoder,
} from '../../src/http/index.ts'
import { anyCut } from '../../src/testing/any-cut.ts'
import { jsonValue } from '../../src/testing/json-arbitraries.ts'

const { root } = protobuf.parse(
  'syntax = "proto3"; package test; message Row { int32 id = 1; string name = 2; repeated double n = 3; }',
)
const Row = root.lookupType('test.Row')

/** A body of these records, in blocks of these sizes. */
function encode(encoder: RecordEncoder, records: readonly unknown[], sizes: readonly number[]): Buffer {
  const encoding = encoder.start()
  const joiner = new ChunkJoiner(encoding)
  const parts: (string | Uint8Array)[] = []
  for (let at = 0, i = 0; at < records.length; i++) {
    const size = sizes[i % sizes.length] as number
    const block = records.slice(at, at + size)
    joiner.push({ data: encoding.encode(block as never, at), records: block.length })
    if (i % 3 === 0) parts.push(joiner.take().data)
    at += size
  }
  joiner.end()
  parts.push(joiner.take().data)
  assert.equal(joiner.records, records.length)
  return Buffer.concat(parts.map((part) => Buffer.from(part as string)))
}

/** A response whose body comes in these chunks. */
function responseOf(chunks: readonly Uint8Array[], contentType: string): Response {
  const iterator = chunks[Symbol.iterator]()
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const { value, done } = iterator.next()
      if (done) controller.close()
      else if (value.length > 0) controller.enqueue(value)
      else this.pull?.(controller)
    },
  })
  return new Response(body, { headers: { 'content-type': contentType } })
}

async function decode(encoder: RecordEncoder, cut: readonly Uint8Array[]): Promise<unknown[]> {
  const records: unknown[] = []
  for await (const record of receive(responseOf(cut, encoder.contentType), { type: Row }))
    records.push(record)
  return records
}

const sizes = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 4 })

/** Encodes, cuts anywhere, decodes. */
async function roundTrips(
  encoder: RecordEncoder,
  arbitrary: fc.Arbitrary<unknown[]>,
  { runs = 60, plain = (record: unknown) => record } = {},
): Promise<void> {
  const cases = fc.tuple(arbitrary, sizes).chain(([records, blocks]) => {
    const body = encode(encoder, records, blocks)
    // however the blocks were cut
    assert.ok(encode(encoder, records, [1000]).equals(body))
    return fc.tuple(fc.constant(records), anyCut(body))
  })
  await fc.assert(
    fc.asyncProperty(cases, async ([records, cut]) => {
      assert.deepEqual((await decode(encoder, cut)).map(plain), records)
    }),
    { numRuns: runs },
  )
}

t.test(
  'jsonEncoder, ndjsonEncoder, jsonSeqEncoder: what is encoded in any blocks is decoded from any cut',
  async () => {
    // JSON has no negative zero
    const values = fc
      .array(jsonValue(), { maxLength: 20 })
      .map((records) => JSON.parse(JSON.stringify(records)) as unknown[])
    await roundTrips(jsonEncoder(), values)
    await roundTrips(ndjsonEncoder(), values)
    await roundTrips(ndjsonEncoder({ terminator: true }), values)
    await roundTrips(jsonSeqEncoder(), values)
  },
)

t.test('messagePackEncoder: what is encoded in any blocks is decoded from any cut', async (t) => {
  const encoder = await messagePackEncoder()
  const values = fc.array(
    fc.oneof(
      fc.integer(),
      fc.string(),
      fc.constant(null),
      fc.dictionary(
        fc.string({ minLength: 1 }).filter((key) => key !== '__proto__'),
        fc.string(),
        { noNullPrototype: true },
      ),
    ),
    {
      maxLength: 20,
    },
  )
  await roundTrips(encoder, values)
  t.test('a last value that is cut off is an error, after all before it', async (t) => {
    const body = encode(encoder, ['a', 'bcdef'], [1])
    for (let end = 3; end < body.length; end++) {
      const seen: unknown[] = []
      await t.rejects(
        async () => {
          for await (const record of receive(responseOf([body.subarray(0, end)], encoder.contentType)))
            seen.push(record)
        },
        { code: 'ERR_MILLRACE_HTTP_TRUNCATED', index: 1 },
      )
      t.same(seen, ['a'])
    }
  })
})

t.test('protobufEncoder: what is encoded in any blocks is decoded from any cut', async () => {
  const rows = fc.array(
    fc.record(
      {
        id: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        name: fc.string({ unit: 'grapheme' }),
        n: fc.array(fc.double({ noNaN: true })),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 20 },
  )
  const plain = (row: unknown) => Row.toObject(row as never, { defaults: true })
  await roundTrips(protobufEncoder<never>(Row), rows, { plain })
})

t.test('protobufEncoder: names its type, and refuses what is no message of it', async (t) => {
  t.equal(
    protobufEncoder(Row).contentType,
    'application/vnd.google.protobuf; proto=test.Row; encoding=delimited',
  )
  const { fullName: _, ...nameless } = {
    fullName: '',
    encodeDelimited: Row.encodeDelimited.bind(Row),
    decode: Row.decode.bind(Row),
  }
  t.equal(
    protobufEncoder(nameless as never).contentType,
    'application/vnd.google.protobuf; encoding=delimited',
  )
  t.ok(
    protobufEncoder(nameless as never)
      .start()
      .encode([{ id: 1 }], 0),
  )
  t.throws(
    () =>
      protobufEncoder(Row)
        .start()
        .encode([{ id: 1 }, { id: 'x' }], 5),
    {
      code: 'ERR_MILLRACE_HTTP_ENCODE',
      index: 6,
      message: /record 6 cannot be protobuf: id: integer expected/,
    },
  )
  t.ok(
    protobufEncoder(Row, { verify: false })
      .start()
      .encode([{ id: 'x' }], 0),
  )
  t.throws(() => protobufEncoder({} as never), OptionError)
})

t.test('csvEncoder: what is encoded in any blocks is read by csv-parse from any cut', async () => {
  const field = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r', ' ', 'é', ';', "'") })
  const rows = fc.array(
    fc.record({ id: field, 'the "name"': field, last: field }, { noNullPrototype: true }),
    { minLength: 1, maxLength: 12 },
  )
  await roundTrips(csvEncoder(), rows, { runs: 200 })
  const single = fc.array(fc.record({ only: field }, { noNullPrototype: true }), {
    minLength: 1,
    maxLength: 12,
  })
  await roundTrips(csvEncoder(), single)
})

t.test('csvEncoder: writes values as spreadsheets and databases read them', async (t) => {
  const lines = (encoder: RecordEncoder<object>, records: object[]) => String(encode(encoder, records, [2]))
  const row = { a: 1.5, b: true, c: null, d: undefined, e: new Date(0), f: { x: [1] }, g: 10n }
  t.equal(
    lines(csvEncoder(), [row]),
    'a,b,c,d,e,f,g\r\n1.5,true,,,1970-01-01T00:00:00.000Z,"{""x"":[1]}",10\r\n',
  )
  t.equal(
    lines(csvEncoder({ columns: ['b', 'a'], header: false }), [{ a: 1, b: 2 }, { a: 3 }]),
    '2,1\r\n,3\r\n',
  )
  t.equal(lines(csvEncoder({ columns: ['x', 'y'] }), []), 'x,y\r\n')
  t.equal(lines(csvEncoder(), []), '')
  t.equal(lines(csvEncoder(), [[1, 'a'], [2]]), '1,a\r\n2\r\n')
  const formulas = csvEncoder({ escapeFormulas: true, header: false })
  t.equal(lines(formulas, [{ a: '=1+1', b: '@x', c: -5, d: '-5', e: 'a=b' }]), "'=1+1,'@x,-5,'-5,a=b\r\n")
  t.equal(csvEncoder({ header: false }).contentType, 'text/csv; charset=utf-8; header=absent')
})

t.test('csvEncoder: a field without a column, or a record without fields, is an error', async (t) => {
  const encoding = csvEncoder().start()
  t.throws(() => encoding.encode([{ a: 1 }, { a: 1, b: 2 }], 7), {
    code: 'ERR_MILLRACE_HTTP_ENCODE',
    index: 8,
    actual: 'b',
  })
  t.throws(() => encoding.encode([5 as never], 0), HttpError)
  t.throws(() => encoding.encode([null as never], 0), HttpError)
  t.throws(() => csvEncoder({ columns: [1 as never] }), OptionError)
  t.throws(() => csvEncoder({ header: 1 as never }), OptionError)
})

t.test('jsonEncoder: a serializer of one’s own is used, and what JSON cannot hold is an error', async (t) => {
  const stringify = (record: unknown) => `<${String(record)}>`
  t.equal(jsonEncoder({ stringify }).start().encode([1, 2], 0), '<1>,<2>')
  t.equal(ndjsonEncoder({ stringify }).start().encode([1, 2], 0), '<1>\n<2>\n')
  t.throws(() => jsonEncoder().start().encode([1, undefined], 3), {
    code: 'ERR_MILLRACE_JSON_VALUE',
    index: 4,
  })
  t.throws(() => jsonEncoder({ stringify: 1 as never }), OptionError)
  t.throws(() => jsonSeqEncoder({ stringify: 1 as never }), OptionError)
  t.throws(() => ndjsonEncoder({ terminator: 1 as never }), OptionError)
})

t.test('ChunkJoiner: text and bytes may be mixed', async (t) => {
  const joiner = new ChunkJoiner({
    separator: '|',
    encode: () => '',
    begin: () => '<',
    end: (count) => `>${count}`,
  })
  joiner.push({ data: Buffer.from('ab'), records: 1 })
  joiner.push({ data: 'cd', records: 2 })
  t.equal(joiner.size, 6)
  joiner.push({ data: Buffer.from('e'), records: 1 })
  joiner.end()
  t.match(joiner.take(), { data: Buffer.from('<ab|cd|e>4'), records: 4 })
  t.equal(joiner.size, 0)
  joiner.fail(new Error('ignored'))
  t.equal(joiner.take().data, '')
  const only = new ChunkJoiner({ encode: () => '' })
  only.push({ data: Buffer.from('ab'), records: 1 })
  t.equal(String(only.take().data), 'ab')
})

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { Policy } from '../../src/flow/index.ts'
import {
  SchemaRegistry,
  avroCodec,
  inferAvroSchema,
  inferProtobufSchema,
  jsonCodec,
  murmur2,
  parseKafkaUrl,
  producerOptions,
  protobufCodec,
  readRegistryFrame,
  registryHeader,
} from '../../src/kafka/index.ts'
import { checkNodeVersion } from '../../src/kafka/kafka-client.ts'
import { visibleRecords, type StoredBatch } from '../../src/kafka/visible-records.ts'

const use = { topic: 'clicks', part: 'value' as const }

interface Registry {
  readonly url: string
  readonly requests: string[]
  answer: (path: string, body: string) => { status?: number; text: string }
}

/** A registry that keeps what it is told, and counts. */
async function registry(t: Test): Promise<Registry> {
  const schemas: string[] = []
  const fake: Registry = {
    url: '',
    requests: [],
    answer(path, body) {
      if (body !== '') return { text: JSON.stringify({ id: schemas.push(body) }) }
      return { text: schemas[Number(path.split('/').at(-1)) - 1] ?? '' }
    },
  }
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const piece of request) body += String(piece)
    fake.requests.push(`${request.method} ${request.url}`)
    const { status = 200, text } = fake.answer(request.url ?? '', body)
    response.writeHead(status).end(text)
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => (server.close(), server.closeAllConnections()))
  return Object.assign(fake, { url: `http://user:pass@127.0.0.1:${(server.address() as AddressInfo).port}/` })
}

t.test('registry frames: golden bytes, and every frame comes back', async (t) => {
  t.equal(registryHeader(1, [0]).toString('hex'), '000000000100')
  t.equal(registryHeader(258, [2, 70]).toString('hex'), '000000010204048c01')
  fc.assert(
    fc.property(
      fc.nat(),
      fc.array(fc.nat({ max: 1000 }), { minLength: 1, maxLength: 8 }),
      fc.uint8Array(),
      (id, indexes, body) => {
        const frame = readRegistryFrame(Buffer.concat([registryHeader(id, indexes), body]), 'protobuf')
        t.strictSame([frame.schemaId, frame.indexes, [...frame.body]], [id, indexes, [...body]])
      },
    ),
  )
  for (const hex of [
    '',
    '00',
    '7b7d000000',
    '000000000104',
    '0000000001ffffffffff0f',
    '0000000001f601',
    '0000000001ffff',
  ])
    t.throws(
      () => readRegistryFrame(Buffer.from(hex, 'hex'), 'protobuf'),
      { code: 'ERR_MILLRACE_SCHEMA_FRAME' },
      hex,
    )
})

t.test(
  'avroCodec: with a registry, what one writes another reads, by the schema it was written with',
  async (t) => {
    const fake = await registry(t)
    const schema = {
      type: 'record',
      name: 'Click',
      fields: [
        { name: 'page', type: 'string' },
        { name: 'ms', type: ['null', 'long'] },
      ],
    }
    const writer = avroCodec({ schema, registry: new SchemaRegistry(fake.url) })
    await Promise.all([writer.prepare(use), writer.prepare(use)])
    const bytes = writer.encode({ page: '/a', ms: 3 })
    t.equal(bytes.toString('hex'), '0000000001042f610206')
    const any = avroCodec({ registry: new SchemaRegistry(fake.url) })
    t.strictSame({ ...(await any.decode(bytes)) }, { page: '/a', ms: 3 })
    t.strictSame({ ...(await any.decode(bytes)) }, { page: '/a', ms: 3 })
    const longer = { ...schema, fields: [...schema.fields, { name: 'more', type: 'int', default: 5 }] }
    const resolving = avroCodec({ schema: JSON.stringify(longer), registry: new SchemaRegistry(fake.url) })
    t.strictSame({ ...(await resolving.decode(bytes)) }, { page: '/a', ms: 3, more: 5 })
    t.strictSame(fake.requests, [
      'POST /subjects/clicks-value/versions',
      'GET /schemas/ids/1',
      'GET /schemas/ids/1',
    ])
    await any.prepare(use)
    t.throws(() => any.encode({}), { code: 'ERR_MILLRACE_SCHEMA' })
  },
)

t.test('avroCodec: long records, those that do not fit, and schemas that are none', async (t) => {
  const schema = { type: 'record', name: 'Text', fields: [{ name: 'text', type: 'string' }] }
  const codec = avroCodec({ schema })
  t.strictSame({ ...(await codec.decode(Buffer.from('0261', 'hex'))) }, { text: 'a' })
  await codec.prepare(use)
  const long = { text: 'x'.repeat(100_000) }
  t.strictSame({ ...(await codec.decode(codec.encode(long))) }, long)
  t.throws(() => codec.encode({ text: 5 }), {
    code: 'ERR_MILLRACE_SCHEMA',
    message: 'Avro: text: expected "string", got 5',
  })
  t.throws(() => codec.encode({ text: 5n }), /got 5/)
  t.throws(() => codec.encode(7), /the record: expected/)
  await t.rejects(avroCodec({ schema: '{"type":"none"}' }).prepare(use), { code: 'ERR_MILLRACE_SCHEMA' })
  t.throws(() => avroCodec({}), { code: 'ERR_MILLRACE_OPTION', option: 'schema' })
})

const PROTO = `syntax = "proto3"; package shop;
enum Kind { A = 0; B = 1; }
message First { string name = 1; }
message Order { message Note { string text = 1; } message Line { int64 count = 1; Kind kind = 2; } repeated Line lines = 1; }`

t.test('protobufCodec: bare and framed, nested types by their place in the file', async (t) => {
  const fake = await registry(t)
  const known = new SchemaRegistry(fake.url)
  const line = protobufCodec({ schema: PROTO, type: 'shop.Order.Line', registry: known })
  t.throws(() => line.encode({}), /prepare/)
  await line.prepare(use)
  const bytes = line.encode({ count: 300, kind: 1 })
  t.equal(bytes.toString('hex'), '000000000104020208ac021001')
  const reader = protobufCodec({ schema: PROTO, registry: known })
  t.strictSame(await reader.decode(bytes), { count: 300, kind: 'B' })
  t.strictSame(await reader.decode(bytes), { count: 300, kind: 'B' })
  const first = protobufCodec({ schema: PROTO, registry: known })
  await first.prepare(use)
  t.equal(first.encode({ name: 'a' }).toString('hex'), '0000000001000a0161')
  const bare = protobufCodec({ schema: PROTO, type: 'First' })
  t.strictSame(await bare.decode(Buffer.from('0a0161', 'hex')), { name: 'a' })
  t.strictSame(await bare.decode(Buffer.from('0a0161', 'hex')), { name: 'a' })
  t.throws(() => bare.encode({ name: 5 }), {
    code: 'ERR_MILLRACE_SCHEMA',
    message: /First: name: string expected/,
  })
  t.throws(() => bare.encode(null), /got null/)
  const lost = Buffer.concat([registryHeader(1, [9]), Buffer.from('0a0161', 'hex')])
  await t.rejects(async () => reader.decode(lost), /no message type at 9/)
  await t.rejects(protobufCodec({ schema: 'message {' }).prepare(use), { code: 'ERR_MILLRACE_SCHEMA' })
  await t.rejects(protobufCodec({ schema: PROTO, type: 'Nobody' }).prepare(use), /type Nobody/)
  await t.rejects(protobufCodec({ schema: 'syntax = "proto3";' }).prepare(use), /found none/)
})

t.test('SchemaRegistry: a failure is not kept, and says what was answered', async (t) => {
  const fake = await registry(t)
  const known = new SchemaRegistry(fake.url, {
    policy: new Policy({ retries: 0 }),
    headers: { 'x-team': 'a' },
  })
  const good = fake.answer
  fake.answer = () => ({ status: 409, text: 'incompatible' })
  await t.rejects(known.register('s', '"int"', 'AVRO'), {
    code: 'ERR_MILLRACE_SCHEMA_REGISTRY',
    actual: 409,
    message: /409 incompatible/,
  })
  fake.answer = () => ({ text: 'no JSON' })
  await t.rejects(known.schema(1), /is not JSON/)
  fake.answer = () => ({ text: '{}' })
  await t.rejects(known.schema(1), /no schema/)
  await t.rejects(known.register('s', '"int"', 'AVRO'), /no id/)
  fake.answer = () => ({ text: 'x'.repeat(5 * 1024 * 1024) })
  await t.rejects(known.schema(1), /at most 4194304 bytes/)
  fake.answer = good
  t.equal(await known.register('s', '"int"', 'AVRO'), 1)
  fake.requests.length = 0
  t.strictSame(await Promise.all([known.schema(1), known.schema(1)]), [
    { schema: '"int"', type: 'AVRO' },
    { schema: '"int"', type: 'AVRO' },
  ])
  t.strictSame(fake.requests, ['GET /schemas/ids/1'])
  for (let i = 0; i < 1000; i++) await known.register('s', `"${i}"`, 'JSON')
  t.throws(() => new SchemaRegistry('ftp://a'), { code: 'ERR_MILLRACE_OPTION' })
})

t.test('inferred schemas fit the records they come from', async (t) => {
  const records = [
    { a: 1, b: 'x', c: true, d: 1, e: null },
    { a: 2, b: null, c: false, d: 0.5, e: null },
  ]
  const avro = avroCodec({ schema: inferAvroSchema(records, 'R', true) })
  const proto = protobufCodec({ schema: inferProtobufSchema(records) })
  await avro.prepare(use)
  await proto.prepare(use)
  for (const record of records) t.strictSame({ ...(await avro.decode(avro.encode(record))) }, record)
  t.match(await proto.decode(proto.encode({ a: 1, b: 'x' })), { a: 1, b: 'x' })
  t.throws(() => inferAvroSchema([{ a: 1 }, { a: 'x' }]), /column a: expected long, got string/)
  t.throws(() => inferAvroSchema([{ a: [] }]), /column a: expected a number, a string/)
  t.throws(() => inferAvroSchema([{ 'a b': 1 }]), /a name of letters/)
})

t.test('jsonCodec, murmur2, addresses, producer configurations', async (t) => {
  t.throws(() => jsonCodec().encode(() => {}), { code: 'ERR_MILLRACE_SCHEMA' })
  // from Kafka's own tests of the hash
  const known: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ]
  for (const [key, hash] of known) t.equal(murmur2(Buffer.from(key)), hash & 0x7fffffff, key)
  t.match(parseKafkaUrl('kafkas://ann:p%3A%40@h/t'), {
    username: 'ann',
    password: 'p:@',
    tls: true,
    bootstrapServers: ['h:9092'],
  })
  t.equal(parseKafkaUrl('kafka://a%zz@h/t').username, 'a%zz')
  for (const url of ['kafka://h', 'kafka:///t', 'kafka://u:secret@h/a b', 'http://h/t', 'kafka://:1/t'])
    t.throws(() => parseKafkaUrl(url), { code: 'ERR_MILLRACE_OPTION', message: /^(?!.*secret)/ }, url)
  t.strictSame(producerOptions({ acks: '1', compression_type: 'gzip' }), {
    acks: 'leader',
    compression: 'gzip',
  })
  t.throws(() => producerOptions({ acks: 'few' as never }), /producerConfig.acks/)
  t.throws(() => producerOptions({ linger: 1 } as never), /producerConfig.linger: expected one of acks/)
  t.throws(() => checkNodeVersion('20.20.2'), {
    code: 'ERR_MILLRACE_NODE_VERSION',
    message: /needs Node 22.22.0 or later, this is 20.20.2/,
  })
  checkNodeVersion('24.1.0')
  checkNodeVersion('22.22.0')
})

t.test(
  'visibleRecords: exactly what committed transactions and plain writes hold, wherever a fetch begins and ends',
  async (t) => {
    interface Step {
      readonly producer: number
      readonly kind: 'plain' | 'data' | 'commit' | 'abort'
    }
    const step = fc.record({
      producer: fc.nat({ max: 2 }),
      kind: fc.constantFrom('plain', 'data', 'data', 'commit', 'abort'),
    }) as fc.Arbitrary<Step>
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        fc.nat({ max: 40 }),
        fc.nat({ max: 40 }),
        (steps, a, b) => {
          const batches: StoredBatch[] = []
          const open = new Map<number, number[]>()
          const visible = new Set<number>()
          const aborted: { producerId: bigint; firstOffset: bigint; last: number }[] = []
          for (const { producer, kind } of steps) {
            const offset = batches.length
            const isEnd = kind === 'commit' || kind === 'abort'
            const own = open.get(producer) ?? []
            if (isEnd && own.length === 0) continue
            if (kind === 'plain') visible.add(offset)
            else if (kind === 'data') open.set(producer, [...own, offset])
            else {
              if (kind === 'commit') for (const at of own) visible.add(at)
              else
                aborted.push({
                  producerId: BigInt(producer),
                  firstOffset: BigInt(own[0] as number),
                  last: offset,
                })
              open.delete(producer)
            }
            const key = Buffer.from([0, 0, 0, kind === 'commit' ? 1 : 0])
            const record = { offsetDelta: 0, timestampDelta: 0n, key, value: null, headers: [] }
            const attributes = kind === 'plain' ? 0 : isEnd ? 0x30 : 0x10
            const at = { firstOffset: BigInt(offset), lastOffsetDelta: 0, firstTimestamp: 7n, attributes }
            batches.push({ ...at, producerId: BigInt(kind === 'plain' ? 99 : producer), records: [record] })
          }
          // brokers give out nothing behind the first message of an open transaction
          const stable = Math.min(batches.length, ...[...open.values()].map(([first]) => first as number))
          const [from, to] = [Math.min(a, b, stable), Math.min(Math.max(a, b), stable)]
          const fetched = {
            records: batches.slice(from, to),
            abortedTransactions: aborted.filter(({ firstOffset, last }) => last >= from && firstOffset < to),
          }
          const { records, next } = visibleRecords(fetched, BigInt(from))
          const expected = [...visible]
            .filter((offset) => offset >= from && offset < to)
            .toSorted((x, y) => x - y)
          t.strictSame(
            records.map(({ offset }) => Number(offset)),
            expected,
          )
          t.equal(Number(next), to)
        },
      ),
      { numRuns: 300 },
    )
    t.strictSame(visibleRecords({ records: null }, 5n), { records: [], next: 5n })
  },
)

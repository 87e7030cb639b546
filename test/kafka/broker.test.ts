// Against a real broker: what no stand-in can show.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  KafkaBroker,
  createTopics,
  credentials,
  leadersOf,
  type BrokerOptions,
} from '../../scripts/kafka-broker.js'
import { RecordBatch, positionOf, reportDurable, withPosition } from '../../src/flow/index.ts'
import {
  KafkaSink,
  KafkaSource,
  KafkaStreamingGenerator,
  type KafkaMessageRecord,
  type KafkaSourceOptions,
} from '../../src/kafka/index.ts'
import { Model } from '../../src/records/index.ts'
import { millrace, start, outcome } from '../cli/helpers.ts'
import { freshTopic, runningBroker } from './helpers/broker.ts'

const broker = runningBroker()
const skip = typeof broker === 'string' ? broker : false
const { address, saslAddress } =
  typeof broker === 'string' ? { address: 'none:1', saslAddress: 'none:1' } : broker
const bootstrapServers = address

function batches(count: number, size = 100): RecordBatch[] {
  return Array.from({ length: count / size }, (_, b) => {
    const records = Array.from({ length: size }, (_, i) => ({ id: b * size + i }))
    return new RecordBatch(b * size, records)
  })
}

async function readAll(topic: string, options: Partial<KafkaSourceOptions> = {}): Promise<any[]> {
  const source = new KafkaSource({ bootstrapServers, topic, until: 'end', batches: true, ...options })
  const records: unknown[] = []
  for await (const batch of source as AsyncIterable<RecordBatch>) {
    records.push(...batch.records)
    reportDurable(batch)
  }
  if (!source.closed) await new Promise((resolve) => source.once('close', resolve))
  return records
}

const idsOf = (records: { id: number }[]) => records.map(({ id }) => id).toSorted((a, b) => a - b)
const upTo = (count: number) => [...Array(count).keys()]

t.test(
  'a topic gives back what was written, with every compression, and by key in order',
  { skip },
  async (t) => {
    for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const) {
      const topic = await freshTopic(address, 3)
      const sink = new KafkaSink({
        bootstrapServers,
        topic,
        keyColumn: 'id',
        compression,
        headers: { from: 'test' },
      })
      await pipeline(Readable.from(batches(1000)), sink)
      t.equal(sink.stats().acknowledged, 1000)
      const messages: KafkaMessageRecord[] = await readAll(topic, { emit: 'messages' })
      t.strictSame(idsOf(messages.map(({ value }) => value)), upTo(1000), compression)
      for (const { key, value, headers } of messages) {
        if (String(key) !== String(value.id) || String(headers['from']) !== 'test')
          t.fail('key and header of the record')
      }
    }
  },
)

t.test('a source goes on where its group has committed; lag says what is left', { skip }, async (t) => {
  const topic = await freshTopic(address, 2)
  await pipeline(Readable.from(batches(1000)), new KafkaSink({ bootstrapServers, topic, keyColumn: 'id' }))
  const source = new KafkaSource({
    bootstrapServers,
    topic,
    groupId: `${topic}-g`,
    batches: true,
    batchSize: 100,
  })
  let seen = 0
  for await (const batch of source as AsyncIterable<RecordBatch>) {
    seen += batch.length
    if (seen > 300) break
    reportDurable(batch)
    t.equal(source.stats().lag > 0, true)
  }
  await new Promise((resolve) => (source.closed ? resolve(0) : source.once('close', resolve)))
  const rest = await readAll(topic, { groupId: `${topic}-g` })
  t.ok(rest.length >= 700 && rest.length < 1000, `${rest.length} records are left`)
  t.strictSame(await readAll(topic, { groupId: `${topic}-g` }), [])
})

t.test(
  'single records, each with its position; a loop commits what it has worked on',
  { skip },
  async (t) => {
    const topic = await freshTopic(address)
    await pipeline(Readable.from([1, { id: 2 }, 'three']), new KafkaSink({ bootstrapServers, topic }))
    const options = { bootstrapServers, topic, groupId: `${topic}-g`, commit: 'read' as const }
    const source = new KafkaSource({ ...options, until: 'end' })
    const seen: unknown[] = []
    for await (const record of source) {
      seen.push(record)
      if (typeof record === 'object') t.ok(positionOf(record as object)?.source)
    }
    t.strictSame(seen, [1, { id: 2 }, 'three'])
    await new Promise((resolve) => (source.closed ? resolve(0) : source.once('close', resolve)))
    t.strictSame(await readAll(topic, { groupId: `${topic}-g` }), [])
  },
)

t.test('reading begins at a time, or at the end', { skip }, async (t) => {
  const topic = await freshTopic(address)
  await pipeline(Readable.from(batches(100)), new KafkaSink({ bootstrapServers, topic }))
  await sleep(20)
  const between = new Date()
  await sleep(20)
  await pipeline(Readable.from([{ id: 100 }]), new KafkaSink({ bootstrapServers, topic }))
  t.strictSame(await readAll(topic, { from: between }), [{ id: 100 }])
  t.strictSame(await readAll(topic, { from: new Date(Date.now() + 1e6) }), [])
  t.strictSame(await readAll(topic, { from: 'latest' }), [])
})

t.test('a poison message comes as an error after all before it, or is left out', { skip }, async (t) => {
  const topic = await freshTopic(address)
  const raw = { encode: (text: string) => Buffer.from(text), decode: String }
  await pipeline(
    Readable.from(['{"id":0}', '{"id":1}', '{broken', '{"id":3}']),
    new KafkaSink({ bootstrapServers, topic, codec: raw }),
  )
  const seen: unknown[] = []
  const source = new KafkaSource({ bootstrapServers, topic, until: 'end' })
  await t.rejects(
    async () => {
      for await (const record of source) seen.push(record)
    },
    { code: 'ERR_MILLRACE_KAFKA_MESSAGE', topic, partition: 0, messageOffset: 2n },
  )
  t.strictSame(seen, [{ id: 0 }, { id: 1 }])
  t.strictSame(idsOf(await readAll(topic, { onInvalid: 'skip' })), [0, 1, 3])
  const replaced = await readAll(topic, { onInvalid: (_, bytes) => ({ id: 2, bytes: String(bytes) }) })
  t.strictSame(replaced[2], { id: 2, bytes: '{broken' })
})

t.test('null is a record of a batch, and cannot travel alone', { skip }, async (t) => {
  const topic = await freshTopic(address)
  await pipeline(Readable.from([new RecordBatch(0, [null, 1])]), new KafkaSink({ bootstrapServers, topic }))
  t.strictSame(await readAll(topic), [null, 1])
  await t.rejects(readAll(topic, { batches: false }), /record 0 is null, which cannot travel alone/)
})

t.test('a topic that is not there, and credentials that are wrong, are told at once', { skip }, async (t) => {
  const topic = 'no-such-topic'
  await t.rejects(finished(new KafkaSink({ bootstrapServers, topic })), { code: 'ERR_MILLRACE_KAFKA_TOPIC' })
  await t.rejects(readAll(topic), { code: 'ERR_MILLRACE_KAFKA_TOPIC' })
  const known = await freshTopic(address)
  const wrong = { mechanism: 'PLAIN' as const, username: credentials.username, password: 'wrong' }
  const sink = new KafkaSink({ bootstrapServers: saslAddress, topic: known, sasl: wrong })
  await t.rejects(finished(sink), { code: 'ERR_MILLRACE_KAFKA_AUTH' })
  await t.rejects(readAll(known, { bootstrapServers: saslAddress, sasl: wrong }), {
    code: 'ERR_MILLRACE_KAFKA_AUTH',
  })
  const sasl = { mechanism: 'PLAIN' as const, ...credentials }
  await pipeline(
    Readable.from([{ id: 1 }]),
    new KafkaSink({ bootstrapServers: saslAddress, topic: known, sasl }),
  )
  t.strictSame(await readAll(known, { bootstrapServers: saslAddress, sasl }), [{ id: 1 }])
})

t.test('what a transaction undid is not seen, however many there were', { skip }, async (t) => {
  const topic = await freshTopic(address)
  for (let round = 0; round < 3; round++) {
    const doomed = new KafkaSink({
      bootstrapServers,
      topic,
      transactionalId: topic,
      transactionInterval: 1e6,
    })
    doomed.write({ id: -1 })
    while (doomed.stats().recordsOut === 0) await sleep(5)
    doomed.destroy()
    await new Promise((resolve) => doomed.once('close', resolve))
    await pipeline(
      Readable.from([{ id: round }]),
      new KafkaSink({ bootstrapServers, topic, transactionalId: topic }),
    )
  }
  t.strictSame(idsOf(await readAll(topic)), [0, 1, 2])
})

/** Drops every third record and doubles the others; what it makes of a block keeps the position of the block. */
function thinAndDouble(): Transform {
  return new Transform({
    objectMode: true,
    transform(batch: RecordBatch<{ id: number }>, _, done) {
      const records = batch.records.filter(({ id }) => id % 3 > 0).flatMap(({ id }) => [{ id }, { id: -id }])
      const at = positionOf(batch)
      done(null, at ? withPosition(new RecordBatch(0, records), at) : undefined)
    },
  })
}

t.test(
  'from topic to topic each message counts once, though copiers come, stop and are torn down',
  { skip },
  async (t) => {
    const [from, to] = [await freshTopic(address, 4), await freshTopic(address, 2)]
    const COUNT = 6000
    await pipeline(
      Readable.from(batches(COUNT)),
      new KafkaSink({ bootstrapServers, topic: from, keyColumn: 'id' }),
    )
    const copy = (name: string, slow = 0) => {
      const source = new KafkaSource({
        bootstrapServers,
        topic: from,
        groupId: `${from}-copy`,
        batches: true,
        batchSize: 50,
        until: 'end',
      })
      const sink = new KafkaSink({
        bootstrapServers,
        topic: to,
        transactionalId: `${from}-${name}`,
        transactionInterval: 50,
      })
      const brake = new Transform({
        objectMode: true,
        transform: (batch, _, done) => void setTimeout(done, slow, null, batch),
      })
      const work = pipeline(source, brake, thinAndDouble(), sink)
      return { source, sink, work }
    }
    // the first one dies in the middle of its work, the second one comes when the first is at it: that takes up to a second, in which
    // the group waits for a heartbeat of the first, so the first must have work for longer
    const first = copy('a', 40)
    while (first.sink.stats().acknowledged < 200) await sleep(5)
    const second = copy('b', 5)
    while (second.source.stats().recordsOut < 100) await sleep(5)
    first.source.destroy(new Error('torn down'))
    await t.rejects(first.work, /torn down/)
    await second.work
    await new Promise((resolve) => (second.source.closed ? resolve(0) : second.source.once('close', resolve)))
    // what the first one left behind
    await copy('c').work
    const expected = upTo(COUNT).flatMap((id) => (id % 3 > 0 ? [id, -id] : []))
    t.strictSame(
      idsOf(await readAll(to)),
      expected.toSorted((a, b) => a - b),
    )
  },
)

/** Brokers of a test's own, started side by side and gone after it. */
async function ownBrokers(t: Test, options: readonly Omit<BrokerOptions, 'folder'>[]) {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-kafka-'))
  const own = options.map((one, i) => new KafkaBroker({ folder: join(folder, `${i}`), heap: '384m', ...one }))
  t.teardown(async () => {
    // the last one first: the first one is who decides
    for (const one of own.toReversed()) await one.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  await Promise.all(own.map((one) => one.start()))
  return own as [KafkaBroker, ...KafkaBroker[]]
}

/** Records are written to a topic and copied to another one, exactly once, while something happens to the brokers. */
async function survive(t: Test, bootstrapServers: string, happens: () => Promise<unknown>): Promise<void> {
  const options = { bootstrapServers }
  let made = 0
  const end = { isOver: false }
  async function* records() {
    for (; !end.isOver; await sleep(5))
      yield new RecordBatch(
        made,
        Array.from({ length: 20 }, () => ({ id: made++ })),
      )
  }
  const sink = new KafkaSink({ ...options, topic: 'in', keyColumn: 'id' })
  const source = new KafkaSource({ ...options, topic: 'in', groupId: 'copy', batches: true })
  const copy = new KafkaSink({ ...options, topic: 'out', transactionalId: 'copy' })
  const written = pipeline(Readable.from(records()), sink)
  const copied = pipeline(source, copy)
  while (copy.stats().acknowledged < 100) await sleep(10)
  await happens()
  const before = [sink, copy].map((one) => one.stats().acknowledged)
  while (![sink, copy].every((one, i) => one.stats().acknowledged > (before[i] as number))) await sleep(10)
  end.isOver = true
  await written
  while (copy.stats().acknowledged < made) await sleep(20)
  source.stop()
  await copied
  t.strictSame(idsOf(await readAll('in', options)), upTo(made))
  t.strictSame(idsOf(await readAll('out', options)), upTo(made))
}

t.test(
  'a broker that is killed and comes back loses and doubles nothing',
  { skip, timeout: 120_000 },
  async (t) => {
    const [own] = await ownBrokers(t, [{ port: 29292 }])
    await createTopics(own.address, { in: 2, out: 2 })
    await survive(t, own.address, async () => {
      await own.kill()
      await sleep(200)
      await own.start()
    })
    // one that stays away is given up, and the error says what the client heard of it
    const sink = new KafkaSink({ bootstrapServers: own.address, topic: 'in', writeTimeout: 1000 })
    sink.write({ id: 0 })
    while (sink.stats().acknowledged === 0) await sleep(10)
    await own.kill()
    const failed = once(sink, 'error')
    sink.write({ id: 1 })
    t.match(await failed, [
      {
        code: 'ERR_MILLRACE_KAFKA_TIMEOUT',
        message: /for 1000 ms, \d+ bytes wait; produce failed \d+ times, at last: connect ECONNREFUSED/,
        acknowledged: 1,
        cause: { code: 'PLT_KFK_MULTIPLE' },
      },
    ])
  },
)

t.test(
  'the leader of all partitions is killed: the other broker takes over, nothing is lost or comes twice',
  { skip, timeout: 120_000 },
  async (t) => {
    // the first one is the controller as well, whose vote is needed to find a new leader: the second one goes
    const [first, second] = (await ownBrokers(t, [
      { port: 29392, replicas: 2 },
      { port: 29396, replicas: 2, node: 2, controllerPort: 29394 },
    ])) as [KafkaBroker, KafkaBroker]
    const brokers = [second.node, first.node]
    // it coordinates the group and the transactions, too
    const topics = { in: 2, out: 2, __consumer_offsets: 4, __transaction_state: 4 }
    await createTopics(first.address, topics, { brokers })
    t.strictSame(await leadersOf(first.address, 'in'), [2, 2])
    await survive(t, `${second.address},${first.address}`, async () => {
      await second.kill()
      // a process that has no time for a while: when it looks again, the broker that coordinated has left the metadata
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 6000)
    })
    t.strictSame(await leadersOf(first.address, 'in'), [1, 1])
    t.strictSame(await leadersOf(first.address, 'out'), [1, 1])
  },
)

t.test('KafkaStreamingGenerator fits from a topic, streams at a rate, and stops', { skip }, async (t) => {
  const [from, to] = [await freshTopic(address), await freshTopic(address)]
  await pipeline(Readable.from(batches(300)), new KafkaSink({ bootstrapServers, topic: from }))
  let fitted: unknown[] = []
  const generator = {
    fit: (records: unknown[]) => void (fitted = records),
    generate: (count: number) => Array.from({ length: count }, () => ({ made: fitted.length })),
  }
  for (const valueSerializer of ['json', 'avro', 'protobuf'] as const) {
    const stream = new KafkaStreamingGenerator({
      generator,
      bootstrapServers,
      topic: to,
      batchSize: 10,
      valueSerializer,
    })
    await stream.fitFromTopic(from, { maxRecords: 250 })
    const startedAt = performance.now()
    const running = stream.startStreaming({ samplesPerSecond: 200 })
    await t.rejects(stream.startStreaming(), { code: 'ERR_MILLRACE_STREAMING' })
    await sleep(600)
    stream.stop()
    const { acknowledged } = await running
    const rate = (acknowledged / (performance.now() - startedAt)) * 1000
    t.ok(acknowledged > 0 && rate < 260, `${rate} a second`)
  }
  t.equal(fitted.length, 250)
})

t.test('millrace map: from a topic to a topic, two processes share the partitions', { skip }, async (t) => {
  const [from, to] = [await freshTopic(address, 4), await freshTopic(address)]
  const url = (topic: string, query = '') => `kafka://${address}/${topic}${query}`
  const lines = upTo(2000).map((id) => `{"id":${id}}\n`)
  const wrote = await millrace(['map', 'r => r', '--to', url(from, '?key=id')], lines.join(''))
  t.match(wrote, { status: 0, stderr: '' })
  const args = [
    'map',
    'r => r.id % 2 ? { id: r.id } : undefined',
    '--from',
    url(from, '?group=m'),
    '--to',
    url(to),
    '-j',
    '0',
    '--stats=json',
  ]
  const children = [start(args), start(args)]
  const ends = children.map((child) => outcome(child))
  let copied: unknown[] = []
  for (let tries = 0; copied.length < 1000 && tries < 60; tries++) {
    await sleep(500)
    copied = await readAll(to)
  }
  for (const child of children) child.kill('SIGINT')
  for (const { status, stderr } of await Promise.all(ends)) t.equal(status, 130, stderr)
  t.strictSame(
    idsOf(await readAll(to)),
    upTo(2000).filter((id) => id % 2),
  )
  const text = await millrace(['map', 'r => r', '--from', url(to, '?until=end'), '-j', '0'])
  t.equal(text.stdout.split('\n').length - 1, 1000)
  t.match(await millrace(['map', 'r => r', '--from', url('nope', '?until=end')]), {
    status: 1,
    stderr: /there is no topic nope/,
  })
  t.match(await millrace(['map', 'r => r', '--from', url(to, '?grop=1')]), {
    status: 2,
    stderr: /expected one of group/,
  })
})

t.test('millrace sample: to a topic, with keys; what cannot be is told', { skip }, async (t) => {
  const topic = await freshTopic(address)
  const url = `kafka://${address}/${topic}`
  const folder = mkdtempSync(join(tmpdir(), 'millrace-kafka-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const model = join(folder, 'model.json')
  const rows = upTo(300).map((i) => ({ river: i % 2 ? 'Aare' : 'Oder', power: i % 50 }))
  await millrace(['fit', '-o', model], JSON.stringify(rows))
  const sample = ['sample', model, '--seed', '3', '--count', '3000']
  t.match(await millrace([...sample, '--to', `${url}?key=river`]), { status: 0, stderr: '' })
  const messages: KafkaMessageRecord[] = await readAll(topic, { emit: 'messages' })
  const { stdout } = await millrace(sample)
  t.strictSame(
    messages.map(({ value }) => value),
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  )
  t.ok(messages.every(({ key, value }) => String(key) === value.river))
  t.match(await millrace([...sample, '--format', 'csv', '--to', url]), { status: 2, stderr: /as JSON/ })
  t.match(await millrace([...sample, '--to', url, '-o', 'x']), { status: 2, stderr: /give one of them/ })
  t.match(await millrace([...sample, '--to', `${url}?colour=red`]), { status: 2, stderr: /one of key/ })
  t.match(await millrace(['gen', '--size', '1KiB', '-o', url]), { status: 2, stderr: /this verb has bytes/ })
})

t.test(
  'millrace fit and report: a topic as a table, up to its end or so many records',
  { skip },
  async (t) => {
    const topic = await freshTopic(address, 2)
    const url = `kafka://${address}/${topic}`
    const folder = mkdtempSync(join(tmpdir(), 'millrace-kafka-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const [rows, model] = [join(folder, 'rows.json'), join(folder, 'model.json')]
    const records = upTo(1200).map((i) => ({ river: i % 2 ? 'Aare' : 'Oder', power: i % 50 }))
    writeFileSync(rows, JSON.stringify(records))
    const sink = new KafkaSink({ bootstrapServers, topic, keyColumn: 'power' })
    await pipeline(Readable.from([new RecordBatch(0, records)]), sink)
    const rowsOf = async (...args: string[]) => {
      const run = await millrace(['fit', '-o', model, ...args])
      t.match(run, { status: 0, stderr: '' })
      return (await Model.load(model)).rows
    }
    t.equal(await rowsOf('--from', url), 1200)
    t.equal(await rowsOf(`${url}?count=700`), 700)
    t.equal(await rowsOf(`${url}?count=1200`), 1200)
    t.equal(await rowsOf(url, '--max-rows', '100'), 100)
    const report = await millrace(['report', rows, url, '--json'])
    t.match(report, { status: 0, stderr: '' })
    t.match(JSON.parse(report.stdout), { overall: 1 })
    const page = await millrace(['report', url, rows, '--quiet'])
    t.match(page.stdout, new RegExp(`<title>rows.json against ${topic}<`))

    // with a number, it waits for what has not come yet
    const later = millrace(['fit', '-o', model, `${url}?from=latest&count=50`])
    const more = { isOver: false }
    const written = (async () => {
      for (; !more.isOver; await sleep(100))
        await pipeline(
          Readable.from([new RecordBatch(0, records.slice(0, 20))]),
          new KafkaSink({ bootstrapServers, topic }),
        )
    })()
    t.match(await later, { status: 0, stderr: '' })
    more.isOver = true
    await written
    t.equal((await Model.load(model)).rows, 50)

    for (const [bad, message] of [
      ['?group=g', /expected one of from, until, count, mechanism/],
      ['?count=many', /count=many: expected a number of records above 0/],
      ['?count=0', /count=0: expected a number of records above 0/],
    ] as const)
      t.match(await millrace(['fit', url + bad]), { status: 2, stderr: message })
  },
)

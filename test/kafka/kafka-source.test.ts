// A source against a real broker: what becomes of what was read when its place in the group changes.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { RecordBatch, reportDurable } from '../../src/flow/index.ts'
import { GroupReader } from '../../src/kafka/group-reader.ts'
import { KafkaSink, KafkaSource, jsonCodec, type KafkaSourceOptions } from '../../src/kafka/index.ts'
import { freshTopic, runningBroker } from './helpers/broker.ts'

const broker = runningBroker()
const skip = typeof broker === 'string' ? broker : false
const address = typeof broker === 'string' ? 'none:1' : broker.address
/** Needs the client, and no broker. */
const noClient = typeof broker === 'string' && !broker.startsWith('no broker') ? broker : false
const servers = { bootstrapServers: address }

/** A topic of `count` records `{ id }`. */
async function filledTopic(count: number, partitions = 1): Promise<string> {
  const topic = await freshTopic(address, partitions)
  const records = Array.from({ length: count }, (_, id) => ({ id }))
  await pipeline(Readable.from(records), new KafkaSink({ ...servers, topic }))
  return topic
}

const closed = async (source: KafkaSource) => {
  if (!source.closed) await new Promise((resolve) => source.once('close', resolve))
}

async function idsOf(topic: string, options: Partial<KafkaSourceOptions>): Promise<number[]> {
  const source = new KafkaSource({ ...servers, topic, until: 'end', batches: true, ...options })
  const ids: number[] = []
  for await (const batch of source as AsyncIterable<RecordBatch<{ id: number }>>) {
    ids.push(...batch.records.map(({ id }) => id))
    reportDurable(batch)
  }
  await closed(source)
  return ids
}

const upTo = (count: number) => [...Array(count).keys()]

t.test('KafkaSource: assigned anew, it begins where the group has committed', { skip }, async (t) => {
  const topic = await filledTopic(20)
  const options = { ...servers, topic, until: 'end' as const, commit: 'read' as const }
  const source = new KafkaSource({ ...options, groupId: `${topic}-g` })
  const seen: number[] = []
  for await (const { id } of source as AsyncIterable<{ id: number }>) {
    seen.push(id)
    if (seen.length !== 5) continue
    source.rewind(source.epoch - 1)
    t.equal(source.stats().assignments, source.epoch, 'what belongs to an earlier assignment is not heard')
    await source.commit()
    source.rewind(source.epoch)
  }
  await closed(source)
  // the sixth waited already; the fifth was not done with when it was taken away
  t.strictSame(seen, [...upTo(6), ...upTo(20).slice(4)])
})

t.test('KafkaSource: assigned anew while it decodes, nothing of that is emitted', { skip }, async (t) => {
  const topic = await filledTopic(20)
  let source: KafkaSource | undefined
  let decoded = 0
  const codec = {
    ...jsonCodec(),
    decode: async (bytes: Buffer) => {
      if (decoded++ === 7) source?.rewind(source.epoch)
      return JSON.parse(String(bytes))
    },
  }
  source = new KafkaSource({ ...servers, topic, until: 'end', codec, groupId: `${topic}-g`, commit: 'read' })
  const records: unknown[] = await source.toArray()
  t.strictSame(
    records,
    upTo(20).map((id) => ({ id })),
  )
  t.ok(decoded > 20)
})

t.test(
  'KafkaSource: of two in a group of one partition, one waits until the other leaves',
  { skip },
  async (t) => {
    const topic = await freshTopic(address)
    const options = { ...servers, topic, groupId: `${topic}-g`, commit: 'read' as const }
    const sources: KafkaSource[] = []
    const seen: number[][] = [[], []]
    const reading: Promise<void>[] = []
    // the second one comes when the first has joined, and the records when both have their place: what is read between would come twice
    for (const i of [0, 1]) {
      const source = new KafkaSource(options)
      sources.push(source)
      reading.push(
        (async () => {
          for await (const { id } of source as AsyncIterable<{ id: number }>) seen[i]?.push(id)
        })(),
      )
      while (sources.some(({ epoch }, j) => epoch < sources.length - j)) await sleep(20)
    }
    await pipeline(Readable.from(upTo(10).map((id) => ({ id }))), new KafkaSink({ ...servers, topic }))
    while (seen.flat().length < 10) await sleep(20)
    // one of them is assigned nothing, and has nothing to do
    await sleep(700)
    t.strictSame(
      seen.flat().toSorted((a, b) => a - b),
      upTo(10),
    )
    const [busy, idle] = (seen[0]?.length ?? 0) > 0 ? [0, 1] : [1, 0]
    sources[busy]?.stop()
    await reading[busy]
    await pipeline(Readable.from([{ id: 10 }]), new KafkaSink({ ...servers, topic }))
    while (seen[idle]?.at(-1) !== 10) await sleep(20)
    sources[idle]?.stop()
    await reading[idle]
    await Promise.all(sources.map(closed))
    t.equal(seen[idle]?.at(-1), 10)
  },
)

t.test('KafkaSource: what the broker no longer holds is an error, not left out', { skip }, async (t) => {
  const topic = await filledTopic(20)
  const group = { groupId: `${topic}-g` }
  const first = new KafkaSource({ ...servers, topic, ...group, batches: true, batchSize: 5 })
  for await (const batch of first as AsyncIterable<RecordBatch>) {
    reportDurable(batch)
    break
  }
  await closed(first)
  const { Admin } = await import('@platformatic/kafka')
  const admin = new Admin({ clientId: 'millrace-test', bootstrapBrokers: [address] })
  await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 12n }] }] })
  await admin.close()
  await t.rejects(idsOf(topic, group), { code: 'ERR_MILLRACE_KAFKA_OFFSET', topic })
  t.strictSame(await idsOf(topic, {}), upTo(20).slice(12))
})

t.test('KafkaSource: hooks that throw fail it with what they threw', { skip }, async (t) => {
  const topic = await filledTopic(1)
  const boom = () => {
    throw new Error('enough')
  }
  await t.rejects(idsOf(topic, { onComplete: boom }), /enough/)
  const failing = { ...jsonCodec(), decode: boom }
  await t.rejects(idsOf(topic, { codec: failing, onError: boom }), /enough/)
})

t.test('KafkaSource: what only waits does not count as read', { skip }, async (t) => {
  const topic = await filledTopic(20)
  const options = { ...servers, topic, groupId: `${topic}-g`, commit: 'read' as const }
  t.throws(() => new KafkaSource({ ...options, highWaterMark: 2 }), { code: 'ERR_MILLRACE_OPTION' })
  const source = new KafkaSource(options)
  for await (const { id } of source as AsyncIterable<{ id: number }>) if (id === 5) break
  await closed(source)
  t.strictSame(await idsOf(topic, { groupId: options.groupId }), upTo(20).slice(5))
})

t.test('KafkaSource: what could not be committed is committed later', { skip }, async (t) => {
  const topic = await filledTopic(20)
  const { commit } = GroupReader.prototype
  let calls = 0
  let tell = () => {}
  const committed = new Promise<void>((resolve) => (tell = resolve))
  t.intercept(GroupReader.prototype, 'commit', {
    async value(this: GroupReader, ...args: Parameters<typeof commit>) {
      if (calls++ < 2) throw new Error('the broker is away')
      await commit.apply(this, args)
      tell()
    },
  })
  const group = { groupId: `${topic}-g`, batchSize: 5 }
  const source = new KafkaSource({ ...servers, topic, ...group, batches: true, commitInterval: 10 })
  for await (const batch of source as AsyncIterable<RecordBatch>) {
    reportDurable(batch)
    await t.rejects(source.commit(), /the broker is away/)
    // nothing is reported any more, and the clock tries again by itself
    await committed
    break
  }
  await closed(source)
  t.equal(calls, 3)
  t.strictSame(await idsOf(topic, group), upTo(20).slice(5))
})

t.test('KafkaSource: stopped, it ends behind what has been emitted', { skip }, async (t) => {
  const topic = await filledTopic(20)
  const source = new KafkaSource({ ...servers, topic, highWaterMark: 1 })
  const seen: number[] = []
  for await (const { id } of source as AsyncIterable<{ id: number }>) if (seen.push(id) === 5) source.stop()
  t.strictSame(seen, upTo(6))
})

t.test('KafkaSource: a reader that asks while it leaves off is heard', { skip: noClient }, async (t) => {
  let offset = 0n
  const slice = () => {
    const value = Buffer.from(String(offset))
    const record = { offsetDelta: 0, timestampDelta: 0n, key: null, value, headers: [] }
    const records = [{ offset: offset++, timestamp: 0n, record }]
    return { topic: 'clicks', partition: 0, records, next: offset, epoch: 0, member: undefined }
  }
  const reader = { epoch: 0, lag: () => 0, next: async () => slice(), stop() {}, async close() {} }
  t.intercept(GroupReader, 'open', { value: async () => reader })
  const source = new KafkaSource({
    ...servers,
    bootstrapServers: 'none:1',
    topic: 'clicks',
    highWaterMark: 1,
  })
  const seen: unknown[] = []
  const push = source.push.bind(source)
  source.push = (chunk) => {
    const wantsMore = push(chunk)
    if (seen.length < 10) queueMicrotask(() => seen.push(source.read()))
    return wantsMore
  }
  source.read(0)
  for (let turns = 0; seen.length < 10 && turns < 100; turns++) await new Promise(setImmediate)
  t.strictSame(seen, upTo(10))
  source.destroy()
})

t.test('KafkaSource: nobody answers, so it gives up after its time', { skip }, async (t) => {
  const silent = { bootstrapServers: '127.0.0.1:9', topic: 'clicks', readTimeout: 200 }
  await t.rejects(idsOf('clicks', silent), { code: 'ERR_MILLRACE_KAFKA_CONNECT' })
  await t.rejects(idsOf('clicks', { ...silent, groupId: 'g' }), { code: 'ERR_MILLRACE_KAFKA_CONNECT' })
})

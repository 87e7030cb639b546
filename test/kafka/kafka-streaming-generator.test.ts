import t from 'tap'
import { fit } from '../../src/records/index.ts'
import {
  KafkaStreamingGenerator,
  jsonCodec,
  type KafkaStreamingGeneratorOptions,
} from '../../src/kafka/index.ts'
import { FakeProducer } from './helpers/fake-producer.ts'

const dice = { generate: (count: number) => Array.from({ length: count }, (_, eyes) => ({ eyes })) }

function streamTo(producer: FakeProducer, options: Partial<KafkaStreamingGeneratorOptions> = {}) {
  const base = { generator: dice, bootstrapServers: 'localhost:9092', topic: 'dice', producer }
  return new KafkaStreamingGenerator({ ...base, ...options })
}

t.test(
  'KafkaStreamingGenerator: records carry when and in which batch they were made, unless that is off',
  async (t) => {
    const producer = new FakeProducer()
    const stream = streamTo(producer, { keyColumn: 'eyes', producerConfig: { linger_ms: 0 } })
    t.equal(stream.stats(), undefined)
    const { acknowledged } = await stream.startStreaming({ maxSamples: 201 })
    t.equal(acknowledged, 201)
    const values = producer.values as { _batch_id: string; _generated_at: string }[]
    t.strictSame(
      [...new Set(values.map(({ _batch_id }) => _batch_id))],
      ['batch-001', 'batch-002', 'batch-003'],
    )
    t.match(values[0]?._generated_at, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
    const plain = new FakeProducer()
    await streamTo(plain, { metadata: false, valueSerializer: jsonCodec() }).startStreaming({ maxSamples: 2 })
    t.strictSame(plain.values, [{ eyes: 0 }, { eyes: 1 }])
  },
)

t.test('KafkaStreamingGenerator: a model as the generator goes on from batch to batch', async (t) => {
  const model = await fit(Array.from({ length: 200 }, (_, i) => ({ n: i % 7, even: i % 2 === 0 })))
  const producer = new FakeProducer()
  const stream = streamTo(producer, { generator: model, metadata: false, batchSize: 10 })
  await stream.startStreaming({ maxSamples: 30 })
  t.strictSame(producer.values, model.generate(30))
})

t.test('KafkaStreamingGenerator: a rate is kept by the clock, and a signal ends it', async (t) => {
  let now = 0
  const clock = {
    now: () => now,
    sleep: async (ms: number) => void (now += ms),
  }
  const stream = streamTo(new FakeProducer(), { clock, batchSize: 50 })
  await stream.startStreaming({ samplesPerSecond: 100, maxSamples: 500 })
  t.equal(now, 5000)
  const abort = new AbortController()
  const endless = streamTo(new FakeProducer(), {
    generator: { generate: (count) => (abort.abort(), dice.generate(count)) },
  })
  const { acknowledged } = await endless.startStreaming({ signal: abort.signal })
  t.equal(acknowledged, 100)
  endless.stop()
})

t.test(
  'KafkaStreamingGenerator: a generator that gives less is at its end; nothing at all is fine',
  async (t) => {
    const few = streamTo(new FakeProducer(), { generator: { generate: async () => [{ a: 1 }] } })
    t.equal((await few.startStreaming()).acknowledged, 1)
    t.equal((await few.startStreaming({ maxSamples: 0 })).acknowledged, 0)
    for (const valueSerializer of ['avro', 'protobuf'] as const) {
      const producer = new FakeProducer()
      await streamTo(producer, { valueSerializer }).startStreaming({ maxSamples: 3 })
      t.equal(producer.requests.flat().length, 3)
    }
  },
)

t.test('KafkaStreamingGenerator: brokers that fail end it with what was acknowledged', async (t) => {
  const producer = new FakeProducer()
  producer.onSend = (_, number) => {
    if (number === 2) throw new Error('gone')
  }
  const sending = streamTo(producer, { producerConfig: { linger_ms: 0 }, batchSize: 10 })
  await t.rejects(sending.startStreaming({ samplesPerSecond: 500 }), { code: 'ERR_MILLRACE_KAFKA_SEND' })
  t.equal(sending.stats()?.acknowledged, producer.values.length)
})

t.test('KafkaStreamingGenerator: what makes no sense is refused at once', async (t) => {
  const producer = new FakeProducer()
  for (const options of [
    { valueSerializer: 'xml' },
    { batchSize: 0 },
    { topic: '' },
    { generator: {} },
    { metadata: 1 },
  ])
    t.throws(() => streamTo(producer, options as never), { code: 'ERR_MILLRACE_OPTION' })
  t.throws(() => streamTo(producer, { producerConfig: { linger: 1 } as never }), {
    code: 'ERR_MILLRACE_OPTION',
  })
  await t.rejects(streamTo(producer).startStreaming({ samplesPerSecond: 0 }), { code: 'ERR_MILLRACE_OPTION' })
  await t.rejects(streamTo(producer).fit([]), { code: 'ERR_MILLRACE_NOT_FITTED' })
  let fitted: unknown
  const fitting = { ...dice, fit: (records: unknown) => (fitted = records) }
  await streamTo(producer, { generator: fitting }).fit([1])
  t.strictSame(fitted, [1])
})

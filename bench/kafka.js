// Messages to and through a broker on loopback, which shares the machine with all candidates: `npm run services:kafka` first, and Node 22.22.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { RecordBatch } from 'millrace'
import { KafkaSink, KafkaSource } from 'millrace/kafka'
import { createTopics, javaArguments, serviceFolder } from '../scripts/kafka-broker.js'
import { times } from './harness.js'

export const title = 'Kafka'

const stateFile = join(serviceFolder, 'kafka', 'running.json')
const address = existsSync(stateFile) ? JSON.parse(readFileSync(stateFile, 'utf8')).address : undefined
const COUNT = 400_000
const COPIED = 200_000
const pad = 'x'.repeat(278)
/** @param {number} id */
const record = (id) => ({ id: 1e6 + id, pad })

let topics = 0
async function freshTopic() {
  if (address === undefined) throw new Error('no broker: npm run services:kafka')
  const topic = `bench-${process.pid}-${Date.now()}-${topics++}`
  await createTopics(address, { [topic]: 1 })
  return topic
}

/** @param {number} count */
function* batches(count) {
  for (let at = 0; at < count; at += 500)
    yield new RecordBatch(
      at,
      Array.from({ length: 500 }, (_, i) => record(at + i)),
    )
}

/** @param {string} topic @param {number} count */
async function fill(topic, count) {
  await pipeline(Readable.from(batches(count)), new KafkaSink({ bootstrapServers: address, topic }))
}

/** @param {{ transactionalId?: string }} options */
const copier = (options) => ({
  prepare: async () => {
    const [from, to] = [await freshTopic(), await freshTopic()]
    await fill(from, COPIED)
    return { from, to }
  },
  run: async (/** @type {{ from: string, to: string }} */ { from, to }) => {
    const source = new KafkaSource({
      bootstrapServers: address,
      topic: from,
      groupId: from,
      batches: true,
      until: 'end',
    })
    const sink = new KafkaSink({ bootstrapServers: address, topic: to, ...options })
    await pipeline(
      source,
      async function* (/** @type {AsyncIterable<any>} */ input) {
        yield* input
      },
      sink,
    )
    return sink.stats().acknowledged
  },
})

/** @type {import('./harness.js').Group[]} */
export const groups = [
  {
    name: `produce ${COUNT / 1000}k JSON values of 300 bytes, acks=all, one partition`,
    unit: 'krec/s',
    rounds: 3,
    input: () => ({ bytes: COUNT * 300, records: COUNT }),
    candidates: [
      {
        name: 'KafkaSink, idempotent',
        ours: true,
        prepare: freshTopic,
        run: (topic) => fill(topic, COUNT),
      },
      {
        name: 'client alone, one send of 500 after the other',
        prepare: freshTopic,
        run: async (topic) => {
          const { Producer } = await import('@platformatic/kafka')
          const producer = new Producer({ clientId: 'bench', bootstrapBrokers: [address], idempotent: true })
          for (const { records } of batches(COUNT)) {
            const messages = records.map((one) => ({
              topic,
              partition: 0,
              value: Buffer.from(JSON.stringify(one)),
            }))
            await producer.send({ messages, acks: -1 })
          }
          await producer.close()
        },
      },
      {
        name: 'kafkajs, idempotent, 500 a send',
        loads: ['kafkajs'],
        prepare: freshTopic,
        run: async (topic) => {
          const { Kafka, logLevel } = await import('kafkajs')
          const producer = new Kafka({ brokers: [address], logLevel: logLevel.ERROR }).producer({
            idempotent: true,
            maxInFlightRequests: 1,
          })
          await producer.connect()
          for (const { records } of batches(COUNT)) {
            const messages = records.map((one) => ({ partition: 0, value: JSON.stringify(one) }))
            await producer.send({ topic, messages, acks: -1 })
          }
          await producer.disconnect()
        },
      },
      {
        name: 'kafka-producer-perf-test (Java, starting included)',
        prepare: freshTopic,
        run: (topic) => {
          const args = ['--topic', topic, '--num-records', String(COUNT), '--record-size', '300']
          const props = ['--throughput', '-1', '--producer-props', `bootstrap.servers=${address}`, 'acks=all']
          const main = 'org.apache.kafka.tools.ProducerPerformance'
          const text = execFileSync('java', javaArguments(main, [...args, ...props]), { encoding: 'utf8' })
          process.stderr.write(`    says of itself: ${text.trim().split('\n').at(-1)}\n`)
        },
      },
    ],
    targets: (row) => [
      [
        'KafkaSink against kafka-producer-perf-test',
        '≥ 0.7×',
        times(
          row('KafkaSink, idempotent').rate,
          row('kafka-producer-perf-test (Java, starting included)').rate,
        ),
      ],
      [
        'KafkaSink against kafkajs',
        '≥ 1.5×',
        times(row('KafkaSink, idempotent').rate, row('kafkajs, idempotent, 500 a send').rate),
      ],
    ],
  },
  {
    name: `topic → stage → topic, ${COPIED / 1000}k messages`,
    unit: 'krec/s',
    rounds: 3,
    input: () => ({ bytes: COPIED * 300, records: COPIED }),
    candidates: [
      { name: 'exactly once', ours: true, ...copier({ transactionalId: `bench-${process.pid}` }) },
      { name: 'at least once', ...copier({}) },
    ],
    targets: (row) => [
      [
        'exactly once against at least once',
        '≥ 0.5×',
        times(row('exactly once').rate, row('at least once').rate),
      ],
    ],
  },
]

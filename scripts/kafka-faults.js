// node scripts/kafka-faults.js [KILLS]: a broker is killed and started again, over and over, while records are written to a topic and
// copied from there to another, exactly once. Ends with what was lost and what came twice: nothing, or it fails.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { RecordBatch, reportDurable } from '../dist/index.js'
import { KafkaSink, KafkaSource } from '../dist/kafka/index.js'
import { KafkaBroker, createTopics, serviceFolder } from './kafka-broker.js'

const kills = Number(process.argv[2] ?? 100)
const folder = join(serviceFolder, 'kafka', 'faults')
rmSync(folder, { recursive: true, force: true })
const broker = new KafkaBroker({ folder, port: 29192, heap: '384m' })
await broker.start()
const bootstrapServers = broker.address
await createTopics(bootstrapServers, { first: 2, second: 2 })

const state = { running: true }
let done = 0
process.once('SIGINT', () => (state.running = false))
let made = 0
async function* records() {
  while (state.running) {
    yield new RecordBatch(
      made,
      Array.from({ length: 50 }, () => ({ id: made++ })),
    )
    await sleep(20)
  }
}
const sink = new KafkaSink({ bootstrapServers, topic: 'first', keyColumn: 'id' })
const source = new KafkaSource({ bootstrapServers, topic: 'first', groupId: 'copy', batches: true })
const copy = new KafkaSink({ bootstrapServers, topic: 'second', keyColumn: 'id', transactionalId: 'copy' })
const written = pipeline(Readable.from(records()), sink)
const copied = pipeline(source, copy)
for (const work of [written, copied]) {
  work.catch((/** @type {unknown} */ error) => {
    state.running = false
    console.error(error)
    process.exitCode = 1
  })
}

for (let kill = 1; kill <= kills && state.running; kill++) {
  await sleep(300 + Math.random() * 1200)
  await broker.kill()
  await sleep(Math.random() * 300)
  await broker.start()
  done = kill
  if (kill % 10 === 0) {
    const { acknowledged } = sink.stats()
    console.log(`${kill} kills, ${made} made, ${acknowledged} written, ${copy.stats().acknowledged} copied`)
  }
}
state.running = false
if (process.exitCode !== 1) {
  await written
  while (copy.stats().acknowledged < made && process.exitCode !== 1) await sleep(100)
  source.stop()
  await copied
  for (const topic of ['first', 'second']) {
    const seen = new Uint8Array(made)
    let twice = 0
    const back = new KafkaSource({ bootstrapServers, topic, until: 'end', batches: true })
    for await (const batch of back) {
      for (const { id } of batch.records) {
        twice += seen[id] ?? 0
        seen[id] = 1
      }
      reportDurable(batch)
    }
    const lost = seen.filter((count) => count === 0).length
    console.log(`${topic}: ${made} records, ${done} kills: ${lost} lost, ${twice} twice`)
    if (lost + twice > 0) process.exitCode = 1
  }
}
sink.destroy()
copy.destroy()
source.destroy()
await broker.stop()
rmSync(folder, { recursive: true, force: true })

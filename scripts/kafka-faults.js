// node scripts/kafka-faults.js [KILLS]: a broker is killed and started again, over and over, while records are written to a topic and
// copied from there to another, exactly once. After every ten kills it is left alone until all has been copied. Ends with what was lost
// and what came twice: nothing, or it fails.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { RecordBatch, reportDurable } from '../dist/index.js'
import { KafkaSink, KafkaSource } from '../dist/kafka/index.js'
import { KafkaBroker, createTopics, serviceFolder } from './kafka-broker.js'

const kills = Number(process.argv[2] ?? 100)
/** Kills between two times in which the broker is left alone. */
const ROUND = 10
/** How long all may take to be copied then, in milliseconds: a transaction that nobody ends is undone after 15 to 25 s. */
const CATCH_UP_TIMEOUT = 60_000
/** Not what is tried here: on a busy machine a broker may take ten times as long to start as it lives, so that nothing comes through. */
const patience = { writeTimeout: 1_800_000, readTimeout: 1_800_000 }
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
const sink = new KafkaSink({ bootstrapServers, topic: 'first', keyColumn: 'id', ...patience })
const source = new KafkaSource({
  bootstrapServers,
  topic: 'first',
  groupId: 'copy',
  batches: true,
  ...patience,
})
const copy = new KafkaSink({
  bootstrapServers,
  topic: 'second',
  keyColumn: 'id',
  transactionalId: 'copy',
  ...patience,
})
const written = pipeline(Readable.from(records()), sink)
const copied = pipeline(source, copy)
for (const work of [written, copied]) {
  work.catch((/** @type {unknown} */ error) => {
    state.running = false
    console.error(error)
    process.exitCode = 1
  })
}

/** Leaves the broker alone until all that was made is copied, and says how many seconds that took. */
async function catchUp() {
  const wanted = made
  const since = performance.now()
  while (copy.stats().acknowledged < wanted && process.exitCode !== 1) {
    await sleep(50)
    if (performance.now() - since < CATCH_UP_TIMEOUT) continue
    console.error(
      `the broker lives, and not all is copied after ${CATCH_UP_TIMEOUT} ms`,
      sink.stats(),
      copy.stats(),
    )
    state.running = false
    process.exitCode = 1
  }
  return ((performance.now() - since) / 1000).toFixed(1)
}

for (let kill = 1; kill <= kills && state.running; kill++) {
  await sleep(300 + Math.random() * 1200)
  await broker.kill()
  await sleep(Math.random() * 300)
  await broker.start()
  done = kill
  if (kill % ROUND === 0) {
    const before = `${kill} kills, ${made} made, ${sink.stats().acknowledged} written, ${copy.stats().acknowledged} copied`
    console.log(`${before}; all of them ${await catchUp()} s after the last start`)
  }
}
state.running = false
if (process.exitCode !== 1) {
  await catchUp()
  await written
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

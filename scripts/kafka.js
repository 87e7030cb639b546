// npm run services:kafka [-- start | stop | status]: one Kafka broker on 127.0.0.1:9092 (9093 asks for credentials). `start` downloads
// what is missing and returns when the broker answers; tests and benches find it by the file that it leaves.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { KAFKA_VERSION, KafkaBroker, serviceFolder } from './kafka-broker.js'

const folder = join(serviceFolder, 'kafka')
const stateFile = join(folder, 'running.json')
const port = Number(process.env['MILLRACE_KAFKA_PORT'] ?? 9092)
const [command = 'start'] = process.argv.slice(2)

/** @returns {{ pid: number, address: string, saslAddress: string } | undefined} */
function running() {
  if (!existsSync(stateFile)) return undefined
  const state = JSON.parse(readFileSync(stateFile, 'utf8'))
  return isAlive(state.pid) ? state : undefined
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0)
    // the number may belong to somebody else by now
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('kafka.Kafka')
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT' && !existsSync('/proc/self')
  }
}

if (command === 'start') {
  if (running() === undefined) {
    // tests start from nothing
    rmSync(join(folder, 'broker'), { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    const broker = new KafkaBroker({ folder: join(folder, 'broker'), port })
    console.log(`starting Apache Kafka ${KAFKA_VERSION} on ${broker.address}`)
    await broker.start({ detached: true })
    const { pid, address, saslAddress } = broker
    writeFileSync(stateFile, JSON.stringify({ pid, address, saslAddress }))
  }
  console.log(`Kafka answers on ${running()?.address}; npm run services:kafka -- stop ends it`)
} else if (command === 'stop') {
  const state = running()
  if (state !== undefined) {
    process.kill(state.pid, 'SIGTERM')
    for (let tries = 0; isAlive(state.pid); tries++) {
      if (tries === 200) process.kill(state.pid, 'SIGKILL')
      await sleep(100)
    }
  }
  rmSync(stateFile, { force: true })
  rmSync(join(folder, 'broker'), { recursive: true, force: true })
  console.log('Kafka is stopped')
} else if (command === 'status') {
  const state = running()
  console.log(state === undefined ? 'Kafka is not running' : `Kafka answers on ${state.address}`)
  process.exitCode = state === undefined ? 1 : 0
} else {
  console.error('expected start, stop or status')
  process.exitCode = 2
}

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createTopics, serviceFolder } from '../../../scripts/kafka-broker.js'

export interface RunningBroker {
  readonly address: string
  readonly saslAddress: string
}

/** The broker that `npm run services:kafka` has started, or why the tests that need it are left out. */
export function runningBroker(): RunningBroker | string {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major < 22 || (major === 22 && minor < 22))
    return `Kafka's client needs Node 22.22, this is ${process.version}`
  const file = join(serviceFolder, 'kafka', 'running.json')
  if (!existsSync(file)) return 'no broker: start one with npm run services:kafka'
  const state = JSON.parse(readFileSync(file, 'utf8')) as RunningBroker & { pid: number }
  return existsSync(`/proc/${state.pid}`) || !existsSync('/proc/self')
    ? state
    : 'no broker: start one with npm run services:kafka'
}

let topics = 0

/** A topic that nobody else uses. */
export async function freshTopic(address: string, partitions = 1): Promise<string> {
  const name = `test-${process.pid}-${Date.now()}-${topics++}`
  await createTopics(address, { [name]: partitions })
  return name
}

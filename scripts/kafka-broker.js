// Apache Kafka for tests and benches: brokers in KRaft mode on loopback, from Maven Central. Needs Java 17 and Maven.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const exec = promisify(execFile)

export const KAFKA_VERSION = '4.1.0'

/** Where jars and data are kept: nothing of it is tracked. */
export const serviceFolder =
  process.env['MILLRACE_SERVICES'] ?? fileURLToPath(new URL('../.services', import.meta.url))

/** Who may use the listener that asks for credentials. */
export const credentials = { username: 'millrace', password: 'millrace-secret' }

/** How long a broker may take to start, in milliseconds. */
const START_TIMEOUT = 60_000

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>millrace</groupId><artifactId>kafka-service</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${KAFKA_VERSION}</version></dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>${KAFKA_VERSION}</version>
      <exclusions>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`

export const libFolder = join(serviceFolder, 'kafka', KAFKA_VERSION, 'lib')

/** Whether the jars are here already. */
export const isDownloaded = () => existsSync(libFolder)

/** Downloads the jars once. */
export async function download() {
  if (isDownloaded()) return
  const folder = join(serviceFolder, 'kafka', KAFKA_VERSION)
  const partial = join(folder, 'lib.partial')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'pom.xml'), pom)
  rmSync(partial, { recursive: true, force: true })
  const args = ['-q', '-B', 'dependency:copy-dependencies', `-DoutputDirectory=${partial}`]
  // some fifty files from afar: what has come stays in Maven's own folder, so a second attempt goes on
  for (let attempt = 1; ; attempt++) {
    try {
      await exec('mvn', args, { cwd: folder })
      break
    } catch (error) {
      if (attempt === 3) throw error
    }
  }
  renameSync(partial, libFolder)
}

/** Arguments of `java` for one of Kafka's programs. @param {string} main @param {string[]} args @param {string} [heap] */
export function javaArguments(main, args, heap = '512m') {
  return [
    `-Xmx${heap}`,
    '-XX:+UseSerialGC',
    '-Xshare:auto',
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    '-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info',
    '-cp',
    join(libFolder, '*'),
    main,
    ...args,
  ]
}

/**
 * @typedef {object} BrokerOptions
 * @property {string} folder  for configuration, log and data
 * @property {number} port  the first of three: plain, with credentials, and for the controller
 * @property {number} [node]  number of the node; node 1 is the controller as well
 * @property {number} [controllerPort]  where the controller is, for other nodes than the first
 * @property {number} [replicas]  brokers that keep the positions of groups and transactions, once there are so many
 * @property {string} [heap]
 */

/** One broker. Its data outlive it: after `kill()` or `stop()`, `start()` goes on with them. */
export class KafkaBroker {
  /** @type {BrokerOptions} */ #options
  /** @type {number | undefined} */ pid

  /** @param {BrokerOptions} options */
  constructor(options) {
    this.#options = options
  }

  get address() {
    return `127.0.0.1:${this.#options.port}`
  }

  get node() {
    return this.#options.node ?? 1
  }

  /** Asks for `credentials`. */
  get saslAddress() {
    return `127.0.0.1:${this.#options.port + 1}`
  }

  get controllerPort() {
    return this.#options.controllerPort ?? this.#options.port + 2
  }

  /** Starts it, and waits until it answers. @param {{ detached?: boolean }} [options] */
  async start({ detached = false } = {}) {
    const { folder, port, heap } = this.#options
    await download()
    mkdirSync(folder, { recursive: true })
    const config = join(folder, 'server.properties')
    writeFileSync(config, this.#properties())
    if (!existsSync(join(folder, 'data', 'meta.properties'))) await this.#format(config)
    const logFile = join(folder, 'broker.log')
    rmSync(logFile, { force: true })
    const log = openSync(logFile, 'a')
    const child = spawn('java', javaArguments('kafka.Kafka', [config], heap), {
      stdio: ['ignore', log, log],
      detached,
    })
    this.pid = child.pid
    /** @type {unknown} */
    let ended
    child.once('exit', (code, signal) => (ended = signal ?? code))
    child.once('error', (error) => (ended = error))
    const deadline = performance.now() + START_TIMEOUT
    while (!readFileSync(logFile, 'utf8').includes('Kafka Server started') || !(await answers(port))) {
      if (ended !== undefined || performance.now() > deadline) {
        if (ended === undefined) child.kill('SIGKILL')
        throw new Error(
          `Kafka did not start (${String(ended)}): ${readFileSync(logFile, 'utf8').slice(-2000)}`,
        )
      }
      await sleep(100)
    }
    if (detached) child.unref()
    this.#child = child
  }

  /** @type {import('node:child_process').ChildProcess | undefined} */ #child

  /** Ends it as a power cut would. */
  async kill() {
    await this.#end('SIGKILL')
  }

  /** Ends it in good order. */
  async stop() {
    await this.#end('SIGTERM')
  }

  /** @param {NodeJS.Signals} signal */
  async #end(signal) {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.ref()
    const exited = once(child, 'exit')
    child.kill(signal)
    const timer = setTimeout(() => child.kill('SIGKILL'), 20_000)
    await exited
    clearTimeout(timer)
  }

  /** @param {string} config */
  async #format(config) {
    // every node of a cluster must have the same: these clusters know each other by their ports alone
    const id = Buffer.from(`millrace-${this.controllerPort}`.padEnd(16, '.')).toString('base64url')
    await exec('java', javaArguments('kafka.tools.StorageTool', ['format', '-t', id, '-c', config], '128m'))
  }

  #properties() {
    const { folder, port, replicas = 1 } = this.#options
    const { node } = this
    const isController = node === 1
    const controller = `CONTROLLER://127.0.0.1:${this.controllerPort}`
    const own = `PLAINTEXT://127.0.0.1:${port},SASL_PLAINTEXT://127.0.0.1:${port + 1}`
    const { username, password } = credentials
    return `process.roles=${isController ? 'broker,controller' : 'broker'}
node.id=${node}
controller.quorum.voters=1@127.0.0.1:${this.controllerPort}
controller.listener.names=CONTROLLER
listeners=${own}${isController ? `,${controller}` : ''}
advertised.listeners=${own}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_${username}="${password}";
log.dirs=${join(folder, 'data')}
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=${replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=${replicas}
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
num.recovery.threads.per.data.dir=1
log.cleaner.enable=false
`
  }
}

/** @param {number} port */
function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/** @param {string} address */
async function adminOf(address) {
  const { Admin } = await import('@platformatic/kafka')
  return new Admin({ clientId: 'millrace-scripts', bootstrapBrokers: [address] })
}

/**
 * Topics by name, with so many partitions, each of which is kept by one broker, or by `brokers`: numbers of nodes, of which the first leads.
 *
 * @param {string} address
 * @param {Record<string, number>} topics
 * @param {{ brokers?: number[] }} [options]
 */
export async function createTopics(address, topics, { brokers } = {}) {
  const admin = await adminOf(address)
  try {
    for (const [name, partitions] of Object.entries(topics)) {
      const places = brokers
        ? { assignments: Array.from({ length: partitions }, (_, partition) => ({ partition, brokers })) }
        : { partitions, replicas: 1 }
      await admin.createTopics({ topics: [name], ...places })
    }
  } finally {
    await admin.close()
  }
}

/** Numbers of the nodes that lead the partitions of a topic now. @param {string} address @param {string} topic */
export async function leadersOf(address, topic) {
  const admin = await adminOf(address)
  try {
    const { topics } = await admin.metadata({ topics: [topic] })
    return topics.get(topic)?.partitions.map(({ leader }) => leader) ?? []
  } finally {
    await admin.close()
  }
}

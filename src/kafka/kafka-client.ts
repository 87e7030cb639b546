import type { ConnectionOptions } from 'node:tls'
import { KafkaError, NodeVersionError, OptionError, asError, type KafkaFacts } from '../errors.ts'
import { loadPeer } from '../load-peer.ts'
import { checkString } from '../options.ts'

export type KafkaPackage = typeof import('@platformatic/kafka')

/** Who one is to the brokers. */
export interface KafkaCredentials {
  readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512' | 'OAUTHBEARER'
  readonly username?: string
  readonly password?: string
  /** For OAUTHBEARER. */
  readonly token?: string
}

/** How to reach the brokers. */
export interface KafkaConnectionOptions {
  /** `host:port` of one broker or several, as a list or with commas; from these the others become known. */
  readonly bootstrapServers: string | readonly string[]
  /** @defaultValue 'millrace' */
  readonly clientId?: string
  readonly sasl?: KafkaCredentials
  /** TLS to the brokers: true, or what `node:tls` takes. */
  readonly tls?: boolean | ConnectionOptions
}

/** The first version of Node that the client runs on. */
const NODE_VERSION = '22.22.0'

/** Longest pause before something is asked again, in milliseconds. */
const MAX_PAUSE = 250

/**
 * How long to wait before something is asked again that has failed so often. A broker that comes back is to be noticed: with pauses of up to a
 * second, the first acknowledgement came 0.7 s after its start (median of 11) and the first commit after 0.9 s, with these 0.1 and 0.3 s. Of
 * brokers that live for a second and take ten to start, no commit came through in a minute.
 */
export function pauseAfter(failures: number): number {
  return Math.min(MAX_PAUSE, 50 * 2 ** Math.min(failures, 10))
}

/** What the client goes on trying, and why it has to: it tells nobody by itself. */
export interface Trouble {
  /** By its own name for it, such as `produce`. */
  readonly operation: string
  readonly failures: number
  readonly error: unknown
}

/** @throws {@link NodeVersionError} on a Node that the client does not run on. */
export function checkNodeVersion(version: string = process.versions.node): void {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 22)) return
  throw new NodeVersionError(
    'ERR_MILLRACE_NODE_VERSION',
    `Kafka needs Node ${NODE_VERSION} or later, this is ${version}`,
    { expected: NODE_VERSION, actual: version },
  )
}

/** @throws {@link OptionError} when an option is wrong. */
export function checkConnection({ bootstrapServers, clientId, sasl, tls }: KafkaConnectionOptions): string[] {
  const list = typeof bootstrapServers === 'string' ? bootstrapServers.split(',') : bootstrapServers
  const isList =
    Array.isArray(list) &&
    list.length > 0 &&
    list.every(
      (server) =>
        typeof server === 'string' && /^[^\s:/]+:\d{1,5}$|^\[[\da-f:]+\]:\d{1,5}$/i.test(server.trim()),
    )
  if (!isList) throw new OptionError('bootstrapServers', bootstrapServers, 'host:port, or several of them')
  if (clientId !== undefined) checkString('clientId', clientId)
  if (tls !== undefined && typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null))
    throw new OptionError('tls', tls, 'true, false or options of node:tls')
  if (sasl !== undefined && typeof sasl?.mechanism !== 'string')
    throw new OptionError('sasl', sasl, 'an object with a mechanism')
  return list.map((server) => server.trim())
}

/** What every client of the package gets. */
export function clientOptions(options: KafkaConnectionOptions, onTrouble?: (trouble: Trouble) => void) {
  const { clientId = 'millrace', sasl, tls } = options
  return {
    clientId,
    bootstrapBrokers: checkConnection(options),
    retryDelay(_client: unknown, operation: string, failures: number, _retries: number, error: unknown) {
      onTrouble?.({ operation, failures, error })
      return pauseAfter(failures)
    },
    ...(sasl && { sasl }),
    ...(tls !== undefined && tls !== false && { tls: tls === true ? {} : tls }),
  }
}

export function loadKafka(): Promise<KafkaPackage> {
  return loadPeer('Kafka', ['@platformatic/kafka'], () => import('@platformatic/kafka'))
}

/** Looks for a fact in an error of the client, which nests many of them. */
export function findFact(error: unknown, key: string, value?: unknown): unknown {
  const seen = new Set<unknown>()
  const queue: unknown[] = [error]
  for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
    if (typeof at !== 'object' || at === null || seen.has(at)) continue
    seen.add(at)
    const facts = at as Record<string, unknown>
    if (facts[key] !== undefined && (value === undefined || facts[key] === value)) return facts[key]
    if (Array.isArray(facts['errors'])) queue.push(...(facts['errors'] as unknown[]))
    queue.push(facts['cause'])
  }
  return undefined
}

/** An error of the client as one of ours. `code` is for what is neither of the well-known causes. */
export function kafkaError(error: unknown, code: string, doing: string, facts: KafkaFacts = {}): Error {
  if (error instanceof KafkaError) return error
  const all = { ...facts, cause: error }
  const isRefused =
    findFact(error, 'code', 'PLT_KFK_AUTHENTICATION') ??
    findFact(error, 'apiId', 'SASL_AUTHENTICATION_FAILED')
  if (isRefused !== undefined || /authentication failed/i.test(innermost(error)))
    return new KafkaError('ERR_MILLRACE_KAFKA_AUTH', `${doing}: the broker refuses the credentials`, all)
  const reason = apiIdOf(error)
  if (reason === 'UNKNOWN_TOPIC_OR_PARTITION' || asError(error).message.startsWith('Unknown topic'))
    return new KafkaError('ERR_MILLRACE_KAFKA_TOPIC', `${doing}: there is no topic ${facts.topic ?? ''}`, all)
  const told = reasonOf(error)
  if (reason === '' && findFact(error, 'code', 'PLT_KFK_NETWORK') !== undefined && code.endsWith('_READ'))
    return new KafkaError('ERR_MILLRACE_KAFKA_CONNECT', `${doing}: no broker answers: ${told}`, all)
  return new KafkaError(code, `${doing}: ${told}`, all)
}

/** What an error of the client comes down to, for people. */
export function reasonOf(error: unknown): string {
  const reason = apiIdOf(error)
  return `${innermost(error)}${reason === '' ? '' : ` (${reason})`}`
}

/** What the broker answered, by the protocol's name for it; empty if no broker did. */
export function apiIdOf(error: unknown): string {
  const found = findFact(error, 'apiId')
  return typeof found === 'string' ? found : ''
}

/** The client wraps: "Received response with error" says nothing, what is in it does. */
function innermost(error: unknown): string {
  let at = error as { message?: string; errors?: unknown[]; cause?: unknown }
  for (let depth = 0; depth < 10; depth++) {
    const inner = (at.errors?.at(-1) ?? at.cause) as typeof at | undefined
    if (typeof inner !== 'object' || inner === null) break
    at = inner
  }
  return asError(at).message
}

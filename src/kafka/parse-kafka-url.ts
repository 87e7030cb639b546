import { OptionError } from '../errors.ts'

/** What a `kafka://` address names. */
export interface KafkaAddress {
  /** `host:port`, one or several. */
  readonly bootstrapServers: readonly string[]
  readonly topic: string
  /** What follows `?`. */
  readonly parameters: Readonly<Record<string, string>>
  readonly username?: string
  readonly password?: string
  /** `kafkas://`. */
  readonly tls: boolean
}

const DEFAULT_PORT = 9092
const TOPIC = /^[\w.-]{1,249}$/

/**
 * `kafka://[user:password@]host[:port][,host[:port]]/topic[?name=value&…]` in, its parts out; `kafkas://` is the same by TLS.
 *
 * @throws {@link OptionError} when it is no such address. The password is not in its message.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { parseKafkaUrl } from 'millrace/kafka'
 *
 * const { bootstrapServers, topic, parameters } = parseKafkaUrl('kafka://one,two:9093/clicks?group=counters')
 * assert.deepEqual(bootstrapServers, ['one:9092', 'two:9093'])
 * assert.equal(topic, 'clicks')
 * assert.equal(parameters.group, 'counters')
 * ```
 */
export function parseKafkaUrl(url: string): KafkaAddress {
  const match = /^(kafkas?):\/\/(?:([^@/]*)@)?([^/?@]+)\/([^?]*)(?:\?(.*))?$/i.exec(url)
  const [, scheme = '', user, hosts = '', topic = '', query = ''] = match ?? []
  const servers = hosts.split(',').map((host) => (/:\d+$/.test(host) ? host : `${host}:${DEFAULT_PORT}`))
  const decodedTopic = decode(topic)
  if (match === null || !TOPIC.test(decodedTopic) || servers.some((server) => server.startsWith(':'))) {
    const shown = url.replace(/\/\/[^@/]*@/, '//…@')
    throw new OptionError('address', shown, 'kafka://host[:port]/topic')
  }
  const [username, ...password] = user?.split(':') ?? []
  return {
    bootstrapServers: servers,
    topic: decodedTopic,
    parameters: Object.fromEntries(new URLSearchParams(query)),
    tls: scheme.toLowerCase() === 'kafkas',
    ...(username !== undefined && { username: decode(username) }),
    ...(password.length > 0 && { password: decode(password.join(':')) }),
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

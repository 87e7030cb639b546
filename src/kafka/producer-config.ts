import { OptionError } from '../errors.ts'
import type { KafkaSinkOptions } from './sink-options.ts'

/** Options of a sink by the names that the Java and Python clients have for them. */
export interface ProducerConfig {
  /** `'all'`, 1 or 0. */
  readonly acks?: 'all' | 0 | 1 | -1 | '0' | '1' | '-1'
  readonly retries?: number
  readonly linger_ms?: number
  readonly compression_type?: KafkaSinkOptions['compression']
  /** Longest time without an acknowledgement, in milliseconds: `writeTimeout`. */
  readonly max_block_ms?: number
  /** Bytes that may wait: `maxBufferedBytes`. */
  readonly buffer_memory?: number
  /** Bytes of one request: `batchBytes`. */
  readonly batch_size?: number
  readonly max_request_size?: number
  readonly enable_idempotence?: boolean
  readonly client_id?: string
}

const NAMES = {
  retries: 'retries',
  linger_ms: 'lingerMs',
  compression_type: 'compression',
  max_block_ms: 'writeTimeout',
  buffer_memory: 'maxBufferedBytes',
  batch_size: 'batchBytes',
  max_request_size: 'maxMessageBytes',
  enable_idempotence: 'idempotent',
  client_id: 'clientId',
} as const satisfies Partial<Record<keyof ProducerConfig, keyof KafkaSinkOptions>>

const ACKS: Record<string, 'all' | 'leader' | 'none'> = { all: 'all', '-1': 'all', 1: 'leader', 0: 'none' }

/**
 * A configuration of the Java or Python client in, options of a {@link KafkaSink} out.
 *
 * @throws {@link OptionError} for a name that is not known here, rather than leaving out what was asked for.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { producerOptions } from 'millrace/kafka'
 *
 * assert.deepEqual(producerOptions({ acks: 'all', linger_ms: 10, max_block_ms: 60_000, buffer_memory: 67_108_864 }), {
 *   acks: 'all', lingerMs: 10, writeTimeout: 60_000, maxBufferedBytes: 67_108_864,
 * })
 * ```
 */
export function producerOptions(config: ProducerConfig): Partial<KafkaSinkOptions> {
  const options: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(config) as [keyof ProducerConfig, unknown][]) {
    if (name === 'acks') {
      const acks = ACKS[String(value)]
      if (acks === undefined) throw new OptionError('producerConfig.acks', value, "'all', 1 or 0")
      options['acks'] = acks
    } else {
      const known = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined
      if (known === undefined) {
        const names = ['acks', ...Object.keys(NAMES)].join(', ')
        throw new OptionError(`producerConfig.${name}`, value, `one of ${names}`)
      }
      options[known] = value
    }
  }
  return options
}

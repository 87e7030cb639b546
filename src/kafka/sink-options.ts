import { OptionError } from '../errors.ts'
import type { BlockPosition, StatsHooks } from '../flow/index.ts'
import {
  checkBoolean,
  checkChoice,
  checkFunction,
  checkInteger,
  checkMethods,
  checkNumber,
  checkSignal,
  checkString,
} from '../options.ts'
import { checkConnection, checkNodeVersion, type KafkaConnectionOptions } from './kafka-client.ts'
import { jsonCodec, type MessageCodec } from './message-codec.ts'
import type { HeaderValues, KafkaPartitioner } from './message-builder.ts'
import type { KafkaProducerLike } from './transaction-runner.ts'

/** Records of one request, at most. */
export const DEFAULT_KAFKA_BATCH = 1000
/** Bytes of one request, at most: brokers take a million in one batch of a partition. */
export const DEFAULT_BATCH_BYTES = 512 * 1024
/** Milliseconds that a batch may wait to become full. */
export const DEFAULT_LINGER = 5
/** Bytes that may wait for the brokers: more was no faster, and cost memory and its collection. */
export const DEFAULT_BUFFERED_BYTES = 4 * 1024 * 1024
/** Bytes of one message: what brokers take by default. */
export const DEFAULT_MESSAGE_BYTES = 1_000_000
/** Milliseconds without any acknowledgement. */
export const DEFAULT_WRITE_TIMEOUT = 60_000
/** Milliseconds between the beginnings of two transactions. */
export const DEFAULT_TRANSACTION_INTERVAL = 200

const ACKS = { all: -1, leader: 1, none: 0 } as const
const COMPRESSIONS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const

/** One record that could not become a message, or that the brokers refused. */
export interface FailedRecord {
  /** Number of the record, from 0. */
  readonly index: number
  readonly record?: unknown
  readonly error: Error
}

/** Options of {@link KafkaSink}. In parentheses: the name that the same has in the configuration of the Java and Python clients. */
export interface KafkaSinkOptions extends KafkaConnectionOptions, StatsHooks {
  readonly topic: string
  /** Column whose value is the message's key, and by that decides its partition. A record without it fails; `null` is no key. */
  readonly keyColumn?: string
  /** Makes the key of a record, in place of `keyColumn`. */
  readonly key?: (record: any) => unknown
  /** Headers of all messages, or a function that gives those of a record. */
  readonly headers?: HeaderValues | ((record: any, index: number) => HeaderValues | undefined)
  /** @defaultValue murmur2 of the key as in the Java client; without a key one partition after the other, a batch each */
  readonly partitioner?: KafkaPartitioner
  /**
   * What a record becomes (`value_serializer`).
   * @defaultValue `jsonCodec()`
   */
  readonly codec?: MessageCodec
  /**
   * Who must have a message before it counts as written (`acks`): all replicas, their leader, or nobody.
   * @defaultValue 'all'
   */
  readonly acks?: keyof typeof ACKS
  /**
   * Brokers recognise a request that they have carried out already, so that repeating it cannot double a message
   * (`enable_idempotence`).
   * @defaultValue true with `acks: 'all'`
   */
  readonly idempotent?: boolean
  /**
   * How often a request is repeated (`retries`). Repeating ends with `writeTimeout` in any case.
   * @defaultValue without limit
   */
  readonly retries?: number
  /**
   * `compression_type`. `'zstd'` needs Node 22.15.
   * @defaultValue 'none'
   */
  readonly compression?: (typeof COMPRESSIONS)[number]
  /**
   * Records of one request, at most.
   * @defaultValue 1000
   */
  readonly batchSize?: number
  /**
   * Bytes of one request, at most (`batch_size` of the Java client); a larger message goes alone.
   * @defaultValue 512 KiB
   */
  readonly batchBytes?: number
  /**
   * How long a batch waits to become full, in milliseconds (`linger_ms`).
   * @defaultValue 5
   */
  readonly lingerMs?: number
  /**
   * Bytes that may wait for the brokers (`buffer_memory`): when they are used up, writing waits.
   * @defaultValue 4 MiB
   */
  readonly maxBufferedBytes?: number
  /**
   * Longest time without any acknowledgement while messages wait, in milliseconds (`max_block_ms`, `delivery_timeout_ms`): then the
   * sink fails.
   * @defaultValue 60000
   */
  readonly writeTimeout?: number
  /**
   * Longest message, in bytes (`max_request_size`).
   * @defaultValue 1000000
   */
  readonly maxMessageBytes?: number
  /**
   * Called with a record that cannot become a message or is refused by the brokers, which is then left out. Without it, the first such
   * record fails the sink, after all before it have been delivered.
   */
  readonly onRecordError?: (failed: FailedRecord) => void
  /** Called when a block and all before it is acknowledged, with its position. */
  readonly onDurable?: (position: BlockPosition) => void
  /**
   * Writes in transactions by this id: readers see all of one or nothing. Blocks that come from a {@link KafkaSource} commit their
   * positions in the same transaction, so that each message counts exactly once, through whatever stages keep blocks apart. Every sink that runs
   * at the same time needs an id of its own.
   */
  readonly transactionalId?: string
  /**
   * How long a transaction collects before it is committed, in milliseconds.
   * @defaultValue 200
   */
  readonly transactionInterval?: number
  /** A producer of `@platformatic/kafka` to use as it is. It stays open. */
  readonly producer?: KafkaProducerLike
  /** Aborts the stage. */
  readonly signal?: AbortSignal
  /**
   * Records, or batches, that wait in the stream itself.
   * @defaultValue 16
   */
  readonly highWaterMark?: number
}

export type SinkPlan = ReturnType<typeof planSink>

/** @throws {@link OptionError} when an option is wrong. */
export function planSink(options: KafkaSinkOptions) {
  const {
    topic,
    keyColumn,
    key,
    partitioner,
    acks = 'all',
    compression = 'none',
    codec = jsonCodec(),
  } = options
  const { transactionalId, headers, retries, onRecordError, onDurable, producer, signal } = options
  checkConnection(options)
  checkTopic('topic', topic)
  if (keyColumn !== undefined) checkString('keyColumn', keyColumn)
  if (keyColumn !== undefined && key !== undefined)
    throw new OptionError('key', key, 'no key() beside keyColumn')
  checkFunction('key', key)
  checkFunction('partitioner', partitioner)
  checkFunction('onRecordError', onRecordError)
  checkFunction('onDurable', onDurable)
  if (
    headers !== undefined &&
    typeof headers !== 'function' &&
    (typeof headers !== 'object' || headers === null)
  )
    throw new OptionError('headers', headers, 'an object, or a function')
  checkMethods('codec', codec, ['encode', 'decode'])
  checkSignal('signal', signal)
  const idempotent = checkBoolean('idempotent', options.idempotent ?? acks === 'all')
  const plan = {
    topic,
    keyColumn,
    key,
    headers,
    partitioner,
    codec,
    onRecordError,
    onDurable,
    transactionalId,
    idempotent,
    acks: ACKS[checkChoice('acks', acks, ['all', 'leader', 'none'])],
    compression: checkChoice('compression', compression, COMPRESSIONS),
    retries: retries === undefined ? Number.MAX_SAFE_INTEGER : checkInteger('retries', retries),
    batchSize: checkInteger('batchSize', options.batchSize ?? DEFAULT_KAFKA_BATCH, 1),
    batchBytes: checkInteger('batchBytes', options.batchBytes ?? DEFAULT_BATCH_BYTES, 1),
    lingerMs: checkNumber('lingerMs', options.lingerMs ?? DEFAULT_LINGER, 0),
    maxBufferedBytes: checkInteger('maxBufferedBytes', options.maxBufferedBytes ?? DEFAULT_BUFFERED_BYTES, 1),
    writeTimeout: checkNumber('writeTimeout', options.writeTimeout ?? DEFAULT_WRITE_TIMEOUT, 1),
    maxMessageBytes: checkInteger('maxMessageBytes', options.maxMessageBytes ?? DEFAULT_MESSAGE_BYTES, 1),
    transactionInterval: checkNumber(
      'transactionInterval',
      options.transactionInterval ?? DEFAULT_TRANSACTION_INTERVAL,
      1,
    ),
  }
  if (idempotent && acks !== 'all') throw new OptionError('acks', acks, "'all' with idempotent: true")
  if (transactionalId !== undefined) {
    checkString('transactionalId', transactionalId)
    if (!idempotent) throw new OptionError('idempotent', idempotent, 'true with a transactionalId')
  }
  if (producer !== undefined) checkMethods('producer', producer, ['send', 'metadata', 'close'])
  else checkNodeVersion()
  return plan
}

export function checkTopic(name: string, topic: unknown): string {
  if (typeof topic === 'string' && /^[\w.-]{1,249}$/.test(topic)) return topic
  throw new OptionError(name, topic, 'the name of a topic: letters, digits, dots, - and _')
}

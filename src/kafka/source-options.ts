import type { KafkaError } from '../errors.ts'
import { OptionError } from '../errors.ts'
import type { StatsHooks } from '../flow/index.ts'
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkMethods,
  checkNumber,
  checkSignal,
  checkString,
} from '../options.ts'
import type { ReaderOptions } from './group-reader.ts'
import { checkConnection, checkNodeVersion, type KafkaConnectionOptions } from './kafka-client.ts'
import { jsonCodec, type MessageCodec } from './message-codec.ts'
import { checkTopic } from './sink-options.ts'

/** Messages of a batch, at most. */
export const DEFAULT_SOURCE_BATCH = 500
/** Bytes that one fetch asks for, at most. */
export const DEFAULT_FETCH_BYTES = 1024 * 1024
/** Milliseconds between two commits. */
export const DEFAULT_COMMIT_INTERVAL = 1000
/** Milliseconds for which brokers may not answer. */
export const DEFAULT_READ_TIMEOUT = 60_000
/** Milliseconds after which the group gives up a member that is not heard of. */
export const DEFAULT_SESSION_TIMEOUT = 10_000
/** A message with all that came with it. */
export interface KafkaMessageRecord<T = any> {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  /** When it was made, in milliseconds since 1970. */
  readonly timestamp: number
  readonly key: Buffer | null
  /** Decoded; `null` for a message without a value. */
  readonly value: T | null
  readonly headers: Readonly<Record<string, Buffer>>
}

/** Options of {@link KafkaSource}. */
export interface KafkaSourceOptions extends KafkaConnectionOptions, StatsHooks {
  readonly topic: string | readonly string[]
  /** Group that shares the partitions and keeps the position. Without it, all partitions are read and nothing is committed. */
  readonly groupId?: string
  /**
   * Where to begin where the group has committed nothing: a time is the first message of that time or later.
   * @defaultValue 'earliest'
   */
  readonly from?: 'earliest' | 'latest' | Date
  /**
   * Where to end: never, or where the topic ended when reading began.
   * @defaultValue 'never'
   */
  readonly until?: 'never' | 'end'
  /**
   * When a block counts as done with. `'reported'`: when a sink reports it and all before it (`reportDurable`), as those of this package do.
   * `'read'`: when the next one is asked for, which suits a `for await` loop. `'never'`: the group's position stays.
   * @defaultValue 'reported'
   */
  readonly commit?: 'reported' | 'read' | 'never'
  /**
   * @defaultValue `jsonCodec()`
   */
  readonly codec?: MessageCodec
  /**
   * What is emitted of a message: its value, or all of it ({@link KafkaMessageRecord}).
   * @defaultValue 'values'
   */
  readonly emit?: 'values' | 'messages'
  /**
   * What to do with a message that cannot be decoded: fail, leave it out, or take what a function returns (`undefined` leaves it out).
   * @defaultValue 'throw'
   */
  readonly onInvalid?: 'throw' | 'skip' | ((error: KafkaError, bytes: Buffer) => unknown)
  /** Emits a {@link RecordBatch} at a time. @defaultValue false */
  readonly batches?: boolean
  /** @defaultValue 500 */
  readonly batchSize?: number
  /**
   * Bytes that one fetch asks of a broker, as they are stored. A larger message is fetched alone.
   * @defaultValue 1 MiB
   */
  readonly maxFetchBytes?: number
  /** @defaultValue 1000 */
  readonly commitInterval?: number
  /** Longest time that the brokers may not answer, in milliseconds. @defaultValue 60000 */
  readonly readTimeout?: number
  /** @defaultValue 10000 */
  readonly sessionTimeout?: number
  /** Aborts the stage. */
  readonly signal?: AbortSignal
  /** Records, or batches, that wait for the reader. @defaultValue 16, or 2 batches; 1 with `commit: 'read'`, which allows no more */
  readonly highWaterMark?: number
}

/** Options of a source, checked and with their defaults. */
export interface SourcePlan {
  readonly codec: MessageCodec
  readonly batchSize: number
  readonly commitInterval: number
  readonly highWaterMark: number
  readonly reader: Omit<ReaderOptions, keyof KafkaConnectionOptions>
}

/** Checks the options of a source. */
export function planSource(options: KafkaSourceOptions): SourcePlan {
  const { topic, groupId, from = 'earliest', batches = false, codec = jsonCodec() } = options
  checkConnection(options)
  const topics = typeof topic === 'string' ? [topic] : [...(topic ?? [])]
  if (topics.length === 0) throw new OptionError('topic', topic, 'the name of a topic')
  for (const name of topics) checkTopic('topic', name)
  if (groupId !== undefined) checkString('groupId', groupId)
  checkBoolean('batches', batches)
  checkMethods('codec', codec, ['encode', 'decode'])
  if (!(from instanceof Date)) checkChoice('from', from, ['earliest', 'latest'])
  const until = checkChoice('until', options.until ?? 'never', ['never', 'end'])
  const commit = checkChoice('commit', options.commit ?? 'reported', ['reported', 'read', 'never'])
  checkChoice('emit', options.emit ?? 'values', ['values', 'messages'])
  if (typeof options.onInvalid !== 'function')
    checkChoice('onInvalid', options.onInvalid ?? 'throw', ['throw', 'skip'])
  checkSignal('signal', options.signal)
  // what waits for the reader has not been read
  const most = commit === 'read' ? 1 : undefined
  const waiting = most ?? (batches ? 2 : 16)
  const plan: SourcePlan = {
    codec,
    batchSize: checkInteger('batchSize', options.batchSize ?? DEFAULT_SOURCE_BATCH, 1),
    commitInterval: checkNumber('commitInterval', options.commitInterval ?? DEFAULT_COMMIT_INTERVAL, 1),
    highWaterMark: checkInteger('highWaterMark', options.highWaterMark ?? waiting, 1, most),
    reader: {
      topics,
      groupId,
      from,
      untilEnd: until === 'end',
      maxFetchBytes: checkInteger('maxFetchBytes', options.maxFetchBytes ?? DEFAULT_FETCH_BYTES, 1),
      readTimeout: checkNumber('readTimeout', options.readTimeout ?? DEFAULT_READ_TIMEOUT, 1),
      sessionTimeout: checkInteger('sessionTimeout', options.sessionTimeout ?? DEFAULT_SESSION_TIMEOUT, 6000),
    },
  }
  checkNodeVersion()
  return plan
}

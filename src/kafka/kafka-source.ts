import { Readable, addAbortSignal } from 'node:stream'
import { KafkaError, OptionError, asError } from '../errors.ts'
import {
  RecordBatch,
  StatsCounter,
  withPosition,
  type BlockPosition,
  type StatsHooks,
  type StreamStats,
} from '../flow/index.ts'
import { failAfterDelivery } from '../flow/fail-after-delivery.ts'
import {
  checkChoice,
  checkInteger,
  checkMethods,
  checkNumber,
  checkSignal,
  checkString,
  checkBoolean,
} from '../options.ts'
import { GroupReader, type Slice } from './group-reader.ts'
import { checkConnection, checkNodeVersion, type KafkaConnectionOptions } from './kafka-client.ts'
import { KafkaPosition, type PositionOwner } from './kafka-position.ts'
import { jsonCodec, type MessageCodec } from './message-codec.ts'
import { checkTopic } from './sink-options.ts'
import type { VisibleRecord } from './visible-records.ts'

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
/** How long a source that has been read stays in its group without a report of what became of it, in milliseconds. */
const END_TIMEOUT = 30_000

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
  /** Records, or batches, that wait for the reader. @defaultValue 16, or 2 batches */
  readonly highWaterMark?: number
}

/** What a source has done so far. */
export interface KafkaSourceStats extends StreamStats {
  /** Messages in the partitions that have not been read, or with a group: that are not known to be done with. */
  readonly lag: number
  /** How often partitions were assigned. */
  readonly assignments: number
}

/** A record, and the offset after it. */
interface Read {
  readonly record: unknown
  readonly slice: Slice
  readonly after: bigint
}

interface Block {
  readonly slice: Slice
  next: number
}

/**
 * Messages of a topic, decoded, as an object stream. Each batch carries its position, and so does each record that is an object;
 * what sinks report of it is what the group commits: at least once. With a {@link KafkaSink} that has a `transactionalId`,
 * positions and results are committed together: exactly once.
 *
 * @remarks
 * Fetches when it is read. Holds one fetch of each broker (`maxFetchBytes` as stored, more when it is compressed) and what waits for the
 * reader. Messages of aborted transactions are not seen. When the group assigns partitions anew, reading begins again where it has
 * committed: what was read but not reported comes a second time, and reports of the first time are not heard.
 *
 * After the end, it stays in its group until all blocks are reported, or `destroy()`.
 *
 * @throws {@link OptionError} when an option is wrong, {@link NodeVersionError} on a Node that the client does not run on.
 * @see https://kafka.apache.org/documentation/#intro_consumers
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { KafkaSource } from 'millrace/kafka'
 *
 * try {
 *   new KafkaSource({ bootstrapServers: 'localhost', topic: 'clicks', groupId: 'counters' })
 * } catch (error) {
 *   assert.equal(error.message, 'option bootstrapServers: expected host:port, or several of them, got "localhost"')
 * }
 * ```
 */
export class KafkaSource extends Readable implements PositionOwner {
  readonly #options: KafkaSourceOptions
  readonly #topics: readonly string[]
  readonly #codec: MessageCodec
  readonly #batchSize: number
  readonly #commitInterval: number
  readonly #counter: StatsCounter
  #reader: GroupReader | undefined
  #block: Block | undefined
  #sequence = 0
  #index = 0
  /** What is done with, by partition: all of it, and what the group has not been told. */
  readonly #reached = new Map<string, bigint>()
  readonly #uncommitted = new Map<string, KafkaPosition>()
  #last: KafkaPosition | undefined
  #reachedSequence = 0
  #timer: NodeJS.Timeout | undefined
  #committing: Promise<void> = Promise.resolve()
  #working = false
  #isStopped = false
  #endTimer: NodeJS.Timeout | undefined
  /** Records that are to be pushed one by one, the next one last. */
  #singles: Read[] = []

  constructor(options: KafkaSourceOptions) {
    const { topic, groupId, batches = false, codec = jsonCodec(), signal } = options
    checkConnection(options)
    const topics = typeof topic === 'string' ? [topic] : [...(topic ?? [])]
    if (topics.length === 0) throw new OptionError('topic', topic, 'the name of a topic')
    for (const name of topics) checkTopic('topic', name)
    if (groupId !== undefined) checkString('groupId', groupId)
    checkBoolean('batches', batches)
    checkMethods('codec', codec, ['encode', 'decode'])
    if (!(options.from instanceof Date))
      checkChoice('from', options.from ?? 'earliest', ['earliest', 'latest'])
    checkChoice('until', options.until ?? 'never', ['never', 'end'])
    checkChoice('commit', options.commit ?? 'reported', ['reported', 'read', 'never'])
    checkChoice('emit', options.emit ?? 'values', ['values', 'messages'])
    if (typeof options.onInvalid !== 'function')
      checkChoice('onInvalid', options.onInvalid ?? 'throw', ['throw', 'skip'])
    checkSignal('signal', signal)
    const highWaterMark = checkInteger('highWaterMark', options.highWaterMark ?? (batches ? 2 : 16))
    const batchSize = checkInteger('batchSize', options.batchSize ?? DEFAULT_SOURCE_BATCH, 1)
    const commitInterval = checkNumber('commitInterval', options.commitInterval ?? DEFAULT_COMMIT_INTERVAL, 1)
    checkInteger('maxFetchBytes', options.maxFetchBytes ?? DEFAULT_FETCH_BYTES, 1)
    checkNumber('readTimeout', options.readTimeout ?? DEFAULT_READ_TIMEOUT, 1)
    checkInteger('sessionTimeout', options.sessionTimeout ?? DEFAULT_SESSION_TIMEOUT, 6000)
    checkNodeVersion()
    // its end is not the end of its membership: sinks have yet to report
    super({ objectMode: true, highWaterMark, autoDestroy: false })
    this.#options = options
    this.#topics = topics
    this.#codec = codec
    this.#batchSize = batchSize
    this.#commitInterval = commitInterval
    this.#counter = new StatsCounter('KafkaSource', options)
    if (signal) addAbortSignal(signal, this)
  }

  stats(): KafkaSourceStats {
    return {
      ...this.#counter.snapshot(),
      lag: this.#reader?.lag(this.#commits ? this.#reached : new Map()) ?? 0,
      assignments: this.epoch,
    }
  }

  /** Number of the assignment. */
  get epoch(): number {
    return this.#reader?.epoch ?? 0
  }

  get #commits(): boolean {
    return this.#options.groupId !== undefined && this.#options.commit !== 'never'
  }

  /** Told by positions: a block and all before it is done with. */
  reached(position: KafkaPosition, isCommitted: boolean): void {
    const { topic, partition, offset, sequence } = position
    const key = `${topic}/${partition}`
    this.#reachedSequence = Math.max(this.#reachedSequence, sequence)
    this.#reached.set(key, offset)
    if (isCommitted) this.#uncommitted.delete(key)
    else if (this.#commits) {
      this.#uncommitted.set(key, position)
      this.#timer ??= setTimeout(() => void this.commit().catch(() => {}), this.#commitInterval)
    }
    if (this.readableEnded) this.#windDown()
  }

  /** Told by a transaction that was undone. */
  rewind(epoch: number): void {
    if (epoch === this.epoch) this.#reader?.rewind()
  }

  /** Commits what is done with. */
  async commit(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const before = this.#committing
    this.#committing = (async () => {
      await before.catch(() => {})
      const positions = [...this.#uncommitted.values()].filter(({ isCurrent }) => isCurrent)
      this.#uncommitted.clear()
      if (positions.length > 0) await this.#reader?.commit(positions)
    })()
    await this.#committing
  }

  /** Ends the stream behind what has been emitted. It stays in its group until that is reported. */
  stop(): void {
    this.#isStopped = true
    this.#reader?.stop()
  }

  override _construct(callback: (error?: Error) => void): void {
    this.#open().then(() => callback(), callback)
  }

  async #open(): Promise<void> {
    const { groupId, from = 'earliest', until, maxFetchBytes = DEFAULT_FETCH_BYTES } = this.#options
    const { readTimeout = DEFAULT_READ_TIMEOUT, sessionTimeout = DEFAULT_SESSION_TIMEOUT } = this.#options
    const { onChunk: _, onError: _e, onComplete: _c, ...connection } = this.#options
    this.#reader = await GroupReader.open({
      ...connection,
      topics: this.#topics,
      groupId,
      from,
      untilEnd: until === 'end',
      maxFetchBytes,
      readTimeout,
      sessionTimeout,
    })
    if (this.#isStopped) this.#reader.stop()
  }

  override _read(): void {
    if (this.#working) return
    this.#working = true
    this.#produce()
      .catch((error: unknown) => this.#fail(asError(error)))
      .finally(() => {
        this.#working = false
      })
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearTimeout(this.#endTimer)
    clearTimeout(this.#timer)
    void this.#close(error).then(callback)
  }

  async #close(error: Error | null): Promise<Error | null> {
    let failure = error
    try {
      if (error) this.#counter.failed(error)
      await this.commit()
    } catch (thrown) {
      failure ??= asError(thrown)
    }
    await this.#reader?.close()
    return failure
  }

  #fail(error: Error): void {
    if (this.destroyed) return
    failAfterDelivery(this, error)
  }

  /** Pushes until the stream wants no more. */
  async #produce(): Promise<void> {
    for (let wantsMore = true; wantsMore && !this.destroyed;) {
      if (this.#options.commit === 'read') this.#last?.durable()
      if (this.#isStopped) {
        this.#end()
        return
      }
      if (this.#singles.length > 0) {
        wantsMore = this.#pushSingle()
        continue
      }
      if (this.#block === undefined) {
        const slice = await (this.#reader as GroupReader).next()
        if (this.destroyed) return
        if (slice === undefined) {
          this.#end()
          return
        }
        this.#block = { slice, next: 0 }
      }
      wantsMore = await this.#pushPart(this.#block)
    }
  }

  /** Decodes and pushes the next batch of a slice. */
  async #pushPart(block: Block): Promise<boolean> {
    const { slice } = block
    const part = slice.records.slice(block.next, block.next + this.#batchSize)
    block.next += part.length
    const isLast = block.next >= slice.records.length
    if (isLast) this.#block = undefined
    const read: Read[] = []
    let after = isLast ? slice.next : (part.at(-1)?.offset ?? slice.next) + 1n
    let bytes = 0
    let failure: Error | undefined
    for (const message of part) {
      bytes += (message.record.value?.length ?? 0) + (message.record.key?.length ?? 0)
      try {
        const record = await this.#recordOf(slice, message)
        if (record !== undefined) read.push({ record, slice, after: message.offset + 1n })
      } catch (error) {
        failure = asError(error)
        after = message.offset
        break
      }
    }
    // assigned anew while it was decoded: all of it comes again
    if (slice.epoch !== this.epoch) {
      this.#block = undefined
      return true
    }
    this.#counter.received(bytes, part.length)
    this.#counter.sent(0, read.length)
    const wantsMore =
      this.#options.batches === true ? this.#pushBatch(slice, read, after) : this.#pushAll(read)
    if (failure !== undefined) throw failure
    return wantsMore
  }

  #positionAt({ topic, partition, epoch, member }: Slice, offset: bigint): BlockPosition {
    const sequence = ++this.#sequence
    this.#last = new KafkaPosition(this, { topic, partition, offset, sequence, epoch, member })
    return { index: this.#index, offset: 0, line: 1, column: 1, source: this.#last }
  }

  #pushBatch(slice: Slice, read: readonly Read[], after: bigint): boolean {
    const records = read.map(({ record }) => record)
    const batch = withPosition(new RecordBatch(this.#index, records), this.#positionAt(slice, after))
    this.#index += records.length
    return this.push(batch)
  }

  #pushAll(read: Read[]): boolean {
    this.#singles = read.toReversed()
    return read.length > 0 ? this.#pushSingle() : true
  }

  #pushSingle(): boolean {
    const { record, slice, after } = this.#singles.pop() as Read
    if (record === null) {
      const { topic, partition } = slice
      const message = `record ${this.#index} is null, which cannot travel alone in an object stream (batches: true)`
      throw new KafkaError('ERR_MILLRACE_KAFKA_MESSAGE', message, { index: this.#index, topic, partition })
    }
    if (slice.epoch !== this.epoch) {
      this.#singles = []
      return true
    }
    const at = this.#positionAt(slice, after)
    this.#index++
    return this.push(typeof record === 'object' ? withPosition(record, at) : record)
  }

  async #recordOf(
    { topic, partition }: Slice,
    { offset, timestamp, record }: VisibleRecord,
  ): Promise<unknown> {
    const { onInvalid = 'throw', emit } = this.#options
    let value: unknown = null
    try {
      if (record.value !== null) {
        const decoded: unknown = this.#codec.decode(record.value)
        value = isPromise(decoded) ? await decoded : decoded
      }
    } catch (error) {
      const failure = new KafkaError(
        'ERR_MILLRACE_KAFKA_MESSAGE',
        `topic ${topic}, partition ${partition}, offset ${offset}: ${asError(error).message}`,
        { topic, partition, messageOffset: offset, cause: error },
      )
      if (onInvalid === 'throw') throw failure
      return onInvalid === 'skip' ? undefined : onInvalid(failure, record.value as Buffer)
    }
    if (emit !== 'messages') return value
    const headers = Object.fromEntries(
      record.headers.map(([name, content]) => [String(name), content ?? Buffer.alloc(0)]),
    )
    return { topic, partition, offset, timestamp: Number(timestamp), key: record.key, value, headers }
  }

  #end(): void {
    this.once('end', () => {
      if (this.#options.commit === 'read') this.#last?.durable()
      this.#windDown()
    })
    this.push(null)
    try {
      this.#counter.completed()
    } catch (error) {
      this.#fail(asError(error))
    }
  }

  /** Leaves the group once all is reported. */
  #windDown(): void {
    clearTimeout(this.#endTimer)
    if (!this.#commits || this.#options.commit === 'read' || this.#reachedSequence >= this.#sequence)
      this.destroy()
    else this.#endTimer = setTimeout(() => this.destroy(), END_TIMEOUT)
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

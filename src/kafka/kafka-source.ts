import { Readable, addAbortSignal } from 'node:stream'
import { KafkaError, asError } from '../errors.ts'
import {
  RecordBatch,
  StatsCounter,
  withPosition,
  type BlockPosition,
  type StreamStats,
} from '../flow/index.ts'
import { failAfterDelivery } from '../flow/fail-after-delivery.ts'
import { GroupReader, type Slice } from './group-reader.ts'
import { KafkaPosition, type PositionOwner } from './kafka-position.ts'
import { planSource, type KafkaSourceOptions, type SourcePlan } from './source-options.ts'
import type { VisibleRecord } from './visible-records.ts'

/** How long a source that has been read stays in its group without a report of what became of it, in milliseconds. */
const END_TIMEOUT = 30_000

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
  readonly #plan: SourcePlan
  readonly #counter: StatsCounter
  #reader: GroupReader | undefined
  #block: Block | undefined
  #sequence = 0
  #index = 0
  /** What is done with, by partition: all of it, and what the group has not been told. */
  readonly #reached = new Map<string, bigint>()
  readonly #uncommitted = new Map<string, KafkaPosition>()
  #last: KafkaPosition | undefined
  #beforeLast: KafkaPosition | undefined
  #reachedSequence = 0
  #timer: NodeJS.Timeout | undefined
  #committing: Promise<void> = Promise.resolve()
  #working = false
  /** Asked for more since the last push. */
  #isWanted = false
  #isStopped = false
  #endTimer: NodeJS.Timeout | undefined
  /** Records that are to be pushed one by one, the next one last. */
  #singles: Read[] = []

  constructor(options: KafkaSourceOptions) {
    const plan = planSource(options)
    // its end is not the end of its membership: sinks have yet to report
    super({ objectMode: true, highWaterMark: plan.highWaterMark, autoDestroy: false })
    this.#options = options
    this.#plan = plan
    this.#counter = new StatsCounter('KafkaSource', options)
    if (options.signal) addAbortSignal(options.signal, this)
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
      this.#commitLater()
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
      const asked = [...this.#uncommitted].filter(([, { isCurrent }]) => isCurrent)
      this.#uncommitted.clear()
      try {
        if (asked.length > 0) await this.#reader?.commit(asked.map(([, position]) => position))
      } catch (error) {
        // the next time, unless the partition has come further meanwhile
        for (const [key, position] of asked)
          if (!this.#uncommitted.has(key)) this.#uncommitted.set(key, position)
        this.#commitLater()
        throw error
      }
    })()
    await this.#committing
  }

  #commitLater(): void {
    if (this.destroyed) return
    this.#timer ??= setTimeout(() => void this.commit().catch(() => {}), this.#plan.commitInterval)
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
    const { onChunk: _, onError: _e, onComplete: _c, ...connection } = this.#options
    this.#reader = await GroupReader.open({ ...connection, ...this.#plan.reader })
    if (this.#isStopped) this.#reader.stop()
  }

  override _read(): void {
    this.#isWanted = true
    if (this.#working) return
    this.#working = true
    this.#produce()
      .catch((error: unknown) => this.#fail(asError(error)))
      .finally(() => {
        this.#working = false
        // between the last push and here a reader may have asked, and streams do not ask twice
        if (this.#isWanted && !this.destroyed) this._read()
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
    this.#isWanted = false
    if (this.destroyed) return
    failAfterDelivery(this, error)
  }

  /** Pushes until the stream wants no more. */
  async #produce(): Promise<void> {
    for (let wantsMore = true; wantsMore && !this.destroyed;) {
      this.#countRead()
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

  /** With `commit: 'read'`, one is asked for when the one before it is done with: the last one has just been taken, or waits. */
  #countRead(): void {
    if (this.#options.commit !== 'read' || this.#beforeLast === this.#last) return
    this.#beforeLast?.durable()
    this.#beforeLast = this.#last
  }

  /** Decodes and pushes the next batch of a slice. */
  async #pushPart(block: Block): Promise<boolean> {
    const { slice } = block
    const part = slice.records.slice(block.next, block.next + this.#plan.batchSize)
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
    return this.#give(batch)
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
    return this.#give(typeof record === 'object' ? withPosition(record, at) : record)
  }

  async #recordOf(
    { topic, partition }: Slice,
    { offset, timestamp, record }: VisibleRecord,
  ): Promise<unknown> {
    const { onInvalid = 'throw', emit } = this.#options
    let value: unknown = null
    try {
      if (record.value !== null) {
        const decoded: unknown = this.#plan.codec.decode(record.value)
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

  #give(chunk: unknown): boolean {
    this.#isWanted = false
    return this.push(chunk)
  }

  #end(): void {
    this.#isWanted = false
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

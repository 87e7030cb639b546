import { Writable, addAbortSignal } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { KafkaError, asError } from '../errors.ts'
import {
  RecordBatch,
  StatsCounter,
  positionOf,
  reportDurable,
  withPosition,
  type BlockPosition,
  type StreamStats,
} from '../flow/index.ts'
import { checkInteger } from '../options.ts'
import { apiIdOf, kafkaError } from './kafka-client.ts'
import { KafkaPosition } from './kafka-position.ts'
import { MessageBuilder } from './message-builder.ts'
import { countPartitions, openProducer } from './open-producer.ts'
import { Outbox, type Lane, type Outgoing, type OutgoingBlock } from './outbox.ts'
import { planSink, type FailedRecord, type KafkaSinkOptions, type SinkPlan } from './sink-options.ts'
import { TransactionRunner, type KafkaProducerLike } from './transaction-runner.ts'

/** One lane for all partitions: a transaction sends one request at a time. */
const ONLY_LANE = -1
/** Records that are encoded before answers are looked at again. */
const TURN_RECORDS = 1000
/** How long a sink that is destroyed waits for the end of its transaction, in milliseconds. */
const ABORT_TIMEOUT = 2000
/** Refusals of a batch for the sake of a record in it: halves of it may pass. */
const BLAMES_A_RECORD = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
])

/** What a sink has done so far. */
export interface KafkaSinkStats extends StreamStats {
  /** Records that the brokers have for good. */
  readonly acknowledged: number
  /** Records that were left out, see `onRecordError`. */
  readonly failed: number
  /** Records that were given up because their source reads them again. */
  readonly reread: number
  /** Bytes that wait for the brokers now. */
  readonly bufferedBytes: number
  /** Most of them at any time. */
  readonly maxBufferedBytes: number
}

interface Job {
  readonly records: readonly unknown[]
  next: number
  readonly block: OutgoingBlock
  readonly done: () => void
}

/**
 * A stream of records, or batches of them, in; every one becomes a message of a topic. A finished sink means that the brokers have
 * acknowledged all of them.
 *
 * @remarks
 * Writing waits while `maxBufferedBytes` wait for the brokers; beyond that memory holds what one record takes. Messages of one partition keep
 * their order; one request a partition is on its way at a time, and the next is made meanwhile. A request that fails is
 * repeated, which doubles nothing with `idempotent`, until nothing was acknowledged for `writeTimeout`.
 *
 * An error of a record has its `index`, and comes after all records before it were acknowledged. `acknowledged` on the error says how many
 * records the brokers have.
 *
 * @throws {@link OptionError} when an option is wrong, {@link NodeVersionError} on a Node that the client does not run on.
 * @see https://kafka.apache.org/documentation/#design
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { KafkaSink } from 'millrace/kafka'
 *
 * // in place of a cluster: a producer that keeps what it gets
 * const sent: string[] = []
 * const producer = {
 *   metadata: async () => ({ topics: new Map([['clicks', { partitionsCount: 1 }]]) }),
 *   send: async ({ messages }) => void sent.push(...messages.map(({ key, value }) => `${key} ${value}`)),
 *   close: async () => {},
 * }
 * const sink = new KafkaSink({ bootstrapServers: 'localhost:9092', topic: 'clicks', keyColumn: 'user', producer })
 * sink.write({ user: 'ann', page: '/a' })
 * sink.end()
 * await new Promise((resolve) => sink.once('finish', resolve))
 * assert.deepEqual(sent, ['ann {"user":"ann","page":"/a"}'])
 * assert.equal(sink.stats().acknowledged, 1)
 * ```
 */
export class KafkaSink extends Writable {
  readonly #plan: SinkPlan
  readonly #options: KafkaSinkOptions
  readonly #builder: MessageBuilder
  readonly #outbox: Outbox
  readonly #counter: StatsCounter
  #producer: KafkaProducerLike | undefined
  #transactions: TransactionRunner | undefined
  #job: Job | undefined
  /** Number of the next record. */
  #index = 0
  #acknowledged = 0
  #failedRecords = 0
  #reread = 0
  #mostBytes = 0
  /** Records of the open transaction: they count when it is committed. */
  #uncommitted = 0
  #ending: ((error?: Error) => void) | undefined
  /** Surfaces when all before it is settled. */
  #fault: Error | undefined
  #requests = 0
  #committing = false
  /** The brokers have refused something: nothing is sent any more. */
  #isRefused = false
  #lastProgress = 0
  #watch: NodeJS.Timeout | undefined
  #timer: NodeJS.Timeout | undefined
  #turn: NodeJS.Immediate | undefined
  /** A chunk that waits for the end of a transaction. */
  #held: { readonly chunk: unknown; readonly done: () => void } | undefined

  constructor(options: KafkaSinkOptions) {
    const plan = planSink(options)
    super({ objectMode: true, highWaterMark: checkInteger('highWaterMark', options.highWaterMark ?? 16) })
    this.#plan = plan
    this.#options = options
    this.#builder = new MessageBuilder(plan)
    this.#outbox = new Outbox(plan.batchSize, plan.batchBytes)
    this.#counter = new StatsCounter('KafkaSink', options)
    if (options.signal) addAbortSignal(options.signal, this)
  }

  stats(): KafkaSinkStats {
    return {
      ...this.#counter.snapshot(),
      acknowledged: this.#acknowledged,
      failed: this.#failedRecords,
      reread: this.#reread,
      bufferedBytes: this.#outbox.bytes,
      maxBufferedBytes: this.#mostBytes,
    }
  }

  override _construct(callback: (error?: Error) => void): void {
    this.#open().then(() => callback(), callback)
  }

  async #open(): Promise<void> {
    const { topic, transactionalId, compression, codec } = this.#plan
    const producer = await openProducer(this.#options, this.#plan)
    this.#producer = producer
    if (transactionalId !== undefined) this.#transactions = new TransactionRunner(producer, compression)
    await codec.prepare?.({ topic, part: 'value' })
    this.#builder.partitions = await countPartitions(producer, this.#plan, () => this.destroyed)
  }

  override _write(chunk: unknown, _encoding: BufferEncoding, done: () => void): void {
    this.#counter.received(0, RecordBatch.is(chunk) ? chunk.length : 1)
    if (this.#endsTransaction()) this.#held = { chunk, done }
    else this.#begin(chunk, done)
    this.#work()
  }

  override _final(callback: (error?: Error) => void): void {
    this.#ending = callback
    this.#work()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearTimeout(this.#watch)
    clearTimeout(this.#timer)
    clearImmediate(this.#turn)
    void this.#close(error).then(callback)
  }

  async #close(error: Error | null): Promise<Error | null> {
    let failure = error
    try {
      if (error) this.#counter.failed(error)
    } catch (thrown) {
      failure = asError(thrown)
    }
    if (this.#transactions?.isOpen === true) {
      // a broker that is gone ends the transaction by its own clock
      const giveUp = new AbortController()
      await Promise.race([
        this.#transactions.abort().catch(() => {}),
        sleep(ABORT_TIMEOUT, undefined, { signal: giveUp.signal }).catch(() => {}),
      ])
      giveUp.abort()
    }
    await this.#disconnect()
    return failure
  }

  async #disconnect(): Promise<void> {
    if (this.#options.producer === undefined) await this.#producer?.close(true).catch(() => {})
  }

  #begin(chunk: unknown, done: () => void): void {
    const records = RecordBatch.is(chunk) ? chunk.records : [chunk]
    const position = typeof chunk === 'object' && chunk !== null ? positionOf(chunk) : undefined
    if (this.#transactions !== undefined && isStale(position)) {
      this.#reread += records.length
      this.#index += records.length
      done()
    } else this.#job = { records, next: 0, block: this.#outbox.open(position), done }
  }

  /** A transaction ends between two chunks, because positions do: when its time is over, or its records will be read again. */
  #endsTransaction(): boolean {
    const transactions = this.#transactions
    if (transactions === undefined || (!transactions.isOpen && this.#outbox.count === 0)) return false
    const first = this.#outbox.firstOpen?.position as BlockPosition | undefined
    return (
      transactions.age(performance.now()) >= this.#plan.transactionInterval ||
      transactions.isStale ||
      isStale(first)
    )
  }

  /** Encodes what fits, sends what is due, ends what is done. */
  #work(): void {
    if (this.destroyed) return
    try {
      this.#fill()
      this.#send()
      this.#tell()
    } catch (error) {
      // a hook of the user threw
      this.#fault ??= asError(error)
    }
    this.#settle()
  }

  #fill(): void {
    const job = this.#job
    const { maxBufferedBytes } = this.#plan
    const outbox = this.#outbox
    const now = performance.now()
    let left = TURN_RECORDS
    if (job === undefined) return
    while (this.#fault === undefined && job.next < job.records.length) {
      if (outbox.bytes >= maxBufferedBytes) return
      if (left-- === 0) {
        // answers are heard between two turns
        this.#turn ??= setImmediate(() => {
          this.#turn = undefined
          this.#work()
        })
        return
      }
      this.#encode(job.records[job.next++], job.block, now)
      this.#mostBytes = Math.max(this.#mostBytes, outbox.bytes)
    }
    if (this.#fault !== undefined) return
    job.block.ended = true
    this.#job = undefined
    job.done()
  }

  #encode(record: unknown, block: OutgoingBlock, now: number): void {
    const index = this.#index++
    let built
    try {
      built = this.#builder.build(record, index)
    } catch (error) {
      this.#leaveOut({ index, record, error: asError(error) })
      return
    }
    const { message, bytes } = built
    const laneKey = this.#transactions === undefined ? message.partition : ONLY_LANE
    const lane = this.#outbox.add(laneKey, { message, bytes, index, block }, now)
    if (!this.#outbox.isFull(lane)) return
    this.#builder.nextPartition()
    this.#sendLane(lane)
  }

  #leaveOut(failed: FailedRecord): void {
    const { onRecordError } = this.#plan
    if (onRecordError === undefined) {
      this.#fault ??= failed.error
      return
    }
    this.#failedRecords++
    onRecordError(failed)
  }

  /** Sends of all lanes what is full, or has waited long enough. */
  #send(): void {
    let wait = Infinity
    const now = performance.now()
    const flush = this.#ending !== undefined || this.#fault !== undefined || this.#held !== undefined
    for (const lane of this.#outbox.lanes.values()) {
      if (lane.inFlight || lane.head === lane.waiting.length) continue
      const due = lane.since + this.#plan.lingerMs - now
      if (flush || due <= 0 || this.#outbox.isFull(lane)) this.#sendLane(lane)
      else wait = Math.min(wait, due)
    }
    if (this.#transactions?.isOpen === true)
      wait = Math.min(wait, Math.max(1, this.#plan.transactionInterval - this.#transactions.age(now)))
    if (wait === Infinity || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#work()
    }, wait)
  }

  #sendLane(lane: Lane): void {
    if (lane.inFlight) return
    const batch = this.#outbox.take(lane)
    lane.inFlight = true
    this.#requests++
    this.#startWatch()
    void this.#deliver(batch).then(() => {
      lane.inFlight = false
      // what is still there has waited for the answer, and that counts as lingering
      this.#requests--
      this.#lastProgress = performance.now()
      this.#work()
    })
  }

  async #deliver(batch: Outgoing[]): Promise<void> {
    try {
      await this.#request(batch)
      this.#outbox.settle(batch)
      if (this.#transactions === undefined) this.#acknowledged += batch.length
      else this.#uncommitted += batch.length
      const bytes = batch.reduce((sum, item) => sum + item.bytes, 0)
      this.#counter.sent(bytes, batch.length)
    } catch (error) {
      const isBlamed = BLAMES_A_RECORD.has(apiIdOf(error)) && this.#transactions === undefined
      if (isBlamed && batch.length > 1) {
        // nothing of a refused batch was written, so its halves can be tried
        await this.#deliver(batch.slice(0, batch.length >> 1))
        await this.#deliver(batch.slice(batch.length >> 1))
        return
      }
      this.#outbox.settle(batch)
      this.#refused(error, batch, isBlamed)
    }
  }

  async #request(batch: readonly Outgoing[]): Promise<void> {
    // after a failure nothing may overtake it
    if (this.#isRefused && this.#fault !== undefined) throw this.#fault
    const messages = batch.map(({ message }) => message)
    const { acks, compression } = this.#plan
    if (this.#transactions !== undefined) await this.#transactions.send(messages)
    else await (this.#producer as KafkaProducerLike).send({ messages, acks, compression })
  }

  #refused(error: unknown, batch: readonly Outgoing[], isBlamed: boolean): void {
    const { topic, onRecordError } = this.#plan
    const index = batch[0]?.index ?? 0
    const what = isBlamed ? `record ${index} is refused` : `records from ${index} on were not acknowledged`
    const code = isBlamed ? 'ERR_MILLRACE_KAFKA_RECORD' : 'ERR_MILLRACE_KAFKA_SEND'
    const failure = kafkaError(error, code, `topic ${topic}: ${what}`, { topic, index })
    try {
      if (isBlamed) this.#leaveOut({ index, error: failure })
      else this.#fault ??= failure
    } catch (thrown) {
      this.#fault ??= asError(thrown)
    }
    if (isBlamed && onRecordError !== undefined) return
    this.#isRefused = true
    this.#outbox.clearWaiting()
  }

  /** Tells how far all is settled. */
  #tell(): void {
    for (let block = this.#outbox.shiftSettled(); block !== undefined; block = this.#outbox.shiftSettled()) {
      const position = block.position as BlockPosition | undefined
      if (position === undefined) continue
      if (this.#transactions !== undefined && position.source instanceof KafkaPosition)
        this.#transactions.reach(position.source, performance.now())
      else {
        this.#plan.onDurable?.(position)
        reportDurable(withPosition({}, position))
      }
    }
  }

  /** Ends the transaction, the chunk that waits for it, or the stage, once nothing is on its way. */
  #settle(): void {
    if (this.#requests > 0 || this.#outbox.count > 0 || this.#committing) return
    clearTimeout(this.#watch)
    this.#watch = undefined
    const transactions = this.#transactions
    const fault = this.#fault
    if (fault !== undefined) {
      // what came before a record that does not fit is to be seen
      if (transactions?.isOpen === true && !this.#isRefused && isRecordFault(fault)) void this.#commit()
      else this.destroy(withFacts(fault, this.#acknowledged))
      return
    }
    if (this.#job !== undefined) return
    if (transactions?.isOpen === true) {
      const isDue = transactions.age(performance.now()) >= this.#plan.transactionInterval
      if (isDue || this.#ending !== undefined || this.#held !== undefined) void this.#commit()
      else this.#send()
      return
    }
    const held = this.#held
    if (held !== undefined) {
      this.#held = undefined
      this.#begin(held.chunk, held.done)
      this.#work()
      return
    }
    const ending = this.#ending
    this.#ending = undefined
    if (ending !== undefined) void this.#finish(ending)
  }

  async #commit(): Promise<void> {
    this.#committing = true
    this.#startWatch()
    try {
      const isCommitted = await this.#transactions?.commit()
      if (isCommitted === true) this.#acknowledged += this.#uncommitted
      else this.#reread += this.#uncommitted
    } catch (error) {
      this.#fault = asError(error)
    }
    this.#uncommitted = 0
    this.#committing = false
    this.#lastProgress = performance.now()
    this.#work()
  }

  async #finish(callback: (error?: Error) => void): Promise<void> {
    clearTimeout(this.#timer)
    await this.#disconnect()
    try {
      this.#counter.completed()
      callback()
    } catch (error) {
      callback(asError(error))
    }
  }

  /** Looks after the time without an acknowledgement, as long as something is to be acknowledged. */
  #startWatch(): void {
    if (this.#watch !== undefined) return
    this.#lastProgress = performance.now()
    const { writeTimeout, topic } = this.#plan
    const look = () => {
      const left = this.#lastProgress + writeTimeout - performance.now()
      if (left > 0) {
        this.#watch = setTimeout(look, left)
        return
      }
      const { bytes } = this.#outbox
      const message = `topic ${topic}: nothing was acknowledged for ${writeTimeout} ms, ${bytes} bytes wait`
      const facts = { topic, bufferedBytes: bytes, acknowledged: this.#acknowledged, expected: writeTimeout }
      this.destroy(new KafkaError('ERR_MILLRACE_KAFKA_TIMEOUT', message, facts))
    }
    this.#watch = setTimeout(look, writeTimeout)
  }
}

function isStale(position: BlockPosition | undefined): boolean {
  return position?.source instanceof KafkaPosition && !position.source.isCurrent
}

function isRecordFault(fault: Error): boolean {
  return (fault as KafkaError).code === 'ERR_MILLRACE_KAFKA_RECORD'
}

/** How far it came is known only when all requests have ended. */
function withFacts(fault: Error, acknowledged: number): Error {
  if (fault instanceof KafkaError && fault.acknowledged === undefined) Object.assign(fault, { acknowledged })
  return fault
}

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
import { Delivery } from './delivery.ts'
import { KafkaPosition } from './kafka-position.ts'
import { MessageBuilder } from './message-builder.ts'
import { countPartitions, openProducer } from './open-producer.ts'
import { Outbox, type OutgoingBlock } from './outbox.ts'
import { planSink, type KafkaSinkOptions, type SinkPlan } from './sink-options.ts'
import { TransactionRunner } from './transaction-runner.ts'

/** One lane for all partitions: a transaction sends one request at a time. */
const ONLY_LANE = -1
/** Records that are encoded before answers are looked at again. */
const TURN_RECORDS = 1000
/** How long a sink that is destroyed waits for the end of its transaction, in milliseconds. */
const ABORT_TIMEOUT = 2000
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
  readonly #delivery: Delivery
  #job: Job | undefined
  /** Number of the next record. */
  #index = 0
  #mostBytes = 0
  #ending: ((error?: Error) => void) | undefined
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
    this.#delivery = new Delivery({
      plan,
      outbox: this.#outbox,
      counter: this.#counter,
      onAnswer: () => this.#work(),
      onTimeout: (error) => this.destroy(error),
    })
    if (options.signal) addAbortSignal(options.signal, this)
  }

  stats(): KafkaSinkStats {
    return {
      ...this.#counter.snapshot(),
      acknowledged: this.#delivery.acknowledged,
      failed: this.#delivery.failed,
      reread: this.#delivery.reread,
      bufferedBytes: this.#outbox.bytes,
      maxBufferedBytes: this.#mostBytes,
    }
  }

  override _construct(callback: (error?: Error) => void): void {
    this.#open().then(() => callback(), callback)
  }

  async #open(): Promise<void> {
    const { topic, transactionalId, compression, codec } = this.#plan
    const producer = await openProducer(this.#options, this.#plan, (trouble) =>
      this.#delivery.troubled(trouble),
    )
    this.#delivery.producer = producer
    if (transactionalId !== undefined)
      this.#delivery.transactions = new TransactionRunner(producer, compression)
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
    this.#delivery.stopWatch()
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
    const { transactions } = this.#delivery
    if (transactions?.isOpen === true) {
      // a broker that is gone ends the transaction by its own clock
      const giveUp = new AbortController()
      await Promise.race([
        transactions.abort().catch(() => {}),
        sleep(ABORT_TIMEOUT, undefined, { signal: giveUp.signal }).catch(() => {}),
      ])
      giveUp.abort()
    }
    await this.#disconnect()
    return failure
  }

  async #disconnect(): Promise<void> {
    if (this.#options.producer === undefined) await this.#delivery.producer?.close(true).catch(() => {})
  }

  #begin(chunk: unknown, done: () => void): void {
    const records = RecordBatch.is(chunk) ? chunk.records : [chunk]
    const position = typeof chunk === 'object' && chunk !== null ? positionOf(chunk) : undefined
    if (this.#delivery.transactions !== undefined && isStale(position)) {
      this.#delivery.reread += records.length
      this.#index += records.length
      done()
    } else this.#job = { records, next: 0, block: this.#outbox.open(position), done }
  }

  /** A transaction ends between two chunks, because positions do: when its time is over, or its records will be read again. */
  #endsTransaction(): boolean {
    const { transactions } = this.#delivery
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
      this.#delivery.fail(error)
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
    while (this.#delivery.fault === undefined && job.next < job.records.length) {
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
    if (this.#delivery.fault !== undefined) return
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
      this.#delivery.leaveOut({ index, record, error: asError(error) })
      return
    }
    const { message, bytes } = built
    const laneKey = this.#delivery.transactions === undefined ? message.partition : ONLY_LANE
    const lane = this.#outbox.add(laneKey, { message, bytes, index, block }, now)
    if (!this.#outbox.isFull(lane)) return
    this.#builder.nextPartition()
    this.#delivery.send(lane)
  }

  /** Sends of all lanes what is full, or has waited long enough. */
  #send(): void {
    let wait = Infinity
    const now = performance.now()
    const { fault, transactions } = this.#delivery
    const flush = this.#ending !== undefined || fault !== undefined || this.#held !== undefined
    for (const lane of this.#outbox.lanes.values()) {
      if (lane.inFlight || lane.head === lane.waiting.length) continue
      const due = lane.since + this.#plan.lingerMs - now
      if (flush || due <= 0 || this.#outbox.isFull(lane)) this.#delivery.send(lane)
      else wait = Math.min(wait, due)
    }
    if (transactions?.isOpen === true)
      wait = Math.min(wait, Math.max(1, this.#plan.transactionInterval - transactions.age(now)))
    if (wait === Infinity || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#work()
    }, wait)
  }

  /** Tells how far all is settled. */
  #tell(): void {
    const { transactions } = this.#delivery
    for (let block = this.#outbox.shiftSettled(); block !== undefined; block = this.#outbox.shiftSettled()) {
      const position = block.position as BlockPosition | undefined
      if (position === undefined) continue
      if (transactions !== undefined && position.source instanceof KafkaPosition)
        transactions.reach(position.source, performance.now())
      else {
        this.#plan.onDurable?.(position)
        reportDurable(withPosition({}, position))
      }
    }
  }

  /** Ends the transaction, the chunk that waits for it, or the stage, once nothing is on its way. */
  #settle(): void {
    const delivery = this.#delivery
    if (!delivery.isQuiet || this.#outbox.count > 0) return
    delivery.stopWatch()
    const { transactions, fault } = delivery
    if (fault !== undefined) {
      // what came before a record that does not fit is to be seen
      if (transactions?.isOpen === true && !delivery.isRefused && isRecordFault(fault)) void delivery.commit()
      else this.destroy(withFacts(fault, delivery.acknowledged))
      return
    }
    if (this.#job !== undefined) return
    if (transactions?.isOpen === true) {
      const isDue = transactions.age(performance.now()) >= this.#plan.transactionInterval
      if (isDue || this.#ending !== undefined || this.#held !== undefined) void delivery.commit()
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

import { KafkaError, asError } from '../errors.ts'
import type { StatsCounter } from '../flow/index.ts'
import { apiIdOf, kafkaError, reasonOf, type Trouble } from './kafka-client.ts'
import type { Lane, Outbox, Outgoing } from './outbox.ts'
import type { FailedRecord, SinkPlan } from './sink-options.ts'
import type { KafkaProducerLike, TransactionRunner } from './transaction-runner.ts'

/** Refusals of a batch for the sake of a record in it: halves of it may pass. */
const BLAMES_A_RECORD = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
])

/** Whom it sends to, and whom it tells. */
export interface DeliveryOptions {
  readonly plan: SinkPlan
  readonly outbox: Outbox
  readonly counter: StatsCounter
  /** An answer has come. */
  readonly onAnswer: () => void
  /** Nothing was acknowledged for `writeTimeout`. */
  readonly onTimeout: (error: KafkaError) => void
}

/** All that is said between a sink and the brokers: requests and commits, their answers, what became of the records, and how long nothing was heard. */
export class Delivery {
  readonly #plan: SinkPlan
  readonly #outbox: Outbox
  readonly #counter: StatsCounter
  readonly #onAnswer: () => void
  readonly #onTimeout: (error: KafkaError) => void
  /** Set before the first record comes. */
  producer: KafkaProducerLike | undefined
  transactions: TransactionRunner | undefined
  /** Records that the brokers have for good, that were left out, and that were given up because their source reads them again. */
  acknowledged = 0
  failed = 0
  reread = 0
  #fault: Error | undefined
  #isRefused = false
  /** Records of the open transaction: they count when it is committed. */
  #uncommitted = 0
  /** Requests and commits that have not been answered. */
  #open = 0
  #lastProgress = 0
  /** What the client has failed at last, since the last answer. */
  #trouble: Trouble | undefined
  #watch: NodeJS.Timeout | undefined

  constructor({ plan, outbox, counter, onAnswer, onTimeout }: DeliveryOptions) {
    this.#plan = plan
    this.#outbox = outbox
    this.#counter = counter
    this.#onAnswer = onAnswer
    this.#onTimeout = onTimeout
  }

  /** The first failure. Surfaces when all before it is settled. */
  get fault(): Error | undefined {
    return this.#fault
  }

  /** The brokers have refused something: nothing is sent any more. */
  get isRefused(): boolean {
    return this.#isRefused
  }

  /** Whether all questions are answered. */
  get isQuiet(): boolean {
    return this.#open === 0
  }

  fail(error: unknown): void {
    this.#fault ??= asError(error)
  }

  /** A record does not become a message: the hook is told, or it is the failure. */
  leaveOut(failed: FailedRecord): void {
    const { onRecordError } = this.#plan
    if (onRecordError === undefined) {
      this.fail(failed.error)
      return
    }
    this.failed++
    onRecordError(failed)
  }

  /** Sends the next batch of a lane, unless one is on its way. */
  send(lane: Lane): void {
    if (lane.inFlight) return
    const batch = this.#outbox.take(lane)
    lane.inFlight = true
    this.#ask()
    void this.#deliver(batch).then(() => {
      lane.inFlight = false
      // what is still there has waited for the answer, and that counts as lingering
      this.#answered()
    })
  }

  /** Commits the open transaction. */
  async commit(): Promise<void> {
    this.#ask()
    try {
      const isCommitted = await this.transactions?.commit()
      if (isCommitted === true) this.acknowledged += this.#uncommitted
      else this.reread += this.#uncommitted
    } catch (error) {
      this.#fault = asError(error)
    }
    this.#uncommitted = 0
    this.#answered()
  }

  /** The client tries something again. */
  troubled(trouble: Trouble): void {
    this.#trouble = trouble
  }

  /** There is nothing to wait for. */
  stopWatch(): void {
    clearTimeout(this.#watch)
    this.#watch = undefined
  }

  #ask(): void {
    this.#open++
    this.#startWatch()
  }

  #answered(): void {
    this.#open--
    this.#lastProgress = performance.now()
    this.#trouble = undefined
    this.#onAnswer()
  }

  async #deliver(batch: Outgoing[]): Promise<void> {
    try {
      await this.#request(batch)
      this.#outbox.settle(batch)
      if (this.transactions === undefined) this.acknowledged += batch.length
      else this.#uncommitted += batch.length
      const bytes = batch.reduce((sum, item) => sum + item.bytes, 0)
      this.#counter.sent(bytes, batch.length)
    } catch (error) {
      const isBlamed = BLAMES_A_RECORD.has(apiIdOf(error)) && this.transactions === undefined
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
    if (this.transactions !== undefined) await this.transactions.send(messages)
    else await (this.producer as KafkaProducerLike).send({ messages, acks, compression })
  }

  #refused(error: unknown, batch: readonly Outgoing[], isBlamed: boolean): void {
    const { topic, onRecordError } = this.#plan
    const index = batch[0]?.index ?? 0
    const what = isBlamed ? `record ${index} is refused` : `records from ${index} on were not acknowledged`
    const code = isBlamed ? 'ERR_MILLRACE_KAFKA_RECORD' : 'ERR_MILLRACE_KAFKA_SEND'
    const failure = kafkaError(error, code, `topic ${topic}: ${what}`, { topic, index })
    try {
      if (isBlamed) this.leaveOut({ index, error: failure })
      else this.fail(failure)
    } catch (thrown) {
      this.fail(thrown)
    }
    if (isBlamed && onRecordError !== undefined) return
    this.#isRefused = true
    this.#outbox.clearWaiting()
  }

  /** Looks after the time without an acknowledgement, as long as something is to be acknowledged. */
  #startWatch(): void {
    if (this.#watch !== undefined) return
    this.#lastProgress = performance.now()
    const { writeTimeout } = this.#plan
    const look = () => {
      const left = this.#lastProgress + writeTimeout - performance.now()
      if (left > 0) {
        this.#watch = setTimeout(look, left)
        return
      }
      this.#onTimeout(this.#timeout())
    }
    this.#watch = setTimeout(look, writeTimeout)
  }

  #timeout(): KafkaError {
    const { writeTimeout, topic } = this.#plan
    const { bytes } = this.#outbox
    const { operation, failures, error } = this.#trouble ?? {}
    const why =
      operation === undefined ? '' : `; ${operation} failed ${failures} times, at last: ${reasonOf(error)}`
    const message = `topic ${topic}: nothing was acknowledged for ${writeTimeout} ms, ${bytes} bytes wait${why}`
    const facts = { topic, bufferedBytes: bytes, acknowledged: this.acknowledged, expected: writeTimeout }
    return new KafkaError('ERR_MILLRACE_KAFKA_TIMEOUT', message, {
      ...facts,
      ...(error !== undefined && { cause: error }),
    })
  }
}

import { KafkaError } from '../errors.ts'
import { findFact, kafkaError } from './kafka-client.ts'
import type { KafkaPosition } from './kafka-position.ts'
import type { KafkaMessage } from './outbox.ts'

/** What is used of a transaction of the client. */
export interface TransactionLike {
  send(options: { messages: KafkaMessage[]; acks: number; compression?: any }): Promise<unknown>
  addConsumer(consumer: any): Promise<void>
  addOffset(message: any): Promise<void>
  commit(): Promise<void>
  abort(): Promise<void>
}

/** What is used of a producer of the client. */
export interface KafkaProducerLike {
  send(options: { messages: KafkaMessage[]; acks: number; compression?: any }): Promise<unknown>
  metadata(options: { topics: string[]; retries?: number; forceUpdate?: boolean }): Promise<{
    readonly topics: Map<string, { readonly partitionsCount: number }>
  }>
  beginTransaction?(options: { producerId: bigint; producerEpoch: number }): Promise<TransactionLike>
  close(force?: boolean): Promise<void>
}

/** One transaction after the other, each with the positions of what went into it. */
export class TransactionRunner {
  readonly #producer: KafkaProducerLike
  readonly #compression: string
  #current: TransactionLike | undefined
  /** When the one that is open was begun. */
  #since = 0
  /** The last position of each partition that is read. */
  #positions = new Map<string, KafkaPosition>()

  constructor(producer: KafkaProducerLike, compression: string) {
    this.#producer = producer
    this.#compression = compression
  }

  get isOpen(): boolean {
    return this.#current !== undefined || this.#positions.size > 0
  }

  /** Milliseconds since it was begun. */
  age(now: number): number {
    return this.isOpen ? now - this.#since : 0
  }

  async send(messages: KafkaMessage[]): Promise<void> {
    const transaction = await this.#open()
    await transaction.send({ messages, acks: -1, compression: this.#compression })
  }

  /** What was sent so far is all that comes of the source up to here. */
  reach(position: KafkaPosition, now: number): void {
    if (!this.isOpen) this.#since = now
    this.#positions.set(`${position.topic}/${position.partition}`, position)
  }

  get isStale(): boolean {
    return [...this.#positions.values()].some(({ isCurrent }) => !isCurrent)
  }

  /**
   * Makes all of it visible at once, and commits the positions with it. False if that is not to be: the group has moved on,
   * so the blocks will be read again, and nothing was written.
   */
  async commit(): Promise<boolean> {
    if (!this.isOpen) return true
    const positions = [...this.#positions.values()]
    const transaction = await this.#open()
    try {
      if (this.isStale) return await this.abort()
      // one by one: the client takes calls at the same time for the same call
      for (const { topic, partition, offset, member } of positions) {
        if (member === undefined) continue
        await transaction.addConsumer({ groupId: member.groupId })
        await transaction.addOffset({ topic, partition, offset: offset - 1n, metadata: { consumer: member } })
      }
      if (this.isStale) return await this.abort()
    } catch (error) {
      await this.abort().catch(() => {})
      if (findFact(error, 'needsRejoin', true) === undefined) throw transactionError(error)
      for (const position of positions) position.rewind()
      return false
    }
    try {
      await transaction.commit()
    } catch (error) {
      throw transactionError(error)
    }
    this.#current = undefined
    this.#positions = new Map()
    for (const position of positions) position.committed()
    return true
  }

  /** Undoes it. */
  async abort(): Promise<false> {
    const transaction = this.#current
    this.#current = undefined
    this.#positions = new Map()
    await transaction?.abort()
    return false
  }

  async #open(): Promise<TransactionLike> {
    if (this.#current !== undefined) return this.#current
    if (this.#positions.size === 0) this.#since = performance.now()
    // -1: whoever used the id before is fenced off; the client's own 0 would mean a certain producer
    const begun = await this.#producer.beginTransaction?.({ producerId: -1n, producerEpoch: -1 })
    if (begun === undefined)
      throw new KafkaError('ERR_MILLRACE_KAFKA_TRANSACTION', 'the producer has no transactions')
    return (this.#current = begun)
  }
}

function transactionError(error: unknown): Error {
  return kafkaError(error, 'ERR_MILLRACE_KAFKA_TRANSACTION', 'transaction')
}

import { KafkaError, OptionError, asError } from '../errors.ts'
import type { MessageCodec } from './message-codec.ts'
import { murmur2 } from './murmur2.ts'
import type { KafkaMessage } from './outbox.ts'

/** Chooses the partition of a record, from 0 to `partitions - 1`. */
export type KafkaPartitioner = (record: any, key: Buffer | undefined, partitions: number) => number

/** Headers of a message: text as UTF-8, or bytes. */
export type HeaderValues = Readonly<Record<string, string | Uint8Array>>

export interface MessageBuilderOptions {
  readonly topic: string
  readonly keyColumn: string | undefined
  readonly key: ((record: any) => unknown) | undefined
  readonly headers: HeaderValues | ((record: any, index: number) => HeaderValues | undefined) | undefined
  readonly partitioner: KafkaPartitioner | undefined
  readonly codec: MessageCodec
  readonly maxMessageBytes: number
}

/** What a record costs in a batch beside its bytes, at most. */
const MESSAGE_OVERHEAD = 32

/** One record in, one message out, with its size. Knows nothing of connections. */
export class MessageBuilder {
  readonly #options: MessageBuilderOptions
  readonly #headers: Map<Buffer, Buffer> | undefined
  /** How many partitions there are. */
  partitions = 1
  /** Where messages without a key go, until a batch is full. */
  #sticky = 0

  constructor(options: MessageBuilderOptions) {
    this.#options = options
    const { headers } = options
    if (typeof headers === 'object') this.#headers = headerBuffers(headers)
  }

  /** A batch is full: messages without a key go to the next partition from here on. */
  nextPartition(): void {
    this.#sticky = (this.#sticky + 1) % this.partitions
  }

  /** @throws {@link KafkaError} `ERR_MILLRACE_KAFKA_RECORD` when the record cannot become a message. */
  build(record: unknown, index: number): { message: KafkaMessage; bytes: number } {
    const { topic, codec, headers, maxMessageBytes } = this.#options
    let reason: unknown
    try {
      const key = this.#keyOf(record)
      const value = codec.encode(record)
      const own = typeof headers === 'function' ? headerBuffers(headers(record, index) ?? {}) : this.#headers
      let bytes = value.length + (key?.length ?? 0) + MESSAGE_OVERHEAD
      for (const [name, content] of own ?? []) bytes += name.length + content.length + 8
      if (bytes <= maxMessageBytes) {
        const partition = this.#partitionOf(record, key)
        return {
          message: { topic, partition, value, ...(key && { key }), ...(own && { headers: own }) },
          bytes,
        }
      }
      reason = new Error(`expected at most ${maxMessageBytes} bytes (maxMessageBytes), got ${bytes}`)
    } catch (error) {
      reason = error
    }
    throw new KafkaError('ERR_MILLRACE_KAFKA_RECORD', `record ${index}: ${asError(reason).message}`, {
      index,
      topic,
      cause: reason,
    })
  }

  #keyOf(record: unknown): Buffer | undefined {
    const { keyColumn, key } = this.#options
    let value: unknown
    if (key !== undefined) value = key(record)
    else if (keyColumn !== undefined) {
      value = (record as Record<string, unknown> | null | undefined)?.[keyColumn]
      if (value === undefined) throw new Error(`expected a column ${keyColumn} (keyColumn), got none`)
    }
    if (value === undefined || value === null) return undefined
    if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    if (typeof value === 'string') return Buffer.from(value)
    return Buffer.from(typeof value === 'bigint' ? `${value}` : JSON.stringify(value))
  }

  #partitionOf(record: unknown, key: Buffer | undefined): number {
    const { partitioner } = this.#options
    if (partitioner !== undefined) {
      const chosen = partitioner(record, key, this.partitions)
      if (Number.isInteger(chosen) && chosen >= 0 && chosen < this.partitions) return chosen
      throw new OptionError('partitioner()', chosen, `a partition from 0 to ${this.partitions - 1}`)
    }
    return key === undefined ? this.#sticky : murmur2(key) % this.partitions
  }
}

function headerBuffers(values: HeaderValues): Map<Buffer, Buffer> {
  const buffers = new Map<Buffer, Buffer>()
  for (const [name, value] of Object.entries(values)) {
    if (typeof value !== 'string' && !(value instanceof Uint8Array))
      throw new OptionError(`headers.${name}`, value, 'a string or bytes')
    buffers.set(Buffer.from(name), Buffer.from(value as string))
  }
  return buffers
}

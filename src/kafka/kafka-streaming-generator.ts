import { OptionError, StateError } from '../errors.ts'
import { RecordBatch, systemClock, type Clock } from '../flow/index.ts'
import { checkBoolean, checkInteger, checkLimit, checkMethods, checkString } from '../options.ts'
import { inOrder } from '../records/in-order.ts'
import { avroCodec } from './avro-codec.ts'
import { inferAvroSchema, inferProtobufSchema } from './infer-schema.ts'
import type { KafkaConnectionOptions } from './kafka-client.ts'
import { KafkaSink, type KafkaSinkStats } from './kafka-sink.ts'
import { KafkaSource } from './kafka-source.ts'
import { jsonCodec, type MessageCodec } from './message-codec.ts'
import { producerOptions, type ProducerConfig } from './producer-config.ts'
import { protobufCodec } from './protobuf-codec.ts'
import { SchemaRegistry } from './schema-registry.ts'
import { checkTopic, planSink, type KafkaSinkOptions } from './sink-options.ts'
import type { KafkaProducerLike } from './transaction-runner.ts'

/** Records of a batch of a generator. */
export const DEFAULT_GENERATOR_BATCH = 100
/** Records of a topic that a model is fitted to, at most. */
export const DEFAULT_FIT_RECORDS = 10_000

/** Anything that makes records; `fit` is needed only to fit it. */
export interface KafkaRecordGenerator {
  /** The next `count` records; fewer of them are the end. */
  generate(count: number): readonly object[] | PromiseLike<readonly object[]>
  fit?(records: any, options?: any): unknown
}

/** Options of {@link KafkaStreamingGenerator}. */
export interface KafkaStreamingGeneratorOptions extends KafkaConnectionOptions {
  /** What makes the records, such as a `StreamingGenerator`. */
  readonly generator: KafkaRecordGenerator
  readonly topic: string
  /** @defaultValue 100 */
  readonly batchSize?: number
  /** Column whose value is the key of the message. */
  readonly keyColumn?: string
  readonly producerConfig?: ProducerConfig
  /**
   * What a record becomes. The schema of `'avro'` and `'protobuf'` follows from the first batch, with all columns nullable; a codec has a
   * schema of its own.
   * @defaultValue 'json'
   */
  readonly valueSerializer?: 'json' | 'avro' | 'protobuf' | MessageCodec
  readonly schemaRegistryUrl?: string
  /**
   * Whether records carry `_generated_at` (ISO 8601) and `_batch_id` (`batch-001` and on).
   * @defaultValue true
   */
  readonly metadata?: boolean
  /** A producer to use as it is, see {@link KafkaSink}. */
  readonly producer?: KafkaProducerLike
  /** @defaultValue the system's */
  readonly clock?: Clock
}

/** How to stream. */
export interface StartStreamingOptions {
  /** Records a second. @defaultValue as many as the brokers take */
  readonly samplesPerSecond?: number
  /** Where to end. @defaultValue Infinity */
  readonly maxSamples?: number
  /** Ends it like `stop()`. */
  readonly signal?: AbortSignal
}

/**
 * Streams what a generator makes to a topic, at a rate, until it is stopped. Every record that counts has been acknowledged.
 *
 * @remarks Memory is that of a {@link KafkaSink}, and one batch.
 * @throws {@link OptionError} when an option is wrong, {@link NodeVersionError} on a Node that the client does not run on.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { KafkaStreamingGenerator } from 'millrace/kafka'
 *
 * const sent: string[] = []
 * const producer = {
 *   metadata: async () => ({ topics: new Map([['dice', { partitionsCount: 1 }]]) }),
 *   send: async ({ messages }) => void sent.push(...messages.map(({ value }) => String(value))),
 *   close: async () => {},
 * }
 * const dice = { generate: (count) => Array.from({ length: count }, () => ({ eyes: 4 })) }
 * const stream = new KafkaStreamingGenerator({ generator: dice, bootstrapServers: 'localhost:9092', topic: 'dice', producer })
 * const { acknowledged } = await stream.startStreaming({ maxSamples: 250 })
 * assert.equal(acknowledged, 250)
 * assert.equal(JSON.parse(sent[249])._batch_id, 'batch-003')
 * ```
 */
export class KafkaStreamingGenerator {
  readonly #options: KafkaStreamingGeneratorOptions
  readonly #batchSize: number
  readonly #generator: KafkaRecordGenerator
  readonly #clock: Clock
  #stopping: AbortController | undefined
  #sink: KafkaSink | undefined
  #batches = 0

  constructor(options: KafkaStreamingGeneratorOptions) {
    const { generator, topic, batchSize = DEFAULT_GENERATOR_BATCH, valueSerializer = 'json', clock } = options
    checkMethods('generator', generator, ['generate'])
    checkTopic('topic', topic)
    this.#batchSize = checkInteger('batchSize', batchSize, 1)
    checkBoolean('metadata', options.metadata ?? true)
    if (options.keyColumn !== undefined) checkString('keyColumn', options.keyColumn)
    if (typeof valueSerializer === 'object')
      checkMethods('valueSerializer', valueSerializer, ['encode', 'decode'])
    else if (!['json', 'avro', 'protobuf'].includes(valueSerializer))
      throw new OptionError('valueSerializer', valueSerializer, "'json', 'avro', 'protobuf' or a codec")
    this.#options = options
    this.#generator = inOrder(generator)
    this.#clock = clock ?? systemClock
    // what is wrong with the rest is told now
    planSink(this.#sinkOptions(jsonCodec()))
  }

  /** Fits the generator to records. */
  async fit(records: unknown, options?: unknown): Promise<this> {
    const { generator } = this.#options
    if (generator.fit === undefined)
      throw new StateError('ERR_MILLRACE_NOT_FITTED', 'generator: expected one with fit(), got one without')
    await generator.fit(records, options)
    return this
  }

  /** Fits the generator to what is in a topic now, or the first `maxRecords` of it. */
  async fitFromTopic(
    topic: string,
    {
      maxRecords = DEFAULT_FIT_RECORDS,
      codec,
      ...options
    }: { maxRecords?: number; codec?: MessageCodec; [name: string]: unknown } = {},
  ): Promise<this> {
    checkInteger('maxRecords', maxRecords, 1)
    const { bootstrapServers, clientId, sasl, tls } = this.#options
    const source = new KafkaSource({
      bootstrapServers,
      ...(clientId !== undefined && { clientId }),
      ...(sasl && { sasl }),
      ...(tls !== undefined && { tls }),
      topic,
      until: 'end',
      batches: true,
      ...(codec && { codec }),
    })
    const records: unknown[] = []
    try {
      for await (const batch of source as AsyncIterable<RecordBatch>) {
        records.push(...batch.records.slice(0, maxRecords - records.length))
        if (records.length >= maxRecords) break
      }
    } finally {
      source.destroy()
    }
    return await this.fit(records, options)
  }

  /**
   * Streams until `maxSamples`, the end of the generator, or `stop()`; then all that was made has been acknowledged.
   *
   * @throws {@link KafkaError} with `acknowledged`, when the brokers fail.
   */
  async startStreaming({
    samplesPerSecond,
    maxSamples = Infinity,
    signal,
  }: StartStreamingOptions = {}): Promise<KafkaSinkStats> {
    if (samplesPerSecond !== undefined && !(samplesPerSecond > 0 && samplesPerSecond < Infinity))
      throw new OptionError('samplesPerSecond', samplesPerSecond, 'a number above 0')
    checkLimit('maxSamples', maxSamples, 0)
    if (this.#stopping !== undefined)
      throw new StateError('ERR_MILLRACE_STREAMING', 'generator: expected stop() before it is started again')
    const stopping = new AbortController()
    this.#stopping = stopping
    const end = signal === undefined ? stopping.signal : AbortSignal.any([signal, stopping.signal])
    try {
      return await this.#stream(samplesPerSecond, maxSamples, end)
    } finally {
      this.#stopping = undefined
      this.#sink?.destroy()
    }
  }

  /** Ends the stream after what has been made; `startStreaming` returns when that has been acknowledged. */
  stop(): void {
    this.#stopping?.abort()
  }

  /** What the sink has done so far. */
  stats(): KafkaSinkStats | undefined {
    return this.#sink?.stats()
  }

  async #stream(rate: number | undefined, maxSamples: number, end: AbortSignal): Promise<KafkaSinkStats> {
    const startedAt = this.#clock.now()
    let sink: KafkaSink | undefined
    for (let made = 0; made < maxSamples && !end.aborted;) {
      const wanted = Math.min(this.#batchSize, maxSamples - made)
      const records = await this.#generator.generate(wanted)
      const marked = this.#marked(records)
      sink ??= this.#open(marked)
      if (marked.length > 0) await written(sink, new RecordBatch(made, marked))
      made += marked.length
      if (marked.length < wanted) break
      if (rate !== undefined) await this.#pause(startedAt + (made / rate) * 1000, end)
    }
    sink ??= this.#open([])
    const last = sink
    await new Promise<void>((resolve, reject) => {
      if (last.errored) reject(last.errored)
      last.once('error', reject).end(() => resolve())
    })
    return last.stats()
  }

  async #pause(until: number, end: AbortSignal): Promise<void> {
    const left = until - this.#clock.now()
    if (left > 0) await this.#clock.sleep(left, end).catch(() => {})
  }

  #marked(records: readonly object[]): readonly object[] {
    if (this.#options.metadata === false || records.length === 0) return records
    const mark = {
      _generated_at: new Date(this.#clock.now()).toISOString(),
      _batch_id: `batch-${String(++this.#batches).padStart(3, '0')}`,
    }
    return records.map((record) => ({ ...record, ...mark }))
  }

  #open(first: readonly object[]): KafkaSink {
    this.#sink = new KafkaSink(this.#sinkOptions(this.#codecFor(first)))
    // what fails is told by the write or the end that waits for it
    this.#sink.on('error', () => {})
    return this.#sink
  }

  #sinkOptions(codec: MessageCodec): KafkaSinkOptions {
    const {
      bootstrapServers,
      topic,
      keyColumn,
      clientId,
      sasl,
      tls,
      producer,
      producerConfig = {},
    } = this.#options
    return {
      bootstrapServers,
      topic,
      codec,
      ...(keyColumn !== undefined && { keyColumn }),
      ...(clientId !== undefined && { clientId }),
      ...(sasl && { sasl }),
      ...(tls !== undefined && { tls }),
      ...(producer && { producer }),
      ...producerOptions(producerConfig),
    }
  }

  #codecFor(records: readonly object[]): MessageCodec {
    const { valueSerializer = 'json', schemaRegistryUrl } = this.#options
    if (typeof valueSerializer === 'object') return valueSerializer
    const registry = schemaRegistryUrl === undefined ? undefined : new SchemaRegistry(schemaRegistryUrl)
    if (valueSerializer === 'avro')
      return avroCodec({ schema: inferAvroSchema(records, 'Record', true), ...(registry && { registry }) })
    if (valueSerializer === 'protobuf')
      return protobufCodec({ schema: inferProtobufSchema(records), ...(registry && { registry }) })
    return jsonCodec()
  }
}

/** Writes, and waits until the sink takes more. */
async function written(sink: KafkaSink, batch: RecordBatch): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    // between two writes it may have failed: what counts is why
    sink.write(batch, (error) => (error ? reject(sink.errored ?? error) : resolve()))
  })
}

export { avroCodec, type AvroCodecOptions } from './avro-codec.ts'
export { inferAvroSchema, inferProtobufSchema } from './infer-schema.ts'
export { type KafkaConnectionOptions, type KafkaCredentials } from './kafka-client.ts'
export { KafkaSink, type KafkaSinkStats } from './kafka-sink.ts'
export { KafkaSource, type KafkaSourceStats } from './kafka-source.ts'
export {
  KafkaStreamingGenerator,
  DEFAULT_FIT_RECORDS,
  DEFAULT_GENERATOR_BATCH,
  type KafkaRecordGenerator,
  type KafkaStreamingGeneratorOptions,
  type StartStreamingOptions,
} from './kafka-streaming-generator.ts'
export { type HeaderValues, type KafkaPartitioner } from './message-builder.ts'
export { jsonCodec, type CodecUse, type MessageCodec } from './message-codec.ts'
export { murmur2 } from './murmur2.ts'
export { type KafkaMessage } from './outbox.ts'
export { parseKafkaUrl, type KafkaAddress } from './parse-kafka-url.ts'
export { producerOptions, type ProducerConfig } from './producer-config.ts'
export { protobufCodec, type ProtobufCodecOptions } from './protobuf-codec.ts'
export {
  SchemaRegistry,
  type RegisteredSchema,
  type SchemaRegistryOptions,
  type SchemaType,
} from './schema-registry.ts'
export {
  DEFAULT_BATCH_BYTES,
  DEFAULT_BUFFERED_BYTES,
  DEFAULT_KAFKA_BATCH,
  DEFAULT_LINGER,
  DEFAULT_MESSAGE_BYTES,
  DEFAULT_TRANSACTION_INTERVAL,
  DEFAULT_WRITE_TIMEOUT,
  type FailedRecord,
  type KafkaSinkOptions,
} from './sink-options.ts'
export { type KafkaProducerLike, type TransactionLike } from './transaction-runner.ts'
export { readRegistryFrame, registryHeader, type RegistryFrame } from './wire-format.ts'
export {
  DEFAULT_COMMIT_INTERVAL,
  DEFAULT_FETCH_BYTES,
  DEFAULT_READ_TIMEOUT,
  DEFAULT_SESSION_TIMEOUT,
  DEFAULT_SOURCE_BATCH,
  type KafkaMessageRecord,
  type KafkaSourceOptions,
} from './source-options.ts'

export { CODINGS, DEFAULT_MIN_COMPRESSED, type ContentCoding } from './compress-sink.ts'
export { csvEncoder, type CsvEncoderOptions } from './csv-encoder.ts'
export { fetchPages, type DataFetcher, type FetchRequest, type Items, type Page } from './data-fetcher.ts'
export {
  fastifyStreamer,
  sendByFastify,
  type FastifyLike,
  type FastifyReplyLike,
  type StreamingReply,
} from './fastify-streamer.ts'
export {
  jsonEncoder,
  jsonSeqEncoder,
  ndjsonEncoder,
  type JsonEncoderOptions,
  type NdjsonEncoderOptions,
} from './json-encoder.ts'
export { messagePackEncoder } from './message-pack-encoder.ts'
export type { NodeRequest, NodeResponse } from './node-sink.ts'
export { protobufEncoder, type ProtobufEncoderOptions, type ProtobufType } from './protobuf-encoder.ts'
export type { ReadyResponse } from './readable-sink.ts'
export {
  DEFAULT_RESUMES,
  receive,
  type FetchResponseLike,
  type ReceiveOptions,
  type ReceivedResponse,
  type ResumeRequest,
} from './receive.ts'
export { DEFAULT_MAX_RECORD_BYTES, type RecordDecoder } from './record-decoder.ts'
export type { RecordEncoder, RecordEncoding } from './record-encoder.ts'
export type { RequestFacts } from './response-plan.ts'
export type { ResponseHeaders, ResponseSink, SinkListener } from './response-sink.ts'
export { StreamResponse, type ResponseOptions, type StreamReport } from './stream-response.ts'
export { Streamer, type StreamerStats } from './streamer.ts'
export {
  DEFAULT_FLUSH_INTERVAL,
  DEFAULT_MAX_BUFFERED,
  DEFAULT_RESPONSE_BATCH,
  DEFAULT_RESPONSE_BUFFER,
  type CompressionOptions,
  type ErrorBody,
  type StreamerConfig,
  type StreamerOptions,
} from './streamer-config.ts'
export type { BatchTransformer, TransformContext, Transformer } from './transform-items.ts'

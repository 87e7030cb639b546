export { MAX_RECORD_DEPTH, canonicalJson, type JsonObject, type JsonValue } from './canonical-json.ts'
export { canonicalRecords, type CanonicalRecordsOptions } from './canonical-records.ts'
export { CID_LENGTH, cidOf } from './cid.ts'
export { MemoryStore, type MemoryStoreOptions } from './memory-store.ts'
export { DEFAULT_MAX_RECORD_LENGTH } from './embedded-store.ts'
export { DEFAULT_MAX_MESSAGE_LENGTH, type RecordMeta } from './messages.ts'
export { StoreStream, type StoreStreamPlan } from './store-stream.ts'
export {
  DEFAULT_WINDOW,
  type ItemResult,
  type ItemSource,
  type MetaResult,
  type RecordRef,
  type RecordResult,
  type RefLike,
  type RefResult,
  type Store,
  type StoreStreamOptions,
} from './store.ts'
export { SegmentStore, type SegmentStoreOptions } from './segment-store.ts'
export {
  DEFAULT_SEGMENT_LENGTH,
  DEFAULT_SYNC_INTERVAL,
  type CompactionReport,
  type SegmentLogOptions,
} from './segment-log.ts'
export type { Damage } from './segment-file.ts'
export { INDEX_BYTES_PER_RECORD } from './digest-index.ts'
export { DEFAULT_STORE_BREAKER_FAILURES, GrpcStore, type GrpcStoreOptions } from './grpc-store.ts'
export {
  DEFAULT_KEEPALIVE,
  GrpcChannel,
  type ChannelCallOptions,
  type ClientTls,
  type GrpcChannelOptions,
} from './grpc-channel.ts'
export type { CallMetadata } from './grpc-headers.ts'
export { DEFAULT_MAX_STREAMS, StoreServer, type ServerTls, type StoreServerOptions } from './store-server.ts'
export { grpcCall } from './grpc-call.ts'
export {
  DEFAULT_ANSWER_TIMEOUT,
  DEFAULT_STORE_MAX_DELAY,
  DEFAULT_STORE_MIN_DELAY,
  DEFAULT_STORE_RETRIES,
  operationStream,
  type OperationStreamOptions,
  type RetryRules,
} from './operation-stream.ts'
export type { CallEvents, OpenCall, OperationCall } from './operation-lane.ts'
export type { CallStatus } from './store-status.ts'

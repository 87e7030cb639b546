export { DEFAULT_PER_WORKER, createPool, type PoolOptions, type PoolResourceLimits } from './create-pool.ts'
export { offload, type Offload } from './offload.ts'
export {
  offloadBorrowed,
  type OffloadBorrowedOptions,
  type OffloadBorrowedResult,
} from './offload-borrowed.ts'
export {
  DEFAULT_BATCH_SIZE,
  DEFAULT_BLOCK_SIZE,
  DEFAULT_CHUNK_SIZE,
  type OffloadOptions,
  type ReportedBlock,
} from './offload-options.ts'
export { type OffloadContext, type OffloadHandler } from './offload-handler.ts'

export {
  positionOf,
  reportDurable,
  withPosition,
  type BlockPosition,
  type DurablePosition,
} from './block-position.ts'
export { RecordBatch } from './record-batch.ts'
export {
  StatsCounter,
  type ChunkInfo,
  type PackCounters,
  type StatsHooks,
  type StreamStats,
} from './stream-stats.ts'
export { DEFAULT_CONCURRENCY, mapOrdered, type MapOrderedOptions } from './map-ordered.ts'
export {
  OrderedWindow,
  TaskLost,
  type Blame,
  type Executor,
  type OrderedWindowOptions,
  type Settled,
  type TaskInfo,
} from './ordered-window.ts'
export { Bulkhead, type BulkheadOptions } from './bulkhead.ts'
export {
  CircuitBreaker,
  DEFAULT_BREAKER_COOLDOWN,
  DEFAULT_BREAKER_FAILURES,
  type CircuitBreakerOptions,
  type CircuitBreakerState,
} from './circuit-breaker.ts'
export { systemClock, type Clock } from './clock.ts'
export { isRetryable, retryAfter } from './is-retryable.ts'
export {
  DEFAULT_MAX_DELAY,
  DEFAULT_MAX_RETRY_AFTER,
  DEFAULT_MIN_DELAY,
  DEFAULT_RETRIES,
  Policy,
  type PolicyContext,
  type PolicyLike,
  type PolicyOptions,
  type RetryInfo,
} from './policy.ts'
export {
  BufferPool,
  DEFAULT_POOL_BUFFERS,
  type BufferLender,
  type BufferPoolOptions,
  type BufferPoolStats,
} from './buffer-pool.ts'
export {
  RATE_SLACK,
  RateLimiter,
  type RateLimiterOptions,
  type RateLimiterStats,
  type RateUnit,
} from './rate-limiter.ts'
export { Throttle, type ThrottleOptions } from './throttle.ts'
export { failAfterDelivery } from './fail-after-delivery.ts'
export { type BufferFill, type BufferStrategy, type BufferVerdict } from './bounded-queue.ts'
export { Meter, type MeterOptions } from './meter.ts'
export {
  DEFAULT_BUFFER_CHUNKS,
  StreamBuffer,
  type StreamBufferOptions,
  type StreamBufferStats,
} from './stream-buffer.ts'

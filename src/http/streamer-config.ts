import { OptionError } from '../errors.ts'
import { BUFFER_VERDICTS } from '../flow/bounded-queue.ts'
import {
  BufferPool,
  RateLimiter,
  type BufferLender,
  type BufferStrategy,
  type BufferVerdict,
  type RateLimiterOptions,
  type StatsHooks,
} from '../flow/index.ts'
import { DEFAULT_CHUNK_THRESHOLD } from '../json/index.ts'
import { checkChoice, checkFunction, checkInteger, checkLimit, checkMethods } from '../options.ts'
import { CODINGS, DEFAULT_MIN_COMPRESSED, canCompress, type ContentCoding } from './compress-sink.ts'
import { csvEncoder } from './csv-encoder.ts'
import { jsonEncoder, jsonSeqEncoder, ndjsonEncoder } from './json-encoder.ts'
import type { RecordEncoder } from './record-encoder.ts'

/** Items that are fetched, transformed and encoded together, unless `batchSize` says otherwise. */
export const DEFAULT_RESPONSE_BATCH = 100

/** Encoded blocks that wait for a client that is slow, unless `bufferSize` says otherwise. */
export const DEFAULT_RESPONSE_BUFFER = 3

/** Bytes of encoded blocks that wait for a client that is slow, unless `maxBuffered` says otherwise. */
export const DEFAULT_MAX_BUFFERED = 1024 * 1024

/** How long what is encoded may wait for more, in milliseconds, unless `flushInterval` says otherwise. */
export const DEFAULT_FLUSH_INTERVAL = 100

/** Which responses are compressed. */
export interface CompressionOptions {
  /**
   * The codings that are offered, best first. What this Node cannot write (zstd before 22.15) is left out.
   *
   * @defaultValue `['zstd', 'br', 'gzip']`
   */
  readonly codings?: readonly ContentCoding[]
  /**
   * Bodies that are smaller are sent as they are, in bytes.
   *
   * @defaultValue 1024
   */
  readonly minBytes?: number
}

/** What a failed response tells its client, as a value that is sent as JSON. */
export type ErrorBody = (error: Error, status: number) => unknown

/** How a {@link Streamer} streams. Checked like every option: a wrong value is an error, a missing one has its default. */
export interface StreamerOptions extends StatsHooks {
  /**
   * A chunk is sent when it is this long, in UTF-16 units of text (bytes, as long as it is ASCII) or bytes. What is shorter in all is sent
   * whole, with its length.
   *
   * @defaultValue 32 KiB: a response of 13 MB took 117 ms with it, 139 ms with 8 KiB and 147 ms with 128 KiB
   */
  readonly chunkThreshold?: number
  /**
   * Items that are fetched, transformed and encoded together. Not the size of what is sent: a slow source is flushed after `flushInterval`.
   *
   * @defaultValue 100: a response of 100,000 records took 117 ms with it, 164 ms with 10 and 122 ms with 1000
   */
  readonly batchSize?: number
  /**
   * Encoded blocks (a batch, or as much of it as fills a chunk) that wait while the client is slow.
   *
   * @defaultValue 3
   */
  readonly bufferSize?: number
  /**
   * Bytes of encoded blocks that wait while the client is slow. A single block that is larger is held alone.
   *
   * @defaultValue 1 MiB
   */
  readonly maxBuffered?: number
  /**
   * What becomes of a block for which there is no room: `'block'` has the source wait; see `StreamBuffer` for those that drop. What is
   * dropped is whole records, so that the body stays valid.
   *
   * @defaultValue 'block'
   */
  readonly strategy?: BufferVerdict | BufferStrategy
  /**
   * Items or bytes (before compression) a second: a `RateLimiter` for all responses together, or the options of one for each response.
   *
   * @defaultValue no limit
   */
  readonly rateLimit?: RateLimiter | RateLimiterOptions
  /**
   * How long a record may wait to be sent while the source is slow, in milliseconds; compressed ones too. `Infinity` sends full
   * chunks only, and so gives every error within the first chunk a status.
   *
   * @defaultValue 100
   */
  readonly flushInterval?: number
  /**
   * The formats, the preferred one first. The client chooses by its `Accept` header; one that accepts none gets status 406.
   *
   * @defaultValue JSON array, NDJSON, JSON text sequence, CSV
   */
  readonly encoders?: readonly RecordEncoder[]
  /**
   * Whether to compress for clients that accept it (`Accept-Encoding`).
   *
   * @defaultValue false
   */
  readonly compression?: boolean | CompressionOptions
  /**
   * How many items the transformer works on at the same time; results keep their order.
   *
   * @defaultValue 1
   */
  readonly concurrency?: number
  /**
   * Threads for a transformer that is a module.
   *
   * @defaultValue that of `offload`
   */
  readonly workers?: number
  /**
   * Where text is encoded on its way to a socket: any object with `size`, `get` and `put`.
   *
   * @defaultValue a `BufferPool` of 16 buffers of three times `chunkThreshold`, or more
   */
  readonly pool?: BufferLender
  /**
   * Gives the body of a response that failed before its first byte.
   *
   * @defaultValue `{ error: { status, message } }`, where errors without a status of their own say no more than that
   */
  readonly errorBody?: ErrorBody
}

/** {@link StreamerOptions}, checked and complete. It cannot be changed: make another Streamer. */
export interface StreamerConfig {
  readonly chunkThreshold: number
  readonly batchSize: number
  readonly bufferSize: number
  readonly maxBuffered: number
  readonly strategy: BufferVerdict | BufferStrategy
  readonly rateLimit: RateLimiter | RateLimiterOptions | undefined
  readonly flushInterval: number
  readonly encoders: readonly RecordEncoder[]
  readonly compression: false | Required<CompressionOptions>
  readonly concurrency: number
  readonly workers: number | undefined
  readonly pool: BufferLender
  readonly errorBody: ErrorBody
}

/** Bytes of a pooled buffer for each unit of a chunk: three of UTF-8, and room for the batch that fills it. */
const BYTES_PER_UNIT = 4

/** @throws {@link OptionError} if an option is wrong. */
export function checkConfig(options: StreamerOptions): StreamerConfig {
  const {
    chunkThreshold = DEFAULT_CHUNK_THRESHOLD,
    batchSize = DEFAULT_RESPONSE_BATCH,
    bufferSize = DEFAULT_RESPONSE_BUFFER,
    maxBuffered = DEFAULT_MAX_BUFFERED,
    strategy = 'block',
    rateLimit,
    flushInterval = DEFAULT_FLUSH_INTERVAL,
    encoders = [jsonEncoder(), ndjsonEncoder(), jsonSeqEncoder(), csvEncoder()],
    compression = false,
    concurrency = 1,
    workers,
    pool,
    errorBody = defaultErrorBody,
  } = options
  checkInteger('chunkThreshold', chunkThreshold, 1)
  if (!Array.isArray(encoders) || encoders.length === 0) {
    throw new OptionError('encoders', encoders, 'an array of at least one encoder')
  }
  for (const [i, encoder] of encoders.entries()) checkMethods(`encoders[${i}]`, encoder, ['start'])
  if (workers !== undefined) checkInteger('workers', workers)
  checkFunction('errorBody', errorBody)
  return Object.freeze({
    chunkThreshold,
    batchSize: checkInteger('batchSize', batchSize, 1),
    bufferSize: checkInteger('bufferSize', bufferSize, 1),
    maxBuffered: checkLimit('maxBuffered', maxBuffered),
    strategy:
      typeof strategy === 'object'
        ? checkMethods('strategy', strategy, ['onFull'])
        : checkChoice('strategy', strategy, BUFFER_VERDICTS),
    // a limiter made of them and thrown away checks them
    rateLimit: rateLimit === undefined || limiterOf(rateLimit) ? rateLimit : undefined,
    flushInterval: checkLimit('flushInterval', flushInterval),
    encoders: Object.freeze([...(encoders as readonly RecordEncoder[])]),
    compression: checkCompression(compression),
    concurrency: checkInteger('concurrency', concurrency, 1),
    workers,
    pool:
      pool === undefined
        ? new BufferPool({ size: chunkThreshold * BYTES_PER_UNIT, max: 16 })
        : checkMethods('pool', pool, ['get', 'put']),
    errorBody,
  })
}

/** The limiter to use for one response. */
export function limiterOf(rateLimit: RateLimiter | RateLimiterOptions | undefined): RateLimiter | undefined {
  if (rateLimit === undefined || rateLimit instanceof RateLimiter) return rateLimit
  return new RateLimiter(rateLimit)
}

function checkCompression(compression: boolean | CompressionOptions): false | Required<CompressionOptions> {
  if (compression === false) return false
  if (typeof compression !== 'boolean' && (typeof compression !== 'object' || compression === null)) {
    throw new OptionError('compression', compression, 'true, false or an object of options')
  }
  const { codings = CODINGS, minBytes = DEFAULT_MIN_COMPRESSED } = compression === true ? {} : compression
  for (const [i, coding] of codings.entries()) checkChoice(`compression.codings[${i}]`, coding, CODINGS)
  checkInteger('compression.minBytes', minBytes)
  return Object.freeze({ codings: Object.freeze(codings.filter(canCompress)), minBytes })
}

/** A message is for whoever caused the error: that of a 400 for the client, that of a 500 for the log. */
function defaultErrorBody(error: Error, status: number): unknown {
  const message = status < 500 ? error.message : 'the request failed'
  return { error: { status, message } }
}

import { OptionError } from '../errors.ts'
import { systemClock, type Clock, type StatsHooks } from '../flow/index.ts'
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkLimit,
  checkMethods,
  checkNumber,
  checkSignal,
} from '../options.ts'
import type { OffloadOptions } from '../workers/index.ts'
import { BLOCK_RECORDS, type DrawOptions } from './block-sampler.ts'
import type { RecordFormat } from './record-writer.ts'

/** Options of a `RecordStream`. */
export interface RecordStreamOptions extends DrawOptions, StatsHooks {
  /** Records to make. @defaultValue Infinity */
  readonly count?: number
  /** Number of the first record: what comes is what would come after that many. @defaultValue 0 */
  readonly skip?: number
  /** Gives text in place of records: a line of JSON each, one JSON array, or CSV with a header line. */
  readonly format?: RecordFormat
  /** Gives `RecordBatch`es in place of single records. @defaultValue false */
  readonly batches?: boolean
  /** Records of a batch, or of a chunk of text; the last may have fewer. Records do not depend on it. @defaultValue 1024 */
  readonly batchSize?: number
  /** Batches to make at most. @defaultValue Infinity */
  readonly maxBatches?: number
  /** Pause after each batch, in milliseconds. @defaultValue 0 */
  readonly delayBetweenBatches?: number
  /** Records a second at most. @defaultValue Infinity */
  readonly rate?: number
  /** Adds to each record `_generated_at` (ISO 8601) and `_batch_id` (`batch-001`). The clock makes records differ from run to run. @defaultValue false */
  readonly includeMetadata?: boolean
  /**
   * Threads that make records, with the same result; 0 makes them in this one. Text gains by it; objects cost more to hand over
   * than to make.
   *
   * @defaultValue 0
   */
  readonly workers?: number
  /** A pool to share, see `createPool`; it decides the number of threads. */
  readonly pool?: Exclude<OffloadOptions['pool'], undefined>
  /** For `rate`, pauses and metadata. @defaultValue the clock of the machine */
  readonly clock?: Clock
  readonly signal?: AbortSignal
  /** Records, batches, or bytes of text to make ahead of the reader. @defaultValue 16 records, 2 batches, or 1 MiB */
  readonly highWaterMark?: number
}

/** Batches a second at most where a rate is asked for, so that records do not come in lumps. */
const RATE_STEPS = 20

/** Records that a batch may have: more would be made before the first is read. */
const MAX_BATCH = 1_000_000

/** What follows from options that are checked. */
interface RecordStreamPlan {
  readonly skip: number
  /** Number after the last record, or Infinity. */
  readonly end: number
  readonly batchSize: number
  readonly clock: Clock
  readonly highWaterMark: number
}

/** @throws {@link OptionError} when an option is wrong, or two exclude each other. */
export function planRecordStream(options: RecordStreamOptions): RecordStreamPlan {
  const {
    count = Infinity,
    skip = 0,
    batchSize = BLOCK_RECORDS,
    maxBatches = Infinity,
    delayBetweenBatches = 0,
    rate = Infinity,
  } = options
  const { format, batches = false, includeMetadata = false, workers = 0, clock = systemClock } = options
  const { minAcceptance, signal, highWaterMark } = options
  if (format !== undefined) checkChoice('format', format, ['ndjson', 'json', 'csv'])
  checkBoolean('batches', batches)
  checkLimit('count', count, 0)
  checkInteger('skip', skip)
  checkInteger('batchSize', batchSize, 1, MAX_BATCH)
  checkLimit('maxBatches', maxBatches, 0)
  checkNumber('delayBetweenBatches', delayBetweenBatches, 0)
  if (rate !== Infinity) checkNumber('rate', rate, Number.MIN_VALUE)
  if (minAcceptance !== undefined) checkNumber('minAcceptance', minAcceptance, 1e-9, 1)
  checkBoolean('includeMetadata', includeMetadata)
  checkInteger('workers', workers)
  checkMethods('clock', clock, ['now', 'sleep'])
  checkSignal('signal', signal)
  if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
  if (format !== undefined && batches)
    throw new OptionError('batches', batches, `false with format '${format}'`)
  const byDefault = format === undefined ? (batches ? 2 : 16) : 1 << 20
  return {
    skip,
    end: Math.min(skip + count, skip + maxBatches * batchSize),
    // few at a time where they come slowly; what follows from a number of batches is not touched
    batchSize:
      rate === Infinity || maxBatches !== Infinity
        ? batchSize
        : Math.max(1, Math.min(batchSize, Math.ceil(rate / RATE_STEPS))),
    clock,
    highWaterMark: highWaterMark ?? byDefault,
  }
}

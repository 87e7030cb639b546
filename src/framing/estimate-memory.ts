import { OptionError } from '../errors.ts'
import { checkBoolean, checkInteger } from '../options.ts'
import { DEFAULT_BORROWED_BUFFERS } from './chunked-reader.ts'
import { FILE_CHUNK_SIZE } from './optimal-chunk-size.ts'

/** What Node grows by while it warms up over thousands of borrowed chunks: compiled code, garbage between collections. */
const BORROWED_WARM_UP = 11 * 2 ** 20

/** The same for a stream, whose chunks are garbage until a collection finds them. */
const STREAM_WARM_UP = 42 * 2 ** 20

/** What is to be read, and how: the options of `ChunkedReader` and of its `borrowed()`. */
export interface EstimateMemoryOptions {
  /**
   * Whether chunks are borrowed, or read from the stream.
   *
   * @defaultValue false
   */
  readonly borrowed?: boolean
  /**
   * Bytes a chunk.
   *
   * @defaultValue 262 144
   */
  readonly chunkSize?: number
  /**
   * Buffers in use at a time, if chunks are borrowed.
   *
   * @defaultValue 5
   */
  readonly buffers?: number
  /**
   * Bytes read ahead, if they are not.
   *
   * @defaultValue `chunkSize`
   */
  readonly highWaterMark?: number
}

/** What {@link estimateMemory} finds, in bytes. */
export interface MemoryEstimate {
  /** Bytes of file content held at a time, at most. This is a bound. */
  readonly buffers: number
  /** What Node takes beside them, as it was measured. */
  readonly warmUp: number
  /** The sum: how far the peak RSS of a process rises above that of a bare Node. */
  readonly total: number
}

/**
 * Options of a reader in; out comes how much memory reading takes above a bare Node, however long the file is and however
 * slow its consumer.
 *
 * @remarks
 * Peak RSS above a bare Node (41 MiB) with a slow consumer, on Node 20.20, in MiB:
 *
 * | | 100 MB | 2 GB |
 * |---|---|---|
 * | borrowed, 3 × 256 KiB | 9 | 11 |
 * | borrowed, 5 × 256 KiB | 9 | 12 |
 * | stream, 256 KiB | 40 | 43 |
 *
 * The buffers are exact. The rest is the engine warming up, of which one half is its optimising compiler; on Node 24 it is
 * up to twice as much.
 * @throws {@link OptionError} if an option is out of range, or does not go with `borrowed`.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { estimateMemory } from 'millrace'
 *
 * assert.equal(estimateMemory({ borrowed: true }).buffers, 5 * 262_144)
 * assert.equal(estimateMemory({ chunkSize: 1_000_000, highWaterMark: 4_000_000 }).buffers, 5_000_000)
 * ```
 */
export function estimateMemory({
  borrowed = false,
  chunkSize = FILE_CHUNK_SIZE,
  buffers,
  highWaterMark,
}: EstimateMemoryOptions = {}): MemoryEstimate {
  checkBoolean('borrowed', borrowed)
  checkInteger('chunkSize', chunkSize, 1)
  if (!borrowed && buffers !== undefined) throw new OptionError('buffers', buffers, 'nothing for a stream')
  if (borrowed && highWaterMark !== undefined) {
    throw new OptionError('highWaterMark', highWaterMark, 'nothing for borrowed chunks')
  }
  const held = borrowed
    ? checkInteger('buffers', buffers ?? DEFAULT_BORROWED_BUFFERS, 1) * chunkSize
    : checkInteger('highWaterMark', highWaterMark ?? chunkSize, 1) + chunkSize
  const warmUp = borrowed ? BORROWED_WARM_UP : STREAM_WARM_UP
  return { buffers: held, warmUp, total: held + warmUp }
}

import { checkLimit } from '../options.ts'

/** The chunk size that `'auto'` gives for a file that is not smaller: 256 KiB. */
export const FILE_CHUNK_SIZE = 256 * 1024

/** The chunk size that `'auto'` gives where there is no size: 64 KiB, what a Linux pipe holds. */
export const PIPE_CHUNK_SIZE = 64 * 1024

/** The least chunk size that `'auto'` gives: a page of memory, 4 KiB. */
const LEAST_CHUNK_SIZE = 4096

/**
 * The size of a file in bytes in (or nothing, for a pipe); out comes the chunk size to read it with, in bytes: that of
 * the file up to 256 KiB, and never less than 4 KiB.
 *
 * @remarks
 * Measured over 1 GiB in the page cache, with recycled buffers: 64 KiB 4.3 GB/s, **256 KiB 8.1**, 512 KiB 10.7,
 * 1 MiB 13.3, 4 MiB 14.3; `dd` stays at 10 from 256 KiB up. With a fresh buffer for each chunk: 2.4, **4.4**, –, 5.4,
 * 4.2. Nothing that works on the bytes keeps up with 8 GB/s, so more than 256 KiB costs memory and gives nothing, except
 * where each chunk is a task for a worker: there 1 MiB is best.
 * @throws {@link OptionError} if `fileSize` is not a size.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { optimalChunkSize } from 'millrace'
 *
 * assert.equal(optimalChunkSize(100_000), 100_000)
 * assert.equal(optimalChunkSize(5_000_000_000), 262_144)
 * assert.equal(optimalChunkSize(undefined), 65_536) // a pipe
 * ```
 */
export function optimalChunkSize(fileSize?: number): number {
  if (fileSize === undefined) return PIPE_CHUNK_SIZE
  return Math.min(FILE_CHUNK_SIZE, Math.max(LEAST_CHUNK_SIZE, checkLimit('fileSize', fileSize, 0)))
}

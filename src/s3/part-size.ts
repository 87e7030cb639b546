import { OptionError } from '../errors.ts'
import { checkInteger } from '../options.ts'

const MiB = 2 ** 20

/** Smallest part that S3 takes, in bytes; only the last one may be smaller. */
export const MIN_PART_SIZE = 5 * MiB

/** Largest part that S3 takes, in bytes. */
export const MAX_PART_SIZE = 5 * 1024 * MiB

/** Most parts that an object may have. */
export const MAX_PARTS = 10_000

/** Part size of an object whose size is known and needs no larger one, in bytes. */
export const DEFAULT_PART_SIZE = 8 * MiB

/** Part size of an object whose size nobody knows, in bytes: it can grow to 312.5 GiB. */
export const DEFAULT_UNKNOWN_PART_SIZE = 32 * MiB

/** An object may become so many times as large as expected. */
const EXPECTED_SLACK = 2

/**
 * The size of the parts of an object: 8 MiB, or as many whole MiB as it takes to get by with 10 000 parts; 32 MiB when there is
 * nothing to go by. All parts but the last are of one size, since some stores demand it.
 */
export function planPartSize(
  size: number | undefined,
  expectedSize: number | undefined,
  partSize: number | undefined,
): number {
  const most = MAX_PARTS * MAX_PART_SIZE
  if (size !== undefined) checkInteger('size', size, 0, most)
  if (expectedSize !== undefined) checkInteger('expectedSize', expectedSize, 0, most)
  if (partSize !== undefined) {
    checkInteger('partSize', partSize, MIN_PART_SIZE, MAX_PART_SIZE)
    const least = Math.ceil((size ?? expectedSize ?? 0) / MAX_PARTS)
    if (partSize >= least) return partSize
    throw new OptionError(
      'partSize',
      partSize,
      `at least ${least} for an object of ${size ?? expectedSize} bytes`,
    )
  }
  const room = size ?? (expectedSize === undefined ? undefined : expectedSize * EXPECTED_SLACK)
  if (room === undefined) return DEFAULT_UNKNOWN_PART_SIZE
  const least = Math.ceil(Math.ceil(room / MAX_PARTS) / MiB) * MiB
  return Math.min(MAX_PART_SIZE, Math.max(DEFAULT_PART_SIZE, least))
}

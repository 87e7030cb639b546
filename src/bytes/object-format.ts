import { createHash, randomInt } from 'node:crypto'
import { OptionError } from '../errors.ts'
import { checkChoice, checkInteger, checkNumber, checkString } from '../options.ts'

/** Version of the format: the same parameters give the same bytes as long as this does not change (docs/bytes.md). */
export const OBJECT_FORMAT = 'og1'

/** A block, the unit that `dedup` repeats: 64 KiB. In bytes. */
export const BLOCK_SIZE = 65_536

/** A page, the unit that `compress` thins out: 4 KiB. In bytes. */
export const PAGE_SIZE = 4096

/** What a seed may be: a whole number from 0 to 2^53 - 1, a bigint from 0 to 2^64 - 1, or any string (which is hashed). */
export type Seed = number | bigint | string

/** A codec whose ratio `compress` is to be exact for: `zstd -1`, `lz4 -1` or `gzip -6`. */
export type Codec = 'zstd' | 'lz4' | 'gzip'

/** What an object is made from, beside the seed. All of it is part of the object's identity. */
export interface ObjectOptions {
  /** Name of the object: objects of different keys share nothing. @defaultValue `''` */
  readonly key?: string
  /** Length in bytes, 0 to 2^53 - 1. */
  readonly size: number
  /** Blocks of 64 KiB for every different one of them, at least 1, whole or not. @defaultValue 1 */
  readonly dedup?: number
  /** Bytes for every byte that `codec` makes of them, at least 1, whole or not. @defaultValue 1 */
  readonly compress?: number
  /** The codec that `compress` is exact for. @defaultValue `'zstd'` */
  readonly codec?: Codec
}

/** The numbers that every byte of an object follows from. */
export interface ObjectLayout {
  readonly size: number
  readonly blocks: number
  /** Different blocks: block `i` holds unique block `i mod uniqueBlocks`. */
  readonly uniqueBlocks: number
  /** Mean of random bytes a page, times 65536. */
  readonly rate: number
  readonly keyLow: number
  readonly keyHigh: number
}

/**
 * What a codec spends on a page beside its random bytes, in bytes, by the ratio asked: knots `[ratio, overhead]`, straight
 * lines between them. Measured on 16 MiB (zstd 1.5.4, lz4 1.9.4, and for gzip the mean of GNU gzip 1.12 and zlib, which
 * differ by up to 20 bytes). Part of the format: a change of a knot is a new version.
 */
const OVERHEAD: Record<Codec, readonly (readonly [ratio: number, overhead: number])[]> = {
  zstd: [[1, 7]],
  lz4: [
    [1, 24],
    [2, 23.3],
    [5, 23],
    [10, 22.8],
    [20, 21.8],
    [50, 20],
  ],
  gzip: [
    [1, 9],
    [1.5, 17],
    [2, 19],
    [2.2, 28],
    [5, 24],
    [10, 20],
    [20, 17],
    [50, 14],
  ],
}

/**
 * zstd stores a block as it is unless that saves 1/64 of it: between 1 and the second of these ratios nothing can be had, and
 * from the first one on the second is nearer (both are less than 1 % off there).
 */
const ZSTD_GAP = [1.01, 1.0191] as const

/** Random bytes that a page keeps however high the ratio, so that no two pages are alike. */
const MIN_RANDOM_BYTES = 16

/** lowbias32 by Chris Wellons: a bijection of 32 bits in which every input bit reaches every output bit. */
export function mix(h: number): number {
  h ^= h >>> 16
  h = Math.imul(h, 0x21f0aaad)
  h ^= h >>> 15
  h = Math.imul(h, 0xd35a2d97)
  return (h ^ (h >>> 15)) >>> 0
}

/** A new seed from the system's entropy: a number, so that it can be printed, stored as JSON and typed again. */
export function freshSeed(): number {
  return randomInt(2 ** 32) * 2 ** 21 + randomInt(2 ** 21)
}

/** The 64 bits of a seed. Hashing a string keeps `'1'` and `'2'` as far apart as any two strings. */
export function seedBits(seed: Seed): bigint {
  if (typeof seed === 'string') return createHash('sha256').update(seed).digest().readBigUInt64LE()
  if (typeof seed === 'number' && Number.isSafeInteger(seed) && seed >= 0) return BigInt(seed)
  if (typeof seed === 'bigint' && seed >= 0n && seed < 1n << 64n) return seed
  throw new OptionError(
    'seed',
    seed,
    'an integer from 0 to 2^53 - 1, a bigint from 0 to 2^64 - 1, or a string',
  )
}

function overheadAt(codec: Codec, ratio: number): number {
  const knots = OVERHEAD[codec]
  const above = knots.findIndex(([knot]) => knot > ratio)
  if (above === -1) return knots.at(-1)![1]
  const [x1, y1] = knots[above - 1]!
  const [x2, y2] = knots[above]!
  return y1 + ((y2 - y1) * (ratio - x1)) / (x2 - x1)
}

function rateOf(codec: Codec, compress: number): number {
  let ratio = compress
  if (codec === 'zstd' && ratio > ZSTD_GAP[0] && ratio < ZSTD_GAP[1]) ratio = ZSTD_GAP[1]
  if (ratio === 1) return PAGE_SIZE * 65_536
  const random = PAGE_SIZE / ratio - overheadAt(codec, ratio)
  return Math.round(65_536 * Math.max(MIN_RANDOM_BYTES, random))
}

/** Checks the options of an object and lays it out. O(length of the key). */
export function layOut(seed: bigint, options: Required<ObjectOptions>): ObjectLayout {
  const size = checkInteger('size', options.size)
  const dedup = checkNumber('dedup', options.dedup, 1)
  const compress = checkNumber('compress', options.compress, 1)
  const codec = checkChoice('codec', options.codec, ['zstd', 'lz4', 'gzip'])
  const blocks = Math.max(1, Math.ceil(size / BLOCK_SIZE))
  const uniqueBlocks = Math.min(blocks, Math.max(1, Math.round(blocks / dedup)))

  let low = Number(seed & 0xffff_ffffn)
  let high = Number(seed >> 32n)
  for (const byte of Buffer.from(checkString('key', options.key))) {
    low = mix(low ^ byte)
    high = mix((high + low) | 0)
  }
  // `| 0`: a small integer passes to the kernel without a conversion
  const keyLow = mix((low + 0x243f6a88) | 0) | 0
  const keyHigh = mix(high ^ keyLow ^ 0x13198a2e) | 0
  return { size, blocks, uniqueBlocks, rate: rateOf(codec, compress), keyLow, keyHigh }
}

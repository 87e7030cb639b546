import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Codec, ObjectIdentity, ObjectOptions, Seed } from '../bytes/index.ts'
import { UsageError } from './exit-codes.ts'
import { parseSize } from './units.ts'

/** What `gen` and `verify` must be told alike. */
export interface ObjectFlags {
  readonly size: number
  readonly seed?: Seed
  readonly key?: string
  readonly dedup?: number
  readonly compress?: number
  readonly codec?: Codec
  readonly range?: RangeText
}

/** A range as it was written; `end` is left out for the end of the object. */
interface RangeText {
  readonly text: string
  readonly start: number
  readonly end?: number
}

/** Adds the options that say which object is meant. */
export function addObjectOptions(command: Command): void {
  command
    .addOption(
      new Option('--size <SIZE>', 'length of the object, such as 10GiB')
        .argParser(parseSize)
        .makeOptionMandatory(),
    )
    .option('--key <KEY>', 'name of the object; objects of different keys share nothing (default: empty)')
    .addOption(
      new Option('--dedup <RATIO>', '64 KiB blocks for every different one (default: 1)').argParser(
        parseRatio,
      ),
    )
    .addOption(
      new Option(
        '--compress <RATIO>',
        'bytes for every byte that the codec makes of them (default: 1)',
      ).argParser(parseRatio),
    )
    .addOption(
      new Option('--codec <CODEC>', 'the codec that --compress is exact for (default: zstd)').choices([
        'zstd',
        'lz4',
        'gzip',
      ]),
    )
    .addOption(
      new Option(
        '--range <A-B>',
        'only the bytes from A on, up to but not including B; A- goes to the end',
      ).argParser(parseRange),
    )
}

/** `--seed`, which only the maker of an object may leave out. */
export function seedOption(description: string): Option {
  return new Option('--seed <SEED>', description).argParser(parseSeed)
}

/** The object that was described, named `key`. */
export function objectOptions(
  { size, dedup, compress, codec }: ObjectFlags,
  key: string | undefined,
): ObjectOptions {
  return {
    size,
    ...(key !== undefined && { key }),
    ...(dedup !== undefined && { dedup }),
    ...(compress !== undefined && { compress }),
    ...(codec !== undefined && { codec }),
  }
}

/** The range that was described, or the whole object. */
export function rangeOf({ size, range }: ObjectFlags): { readonly start: number; readonly end: number } {
  const { start = 0, end = size } = range ?? {}
  if (start > end || end > size) {
    throw new UsageError(
      `--range ${range?.text}: expected A-B with A ≤ B ≤ ${size} (the size), got ${start}-${end}`,
    )
  }
  return { start, end }
}

/** A seed as JSON can hold it, and as `--seed` takes it back. */
export function printableSeed(seed: ObjectIdentity['seed']): number | string {
  return typeof seed === 'bigint' ? `${seed}` : seed
}

/** What looks like a number is one, however large; all else is hashed as it stands. */
export function parseSeed(text: string): Seed {
  if (!/^[-+]?\d+(\.\d*)?$/.test(text)) return text
  const number = Number(text)
  // whether it is a seed is for the library to say
  return Number.isSafeInteger(number) || !/^\d+$/.test(text) ? number : BigInt(text)
}

function parseRatio(text: string): number {
  const ratio = text.trim() === '' ? Number.NaN : Number(text)
  if (Number.isNaN(ratio)) throw new InvalidArgumentError('expected a number of at least 1, such as 2.5')
  return ratio
}

export function parseRange(text: string): RangeText {
  const [from, to, ...more] = text.split('-')
  if (from === undefined || to === undefined || more.length > 0)
    throw new InvalidArgumentError('expected a range of bytes, such as 4GiB-5GiB, or 4GiB- up to the end')
  return { text, start: parseSize(from), ...(to.trim() !== '' && { end: parseSize(to) }) }
}

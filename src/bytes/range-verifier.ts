import { VerifyError } from '../errors.ts'
import { checkInteger } from '../options.ts'
import { bitsOf, describeFinding, PageDiagnosis, type Finding } from './diagnose-page.ts'
import { PAGE_SIZE } from './object-format.ts'
import type { BytePlace, ObjectGen } from './object-gen.ts'
import { checkRange, type ByteRange } from './object-reader.ts'

/** A run of wrong bytes: half-open, and wrong at its first and its last byte. Right bytes between wrong ones are fewer than 32. */
export interface BadRange extends BytePlace {
  /** Offset of the first wrong byte, from the start of the object. */
  readonly start: number
  /** Offset after the last wrong byte. */
  readonly end: number
  /** How many bytes of the range are wrong. */
  readonly bytes: number
  /** The byte that belongs at `start`. */
  readonly expected: number
  /** The byte that stands there. */
  readonly actual: number
  readonly found: Finding
}

/** What a verification found. */
export interface VerifyReport {
  /** True if every byte of the range was there and right, and none after it. */
  readonly ok: boolean
  readonly start: number
  readonly end: number
  /** Bytes compared. */
  readonly bytes: number
  /** Wrong bytes among them. */
  readonly badBytes: number
  /** The first `maxRanges` of the bad ranges, in order. */
  readonly badRanges: readonly BadRange[]
  /** How many bad ranges there were in all. */
  readonly badRangeCount: number
  /** Bytes that the input lacks at its end. */
  readonly missingBytes: number
  /** Bytes that the input has too many at its end. */
  readonly extraBytes: number
}

/** Options of {@link RangeVerifier}. */
export interface RangeVerifierOptions extends ByteRange {
  /** Objects whose bytes are recognised if they stand in the wrong place. @defaultValue none */
  readonly others?: readonly ObjectGen[]
  /** How many bad ranges are kept for the report, at least 1; the rest are counted. @defaultValue 1000 */
  readonly maxRanges?: number
}

/** Bad ranges that a report keeps unless told otherwise. */
export const DEFAULT_MAX_RANGES = 1000

/** Wrong bytes nearer than this belong to one range. In bytes. */
const MERGE_WITHIN = 32

/** A page with a wrong byte, as far as it has come. */
interface PageInWork {
  readonly offset: number
  /** Index of the first wrong byte. */
  readonly first: number
  readonly expected: Buffer
  readonly actual: Buffer
  filled: number
}

type MutableRange = { -readonly [K in keyof BadRange]: BadRange[K] }

/**
 * Compares bytes with an object: the core of {@link ObjectVerifier}, without a stream. A wrong byte is told when its page of
 * 4 KiB is complete, because the page tells what it is; so what is found does not depend on how the input was cut. Memory: one
 * page, and the report.
 *
 * @throws {@link OptionError} for a range outside the object.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { DataGenerator, RangeVerifier } from 'millrace'
 *
 * const object = new DataGenerator({ seed: 42 }).beginObject({ size: 1_000_000 })
 * const verifier = new RangeVerifier(object, { start: 100, end: 5000 })
 * assert.equal(verifier.write(object.read(100, 900)), 900) // so many bytes before any wrong one
 * assert.equal(verifier.write(Buffer.alloc(5)), 0)
 * verifier.finish()
 * assert.equal(verifier.fault?.offset, 1000)
 * assert.equal(verifier.report().missingBytes, 3995)
 * ```
 */
export class RangeVerifier {
  readonly start: number
  readonly end: number
  readonly #object: ObjectGen
  readonly #maxRanges: number
  readonly #diagnosis: PageDiagnosis
  readonly #ranges: MutableRange[] = []
  /** The last range, kept or not: the next bytes may belong to it. */
  #lastRange: MutableRange | undefined
  #rangeCount = 0
  #badBytes = 0
  #extraBytes = 0
  #position: number
  #ended = false
  /** Set from a wrong byte to the end of its page. */
  #page: PageInWork | undefined
  /** Offset of the first wrong byte of all. */
  #firstBad: number | undefined

  constructor(object: ObjectGen, options: RangeVerifierOptions = {}) {
    const { start, end } = checkRange(object.size, options)
    this.#maxRanges = checkInteger('maxRanges', options.maxRanges ?? DEFAULT_MAX_RANGES, 1)
    this.#diagnosis = new PageDiagnosis(object, options.others ?? [])
    this.#object = object
    this.#position = start
    this.start = start
    this.end = end
  }

  /** Offset in the object that the next byte will be compared with. */
  get position(): number {
    return this.#position
  }

  /** Compares the next bytes, and returns how many of them stand before any wrong byte. O(bytes), nothing is copied. */
  write(bytes: Uint8Array): number {
    const at = this.#position
    let done = 0
    const known = Math.min(bytes.length, this.end - at)
    this.#extraBytes += bytes.length - known
    while (done < known) {
      if (this.#page !== undefined) {
        done += this.#collect(this.#page, bytes.subarray(done, known))
        continue
      }
      const wrong = this.#object.firstDifference(bytes.subarray(done, known), this.#position)
      if (wrong === -1) {
        this.#position += known - done
        break
      }
      this.#firstBad ??= wrong
      done += wrong - this.#position
      this.#position = wrong
      this.#openPage(wrong)
    }
    return Math.max(0, Math.min(known, (this.#firstBad ?? Infinity) - at))
  }

  /** No more bytes will come. */
  finish(): void {
    if (this.#ended) return
    this.#ended = true
    if (this.#page !== undefined) this.#closePage(this.#page)
  }

  /** The first fault, when it is known for what it is. */
  get fault(): VerifyError | undefined {
    const [range] = this.#ranges
    if (range !== undefined) return mismatch(range)
    if (this.#page !== undefined) return undefined
    if (this.#extraBytes > 0) return this.#tooLong()
    if (this.#ended && this.#position < this.end) return this.#truncated()
    return undefined
  }

  report(): VerifyReport {
    const missingBytes = this.#ended ? this.end - this.#position : 0
    return {
      ok: this.#ended && missingBytes === 0 && this.#extraBytes === 0 && this.#badBytes === 0,
      start: this.start,
      end: this.end,
      bytes: this.#position - this.start,
      badBytes: this.#badBytes,
      badRanges: this.#ranges.map((range) => ({ ...range })),
      badRangeCount: this.#rangeCount,
      missingBytes,
      extraBytes: this.#extraBytes,
    }
  }

  #openPage(wrong: number): void {
    const first = wrong % PAGE_SIZE
    const offset = wrong - first
    const expected = this.#object.read(offset, Math.min(PAGE_SIZE, this.end - offset))
    // bytes before the first wrong one are right, or lie before the range and do not count
    this.#page = { offset, first, expected, actual: Buffer.from(expected), filled: first }
  }

  #collect(page: PageInWork, bytes: Uint8Array): number {
    const count = Math.min(bytes.length, page.actual.length - page.filled)
    page.actual.set(bytes.subarray(0, count), page.filled)
    page.filled += count
    this.#position += count
    if (page.filled === page.actual.length) this.#closePage(page)
    return count
  }

  #closePage({ offset, first, expected, actual: buffer, filled }: PageInWork): void {
    this.#page = undefined
    const actual = buffer.subarray(0, filled)
    for (let from = first; from < filled;) {
      let last = from + 1
      for (let i = last; i < filled && i - last < MERGE_WITHIN; i++)
        if (expected[i] !== actual[i]) last = i + 1
      const found = this.#diagnosis.diagnose({ offset, expected, actual, first: from, last })
      for (let i = from; i < last; i++) {
        if (expected[i] !== actual[i]) this.#wrongByte(offset + i, expected[i]!, actual[i]!, found)
      }
      from = last
      while (from < filled && expected[from] === actual[from]) from++
    }
  }

  #wrongByte(at: number, expected: number, actual: number, found: Finding): void {
    this.#badBytes++
    const last = this.#lastRange
    if (last !== undefined && at - last.end < MERGE_WITHIN && isSame(last.found, found)) {
      last.end = at + 1
      last.bytes++
      if (last.found.kind === 'bits')
        last.found = { kind: 'bits', bits: last.found.bits + bitsOf(expected ^ actual) }
      return
    }
    const range = {
      start: at,
      end: at + 1,
      bytes: 1,
      ...this.#object.placeOf(at),
      expected,
      actual,
      found: found.kind === 'bits' ? { ...found, bits: bitsOf(expected ^ actual) } : found,
    }
    this.#lastRange = range
    this.#rangeCount++
    if (this.#ranges.length < this.#maxRanges) this.#ranges.push(range)
  }

  #truncated(): VerifyError {
    const missing = this.end - this.#position
    return new VerifyError(
      'ERR_MILLRACE_VERIFY_TRUNCATED',
      `truncated at offset ${this.#position}: expected ${this.end - this.start} bytes up to offset ${this.end}, ${missing} missing`,
      {
        offset: this.#position,
        expected: this.end,
        actual: this.#position,
        ...this.#object.placeOf(this.#position),
      },
    )
  }

  #tooLong(): VerifyError {
    return new VerifyError(
      'ERR_MILLRACE_VERIFY_TOO_LONG',
      `too long: expected the end at offset ${this.end}, got more bytes`,
      { offset: this.end, expected: this.end },
    )
  }
}

function isSame(a: Finding, b: Finding): boolean {
  if (a.kind === 'elsewhere' && b.kind === 'elsewhere') return a.shift === b.shift
  if (a.kind === 'object' && b.kind === 'object') return a.key === b.key && a.seed === b.seed
  return a.kind === b.kind
}

function mismatch(range: BadRange): VerifyError {
  const { start, block, uniqueBlock, page, expected, actual, found } = range
  const hex = (byte: number) => `0x${byte.toString(16).padStart(2, '0')}`
  return new VerifyError(
    'ERR_MILLRACE_VERIFY_MISMATCH',
    `first mismatch at offset ${start} (block ${block}, unique ${uniqueBlock}, page ${page}): ` +
      `expected ${hex(expected)}, got ${hex(actual)}; ${describeFinding(found, start)}`,
    { offset: start, expected, actual, block, uniqueBlock, page, found },
  )
}

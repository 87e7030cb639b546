import { isGeneratedPage } from './generated-page.ts'
import { BLOCK_SIZE, PAGE_SIZE, type Seed } from './object-format.ts'
import type { ObjectGen } from './object-gen.ts'

/** What stands where an object's bytes should stand, as far as it can be told. */
export type Finding =
  /** The right bytes but for a few bits. */
  | { readonly kind: 'bits'; readonly bits: number }
  /** Zeros: a hole, or a write that never happened. */
  | { readonly kind: 'zeros' }
  /** The bytes that the same object has `shift` bytes further on: a swapped block, or bytes lost or inserted before. */
  | { readonly kind: 'elsewhere'; readonly shift: number }
  /** The bytes that another known object has at the same offset. */
  | { readonly kind: 'object'; readonly key: string; readonly seed: Seed }
  /** Bytes that this format made for another object, which is not among the known ones. */
  | { readonly kind: 'foreign' }
  | { readonly kind: 'unknown' }

/** A run of wrong bytes in a page, and the page. */
export interface BadRun {
  /** Offset of the page in the object. */
  readonly offset: number
  readonly expected: Buffer
  /** What was read back; as long as `expected`, or shorter where the input ended. */
  readonly actual: Buffer
  /** Index of the first wrong byte. */
  readonly first: number
  /** Index after the last wrong byte. */
  readonly last: number
}

/** More than this many wrong bits in a page are no longer told as flipped bits. */
const MAX_FLIPPED_BITS = 8
/** Bytes that identify a page: every page starts with 16 random ones. */
const HEAD = 16
/** Blocks to each side that are searched for the one that stands here; 16 384 blocks are 1 GiB and 3 ms. */
const SEARCH_BLOCKS = 16_384
/** Bytes to each side that are searched for bytes lost or inserted. */
const SEARCH_BYTES = 131_072
/** Heads compared in the life of a diagnosis: about 0.3 s in all, however much is wrong. */
const BUDGET = 1 << 20
/** What one call of `isGeneratedPage` costs, in heads compared. */
const FOREIGN_COST = 2048

/** Tells what stands where bytes are wrong. Bounded work: 0.3 s over all runs, and then only what costs next to nothing. */
export class PageDiagnosis {
  readonly #object: ObjectGen
  readonly #others: readonly ObjectGen[]
  readonly #probe = Buffer.alloc(HEAD)
  #budget = BUDGET
  /** Offset found less offset expected, of the last page that was found elsewhere: the next page likely shares it. */
  #lastShift = 0

  constructor(object: ObjectGen, others: readonly ObjectGen[]) {
    this.#object = object
    this.#others = others
  }

  diagnose(run: BadRun): Finding {
    const { actual, expected, first, last } = run
    const bits = differentBits(expected, actual, first, last)
    if (bits <= MAX_FLIPPED_BITS) return { kind: 'bits', bits }
    if (last - first >= HEAD && actual.subarray(first, last).every((byte) => byte === 0))
      return { kind: 'zeros' }
    if (last - first < HEAD) return { kind: 'unknown' }
    const from = this.#elsewhere(run)
    if (from !== undefined) {
      this.#lastShift = from - run.offset - first
      return { kind: 'elsewhere', shift: this.#lastShift }
    }
    // only a page whose very beginning is wrong can be a page of something else
    if (first >= HEAD) return { kind: 'unknown' }
    const other = this.#others.find((candidate) => this.#matches(candidate, run.offset, actual))
    if (other !== undefined) return { kind: 'object', key: other.key, seed: other.identity.seed }
    if (this.#budget < FOREIGN_COST) return { kind: 'unknown' }
    this.#budget -= FOREIGN_COST
    return isGeneratedPage(actual, expected) ? { kind: 'foreign' } : { kind: 'unknown' }
  }

  /** Where in the object the bytes at `first` belong. */
  #elsewhere({ offset, actual, first, last }: BadRun): number | undefined {
    const here = offset + first
    const again = here + this.#lastShift
    if (this.#lastShift !== 0 && this.#standsHere(again, actual.subarray(first, last))) return again
    if (first < HEAD) {
      const block = Math.floor(offset / BLOCK_SIZE)
      const inBlock = offset % BLOCK_SIZE
      const found = this.#nearestBlock(block, inBlock, actual) ?? this.#pageOfBlock(block, inBlock, actual)
      if (found !== undefined) return found + first
    }
    return this.#nearby(here, actual.subarray(first, last))
  }

  /** Offset of the same page in the nearest other block whose head stands here. */
  #nearestBlock(block: number, inBlock: number, actual: Buffer): number | undefined {
    const { blocks, uniqueBlocks } = this.#object
    const reach = Math.min(SEARCH_BLOCKS, uniqueBlocks - 1, this.#budget >> 1)
    for (let distance = 1; distance <= reach; distance++) {
      for (const candidate of [block - distance, block + distance]) {
        if (candidate < 0 || candidate >= blocks) continue
        this.#budget--
        const at = candidate * BLOCK_SIZE + inBlock
        if (this.#matches(this.#object, at, actual)) return at
      }
    }
  }

  /** Offset of the other page of the same block whose head stands here. */
  #pageOfBlock(block: number, inBlock: number, actual: Buffer): number | undefined {
    for (let page = 0; page < BLOCK_SIZE; page += PAGE_SIZE) {
      const at = block * BLOCK_SIZE + page
      if (page !== inBlock && this.#matches(this.#object, at, actual)) return at
    }
  }

  /** Offset of the bytes themselves, if that is near: bytes before them were lost or inserted. */
  #nearby(here: number, actual: Buffer): number | undefined {
    // zeros stand in most places of a thinned object: take the first bytes that say something
    const from = actual.findIndex((byte) => byte !== 0)
    const needle = actual.subarray(from, from + HEAD)
    if (needle.length < HEAD || needle.filter((byte) => byte === 0).length > HEAD / 2) return undefined
    if (this.#budget < FOREIGN_COST) return undefined
    this.#budget -= FOREIGN_COST
    const low = Math.max(0, here - SEARCH_BYTES)
    const window = this.#object.read(low, Math.min(this.#object.size, here + SEARCH_BYTES) - low)
    const at = window.indexOf(needle)
    return at < from ? undefined : low + at - from
  }

  /** True if the object's bytes from `at` on are these, all of them. */
  #standsHere(at: number, actual: Buffer): boolean {
    const length = Math.min(actual.length, this.#object.size - at)
    return at >= 0 && length >= HEAD && this.#object.read(at, length).equals(actual.subarray(0, length))
  }

  #matches(object: ObjectGen, at: number, actual: Buffer): boolean {
    return (
      at + HEAD <= object.size &&
      object.readInto(this.#probe, at) === HEAD &&
      this.#probe.compare(actual, 0, HEAD) === 0
    )
  }
}

function differentBits(expected: Buffer, actual: Buffer, first: number, last: number): number {
  let bits = 0
  for (let i = first; i < last; i++) bits += bitsOf(expected[i]! ^ actual[i]!)
  return bits
}

/** How many bits of a byte are 1. */
export function bitsOf(byte: number): number {
  let bits = 0
  for (let x = byte; x !== 0; x &= x - 1) bits++
  return bits
}

/** A finding as a clause that completes "…: ". `at` is the offset where the bytes stand. */
export function describeFinding(finding: Finding, at: number): string {
  switch (finding.kind) {
    case 'bits':
      return finding.bits === 1 ? 'one bit is flipped' : `${finding.bits} bits are flipped`
    case 'zeros':
      return 'zeros stand here'
    case 'object':
      return `the bytes of object ${JSON.stringify(finding.key)} of seed ${finding.seed} stand here`
    case 'foreign':
      return 'the bytes of another object stand here'
    case 'elsewhere':
      return describeShift(at, finding.shift)
    case 'unknown':
      return 'bytes of no known origin stand here'
  }
}

function describeShift(at: number, shift: number): string {
  const from = at + shift
  if (shift % BLOCK_SIZE === 0) return `block ${Math.floor(from / BLOCK_SIZE)} of this object stands here`
  if (shift % PAGE_SIZE === 0) return `the page of offset ${from - (from % PAGE_SIZE)} stands here`
  const bytes = Math.abs(shift) === 1 ? '1 byte is' : `${Math.abs(shift)} bytes are`
  return `the bytes of offset ${from} stand here: ${bytes} ${shift > 0 ? 'lost' : 'inserted'}`
}

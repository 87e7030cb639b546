import type { RecordKernel } from './record-kernel.ts'

/** One distribution: codes, and how often each came. Counts need not be whole. */
export interface LeafCounts {
  readonly codes: readonly number[]
  readonly counts: readonly number[]
}

/** Addresses of tables in the memory of a kernel. */
export interface PlacedTables {
  readonly leaves: number
  readonly leafCount: number
  readonly guide: number
  readonly last: number
  readonly codes: number
}

/** Strata of a distribution in a block; of the first 2^n rows that draw from it, each falls in another one of 2^n. */
const STRATA_BITS = 10
const HIGH_BITS = -1 << (32 - STRATA_BITS)
/**
 * Parts of the unit interval that the guide knows, at least, for each code: where a part lies within one code, nothing is left to look
 * for. Four in place of one save a tenth or more of the time of a record as text, and eight save no more than that.
 */
const PARTS = 4
/** Bits in reverse order: the sequence of van der Corput, of which every beginning is spread evenly. */
const EVEN_POINTS = Uint32Array.from({ length: 1 << STRATA_BITS }, (_, index) => {
  let bits = 0
  for (let i = 0; i < STRATA_BITS; i++) if (((index >> i) & 1) === 1) bits |= 1 << (31 - i)
  return bits
})

/**
 * Many discrete distributions in flat arrays, each drawn from by inversion: a guide says where to begin to look, so that a draw takes
 * constant time on average.
 *
 * @see Chen, Asau: On Generating Random Variates from an Empirical Distribution (1974)
 */
export class CodeTables {
  /** By distribution: its part of the guide begins at the first number, and a word shifted by the second one is a place in it. */
  readonly #start: Int32Array
  readonly #shift: Uint8Array
  /** The last word that picks a code or one before it: numbers of 32 bits are compared faster than shares. */
  readonly #last: Uint32Array
  readonly #codes: Uint16Array
  /** By part of the unit interval: the first code that reaches into it. */
  readonly #guide: Int32Array
  /** By distribution: rows of this call that have drawn from it, and what scatters its points. */
  readonly #drawn: Uint16Array
  readonly #scatter: Uint32Array

  constructor(leaves: readonly LeafCounts[]) {
    // a power of two, so that a shift finds the part
    const bits = leaves.map(({ codes }) => Math.ceil(Math.log2(codes.length * PARTS)))
    const total = leaves.reduce((sum, { codes }) => sum + codes.length, 0)
    this.#shift = Uint8Array.from(bits, (one) => 32 - one)
    this.#last = new Uint32Array(total)
    this.#codes = new Uint16Array(total)
    this.#guide = new Int32Array(bits.reduce((sum, one) => sum + 2 ** one, 0))
    this.#start = new Int32Array(leaves.length)
    this.#drawn = new Uint16Array(leaves.length)
    this.#scatter = new Uint32Array(leaves.length)
    let [code, part] = [0, 0]
    for (const [i, leaf] of leaves.entries()) {
      this.#start[i] = part
      this.#build(leaf, code, part, 2 ** bits[i]!)
      code += leaf.codes.length
      part += 2 ** bits[i]!
    }
  }

  get bytes(): number {
    return this.#guide.byteLength + this.#last.byteLength + this.#codes.byteLength + this.#start.length * 16
  }

  /** Puts the tables where a kernel draws from them: by distribution the beginning in the guide, the shift, and room for two numbers. */
  place(kernel: RecordKernel): PlacedTables {
    const leaves = new Int32Array(this.#start.length * 4)
    for (const [leaf, start] of this.#start.entries()) leaves.set([start, this.#shift[leaf]!], leaf * 4)
    return {
      leaves: kernel.put(leaves),
      leafCount: this.#start.length,
      guide: kernel.put(this.#guide),
      last: kernel.put(this.#last),
      codes: kernel.put(this.#codes),
    }
  }

  /** The code that `word` picks from distribution `leaf`. */
  draw(leaf: number, word: number): number {
    let at = this.#guide[this.#start[leaf]! + (word >>> this.#shift[leaf]!)]!
    while (word > this.#last[at]!) at++
    return this.#codes[at]!
  }

  /**
   * Writes a code for each row of `order` from the distribution that `leaves` names for it. Each row alone is drawn as its word would
   * have it, but rows of one distribution fall in different strata of it: counts come closer to what they should be than by chance.
   *
   * @param order - Rows, in an order that has nothing to do with that of another column: strata are taken in it.
   */
  drawEvenly(leaves: Uint16Array, order: Uint16Array, words: Uint32Array, codes: Uint16Array): void {
    const [drawn, scatter, start, shift] = [this.#drawn, this.#scatter, this.#start, this.#shift]
    const [guide, last, all] = [this.#guide, this.#last, this.#codes]
    drawn.fill(0)
    for (let i = 0; i < order.length; i++) {
      const row = order[i]!
      const leaf = leaves[row]!
      const word = words[row]!
      const index = drawn[leaf]!
      drawn[leaf] = index + 1
      if (index === 0) scatter[leaf] = word & HIGH_BITS
      const point = ((EVEN_POINTS[index]! ^ scatter[leaf]!) | (word & ~HIGH_BITS)) >>> 0
      let at = guide[(start[leaf]! + (point >>> shift[leaf]!)) | 0]!
      // most parts have one end of a code or none: this step is no jump that a processor could guess wrongly
      at = (at + Number(point > last[at]!)) | 0
      while (point > last[at]!) at = (at + 1) | 0
      codes[row] = all[at]!
    }
  }

  #build({ codes, counts }: LeafCounts, start: number, guide: number, parts: number): void {
    const sum = counts.reduce((total, count) => total + count, 0)
    let below = 0
    let [at, part] = [start, 0]
    for (const [i, count] of counts.entries()) {
      // what never came is not drawn by any word
      if (count === 0) continue
      below += count
      const end = below / sum
      this.#codes[at] = codes[i]!
      this.#last[at] = Math.ceil(end * 2 ** 32) - 1
      for (; part < parts && part / parts < end; part++) this.#guide[guide + part] = at
      at++
    }
  }
}

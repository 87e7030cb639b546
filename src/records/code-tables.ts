/** One distribution: codes, and how often each came. Counts need not be whole. */
export interface LeafCounts {
  readonly codes: readonly number[]
  readonly counts: readonly number[]
}

/** Strata of a distribution in a block; of the first 2^n rows that draw from it, each falls in another one of 2^n. */
const STRATA_BITS = 10
const HIGH_BITS = -1 << (32 - STRATA_BITS)
/**
 * Parts of the unit interval that the guide knows, for each code: where a part lies within one code, nothing is left to look for. Four
 * in place of one save a tenth or more of the time of a record as text, and eight save no more than that.
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
  readonly #start: Uint32Array
  /** By distribution: parts of its guide. */
  readonly #parts: Float64Array
  /** Share of a code and those before it. */
  readonly #ends: Float64Array
  readonly #codes: Uint16Array
  /** By part of the unit interval: the first code that reaches into it. */
  readonly #guide: Uint32Array
  /** By distribution: rows of this call that have drawn from it, and what scatters its points. */
  readonly #drawn: Uint16Array
  readonly #scatter: Uint32Array

  constructor(leaves: readonly LeafCounts[]) {
    const total = leaves.reduce((sum, { codes }) => sum + codes.length, 0)
    this.#start = new Uint32Array(leaves.length)
    this.#parts = Float64Array.from(leaves, ({ codes }) => codes.length * PARTS)
    this.#ends = new Float64Array(total)
    this.#codes = new Uint16Array(total)
    this.#guide = new Uint32Array(total * PARTS)
    this.#drawn = new Uint16Array(leaves.length)
    this.#scatter = new Uint32Array(leaves.length)
    let at = 0
    for (const [i, leaf] of leaves.entries()) {
      this.#start[i] = at
      this.#build(leaf, at)
      at += leaf.codes.length
    }
  }

  /** The code that `word` picks from distribution `leaf`. */
  draw(leaf: number, word: number): number {
    const share = word * 2 ** -32
    let at = this.#guide[this.#start[leaf]! * PARTS + ((share * this.#parts[leaf]!) | 0)]!
    while (share >= this.#ends[at]!) at++
    return this.#codes[at]!
  }

  /**
   * Writes a code for each row of `order` from the distribution that `leaves` names for it. Each row alone is drawn as its word would
   * have it, but rows of one distribution fall in different strata of it: counts come closer to what they should be than by chance.
   *
   * @param order - Rows, in an order that has nothing to do with that of another column: strata are taken in it.
   */
  drawEvenly(leaves: Uint16Array, order: Uint16Array, words: Uint32Array, codes: Uint16Array): void {
    const [drawn, scatter, start, parts] = [this.#drawn, this.#scatter, this.#start, this.#parts]
    const [guide, ends, all] = [this.#guide, this.#ends, this.#codes]
    drawn.fill(0)
    for (let i = 0; i < order.length; i++) {
      const row = order[i]!
      const leaf = leaves[row]!
      const word = words[row]!
      const index = drawn[leaf]!++
      if (index === 0) scatter[leaf] = word & HIGH_BITS
      const share = (((EVEN_POINTS[index]! ^ scatter[leaf]!) | (word & ~HIGH_BITS)) >>> 0) * 2 ** -32
      let at = guide[start[leaf]! * PARTS + ((share * parts[leaf]!) | 0)]!
      while (share >= ends[at]!) at++
      codes[row] = all[at]!
    }
  }

  #build({ codes, counts }: LeafCounts, start: number): void {
    const size = codes.length
    const parts = size * PARTS
    const sum = counts.reduce((total, count) => total + count, 0)
    let below = 0
    let part = 0
    for (const [i, count] of counts.entries()) {
      below += count
      const end = i === size - 1 ? Infinity : below / sum
      this.#codes[start + i] = codes[i]!
      this.#ends[start + i] = end
      for (; part < parts && part / parts < end; part++) this.#guide[start * PARTS + part] = start + i
    }
  }
}

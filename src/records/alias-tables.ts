/** One distribution: codes, and how often each came. Counts need not be whole. */
export interface LeafCounts {
  readonly codes: readonly number[]
  readonly counts: readonly number[]
}

/**
 * Many discrete distributions in flat arrays, each drawn from in constant time (Walker's alias method, built as Vose does).
 * A draw takes one word: its upper part picks a cell, the rest decides between the cell's two codes.
 */
export class AliasTables {
  readonly start: Uint32Array
  readonly length: Float64Array
  readonly share: Float32Array
  readonly code: Uint16Array
  readonly other: Uint16Array

  constructor(leaves: readonly LeafCounts[]) {
    const total = leaves.reduce((sum, { codes }) => sum + codes.length, 0)
    this.start = new Uint32Array(leaves.length)
    this.length = new Float64Array(leaves.length)
    this.share = new Float32Array(total)
    this.code = new Uint16Array(total)
    this.other = new Uint16Array(total)
    let at = 0
    for (const [i, leaf] of leaves.entries()) {
      this.start[i] = at
      this.length[i] = leaf.codes.length
      this.#build(leaf, at)
      at += leaf.codes.length
    }
  }

  /** The code that `word` picks from distribution `leaf`. */
  draw(leaf: number, word: number): number {
    const x = word * 2 ** -32 * this.length[leaf]!
    const cell = x | 0
    const at = this.start[leaf]! + cell
    return x - cell < this.share[at]! ? this.code[at]! : this.other[at]!
  }

  #build({ codes, counts }: LeafCounts, at: number): void {
    const size = codes.length
    const sum = counts.reduce((total, count) => total + count, 0)
    const scaled = counts.map((count) => (count * size) / sum)
    const small: number[] = []
    const large: number[] = []
    for (const [i, share] of scaled.entries()) (share < 1 ? small : large).push(i)
    while (small.length > 0 && large.length > 0) {
      const less = small.pop()!
      const more = large[large.length - 1]!
      this.share[at + less] = scaled[less]!
      this.code[at + less] = codes[less]!
      this.other[at + less] = codes[more]!
      const left = scaled[more]! + scaled[less]! - 1
      scaled[more] = left
      if (left < 1) small.push(large.pop()!)
    }
    for (const i of [...small, ...large]) {
      this.share[at + i] = 1
      this.code[at + i] = this.other[at + i] = codes[i]!
    }
  }
}

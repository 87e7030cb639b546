import { mix, seedBits, type Seed } from '../bytes/object-format.ts'

/** Words that {@link BlockRandom.next} draws at once. */
const BUFFER_WORDS = 256

/**
 * Random words of one block: a function of seed, block and `purpose` alone, so that blocks can be made in any order, by any
 * thread. The generator is sfc32 (Chris Doty-Humphrey), keyed by hashing.
 */
export class BlockRandom {
  #a = 0
  #b = 0
  #c = 0
  #counter = 1
  readonly #low: number
  readonly #high: number
  readonly #buffer = new Uint32Array(BUFFER_WORDS)
  #at = BUFFER_WORDS

  constructor(seed: Seed) {
    const bits = seedBits(seed)
    this.#low = Number(bits & 0xffff_ffffn)
    this.#high = Number(bits >> 32n)
  }

  /** Starts the words of a block over. */
  begin(block: number, purpose = 0): this {
    let h = mix(this.#low ^ (block | 0))
    h = mix((h + this.#high) | 0)
    h = mix(h ^ Math.floor(block / 2 ** 32) ^ 0x9e3779b9)
    this.#a = mix((h + purpose) | 0) | 0
    this.#b = mix(this.#a ^ this.#low) | 0
    this.#c = mix((this.#b + this.#high) ^ (block | 0)) | 0
    this.#counter = 1
    this.#at = BUFFER_WORDS
    // the first words of near states are alike
    this.fillWords(this.#buffer, 12)
    return this
  }

  /** Writes `count` words of 32 bits. */
  fillWords(words: Uint32Array, count: number): void {
    let a = this.#a
    let b = this.#b
    let c = this.#c
    let counter = this.#counter
    for (let i = 0; i < count; i++) {
      const word = (((a + b) | 0) + counter) | 0
      counter = (counter + 1) | 0
      a = b ^ (b >>> 9)
      b = (c + (c << 3)) | 0
      c = (((c << 21) | (c >>> 11)) + word) | 0
      words[i] = word
    }
    this.#a = a
    this.#b = b
    this.#c = c
    this.#counter = counter
  }

  /** What the next words follow from. */
  get state(): readonly [a: number, b: number, c: number, counter: number] {
    return [this.#a, this.#b, this.#c, this.#counter]
  }

  /** One word, from 0 to 2^32 - 1. */
  next(): number {
    if (this.#at === BUFFER_WORDS) {
      this.fillWords(this.#buffer, BUFFER_WORDS)
      this.#at = 0
    }
    return this.#buffer[this.#at++]!
  }

  /** A number within (0, 1), never its ends. */
  uniform(): number {
    return (this.next() + 0.5) * 2 ** -32
  }

  /** A whole number from 0 up to `count` - 1. */
  below(count: number): number {
    return Math.floor(this.next() * 2 ** -32 * count)
  }
}

import type { BlockRandom } from './random.ts'

/** Rows that are shuffled among themselves, a power of two: few, so that the first rows of a block are spread as evenly as all of them. */
export const RUN = 64

/**
 * Random orders of the rows of a block, one for each column, so that what is drawn evenly in each column is not drawn alike in two.
 * They are made of two shuffles: the second one, turned by another amount for each column, is looked up in the first. To shuffle for
 * each column would cost a tenth of the time that a record takes.
 */
export class RowOrders {
  readonly #first: Uint16Array
  readonly #second: Uint16Array
  readonly #words: Uint32Array
  readonly #order: Uint16Array
  #random: BlockRandom | undefined
  #turn = 0

  /** @param rows - Of a block, in whole runs. */
  constructor(rows: number) {
    this.#first = new Uint16Array(rows)
    this.#second = new Uint16Array(rows)
    this.#words = new Uint32Array(rows)
    this.#order = new Uint16Array(rows)
  }

  /** Draws new orders for the columns that follow. */
  begin(random: BlockRandom): void {
    this.#random = random
    this.#shuffle(this.#first)
    this.#shuffle(this.#second)
    this.#turn = 0
  }

  /** The first `count` rows in the order of the next column, until the next call. */
  next(count: number): Uint16Array {
    // then two columns would have the same order
    if (this.#turn === RUN) this.begin(this.#random!)
    const [first, second, order] = [this.#first, this.#second, this.#order]
    const turn = this.#turn++
    let length = 0
    for (let from = 0; from < count; from += RUN) {
      for (let i = from; i < from + RUN; i++) {
        const row = first[from + ((second[i]! + turn) & (RUN - 1))]!
        order[length] = row
        if (row < count) length++
      }
    }
    return order.subarray(0, length)
  }

  /** Fisher and Yates, run by run; from the same beginning each time, whatever was there before. */
  #shuffle(rows: Uint16Array): void {
    const words = this.#words
    this.#random!.fillWords(words, rows.length)
    for (let from = 0; from < rows.length; from += RUN) {
      for (let i = 0; i < RUN; i++) {
        const j = (words[from + i]! * 2 ** -32 * (i + 1)) | 0
        rows[from + i] = rows[from + j]!
        rows[from + j] = from + i
      }
    }
  }
}

// How the values of a column that have been received are distributed, in the bars or bins of the training data.
import { DateFormat } from './date-format.js'

export class ColumnCounter {
  nulls = 0
  total = 0
  /** By bar (the last is all other values), or by bin. */
  counts
  #column
  #indexOf

  /** @param {object} column  as /model describes it */
  constructor(column) {
    this.#column = column
    const { bars, bins } = column
    this.counts = new Float64Array(bars ? bars.values.length + 1 : (bins?.shares.length ?? 0))
    this.#indexOf = bars ? barOf(bars) : bins ? binOf(bins, column.dateFormat) : undefined
  }

  add(value) {
    this.total++
    if (value === null) this.nulls++
    else if (this.#indexOf !== undefined) this.counts[this.#indexOf(value)]++
  }

  /** Shares of all that was received. */
  shares() {
    return Array.from(this.counts, (count) => (this.total === 0 ? 0 : count / this.total))
  }

  /** How far it is from the training data: half the sum of all differences, 0 to 1. */
  distance() {
    const { bars, bins, nullShare } = this.#column
    const learnt = bars ? [...bars.shares, bars.others] : bins.shares
    const own = this.shares()
    const gaps = learnt.map((share, i) => Math.abs(share - own[i]))
    return gaps.reduce((sum, gap) => sum + gap, Math.abs(nullShare - this.nulls / this.total)) / 2
  }
}

function barOf({ values }) {
  const index = new Map(values.map((value, i) => [value, i]))
  return (value) => index.get(value) ?? values.length
}

function binOf({ low, width, shares }, dateFormat) {
  const last = shares.length - 1
  const place = (x) => Math.max(0, Math.min(last, Math.floor((x - low) / width)))
  if (dateFormat === undefined) return place
  const format = new DateFormat(dateFormat)
  return (text) => place(format.parse(text) * format.unit)
}

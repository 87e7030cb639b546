import type { Seed } from '../bytes/index.ts'
import { DateFormat } from './date-format.ts'
import { BlockRandom } from './random.ts'
import type { Table } from './table.ts'

/** What synthetic rows give away of the rows that were learnt from, and what rows that were never learnt from have in common with them. */
export interface PrivacyScores {
  /** Share of the synthetic rows that are equal to a real one in all `comparedColumns`. */
  readonly exactCopies: number
  /** The same share of the hold-out: what is equal by chance. */
  readonly holdoutCopies?: number
  /** Columns that were compared: those that are nearly different in every row say nothing. */
  readonly comparedColumns: readonly string[]
  /** Median distance of a synthetic row to the closest real one: the mean over columns of 0 or 1, or of the share of the range. */
  readonly closestDistance: number
  /** The same of the hold-out. Synthetic rows should not be closer than these. */
  readonly holdoutDistance?: number
}

/** Rows whose distances are measured, and rows that they are measured to. */
const MEASURED = 1000
const REFERENCE = 20_000
/** Share of different values from which on a column is left out of copies. */
const NEAR_UNIQUE = 0.5

/** O(1000 · 20 000 · columns) at most. */
export function scorePrivacy(
  real: Table,
  synthetic: Table,
  holdout: Table | undefined,
  seed: Seed,
): PrivacyScores {
  const columns = real.schema.columns.filter(({ kind }) => kind !== 'id' && kind !== 'text')
  const compared = columns
    .map(({ name }) => name)
    .filter((name) => new Set(real.column(name)).size <= NEAR_UNIQUE * real.rows)
  const keys = new Set(rowKeys(real, compared))
  const copies = (table: Table) => rowKeys(table, compared).filter((key) => keys.has(key)).length / table.rows
  const space = new Space(real, columns)
  const target = space.place(sample(real, REFERENCE, seed))
  const closest = (table: Table) => median(space.closest(space.place(sample(table, MEASURED, seed)), target))
  return {
    exactCopies: copies(synthetic),
    comparedColumns: compared,
    closestDistance: closest(synthetic),
    ...(holdout && { holdoutCopies: copies(holdout), holdoutDistance: closest(holdout) }),
  }
}

function rowKeys(table: Table, names: readonly string[]): string[] {
  const columns = names.map((name) => table.column(name))
  return Array.from({ length: table.rows }, (_, row) => JSON.stringify(columns.map((column) => column[row])))
}

function sample(table: Table, rows: number, seed: Seed): Table {
  if (table.rows <= rows) return table
  const random = new BlockRandom(seed).begin(0)
  let [left, wanted] = [table.rows, rows]
  // each row with the odds that are left to it: exactly so many rows, in order
  return table.filter(() => {
    const isTaken = random.uniform() * left-- < wanted
    if (isTaken) wanted--
    return isTaken
  })
}

type Columns = Table['schema']['columns']

/** Rows as points: numbers from 0 to 1 over the real range, categories as numbers that are equal or not. */
class Space {
  readonly #columns: Columns
  readonly #isNumber: readonly boolean[]
  readonly #dates: readonly (DateFormat | undefined)[]
  readonly #low: readonly number[]
  readonly #range: readonly number[]
  readonly #labels: readonly Map<unknown, number>[]

  constructor(real: Table, columns: Columns) {
    this.#columns = columns
    this.#dates = columns.map(({ kind, dateFormat }) =>
      kind === 'datetime' ? new DateFormat(dateFormat!) : undefined,
    )
    this.#isNumber = columns.map(
      ({ kind }) => kind === 'integer' || kind === 'decimal' || kind === 'datetime',
    )
    this.#labels = columns.map(() => new Map<unknown, number>())
    const ranges = columns.map(({ name }, i) => {
      if (!this.#isNumber[i]) return [0, 1] as const
      let [low, high] = [Infinity, -Infinity]
      for (const value of real.column(name)) {
        const x = this.#dates[i]?.parse(String(value)) ?? (value as number | null)
        if (typeof x !== 'number') continue
        low = Math.min(low, x)
        high = Math.max(high, x)
      }
      return [low, high - low || 1] as const
    })
    this.#low = ranges.map(([low]) => low)
    this.#range = ranges.map(([, range]) => range)
  }

  place(table: Table): Float32Array {
    const width = this.#columns.length
    const points = new Float32Array(table.rows * width)
    for (const [i, { name }] of this.#columns.entries()) {
      const labels = this.#labels[i]!
      for (const [row, value] of table.column(name).entries()) {
        let x: number
        if (this.#isNumber[i]) {
          // a missing number is as far from all others as can be, and no distance from another missing one
          const number = this.#dates[i]?.parse(String(value)) ?? value
          x = typeof number === 'number' ? (number - this.#low[i]!) / this.#range[i]! : -2
        } else {
          if (!labels.has(value)) labels.set(value, labels.size)
          x = labels.get(value)!
        }
        points[row * width + i] = x
      }
    }
    return points
  }

  closest(points: Float32Array, targets: Float32Array): number[] {
    const width = this.#columns.length
    const isNumber = Uint8Array.from(this.#isNumber, Number)
    const distances: number[] = []
    for (let at = 0; at < points.length; at += width) {
      let best = Infinity
      for (let to = 0; to < targets.length; to += width) {
        let sum = 0
        for (let i = 0; i < width && sum < best; i++) {
          const gap = Math.abs(points[at + i]! - targets[to + i]!)
          sum += isNumber[i] === 1 ? Math.min(1, gap) : gap === 0 ? 0 : 1
        }
        if (sum < best) best = sum
      }
      distances.push(best / width)
    }
    return distances
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

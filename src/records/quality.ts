import { DateFormat } from './date-format.ts'
import type { ColumnSchema, Value } from './schema.ts'
import type { Table } from './table.ts'

/** How alike one column is in two tables, 0 to 1. */
export interface ColumnScore {
  readonly column: string
  /** Numbers and dates by their distribution functions, all else by how often each value comes. */
  readonly metric: 'KSComplement' | 'TVComplement'
  readonly score: number
}

/** How alike two columns go together in two tables, 0 to 1. */
export interface PairScore {
  readonly columns: readonly [string, string]
  readonly metric: 'CorrelationSimilarity' | 'ContingencySimilarity'
  readonly score: number
  /** Pearson's correlations, where both are numbers or dates. */
  readonly real?: number
  readonly synthetic?: number
}

/** Bins that numbers are cut into beside categories, with one below and one above them. */
const BINS = 10

/** One column of both tables, readied for comparison. */
export interface ComparedColumn {
  readonly schema: ColumnSchema
  readonly isNumber: boolean
  readonly real: Float64Array
  readonly synthetic: Float64Array
  /** Values of categories by number; the number of null is NaN where the column is of numbers. */
  readonly labels: readonly string[]
}

/** The columns that can be compared: all but ids and free text. */
export function compareColumns(real: Table, synthetic: Table): ComparedColumn[] {
  return real.schema.columns
    .filter(({ kind }) => kind !== 'id' && kind !== 'text')
    .map((schema) => {
      const { name, kind, dateFormat } = schema
      const dates = kind === 'datetime' ? new DateFormat(dateFormat!) : undefined
      const isNumber = dates !== undefined || kind === 'integer' || kind === 'decimal'
      const labels = new Map<string, number>()
      const number = (value: Value): number => {
        if (isNumber) {
          if (value === null) return Number.NaN
          return dates === undefined
            ? typeof value === 'number'
              ? value
              : Number.NaN
            : (dates.parse(String(value)) ?? Number.NaN)
        }
        const label = String(value)
        if (!labels.has(label)) labels.set(label, labels.size)
        return labels.get(label)!
      }
      const [a, b] = [real, synthetic].map((table) => Float64Array.from(table.column(name), number)) as [
        Float64Array,
        Float64Array,
      ]
      return { schema, isNumber, real: a, synthetic: b, labels: [...labels.keys()] }
    })
}

/** The shape of one column. */
export function scoreColumn({ schema, isNumber, real, synthetic, labels }: ComparedColumn): ColumnScore {
  const score = isNumber
    ? 1 - largestGap(real, synthetic)
    : 1 - totalVariation(real, synthetic, labels.length)
  return { column: schema.name, metric: isNumber ? 'KSComplement' : 'TVComplement', score }
}

/** The trend of two columns; undefined where there is none, as for a column of one value. */
export function scorePair(a: ComparedColumn, b: ComparedColumn): PairScore | undefined {
  const columns = [a.schema.name, b.schema.name] as const
  if (a.isNumber && b.isNumber) {
    const [real, synthetic] = [pearson(a.real, b.real), pearson(a.synthetic, b.synthetic)]
    if (Number.isNaN(real)) return undefined
    const score = Number.isNaN(synthetic) ? 0.5 : 1 - Math.abs(real - synthetic) / 2
    return { columns, metric: 'CorrelationSimilarity', score, real, synthetic }
  }
  const [x, y] = [binned(a), binned(b)]
  const cells = (left: Uint32Array, right: Uint32Array) =>
    Float64Array.from(left, (cell, row) => cell * y.size + right[row]!)
  const score = 1 - totalVariation(cells(x.real, y.real), cells(x.synthetic, y.synthetic), x.size * y.size)
  return { columns, metric: 'ContingencySimilarity', score }
}

/** The statistic of Kolmogorov and Smirnov, without missing values. */
export function largestGap(a: Float64Array, b: Float64Array): number {
  const [x, y] = [a, b].map((values) => values.filter((value) => !Number.isNaN(value)).sort()) as [
    Float64Array,
    Float64Array,
  ]
  if (x.length === 0 || y.length === 0) return x.length === y.length ? 0 : 1
  let [i, j, gap] = [0, 0, 0]
  while (i < x.length && j < y.length) {
    const value = Math.min(x[i]!, y[j]!)
    while (i < x.length && x[i] === value) i++
    while (j < y.length && y[j] === value) j++
    gap = Math.max(gap, Math.abs(i / x.length - j / y.length))
  }
  return gap
}

/** Half of what the shares of all values differ by. */
export function totalVariation(a: Float64Array, b: Float64Array, values: number): number {
  const difference = new Float64Array(values)
  for (const value of a) difference[value]! += 1 / a.length
  for (const value of b) difference[value]! -= 1 / b.length
  return difference.reduce((sum, part) => sum + Math.abs(part), 0) / 2
}

/** Pearson's correlation over the rows that have both; NaN if one of them does not vary. */
export function pearson(a: Float64Array, b: Float64Array): number {
  let [n, meanA, meanB, sumA, sumB, both] = [0, 0, 0, 0, 0, 0]
  for (let row = 0; row < a.length; row++) {
    const [x, y] = [a[row]!, b[row]!]
    if (Number.isNaN(x) || Number.isNaN(y)) continue
    n++
    const [dx, dy] = [x - meanA, y - meanB]
    meanA += dx / n
    meanB += dy / n
    sumA += dx * (x - meanA)
    sumB += dy * (y - meanB)
    both += dx * (y - meanB)
  }
  return sumA > 0 && sumB > 0 ? both / Math.sqrt(sumA * sumB) : Number.NaN
}

interface Binned {
  readonly real: Uint32Array
  readonly synthetic: Uint32Array
  readonly size: number
}

const binnedColumns = new WeakMap<ComparedColumn, Binned>()

/** Categories as they are; numbers in bins of equal width over what is real, and null in one of its own. */
function binned(column: ComparedColumn): Binned {
  const known = binnedColumns.get(column)
  if (known !== undefined) return known
  const { isNumber, real, synthetic, labels } = column
  const present = isNumber ? real.filter((value) => !Number.isNaN(value)) : real
  const min = present.reduce((a, b) => Math.min(a, b), Infinity)
  const max = present.reduce((a, b) => Math.max(a, b), -Infinity)
  const bin = (value: number) => {
    if (Number.isNaN(value)) return BINS + 2
    if (value < min) return 0
    if (value > max) return BINS + 1
    return 1 + Math.min(BINS - 1, Math.floor(((value - min) / (max - min || 1)) * BINS))
  }
  const made = isNumber
    ? { real: Uint32Array.from(real, bin), synthetic: Uint32Array.from(synthetic, bin), size: BINS + 3 }
    : { real: Uint32Array.from(real), synthetic: Uint32Array.from(synthetic), size: labels.length }
  binnedColumns.set(column, made)
  return made
}

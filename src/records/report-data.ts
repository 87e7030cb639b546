import { DateFormat } from './date-format.ts'
import type { Evaluation } from './evaluate.ts'
import { compareColumns, pearson, type ComparedColumn } from './quality.ts'
import type { Table } from './table.ts'

/** What the page of a report shows, as it stands in the page. */
export interface ReportData {
  readonly charts: readonly Chart[]
  readonly heatMaps: readonly HeatMap[]
}

/** Two distributions side by side: shares of rows by category, or by bin. */
interface Chart {
  readonly column: string
  readonly metric: string
  readonly score: number
  /** Middle of each bin; numbers of categories. */
  readonly x: readonly number[]
  readonly real: readonly number[]
  readonly synthetic: readonly number[]
  /** Names of categories. */
  readonly labels?: readonly string[]
  /** Milliseconds since 1970 are on the axis. */
  readonly isTime?: boolean
}

interface HeatMap {
  readonly title: string
  readonly names: readonly string[]
  /** By row and column; null where there is none. */
  readonly cells: readonly (readonly (number | null)[])[]
  /** From -1 to 1, or from 0 to 1. */
  readonly scale: 'correlation' | 'similarity'
}

/** Bins of a histogram, and categories that have a bar of their own. */
const BINS = 32
const CATEGORIES = 12

/** Makes the plots of an evaluation. */
export function reportData(real: Table, synthetic: Table, evaluation: Evaluation): ReportData {
  const columns = compareColumns(real, synthetic)
  return {
    charts: columns.map((column, i) => chartOf(column, evaluation.columnScores[i]!)),
    heatMaps: heatMapsOf(columns, evaluation),
  }
}

function chartOf(column: ComparedColumn, { metric, score }: Evaluation['columnScores'][number]): Chart {
  const base = { column: column.schema.name, metric, score }
  return column.isNumber ? { ...base, ...histogram(column) } : { ...base, ...bars(column) }
}

function histogram({ real, synthetic, schema }: ComparedColumn) {
  const present = [...real, ...synthetic].filter((value) => !Number.isNaN(value))
  const min = present.reduce((a, b) => Math.min(a, b), Infinity)
  const max = present.reduce((a, b) => Math.max(a, b), -Infinity)
  const whole = schema.kind !== 'decimal' && max - min < BINS
  const width = whole ? 1 : (max - min) / BINS || 1
  const bins = whole ? max - min + 1 : BINS
  const shares = (values: Float64Array) => {
    const counts = Array.from<number>({ length: bins }).fill(0)
    for (const value of values) {
      if (!Number.isNaN(value))
        counts[Math.min(bins - 1, Math.floor((value - min) / width))]! += 1 / values.length
    }
    return counts.map(rounded)
  }
  // whole numbers stand for themselves, bins for their middle
  const unit = schema.dateFormat === undefined ? 1 : new DateFormat(schema.dateFormat).unit
  const x = Array.from({ length: bins }, (_, i) => (min + (whole ? i : (i + 0.5) * width)) * unit)
  return {
    x,
    real: shares(real),
    synthetic: shares(synthetic),
    ...(schema.kind === 'datetime' && { isTime: true }),
  }
}

function bars({ real, synthetic, labels }: ComparedColumn) {
  const counts = (values: Float64Array) => {
    const all = Array.from<number>({ length: labels.length }).fill(0)
    for (const value of values) all[value]! += 1 / values.length
    return all
  }
  const [a, b] = [counts(real), counts(synthetic)]
  const order = [...labels.keys()].sort((i, j) => a[j]! - a[i]! || b[j]! - b[i]!)
  const shown = order.slice(0, order.length > CATEGORIES ? CATEGORIES - 1 : CATEGORIES)
  const rest = order.slice(shown.length)
  const pick = (shares: readonly number[]) => [
    ...shown.map((i) => rounded(shares[i]!)),
    ...(rest.length > 0 ? [rounded(rest.reduce((sum, i) => sum + shares[i]!, 0))] : []),
  ]
  const names = [...shown.map((i) => labels[i]!), ...(rest.length > 0 ? [`${rest.length} others`] : [])]
  return { x: [...names.keys()], real: pick(a), synthetic: pick(b), labels: names }
}

function heatMapsOf(columns: readonly ComparedColumn[], { pairScores }: Evaluation): HeatMap[] {
  const maps: HeatMap[] = []
  const numbers = columns.filter(({ isNumber }) => isNumber)
  const names = numbers.map(({ schema }) => schema.name)
  if (numbers.length > 1) {
    for (const [title, values] of [
      ['Correlations, real', (column: ComparedColumn) => column.real],
      ['Correlations, synthetic', (column: ComparedColumn) => column.synthetic],
    ] as const) {
      const cells = numbers.map((a) =>
        numbers.map((b) => {
          const r = a === b ? 1 : pearson(values(a), values(b))
          return Number.isNaN(r) ? null : rounded(r)
        }),
      )
      maps.push({ title, names, cells, scale: 'correlation' })
    }
  }
  if (columns.length > 1) {
    const all = columns.map(({ schema }) => schema.name)
    const byPair = new Map(
      pairScores.map(({ columns: [a, b], score }) => [JSON.stringify([a, b].sort()), score]),
    )
    const cells = all.map((a) =>
      all.map((b) => {
        const score = byPair.get(JSON.stringify([a, b].sort()))
        return score === undefined ? null : rounded(score)
      }),
    )
    maps.push({ title: 'How alike pairs go together', names: all, cells, scale: 'similarity' })
  }
  return maps
}

const rounded = (x: number) => Math.round(x * 1e4) / 1e4

import { ColumnCodec, type ColumnModel } from './column-codec.ts'
import type { TreeNode } from './grow-tree.ts'
import type { ModelData } from './model-data.ts'
import type { Value } from './schema.ts'

/** How the values of a column were distributed in the rows that a model was learnt from. */
export interface LearntShares {
  readonly name: string
  /** Share of rows without a value. */
  readonly nullShare: number
  /** Of values with a name of their own, those that came most often first. */
  readonly bars?: { readonly values: readonly Exclude<Value, null>[]; readonly shares: readonly number[] }
  /** Of numbers and dates: bins of the same width. `low` and `width` of dates are in milliseconds since 1970. */
  readonly bins?: { readonly low: number; readonly width: number; readonly shares: readonly number[] }
}

/** Bins of a range. */
const BINS = 32

/**
 * The distribution of each column that a model has learnt, as it stands in the model: the rows themselves are not needed. A column of
 * ids or free text has neither bars nor bins.
 */
export function learntShares(data: ModelData): LearntShares[] {
  const counts = countsOf(data)
  return data.columns.map((column, i) => {
    const { name } = column
    const all = counts[i]!
    const total = all.reduce((sum, count) => sum + count, 0)
    if (total === 0 || (column.coding !== 'levels' && column.coding !== 'range'))
      return { name, nullShare: data.schema.columns[i]!.nullRate ?? 0 }
    const codec = new ColumnCodec(column)
    const shares = all.map((count) => count / total)
    const nullShare = codec.nullCode < 0 ? 0 : shares[codec.nullCode]!
    const isNumber = codec.isOrdered && (column.coding === 'range' || column.values.length > 1)
    if (isNumber) return { name, nullShare, bins: binsOf(column, codec, shares) }
    return { name, nullShare, bars: barsOf(column, shares) }
  })
}

/** How often each code came: the leaves of a tree hold all rows between them. */
function countsOf({ columns, network, copula }: ModelData): number[][] {
  const counts = columns.map((column) =>
    Array.from<number>({ length: new ColumnCodec(column).codes }).fill(0),
  )
  const add = (node: TreeNode, to: number[]): void => {
    if ('on' in node) {
      add(node.yes, to)
      add(node.no, to)
    } else for (const [i, code] of node.codes.entries()) to[code]! += node.counts[i]!
  }
  for (const { column, tree } of network?.nodes ?? []) add(tree, counts[column]!)
  for (const [i, column] of (copula?.columns ?? []).entries())
    for (const [code, count] of copula!.counts[i]!.entries()) counts[column]![code] = count
  return counts
}

function barsOf(column: ColumnModel, shares: readonly number[]) {
  const { values } = column as { values: readonly Exclude<Value, null>[] }
  const order = [...values.keys()].sort((a, b) => shares[b]! - shares[a]!)
  return { values: order.map((code) => values[code]!), shares: order.map((code) => shares[code]!) }
}

/** Where a run of equally frequent values lies, and the share of rows in it. */
interface Segment {
  readonly from: number
  readonly to: number
  readonly share: number
}

function binsOf(column: ColumnModel, codec: ColumnCodec, shares: readonly number[]) {
  const segments = column.coding === 'range' ? knotSegments(column, shares) : levelSegments(codec, shares)
  const low = segments[0]!.from
  const high = segments[segments.length - 1]!.to
  const isWhole = column.kind !== 'decimal' && high - low < BINS
  const count = isWhole ? high - low + 1 : BINS
  const width = isWhole ? 1 : (high - low) / BINS
  // whole numbers stand in the middle of their bin
  const start = isWhole ? low - 0.5 : low
  const bins = Array.from<number>({ length: count }).fill(0)
  const binAt = (x: number) => Math.max(0, Math.min(count - 1, Math.floor((x - start) / width)))
  for (const { from, to, share } of segments) {
    const last = binAt(to)
    for (let bin = binAt(from); bin <= last; bin++) {
      const [left, right] = [start + bin * width, start + (bin + 1) * width]
      const inside = to === from ? 1 : (Math.min(right, to) - Math.max(left, from)) / (to - from)
      bins[bin]! += share * Math.max(0, inside)
    }
  }
  const unit = codec.dates === undefined ? 1 / scaleOf(column) : codec.dates.unit
  return { low: start * unit, width: width * unit, shares: bins }
}

const scaleOf = (column: ColumnModel) =>
  column.coding === 'range' && column.decimals !== undefined ? 10 ** column.decimals : 1

/** What is drawn of a bin lies on the straight lines between its knots, each as often as the others. */
function knotSegments(
  { bins }: ColumnModel & { readonly coding: 'range' },
  shares: readonly number[],
): Segment[] {
  return bins.flatMap((knots, code) => {
    const share = shares[code]!
    if (knots.length === 1) return [{ from: knots[0]!, to: knots[0]!, share }]
    const part = share / (knots.length - 1)
    return knots.slice(1).map((to, i) => ({ from: knots[i]!, to, share: part }))
  })
}

function levelSegments(codec: ColumnCodec, shares: readonly number[]): Segment[] {
  const { values } = codec.model as { values: readonly Exclude<Value, null>[] }
  return values.map((_, code) => ({ from: codec.middle(code), to: codec.middle(code), share: shares[code]! }))
}

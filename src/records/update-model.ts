import { ModelError } from '../errors.ts'
import { checkNumber } from '../options.ts'
import { BlockSampler } from './block-sampler.ts'
import { ColumnCodec, type ColumnModel } from './column-codec.ts'
import { correlate, scoresOf, type Copula } from './copula.ts'
import { MAX_GROUPS, type TreeNode } from './grow-tree.ts'
import type { ModelData } from './model-data.ts'
import type { ColumnSchema, Value } from './schema.ts'
import { Table } from './table.ts'
import { shapeOf } from './text-shape.ts'
import type { TreeNetwork } from './tree-network.ts'
import { groupCountOf } from './tree-sampler.ts'

/** Options of `partialFit`. */
export interface UpdateOptions {
  /**
   * Share that the new rows have in the model afterwards, between 0 and 1: more than by their number, to follow a drift.
   *
   * @defaultValue their share by number
   */
  readonly weight?: number
}

/** Blocks of records that a model's own distributions are counted in, for the drift. */
const DRIFT_BLOCKS = 16

/** See `Model.drift`. */
export function driftOf(data: ModelData, rows: Table | Iterable<object>): number {
  const table = tableOf(data, rows)
  const sampler = new BlockSampler(data, {})
  const made = sampler.codecs.map(({ codes }) => new Float64Array(codes + 1))
  for (let block = 0; block < DRIFT_BLOCKS; block++) {
    sampler.draw(block)
    for (const [column, counts] of made.entries()) for (const code of sampler.codes[column]!) counts[code]!++
  }
  const distances: number[] = []
  for (const [column, codec] of sampler.codecs.entries()) {
    if (!isLearntColumn(codec.model)) continue
    const seen = new Float64Array(codec.codes + 1)
    for (const value of table.column(codec.model.name)) {
      const code = codec.encode(value)
      seen[code < 0 ? codec.codes : code]!++
    }
    distances.push(distance(made[column]!, seen, codec.isOrdered))
  }
  return distances.length === 0 ? 0 : distances.reduce((sum, d) => sum + d, 0) / distances.length
}

/** Between two histograms: the greatest gap of their sums where codes have an order, else half the sum of gaps. */
function distance(a: Float64Array, b: Float64Array, isOrdered: boolean): number {
  const total = (counts: Float64Array) => counts.reduce((sum, count) => sum + count, 0)
  const [all, other] = [total(a), total(b)]
  let [gap, sum, greatest] = [0, 0, 0]
  for (let code = 0; code < a.length; code++) {
    const difference = a[code]! / all - b[code]! / other
    sum += difference
    gap += Math.abs(difference)
    greatest = Math.max(greatest, Math.abs(sum))
  }
  return isOrdered ? greatest : gap / 2
}

/** See `Model.partialFit`. */
export function updated(
  data: ModelData,
  rows: Table | Iterable<object>,
  { weight }: UpdateOptions,
): ModelData {
  const table = tableOf(data, rows)
  if (weight !== undefined) checkNumber('weight', weight, 0, 1)
  const all = data.rows + table.rows
  const share = weight ?? table.rows / all
  const scale = { old: ((1 - share) * all) / data.rows, new: (share * all) / table.rows }
  const grown = data.columns.map((column) => growColumn(column, table.column(column.name), scale))
  const columns = grown.map(({ model }) => model)
  const codes = columns.map((model) => {
    const codec = new ColumnCodec(model)
    return isLearntColumn(model)
      ? Uint16Array.from(table.column(model.name), (value) => codec.encode(value))
      : new Uint16Array(0)
  })
  const schema = {
    ...data.schema,
    columns: data.schema.columns.map((column, i) =>
      growSchema(column, table.schema.columns[i]!, share, columns[i]!),
    ),
  }
  return {
    ...data,
    rows: all,
    schema,
    columns,
    ...(data.network && { network: updateNetwork(data.network, grown, codes, scale) }),
    ...(data.copula && { copula: updateCopula(data.copula, grown, codes, scale, share) }),
  }
}

const isLearntColumn = ({ coding }: ColumnModel) => coding === 'levels' || coding === 'range'

/** The rows with the columns of the model, whatever their bounds. */
function tableOf(data: ModelData, rows: Table | Iterable<object>): Table {
  const columns = data.schema.columns.map(({ min: _min, max: _max, ...column }): ColumnSchema =>
    column.kind === 'constant' ? { ...column, kind: 'category' } : column,
  )
  const schema = { ...data.schema, columns }
  const records = rows instanceof Table ? [...rows.records()] : [...rows]
  if (records.length === 0) {
    throw new ModelError('ERR_MILLRACE_MODEL_UPDATE', 'model: expected at least one new row, got none')
  }
  try {
    return Table.from(records, { schema })
  } catch (cause) {
    const message = `model: the new rows do not fit it: ${(cause as Error).message}`
    throw new ModelError('ERR_MILLRACE_MODEL_UPDATE', message, { cause })
  }
}

interface Grown {
  readonly model: ColumnModel
  /** What each old code has become. */
  readonly moved: readonly number[]
  readonly isOrdered: boolean
}

interface Scale {
  readonly old: number
  readonly new: number
}

/** A column with room for values that it did not have. */
function growColumn(model: ColumnModel, values: readonly Value[], scale: Scale): Grown {
  const codec = new ColumnCodec(model)
  const nullable = model.coding !== 'id' && (model.nullable || values.includes(null))
  const moved = Array.from({ length: codec.codes }, (_, code) => code)
  const { isOrdered } = codec
  if (model.coding === 'levels') {
    const news = [...new Set(values)].filter((value) => value !== null && codec.encode(value) < 0) as Exclude<
      Value,
      null
    >[]
    if (news.length === 0 && nullable === model.nullable) return { model, moved, isOrdered }
    const key = (value: Value) => codec.dates?.parse(String(value)) ?? (value as number)
    const levels = [...model.values, ...news]
    if (isOrdered) levels.sort((a, b) => key(a) - key(b))
    const index = new Map(levels.map((value, code) => [value, code]))
    const kind = model.kind === 'constant' && levels.length > 1 ? 'category' : model.kind
    const places = model.values.map((value) => index.get(value)!)
    if (model.nullable) places.push(levels.length)
    return { model: { ...model, kind, nullable, values: levels }, moved: places, isOrdered }
  }
  if (model.coding === 'range') {
    const bins = model.bins.map((bin) => [...bin])
    const [low, high] = [bins[0]!, bins[bins.length - 1]!]
    for (const value of values) {
      const units = value === null ? undefined : codec.toUnits(value)
      if (units === undefined) continue
      if (units < low[0]!) low.unshift(units)
      if (units > high[high.length - 1]!) high.push(units)
    }
    return { model: { ...model, nullable, bins }, moved, isOrdered }
  }
  if (model.coding === 'text') return { model: growTexts(model, values, nullable, scale), moved, isOrdered }
  return { model, moved, isOrdered }
}

function growTexts(
  model: ColumnModel & { readonly coding: 'text' },
  values: readonly Value[],
  nullable: boolean,
  scale: Scale,
): ColumnModel {
  const counts = new Map(model.shapes.map((shape, i) => [shape, model.counts[i]! * scale.old]))
  let nulls = (model.counts[model.shapes.length] ?? 0) * scale.old
  for (const value of values) {
    if (value === null) nulls += scale.new
    else {
      const shape = shapeOf(String(value))
      counts.set(shape, (counts.get(shape) ?? 0) + scale.new)
    }
  }
  return {
    ...model,
    nullable,
    shapes: [...counts.keys()],
    counts: nullable ? [...counts.values(), nulls] : [...counts.values()],
  }
}

function growSchema(
  old: ColumnSchema,
  now: ColumnSchema,
  share: number,
  { kind }: ColumnModel,
): ColumnSchema {
  const nullRate = (old.nullRate ?? 0) * (1 - share) + (now.nullRate ?? 0) * share
  const base = { ...old, kind, nullRate }
  if (typeof old.min !== 'number' || typeof now.min !== 'number') return base
  return { ...base, min: Math.min(old.min, now.min), max: Math.max(old.max as number, now.max as number) }
}

function updateNetwork(
  { nodes, groups }: TreeNetwork,
  grown: readonly Grown[],
  codes: readonly Uint16Array[],
  scale: Scale,
): TreeNetwork {
  const nextGroups = groups.map((of, column) => (of.length === 0 ? of : growGroups(of, grown[column]!)))
  const rows = codes.find((column) => column.length > 0)?.length ?? 0
  return {
    groups: nextGroups,
    nodes: nodes.map(({ column, tree }) => {
      const all = Array.from({ length: rows }, (_, row) => row)
      return {
        column,
        tree: updateTree(tree, all, codes[column]!, codes, nextGroups, grown[column]!.moved, scale),
      }
    }),
  }
}

/** New codes join the group of a neighbour where codes have an order, else a group of their own, for which every question has the answer no. */
function growGroups(of: readonly number[], { model, moved, isOrdered }: Grown): number[] {
  const size = new ColumnCodec(model).codes
  const other = Math.min(MAX_GROUPS - 1, groupCountOf(of))
  const next = Array.from<number>({ length: size }).fill(-1)
  for (const [code, place] of moved.entries()) next[place] = of[code]!
  const values = model.nullable ? size - 1 : size
  for (let code = 0; code < size; code++) {
    if (next[code]! >= 0) continue
    const neighbour = isOrdered && code < values ? (next[code - 1] ?? of[0]!) : other
    next[code] = neighbour
  }
  return next
}

function updateTree(
  node: TreeNode,
  rows: readonly number[],
  own: Uint16Array,
  codes: readonly Uint16Array[],
  groups: readonly (readonly number[])[],
  moved: readonly number[],
  scale: Scale,
): TreeNode {
  if ('on' in node) {
    const left = new Set(node.left)
    const isLeft = (row: number) => left.has(groups[node.on]![codes[node.on]![row]!]!)
    const yes = rows.filter(isLeft)
    const no = rows.filter((row) => !isLeft(row))
    return {
      ...node,
      yes: updateTree(node.yes, yes, own, codes, groups, moved, scale),
      no: updateTree(node.no, no, own, codes, groups, moved, scale),
    }
  }
  const counts = new Map(node.codes.map((code, i) => [moved[code]!, node.counts[i]! * scale.old]))
  for (const row of rows) counts.set(own[row]!, (counts.get(own[row]!) ?? 0) + scale.new)
  // with a weight of 1, what only the old rows had is gone; a leaf that no new row comes to keeps what it had
  const sorted = [...counts].filter(([, count]) => count > 0).sort(([a], [b]) => a - b)
  if (sorted.length === 0) return { codes: node.codes.map((code) => moved[code]!), counts: node.counts }
  return { codes: sorted.map(([code]) => code), counts: sorted.map(([, count]) => count) }
}

/** Counts are added; correlations are the mean of both, each by its share. */
function updateCopula(
  { columns, counts, correlations }: Copula,
  grown: readonly Grown[],
  codes: readonly Uint16Array[],
  scale: Scale,
  share: number,
): Copula {
  const nextCounts = columns.map((column, i) => {
    const { model, moved } = grown[column]!
    const next = Array.from<number>({ length: new ColumnCodec(model).codes }).fill(0)
    for (const [code, place] of moved.entries()) next[place] = counts[i]![code]! * scale.old
    for (const code of codes[column]!) next[code]! += scale.new
    return next
  })
  // rows that do not count have codes that never came, and those no score
  if (share === 0) return { columns, counts: nextCounts, correlations }
  const news = correlate(
    scoresOf(
      columns.map((column) => codes[column]!),
      nextCounts,
    ),
  )
  return {
    columns,
    counts: nextCounts,
    correlations: correlations.map((r, i) => r * (1 - share) + news[i]! * share),
  }
}

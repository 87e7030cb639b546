import { ModelError, describe } from '../errors.ts'
import { ColumnCodec, type ColumnModel } from './column-codec.ts'
import type { Copula } from './copula.ts'
import type { TreeNode } from './grow-tree.ts'
import { parseSchema, type Schema } from './schema.ts'
import type { TreeNetwork } from './tree-network.ts'

/** The methods there are. */
export const METHODS = ['bayes_net', 'gaussian_copula', 'cart'] as const

/**
 * - `bayes_net`: a network in which every column depends on a few others, by trees. Faithful, fast to sample.
 * - `gaussian_copula`: normal scores and their correlations. Copies least, and draws rare records directly.
 * - `cart`: a tree for every column over all before it. As faithful, slower to sample.
 */
export type Method = (typeof METHODS)[number]

/** All that a model is, as plain data: what `model.json` holds. */
export interface ModelData {
  readonly format: 'millrace.model'
  readonly version: 1
  readonly method: Method
  /** Rows that it was learnt from. */
  readonly rows: number
  readonly schema: Schema
  readonly columns: readonly ColumnModel[]
  readonly network?: TreeNetwork
  readonly copula?: Copula
}

/**
 * Checks what `JSON.parse` gave.
 *
 * @throws {@link ModelError} for anything that sampling could stumble over.
 */
export function checkModelData(value: unknown): ModelData {
  const data = value as Partial<ModelData> | null
  if (typeof data !== 'object' || data?.format !== 'millrace.model') throw wrong('a model of millrace', value)
  if (data.version !== 1) throw wrong('a model of version 1, which this release reads', data.version)
  if (!METHODS.includes(data.method as Method))
    throw wrong(`a method among ${METHODS.join(', ')}`, data.method)
  if (!Number.isSafeInteger(data.rows)) throw wrong('a number of rows', data.rows)
  parseSchema(data.schema)
  const { columns } = data
  if (!Array.isArray(columns) || columns.length !== data.schema!.columns.length) {
    throw wrong('as many columns as its schema has', columns)
  }
  try {
    const sizes = (columns as readonly ColumnModel[]).map((column) => new ColumnCodec(column).codes)
    for (const column of columns) if (column.coding === 'text') checkCounts(column.counts)
    if (data.method === 'gaussian_copula') checkCopula(data.copula, sizes)
    else checkNetwork(data.network, sizes)
  } catch (error) {
    if (error instanceof ModelError) throw error
    const message = `model: damaged: ${(error as Error).message}`
    throw new ModelError('ERR_MILLRACE_MODEL_FORMAT', message, { cause: error })
  }
  return data as ModelData
}

function checkCopula(copula: Copula | undefined, sizes: readonly number[]): void {
  const { columns, counts, correlations } = copula!
  const fits =
    counts.length === columns.length &&
    correlations.length === (columns.length * (columns.length - 1)) / 2 &&
    correlations.every((r) => Math.abs(r) <= 1.000_001) &&
    columns.every(
      (column, i) => counts[i]!.length === sizes[column] && counts[i]!.every((count) => count >= 0),
    )
  if (!fits) throw wrong('a copula over its columns', copula)
}

function checkNetwork(network: TreeNetwork | undefined, sizes: readonly number[]): void {
  const { nodes, groups } = network!
  const known = new Set<number>()
  const check = (node: TreeNode, size: number): void => {
    if ('on' in node) {
      if (!known.has(node.on)) throw wrong('trees that ask about columns before theirs', node.on)
      check(node.yes, size)
      check(node.no, size)
      return
    }
    const fits = node.codes.length > 0 && node.codes.length === node.counts.length
    if (!fits || !node.codes.every((code) => code >= 0 && code < size))
      throw wrong('leaves of codes that exist', node.codes)
    checkCounts(node.counts)
  }
  for (const { column, tree } of nodes) {
    check(tree, sizes[column]!)
    known.add(column)
  }
  if (groups.some((of, column) => known.has(column) && of.length !== sizes[column])) {
    throw wrong('a group for every code', groups)
  }
}

/** What nothing can be drawn from would send sampling beyond its tables. */
function checkCounts(counts: readonly number[]): void {
  const sum = counts.reduce((all, count) => (count >= 0 ? all + count : NaN), 0)
  if (!(sum > 0 && sum < Infinity)) throw wrong('counts of which one is above 0', counts)
}

function wrong(expected: string, actual: unknown): ModelError {
  const message = `model: expected ${expected}, got ${describe(actual)}`
  return new ModelError('ERR_MILLRACE_MODEL_FORMAT', message, { expected, actual })
}

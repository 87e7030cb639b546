import type { Seed } from '../bytes/index.ts'
import { ColumnCodec, learnColumn } from './column-codec.ts'
import { encodeColumn, isLearnt } from './fit.ts'
import { groupCodes, growTree, type TreeColumn, type TreeNode } from './grow-tree.ts'
import { BlockRandom } from './random.ts'
import type { Table } from './table.ts'

/** What is learnt from synthetic rows, tested on real ones, beside what is learnt from real rows. */
export interface UtilityScores {
  readonly target: string
  /** Share of right answers for a category, R² for a number. */
  readonly metric: 'accuracy' | 'R2'
  /** Of a tree that learnt from the synthetic rows. */
  readonly synthetic: number
  /** Of a tree that learnt from the real rows. */
  readonly real: number
  /** Of who always gives the most frequent value, or the mean. */
  readonly baseline: number
}

/**
 * Trains a decision tree on synthetic rows and one on real rows, and tests both on the hold-out; without one, on a half of the real
 * rows that the other half is trained on.
 */
export function scoreUtility(
  real: Table,
  synthetic: Table,
  holdout: Table | undefined,
  target: string,
  seed: Seed,
): UtilityScores {
  const random = new BlockRandom(seed).begin(1)
  const isTest = Array.from({ length: real.rows }, () => holdout === undefined && random.next() % 2 === 0)
  const train = holdout === undefined ? real.filter((row) => !isTest[row]!) : real
  const test = holdout ?? real.filter((row) => isTest[row]!)
  const tables = [train, synthetic, test]
  const schemas = real.schema.columns.filter(
    ({ kind, name }) => (kind !== 'id' && kind !== 'text') || name === target,
  )
  const codecs = schemas.map((schema) => {
    const values = tables.flatMap((table) => table.column(schema.name))
    return new ColumnCodec(learnColumn(schema, values))
  })
  const at = schemas.findIndex(({ name }) => name === target)
  const learnt = [...codecs.keys()].filter((i) => isLearnt(codecs[i]!.model))
  // groups must mean the same in all tables, so they are made of all rows together
  const all = new Map(
    learnt.map((i) => {
      const { codes, nullCode, isOrdered } = codecs[i]!
      const values = tables.flatMap((table) => table.column(schemas[i]!.name))
      return [i, groupCodes(encodeColumn(codecs[i]!, values), codes, nullCode, isOrdered)] as const
    }),
  )
  const starts = [0, train.rows, train.rows + synthetic.rows, train.rows + synthetic.rows + test.rows]
  const part = (table: number) =>
    new Map([...all].map(([i, column]) => [i, slice(column, starts[table]!, starts[table + 1]!)] as const))
  const rows = part(2)
  const codec = codecs[at]!
  const actual = rows.get(at)!.codes
  const isNumber = codec.isOrdered
  const value = (code: number) => (code === codec.nullCode ? 0 : codec.middle(code))
  const scoreOf = (predict: (row: number) => number) =>
    isNumber ? rSquared(actual, value, predict) : accuracy(actual, predict)
  const learn = (table: number) => {
    const columns = part(table)
    const own = columns.get(at)!
    columns.delete(at)
    const limits = {
      minRows: Math.max(5, Math.round(own.codes.length / 500)),
      maxParents: Infinity,
      maxCells: Infinity,
    }
    const tree = growTree(own, columns, limits)
    return scoreOf((row) => answer(leafFor(tree, rows, row), isNumber, value))
  }
  const whole = countsOf(rows.get(at)!.codes)
  return {
    target,
    metric: isNumber ? 'R2' : 'accuracy',
    synthetic: learn(1),
    real: learn(0),
    baseline: scoreOf(() => answer(whole, isNumber, value)),
  }
}

function slice(column: TreeColumn, from: number, to: number): TreeColumn {
  return { ...column, codes: column.codes.subarray(from, to), groups: column.groups.subarray(from, to) }
}

interface Counts {
  readonly codes: readonly number[]
  readonly counts: readonly number[]
}

function countsOf(codes: Uint16Array): Counts {
  const counts = new Map<number, number>()
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1)
  return { codes: [...counts.keys()], counts: [...counts.values()] }
}

function leafFor(tree: TreeNode, columns: ReadonlyMap<number, TreeColumn>, row: number): Counts {
  let node = tree
  while ('on' in node) node = node.left.includes(columns.get(node.on)!.groups[row]!) ? node.yes : node.no
  return node
}

/** The mean of a leaf, or its most frequent code. */
function answer({ codes, counts }: Counts, isNumber: boolean, value: (code: number) => number): number {
  if (!isNumber) return codes[counts.indexOf(counts.reduce((a, b) => Math.max(a, b)))]!
  const total = counts.reduce((sum, count) => sum + count, 0)
  return codes.reduce((sum, code, i) => sum + value(code) * counts[i]!, 0) / total
}

function accuracy(actual: Uint16Array, predict: (row: number) => number): number {
  return actual.reduce((right, code, row) => (code === predict(row) ? right + 1 : right), 0) / actual.length
}

function rSquared(
  actual: Uint16Array,
  value: (code: number) => number,
  predict: (row: number) => number,
): number {
  const values = Float64Array.from(actual, value)
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length
  let [left, all] = [0, 0]
  for (const [row, x] of values.entries()) {
    left += (x - predict(row)) ** 2
    all += (x - mean) ** 2
  }
  return all === 0 ? 0 : 1 - left / all
}

import type { Seed } from '../bytes/index.ts'
import { OptionError } from '../errors.ts'
import { scorePrivacy, type PrivacyScores } from './privacy.ts'
import { compareColumns, scoreColumn, scorePair, type ColumnScore, type PairScore } from './quality.ts'
import type { ColumnSchema } from './schema.ts'
import { Table } from './table.ts'
import { scoreUtility, type UtilityScores } from './utility.ts'

/** Options of {@link evaluate}. */
export interface EvaluateOptions {
  /** Real rows that the synthetic ones were not made from: what chance alone gives is measured on them. */
  readonly holdout?: Table | Iterable<object>
  /** Column to be predicted from the others, by a tree trained on synthetic rows and one trained on real rows. */
  readonly target?: string
  /** Of the rows that distances are measured for. @defaultValue 0 */
  readonly seed?: Seed
}

/** What {@link evaluate} finds. Scores go from 0 to 1. */
export interface Evaluation {
  /** Mean of `shapes` and `pairs`. */
  readonly overall: number
  /** Mean over columns. */
  readonly shapes: number
  /** Mean over pairs of columns. */
  readonly pairs: number
  readonly columnScores: readonly ColumnScore[]
  readonly pairScores: readonly PairScore[]
  readonly privacy: PrivacyScores
  readonly utility?: UtilityScores
  readonly rows: { readonly real: number; readonly synthetic: number; readonly holdout?: number }
}

/**
 * Takes a real table and a synthetic one, and says how alike they are, by the measures of SDMetrics' quality report: the
 * distribution of each column, and how every two columns go together. And how much of the real rows the synthetic ones give away.
 *
 * @remarks O(rows · columns²), and up to 20 million distances. Say against which table a score is: against the table that was
 * learnt from it is higher than against rows held out, and real rows against real rows do not reach 1 either.
 * @throws {@link OptionError} for a target that is no column; {@link TableError} for a synthetic table that lacks a column.
 * @see https://docs.sdv.dev/sdmetrics/reports/quality-report
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Table, evaluate, fit } from 'millrace/records'
 *
 * const real = Table.from(Array.from({ length: 900 }, (_, i) => ({ n: i % 30, odd: i % 2 === 1 })))
 * const model = await fit(real)
 * const { overall, privacy } = evaluate(real, model.generate(900, { seed: 1 }))
 * assert(overall > 0.9)
 * assert.equal(privacy.exactCopies, 1) // there are only 30 different rows
 * ```
 */
export function evaluate(
  real: Table | Iterable<object>,
  synthetic: Table | Iterable<object>,
  { holdout, target, seed = 0 }: EvaluateOptions = {},
): Evaluation {
  const table = real instanceof Table ? real : Table.from(real)
  const like = (rows: Table | Iterable<object>) => sameColumns(table, rows)
  const other = like(synthetic)
  const held = holdout === undefined ? undefined : like(holdout)
  if (target !== undefined) {
    const names = table.schema.columns
      .filter(({ kind }) => kind !== 'id' && kind !== 'text')
      .map(({ name }) => name)
    if (!names.includes(target))
      throw new OptionError('target', target, `one of the columns ${names.join(', ')}`)
  }
  const columns = compareColumns(table, other)
  const columnScores = columns.map(scoreColumn)
  const pairScores: PairScore[] = []
  for (const [i, a] of columns.entries()) {
    for (const b of columns.slice(0, i)) {
      const score = scorePair(b, a)
      if (score !== undefined) pairScores.push(score)
    }
  }
  const mean = (scores: readonly { readonly score: number }[]) =>
    scores.length === 0 ? 1 : scores.reduce((sum, { score }) => sum + score, 0) / scores.length
  const [shapes, pairs] = [mean(columnScores), mean(pairScores)]
  return {
    overall: (shapes + pairs) / 2,
    shapes,
    pairs,
    columnScores,
    pairScores,
    privacy: scorePrivacy(table, other, held, seed),
    ...(target !== undefined && { utility: scoreUtility(table, other, held, target, seed) }),
    rows: { real: table.rows, synthetic: other.rows, ...(held && { holdout: held.rows }) },
  }
}

/** Rows with the kinds of columns that the real table has, whatever their bounds and decimals. */
export function sameColumns(real: Table, rows: Table | Iterable<object>): Table {
  const columns = real.schema.columns.map(({ name, kind, dateFormat }): ColumnSchema => {
    const wide = kind === 'constant' ? 'category' : kind === 'integer' ? 'decimal' : kind
    return { name, kind: wide, ...(dateFormat !== undefined && { dateFormat }) }
  })
  const records = rows instanceof Table ? rows.records() : rows
  return Table.from(records, { schema: { ...real.schema, columns } })
}

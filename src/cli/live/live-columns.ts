import { learntShares, type LearntShares } from '../../records/learnt-shares.ts'
import type { ModelData } from '../../records/model-data.ts'
import type { Operator } from '../../records/condition.ts'
import type { ColumnKind, Value } from '../../records/schema.ts'

/** What the page knows of a column. */
export interface LiveColumn extends Omit<LearntShares, 'bars'> {
  readonly kind: ColumnKind
  /** What a condition on it can ask. */
  readonly operators: readonly Operator[]
  /** The most frequent values, and what all others come to. */
  readonly bars?: {
    readonly values: readonly Value[]
    readonly shares: readonly number[]
    readonly others: number
  }
  /** How dates are written. */
  readonly dateFormat?: string
}

/** Values that have a bar of their own. */
const BARS = 12
const NULLS = ['isNull', 'notNull'] as const
const ORDERED = ['eq', 'gte', 'lte', 'gt', 'lt', 'between', 'in', ...NULLS] as const
const NAMED = ['eq', 'ne', 'in', 'notIn', 'like', ...NULLS] as const

/** The columns of a model, as the page shows them. */
export function liveColumns(data: ModelData): LiveColumn[] {
  return learntShares(data).map(({ bars, ...column }, i) => {
    const { kind } = data.columns[i]!
    const { dateFormat } = data.schema.columns[i]!
    return {
      ...column,
      kind,
      operators: operatorsOf(kind),
      ...(dateFormat !== undefined && { dateFormat }),
      ...(bars && { bars: mostFrequent(bars) }),
    }
  })
}

function operatorsOf(kind: ColumnKind): readonly Operator[] {
  if (kind === 'integer' || kind === 'decimal' || kind === 'datetime') return ORDERED
  // of texts and ids a model knows no more than whether they are there
  if (kind === 'text') return NULLS
  return kind === 'id' ? [] : NAMED
}

function mostFrequent({ values, shares }: NonNullable<LearntShares['bars']>) {
  const shown = values.length > BARS ? BARS - 1 : values.length
  return {
    values: values.slice(0, shown),
    shares: shares.slice(0, shown),
    others: shares.slice(shown).reduce((sum, share) => sum + share, 0),
  }
}

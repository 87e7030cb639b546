import { mix } from '../bytes/object-format.ts'
import { ConditionError, OptionError } from '../errors.ts'
import type { ColumnCodec } from './column-codec.ts'
import { isLike, parseConditions, type Clause, type Conditions } from './condition.ts'
import type { Value } from './schema.ts'

/** Random words that are tried to find out which share of a bin meets a condition. */
const TRIES = 4096
/** Of those that do, how many are kept. */
const MAX_WORDS = 256

/** What conditions mean for one column: which codes meet them, and, where a code is a bin, how much of it does. */
export interface Constraint {
  readonly column: number
  /** By code: the share of what it stands for that meets the conditions, 0 to 1. */
  readonly share: Float64Array
  /** By code, where the share is neither 0 nor 1: words that give values which do. */
  readonly words: ReadonlyMap<number, Uint32Array>
  /** Whether the value of a code and a word does. */
  readonly meets: (code: number, word: number) => boolean
}

/**
 * Conditions as constraints of codes. Each value is looked at once here, and none when records are made.
 *
 * @throws {@link OptionError} for what cannot be compared; {@link ConditionError} if no value of a column meets its conditions.
 */
export function compileConditions(conditions: Conditions, codecs: readonly ColumnCodec[]): Constraint[] {
  const names = codecs.map(({ model }) => model.name)
  const byColumn = new Map<number, Clause[]>()
  for (const clause of parseConditions(conditions, names)) {
    const column = names.indexOf(clause.column)
    byColumn.set(column, [...(byColumn.get(column) ?? []), clause])
  }
  return [...byColumn]
    .sort(([a], [b]) => a - b)
    .map(([column, clauses]) => compileColumn(column, codecs[column]!, clauses))
}

function compileColumn(column: number, codec: ColumnCodec, clauses: readonly Clause[]): Constraint {
  const { name, coding, kind } = codec.model
  const option = `conditions.${name}`
  if (coding === 'id')
    throw new OptionError(option, kind, 'a column that is no id: ids are counted, not drawn')
  const tests = clauses.map((clause) => testOf(clause, codec))
  const test = (value: Value) => tests.every((meets) => meets(value))
  const share = new Float64Array(codec.codes)
  const words = new Map<number, Uint32Array>()
  for (let code = 0; code < codec.codes; code++) {
    if (codec.isExact || code === codec.nullCode) {
      share[code] = test(codec.decode(code, 0)) ? 1 : 0
      continue
    }
    const meeting: number[] = []
    for (let i = 1; i <= TRIES; i++) {
      const word = mix(i)
      if (test(codec.decode(code, word))) meeting.push(word)
    }
    const part = meeting.length / TRIES
    share[code] = part
    if (part > 0 && part < 1) words.set(code, Uint32Array.from(meeting.slice(0, MAX_WORDS)))
  }
  if (share.every((part) => part === 0)) {
    const asked = clauses
      .map(({ operator, operand }) => `${operator} ${JSON.stringify(operand)}`)
      .join(' and ')
    const message = `column ${JSON.stringify(name)}: no value that it can have meets ${asked} (it has ${rangeOf(codec)})`
    throw new ConditionError('ERR_MILLRACE_CONDITION_IMPOSSIBLE', message, { expected: asked })
  }
  return {
    column,
    share,
    words,
    meets(code, word) {
      const part = share[code]!
      return part === 1 || (part > 0 && test(codec.decode(code, word)))
    },
  }
}

/** What a column has, for a message. */
function rangeOf(codec: ColumnCodec): string {
  const { model } = codec
  if (model.coding === 'levels' && !codec.isOrdered) {
    const some = model.values.slice(0, 5).map((value) => JSON.stringify(value))
    return some.join(', ') + (model.values.length > 5 ? ` and ${model.values.length - 5} more` : '')
  }
  if (model.coding === 'text') return 'texts made of random letters'
  const values = model.coding === 'levels' ? model.values : []
  const [low, high] =
    model.coding === 'range'
      ? [codec.fromUnits(model.bins[0]![0]!), codec.fromUnits(model.bins.at(-1)!.at(-1)!)]
      : [values[0], values.at(-1)]
  return `${low} to ${high}`
}

function testOf(
  { column, operator, operand, isText }: Clause,
  codec: ColumnCodec,
): (value: Value) => boolean {
  const option = `conditions.${column}.${operator}`
  if (operator === 'isNull') return (value) => value === null
  if (operator === 'notNull') return (value) => value !== null
  if (operator === 'like') return (value) => value !== null && isLike(String(value), operand as string)
  const key = comparable(codec)
  const operands = (Array.isArray(operand) ? (operand as Value[]) : [operand as Value]).map((value) => {
    const typed = isText ? typedAs(codec, value as string) : value
    const comparison = key(typed)
    if (comparison === undefined) {
      const expected = codec.dates ? `a date such as ${codec.dates.pattern}` : `a ${typeNames(codec)}`
      throw new OptionError(option, value, expected)
    }
    return comparison
  })
  const [first, last] = [operands[0]!, operands.at(-1)!]
  const compare = (meets: (value: number | string | boolean) => boolean) => (value: Value) => {
    const comparison = value === null ? undefined : key(value)
    return comparison !== undefined && meets(comparison)
  }
  switch (operator) {
    case 'eq':
      return compare((value) => value === first)
    case 'ne':
      return compare((value) => value !== first)
    case 'gt':
      return compare((value) => typeof value === typeof first && value > first)
    case 'gte':
      return compare((value) => typeof value === typeof first && value >= first)
    case 'lt':
      return compare((value) => typeof value === typeof first && value < first)
    case 'lte':
      return compare((value) => typeof value === typeof first && value <= first)
    case 'in':
      return compare((value) => operands.includes(value))
    case 'notIn':
      return compare((value) => !operands.includes(value))
    case 'between':
      return compare((value) => typeof value === typeof first && value >= first && value <= last)
  }
}

/** What two values of a column are compared by. Undefined for what the column can never have. */
function comparable(codec: ColumnCodec): (value: Value) => number | string | boolean | undefined {
  const { dates } = codec
  if (dates !== undefined) {
    return (value) => {
      if (typeof value !== 'string') return undefined
      const units = dates.parse(value)
      if (units !== undefined) return units
      // a date as JSON writes it is understood in every column of dates
      const ms = /^\d{4}-\d{2}/.test(value) ? Date.parse(value) : Number.NaN
      return Number.isNaN(ms) ? undefined : ms / dates.unit
    }
  }
  const types = typesOf(codec)
  return (value) => (value !== null && types.has(typeof value) ? value : undefined)
}

function typesOf(codec: ColumnCodec): Set<string> {
  const { model } = codec
  if (model.coding === 'range') return new Set(['number'])
  if (model.coding === 'levels') return new Set(model.values.map((value) => typeof value))
  return new Set(['string'])
}

const typeNames = (codec: ColumnCodec) => [...typesOf(codec)].join(' or ')

/** What was written on a command line, as the column has it. */
function typedAs(codec: ColumnCodec, text: string): Value {
  if (codec.dates !== undefined) return text
  const types = typesOf(codec)
  if (types.has('string') && codec.encode(text) >= 0) return text
  if (types.has('number') && text.trim() !== '' && Number.isFinite(+text)) return +text
  if (types.has('boolean') && (text === 'true' || text === 'false')) return text === 'true'
  return text
}

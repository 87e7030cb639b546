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
  const keyOf = comparable(codec)
  const test = (code: number, word: number): boolean => {
    if (code === codec.nullCode) return tests.every(({ meets }) => meets(null, 'null'))
    if (coding === 'range') {
      // dates are compared as what they are before they are written
      const units = codec.units(code, word)
      const key = codec.dates === undefined ? codec.fromUnits(units) : units
      return tests.every(({ meets, isText }) => meets(key, isText ? String(codec.fromUnits(units)) : ''))
    }
    const value = codec.decode(code, word)
    return tests.every(({ meets }) => meets(keyOf(value) ?? '', String(value)))
  }
  const share = new Float64Array(codec.codes)
  const words = new Map<number, Uint32Array>()
  for (let code = 0; code < codec.codes; code++) {
    const known =
      codec.isExact || code === codec.nullCode ? Number(test(code, 0)) : binShare(codec, code, tests)
    if (known !== undefined) {
      share[code] = known
      continue
    }
    const meeting: number[] = []
    for (let i = 1; i <= TRIES; i++) {
      const word = mix(i)
      if (test(code, word)) meeting.push(word)
    }
    // that all tries met it does not say that everything does
    const part = Math.min(meeting.length, TRIES - 0.5) / TRIES
    share[code] = part
    if (part > 0) words.set(code, Uint32Array.from(meeting.slice(0, MAX_WORDS)))
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
      return part === 1 || (part > 0 && test(code, word))
    },
  }
}

/** What is known of a bin from its ends alone: 1 if all of it meets the conditions, 0 if nothing does, undefined in between. */
function binShare(codec: ColumnCodec, code: number, tests: readonly Test[]): number | undefined {
  const { model } = codec
  if (model.coding !== 'range') return undefined
  const ends = [model.bins[code]![0]!, model.bins[code]!.at(-1)!]
  const [least, greatest] = ends.map((units) =>
    codec.dates === undefined ? codec.fromUnits(units) : units,
  ) as [Key, Key]
  const shares = tests.map(({ meets, isText, points }) => {
    if (isText) return undefined
    // between its ends nothing changes but at the points
    if (points.some((point) => point > least && point < greatest)) return undefined
    const [first, last] = [meets(least, ''), meets(greatest, '')]
    return points.some((point) => point === least || point === greatest) && least !== greatest
      ? undefined
      : first === last
        ? Number(first)
        : undefined
  })
  if (shares.includes(0)) return 0
  return shares.every((part) => part === 1) ? 1 : undefined
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

type Key = number | string | boolean

interface Test {
  /** Told what a value is compared by, null for null; and its text, where that is what counts. */
  readonly meets: (key: Key | null, text: string) => boolean
  readonly isText: boolean
  /** Where the answer can change. */
  readonly points: readonly Key[]
}

function testOf({ column, operator, operand, isText }: Clause, codec: ColumnCodec): Test {
  const option = `conditions.${column}.${operator}`
  const plain = (meets: (key: Key | null, text: string) => boolean, points: readonly Key[] = []): Test => ({
    meets,
    isText: false,
    points,
  })
  if (operator === 'isNull') return plain((key) => key === null)
  if (operator === 'notNull') return plain((key) => key !== null)
  if (operator === 'like') {
    return { meets: (key, text) => key !== null && isLike(text, operand as string), isText: true, points: [] }
  }
  const keyOf = comparable(codec)
  const points = (Array.isArray(operand) ? (operand as Value[]) : [operand as Value]).map((value) => {
    const key = keyOf(isText ? typedAs(codec, value as string) : value)
    if (key === undefined) {
      const expected = codec.dates ? `a date such as ${codec.dates.pattern}` : `a ${typeNames(codec)}`
      throw new OptionError(option, value, expected)
    }
    return key
  })
  const [first, last] = [points[0]!, points[points.length - 1]!]
  const compare = (meets: (key: Key) => boolean) => plain((key) => key !== null && meets(key), points)
  // a text and a number are neither more nor less than each other
  const ordered = (meets: (key: Key) => boolean) =>
    compare((key) => typeof key === typeof first && meets(key))
  switch (operator) {
    case 'eq':
      return compare((key) => key === first)
    case 'ne':
      return compare((key) => key !== first)
    case 'gt':
      return ordered((key) => key > first)
    case 'gte':
      return ordered((key) => key >= first)
    case 'lt':
      return ordered((key) => key < first)
    case 'lte':
      return ordered((key) => key <= first)
    case 'in':
      return compare((key) => points.includes(key))
    case 'notIn':
      return compare((key) => !points.includes(key))
    case 'between':
      return ordered((key) => key >= first && key <= last)
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

import { OptionError, describe } from '../errors.ts'
import type { Value } from './schema.ts'

/** The operators of conditions. */
export const OPERATORS = [
  'eq',
  'ne',
  'gt',
  'gte',
  'lt',
  'lte',
  'in',
  'notIn',
  'between',
  'like',
  'isNull',
  'notNull',
] as const
/** What a condition asks: see {@link ColumnCondition}. */
export type Operator = (typeof OPERATORS)[number]

type Scalar = Exclude<Value, null>

/** What one column must meet; several operators mean all of them. A bare value means `eq`. */
export type ColumnCondition =
  | Scalar
  | {
      readonly eq?: Scalar
      readonly ne?: Scalar
      readonly gt?: number | string
      readonly gte?: number | string
      readonly lt?: number | string
      readonly lte?: number | string
      readonly in?: readonly Scalar[]
      readonly notIn?: readonly Scalar[]
      /** Both ends are included. */
      readonly between?: readonly [number | string, number | string]
      /** As in SQL: `%` is any text, `_` any character, and all else itself. */
      readonly like?: string
      readonly isNull?: true
      readonly notNull?: true
    }

/**
 * What every record must meet: an object by column, or texts such as `age>=21`, `sex = Female`, `region in West,East`,
 * `age between 20,30`, `name like A%`, `phone isNull`, joined by being several or by ` AND `. A null meets `isNull` only.
 */
export type Conditions = Readonly<Record<string, ColumnCondition>> | string | readonly string[]

/** One condition, checked. */
export interface Clause {
  readonly column: string
  readonly operator: Operator
  readonly operand: Value | readonly Scalar[]
  /** The operand is text that takes the type of its column. */
  readonly isText: boolean
}

const MAX_LIKE = 1000

/**
 * Takes conditions apart.
 *
 * @throws {@link OptionError} for an unknown column or operator, or an operand that the operator cannot have.
 */
export function parseConditions(conditions: Conditions, columns: readonly string[]): Clause[] {
  if (typeof conditions === 'string') return splitAnd(conditions).map((text) => parseText(text, columns))
  if (Array.isArray(conditions)) return conditions.flatMap((text: string) => parseConditions(text, columns))
  if (typeof conditions !== 'object' || conditions === null) {
    throw new OptionError('conditions', conditions, 'an object by column, or texts')
  }
  return Object.entries(conditions as Record<string, ColumnCondition>).flatMap(([column, condition]) => {
    checkColumn(column, columns)
    if (typeof condition !== 'object' || condition === null) {
      if (condition === null)
        throw new OptionError(`conditions.${column}`, null, 'a value, or { isNull: true }')
      return [checked({ column, operator: 'eq', operand: condition, isText: false })]
    }
    return Object.entries(condition).map(([operator, operand]) =>
      checked({
        column,
        operator: checkOperator(operator, column),
        operand: operand,
        isText: false,
      }),
    )
  })
}

const SYMBOLS: Record<string, Operator> = {
  '>=': 'gte',
  '<=': 'lte',
  '!=': 'ne',
  '<>': 'ne',
  '==': 'eq',
  '=': 'eq',
  '>': 'gt',
  '<': 'lt',
}

/** At every ` AND ` outside of quotes. */
function splitAnd(text: string): string[] {
  const parts: string[] = []
  let quote = ''
  let from = 0
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!
    if (quote !== '') {
      if (character === quote) quote = ''
    } else if (character === '"' || (character === "'" && /[\s=<>,]$/.test(text.slice(0, i))))
      quote = character
    else if (/^\sAND\s/.test(text.slice(i, i + 5))) {
      parts.push(text.slice(from, i))
      from = i + 5
    }
  }
  parts.push(text.slice(from))
  return parts
}

function parseText(text: string, columns: readonly string[]): Clause {
  const trimmed = text.trim()
  // the longest name that fits, so that one name may begin like another
  const names = columns.toSorted((a, b) => b.length - a.length)
  for (const name of names) {
    for (const written of [name, JSON.stringify(name)]) {
      if (!trimmed.startsWith(written)) continue
      const rest = trimmed.slice(written.length)
      const match =
        /^\s*(>=|<=|!=|<>|==|=|>|<)\s*(.*)$/s.exec(rest) ?? /^\s+([A-Za-z]+)(?:\s+(.*))?$/s.exec(rest)
      if (match === null) continue
      const operator = SYMBOLS[match[1]!] ?? checkOperator(match[1]!, name)
      return checked({ column: name, operator, operand: operandOf(operator, match[2] ?? ''), isText: true })
    }
  }
  const column = /^("[^"]*"|[^\s=<>!]+)/.exec(trimmed)?.[0] ?? trimmed
  checkColumn(column, columns)
  throw new OptionError('conditions', text, `a column, an operator and a value, such as ${column}=1`)
}

function operandOf(operator: Operator, text: string): Value | readonly Scalar[] {
  if (operator === 'isNull' || operator === 'notNull') {
    if (text !== '') throw new OptionError(`conditions.${operator}`, text, 'nothing after it')
    return true
  }
  if (operator !== 'in' && operator !== 'notIn' && operator !== 'between') return unquoted(text)
  return (text.match(/\s*(?:"[^"]*"|'[^']*')\s*(?=,|$)|[^,]+/g) ?? []).map((item) => unquoted(item.trim()))
}

function unquoted(text: string): string {
  return /^("[^"]*"|'[^']*')$/s.test(text) ? text.slice(1, -1) : text
}

function checkColumn(column: string, columns: readonly string[]): void {
  if (columns.includes(column)) return
  throw new OptionError('conditions', column, `one of the columns ${columns.join(', ')}`)
}

function checkOperator(operator: string, column: string): Operator {
  if (OPERATORS.includes(operator as Operator)) return operator as Operator
  throw new OptionError(`conditions.${column}`, operator, `one of the operators ${OPERATORS.join(', ')}`)
}

function checked(clause: Clause): Clause {
  const { column, operator, operand } = clause
  const option = `conditions.${column}.${operator}`
  const isScalar = (value: unknown) =>
    typeof value === 'string' ||
    typeof value === 'boolean' ||
    (typeof value === 'number' && Number.isFinite(value))
  if (operator === 'isNull' || operator === 'notNull') {
    if (operand !== true) throw new OptionError(option, operand, 'true')
  } else if (operator === 'in' || operator === 'notIn' || operator === 'between') {
    if (!Array.isArray(operand) || !operand.every(isScalar) || operand.length === 0) {
      throw new OptionError(option, operand, 'a list of values')
    }
    if (operator === 'between' && operand.length !== 2) {
      throw new OptionError(option, operand, 'two values, the least and the greatest')
    }
  } else if (!isScalar(operand)) {
    throw new OptionError(option, operand, `a value (got ${describe(operand)})`)
  }
  if (operator === 'like' && (typeof operand !== 'string' || operand.length > MAX_LIKE)) {
    throw new OptionError(option, operand, `a pattern of at most ${MAX_LIKE} characters`)
  }
  return clause
}

/** Whether a text has the form of a SQL pattern. Linear in the text times the number of `%`, whatever the pattern. */
export function isLike(text: string, pattern: string): boolean {
  let [at, in_, star, mark] = [0, 0, -1, 0]
  while (at < text.length) {
    if (in_ < pattern.length && pattern[in_] === '%') {
      star = in_++
      mark = at
    } else if (in_ < pattern.length && (pattern[in_] === '_' || pattern[in_] === text[at])) {
      at++
      in_++
    } else if (star >= 0) {
      in_ = star + 1
      at = ++mark
    } else return false
  }
  while (pattern[in_] === '%') in_++
  return in_ === pattern.length
}

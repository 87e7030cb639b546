import { TableError, describe } from '../errors.ts'
import { DATE_PATTERNS, type DatePattern } from './date-format.ts'
import type { IdSpec } from './id-maker.ts'

/** What a field of a record can be. */
export type Value = string | number | boolean | null

/** A flat record: a value for each column. */
export type Row = Record<string, Value>

/** The kinds of columns there are. */
export const COLUMN_KINDS = [
  'integer',
  'decimal',
  'category',
  'boolean',
  'datetime',
  'id',
  'text',
  'constant',
] as const

/**
 * - `integer`, `decimal`: numbers; ranges are kept, and so is the number of decimals.
 * - `category`: one of the values that were seen. `boolean`: true or false. `constant`: one value, or nothing but null.
 * - `datetime`: dates and times written in one way.
 * - `id`: never the same value twice; not learnt, but counted or made of the number of the record.
 * - `text`: mostly different texts; made of random letters in the shapes that were seen.
 */
export type ColumnKind = (typeof COLUMN_KINDS)[number]

/** What is known of one column. All but `name` and `kind` may be left out of a schema that is given. */
export interface ColumnSchema {
  readonly name: string
  readonly kind: ColumnKind
  /** Share of rows without a value, 0 to 1. */
  readonly nullRate?: number
  /** Digits after the decimal point. */
  readonly decimals?: number
  /** Least and greatest value: numbers, or dates as they are written. Rows outside of bounds that are given are an error. */
  readonly min?: number | string
  readonly max?: number | string
  /** How dates are written, such as `YYYY-MM-DD`. */
  readonly dateFormat?: DatePattern
  /** How ids are made. */
  readonly id?: IdSpec
}

/** The columns of a table, in order. Plain data: it can be stored as JSON, edited, and given back. */
export interface Schema {
  readonly format: 'millrace.schema'
  readonly version: 1
  readonly columns: readonly ColumnSchema[]
}

/**
 * Takes what `JSON.parse` gave for a stored or edited schema, and gives it back checked.
 *
 * @throws {@link TableError} naming what is wrong.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { parseSchema } from 'millrace/records'
 *
 * const columns = [{ name: 'age', kind: 'integer', min: 0, max: 120 }]
 * const schema = parseSchema({ format: 'millrace.schema', version: 1, columns })
 * assert.equal(schema.columns[0].max, 120)
 * assert.throws(() => parseSchema({ ...schema, columns: [{ name: 'age', kind: 'number' }] }), /kind/)
 * ```
 */
export function parseSchema(value: unknown): Schema {
  const schema = value as Partial<Schema> | null
  if (typeof schema !== 'object' || schema?.format !== 'millrace.schema' || schema.version !== 1) {
    throw wrong('an object with format "millrace.schema" and version 1', value)
  }
  if (!Array.isArray(schema.columns) || schema.columns.length === 0)
    throw wrong('an array of columns', schema.columns)
  const names = new Set<string>()
  for (const column of schema.columns as readonly Partial<ColumnSchema>[]) {
    if (typeof column !== 'object' || column === null || typeof column.name !== 'string') {
      throw wrong('a column with a name', column)
    }
    const of = `column ${JSON.stringify(column.name)}`
    if (names.has(column.name)) throw wrong(`${of} only once`, column.name)
    names.add(column.name)
    if (!COLUMN_KINDS.includes(column.kind as ColumnKind)) {
      throw wrong(`${of} of a kind among ${COLUMN_KINDS.join(', ')}`, column.kind)
    }
    if (column.dateFormat !== undefined && !DATE_PATTERNS.includes(column.dateFormat)) {
      throw wrong(`${of} with a dateFormat such as ${DATE_PATTERNS[0]}`, column.dateFormat)
    }
    const { decimals } = column
    if (
      decimals !== undefined &&
      !(Number.isInteger(decimals) && decimals >= 0 && decimals <= MAX_DECIMALS)
    ) {
      throw wrong(`${of} with decimals from 0 to ${MAX_DECIMALS}`, decimals)
    }
    if (
      column.id !== undefined &&
      !['sequence', 'uuid', 'template'].includes((column.id as IdSpec | null)?.form ?? '')
    ) {
      throw wrong(`${of} with an id of form sequence, uuid or template`, column.id)
    }
  }
  return schema as Schema
}

/** More decimals than this are taken for an exact binary number, which is not rounded. */
export const MAX_DECIMALS = 10

function wrong(expected: string, actual: unknown): TableError {
  const message = `schema: expected ${expected}, got ${describe(actual)}`
  return new TableError('ERR_MILLRACE_TABLE_SCHEMA', message, { expected, actual })
}

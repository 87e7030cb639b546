import { OptionError, TableError, describe } from '../errors.ts'
import type { Seed } from '../bytes/index.ts'
import { checkChoice, checkInteger, checkSignal, checkString } from '../options.ts'
import { DateFormat } from './date-format.ts'
import { castTexts, inferColumn } from './infer-column.ts'
import { BlockRandom } from './random.ts'
import { readRows, runsFrom, type ReadRowsOptions, type RowRun, type TableSource } from './read-rows.ts'
import {
  COLUMN_KINDS,
  parseSchema,
  type ColumnKind,
  type ColumnSchema,
  type Row,
  type Schema,
  type Value,
} from './schema.ts'

/** What is known of the columns before they are read. */
export interface TableOptions {
  /** The columns, in place of what would be inferred. A table must have all of them, and no others are taken. */
  readonly schema?: Schema
  /** Kinds of some columns, in place of what would be inferred. */
  readonly columns?: Readonly<Record<string, ColumnKind>>
}

/** Options of {@link Table.read}. */
export interface TableReadOptions extends TableOptions, ReadRowsOptions {
  /** Rows to keep, evenly drawn from all that there are (a reservoir): for data that memory does not hold. @defaultValue all */
  readonly maxRows?: number
  /** Of the drawing. @defaultValue 0 */
  readonly seed?: Seed
}

/**
 * Rows of flat records, held by column: what a model learns from, and what is compared with it.
 *
 * @remarks Memory: every value once, 8 bytes each beside the texts; `maxRows` bounds it.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { Table } from 'millrace/records'
 *
 * const table = await Table.read(Readable.from(['city,price\nOslo,1.50\nRome,\nOslo,2.25\n']))
 * assert.equal(table.rows, 3)
 * assert.deepEqual(table.schema.columns.map(({ kind }) => kind), ['category', 'decimal'])
 * assert.deepEqual([...table.records()][1], { city: 'Rome', price: null })
 * ```
 */
export class Table {
  readonly schema: Schema
  readonly rows: number
  readonly #values: readonly (readonly Value[])[]

  private constructor(schema: Schema, values: readonly (readonly Value[])[]) {
    this.schema = schema
    this.#values = values
    this.rows = values[0]?.length ?? 0
  }

  /**
   * Reads a table from a path, from bytes of CSV, JSON or NDJSON, or from records.
   *
   * @throws {@link TableError} when it cannot be read, or is not what the schema says.
   */
  static async read(source: TableSource, options: TableReadOptions = {}): Promise<Table> {
    const { format = 'auto', delimiter = ',', maxRows, seed = 0, signal } = options
    checkChoice('format', format, ['auto', 'csv', 'json', 'ndjson'])
    checkString('delimiter', delimiter)
    checkSignal('signal', signal)
    if (maxRows !== undefined) checkInteger('maxRows', maxRows, 1)
    const builder = new TableBuilder(maxRows, seed)
    for await (const run of readRows(source, options)) builder.add(run)
    return Table.#build(builder, options)
  }

  /** Makes a table of records that are there. @throws {@link TableError} if they are not flat, or none. */
  static from(records: Iterable<object>, options: TableOptions = {}): Table {
    const builder = new TableBuilder(undefined, 0)
    for (const run of runsFrom([...records], 0)) builder.add(run)
    return Table.#build(builder, options)
  }

  static #build(builder: TableBuilder, { schema, columns = {} }: TableOptions): Table {
    const { names, values } = builder.finish()
    if (names.length === 0 || values[0]!.length === 0) {
      throw new TableError('ERR_MILLRACE_TABLE_EMPTY', 'table: expected at least one row, got none')
    }
    const unknown = Object.keys(columns).find((name) => !names.includes(name))
    if (unknown !== undefined)
      throw new OptionError(`columns.${unknown}`, unknown, `one of the columns ${names.join(', ')}`)
    if (schema === undefined) {
      const inferred = names.map((name, i) =>
        withKind(
          inferColumn(name, values[i]!),
          Object.hasOwn(columns, name) ? columns[name] : undefined,
          values[i]!,
        ),
      )
      return new Table({ format: 'millrace.schema', version: 1, columns: inferred }, values)
    }
    const given = parseSchema(schema).columns
    const missing = given.find(({ name }) => !names.includes(name))
    if (missing !== undefined) {
      const message = `table: expected a column ${JSON.stringify(missing.name)}, as the schema says, got ${names.join(', ')}`
      throw new TableError('ERR_MILLRACE_TABLE_SCHEMA', message, { expected: missing.name, actual: names })
    }
    const ordered = given.map(({ name }) => values[names.indexOf(name)]!)
    const filled = given.map((column, i) => complete(column, ordered[i]!))
    for (const [i, { decimals }] of given.entries()) if (decimals !== undefined) round(ordered[i]!, decimals)
    for (const [i, column] of filled.entries()) checkValues(column, given[i]!, ordered[i]!)
    return new Table({ format: 'millrace.schema', version: 1, columns: filled }, ordered)
  }

  /** The values of a column, by row. */
  column(name: string): readonly Value[] {
    const at = this.schema.columns.findIndex((column) => column.name === name)
    if (at < 0) {
      const names = this.schema.columns.map((column) => column.name)
      throw new OptionError('name', name, `one of the columns ${names.join(', ')}`)
    }
    return this.#values[at]!
  }

  /** The rows as records, one after another. */
  *records(): Generator<Row> {
    const names = this.schema.columns.map(({ name }) => name)
    for (let row = 0; row < this.rows; row++) {
      yield Object.fromEntries(names.map((name, i) => [name, this.#values[i]![row]!]))
    }
  }

  /** The rows for which `keep` is true, as a table of the same schema. */
  filter(keep: (row: number) => boolean): Table {
    return new Table(
      this.schema,
      this.#values.map((values) => values.filter((_, row) => keep(row))),
    )
  }
}

/** Collects rows by column, or a reservoir of them (algorithm R of Vitter). */
class TableBuilder {
  readonly #columns = new Map<string, Value[]>()
  readonly #maxRows: number | undefined
  readonly #random: BlockRandom
  readonly #notText = new Set<string>()
  #rows = 0
  #seen = 0

  constructor(maxRows: number | undefined, seed: Seed) {
    this.#maxRows = maxRows
    this.#random = new BlockRandom(seed).begin(0)
  }

  add({ names, rows, isText }: RowRun): void {
    for (const name of names) {
      if (!this.#columns.has(name))
        this.#columns.set(name, Array.from<Value>({ length: this.#rows }).fill(null))
      if (!isText) this.#notText.add(name)
    }
    const targets = names.map((name) => this.#columns.get(name)!)
    const others = [...this.#columns.values()].filter((column) => !targets.includes(column))
    for (const row of rows) {
      const at = this.#place()
      if (at < 0) continue
      for (const [i, target] of targets.entries()) target[at] = row[i]!
      for (const other of others) other[at] = null
    }
  }

  /** Where the next row goes, or -1 if it is not kept. */
  #place(): number {
    const seen = this.#seen++
    if (this.#maxRows === undefined || seen < this.#maxRows) return this.#rows++
    const at = Math.floor(this.#random.uniform() * (seen + 1))
    return at < this.#maxRows ? at : -1
  }

  finish(): { names: string[]; values: Value[][] } {
    const names = [...this.#columns.keys()]
    const values = [...this.#columns.values()]
    for (const [i, name] of names.entries()) if (!this.#notText.has(name)) castTexts(values[i]!)
    return { names, values }
  }
}

/** What was inferred, unless another kind was asked for. */
function withKind(
  inferred: ColumnSchema,
  kind: ColumnKind | undefined,
  values: readonly Value[],
): ColumnSchema {
  if (kind === undefined || kind === inferred.kind) return inferred
  checkChoice(`columns.${inferred.name}`, kind, COLUMN_KINDS)
  const column = complete({ name: inferred.name, kind }, values)
  checkValues(column, column, values)
  return column
}

/** Adds to a column what a schema may leave out. */
function complete(given: ColumnSchema, values: readonly Value[]): ColumnSchema {
  const inferred = inferColumn(given.name, values)
  const { nullRate = 0 } = inferred
  const { dateFormat, decimals } = given.kind === inferred.kind ? { ...inferred, ...given } : given
  if (given.kind === 'integer' || given.kind === 'decimal') {
    const numbers = values.filter((value) => typeof value === 'number')
    const min = numbers.reduce((a, b) => Math.min(a, b), Infinity)
    const max = numbers.reduce((a, b) => Math.max(a, b), -Infinity)
    const places = given.decimals ?? (given.kind === 'integer' ? 0 : inferred.decimals)
    return { min, max, ...given, nullRate, ...(places !== undefined && { decimals: places }) }
  }
  if (given.kind === 'datetime')
    return { ...inferred, ...given, nullRate, ...(dateFormat !== undefined && { dateFormat }) }
  if (given.kind === 'id') {
    const id = given.id ??
      inferred.id ?? { form: 'sequence' as const, prefix: '', first: 1, width: 0, text: false }
    return { ...given, nullRate, id }
  }
  return { ...given, nullRate, ...(decimals !== undefined && { decimals }) }
}

/** To the decimals that a schema asks for. */
function round(values: Value[], decimals: number): void {
  const scale = 10 ** decimals
  for (const [i, value] of values.entries()) {
    if (typeof value === 'number') values[i] = Math.round(value * scale) / scale
  }
}

/** Holds the values of a column against a schema that was given. */
function checkValues(column: ColumnSchema, given: ColumnSchema, values: readonly Value[]): void {
  const { kind, name, dateFormat } = column
  const dates = kind === 'datetime' ? new DateFormat(dateFormat ?? '') : undefined
  const bound = (value: number | string | undefined) =>
    typeof value === 'string' ? dates?.parse(value) : value
  const [min = -Infinity, max = Infinity] = [bound(given.min), bound(given.max)]
  for (const [index, value] of values.entries()) {
    if (value === null) continue
    let expected: string | undefined
    if (kind === 'integer' || kind === 'decimal') {
      if (typeof value !== 'number') expected = 'a number'
      else if (kind === 'integer' && !Number.isInteger(value)) expected = 'a whole number'
      else if (value < min || value > max) expected = `a number from ${min} to ${max}`
    } else if (kind === 'boolean' && typeof value !== 'boolean') expected = 'true or false'
    else if (dates !== undefined) {
      const units = typeof value === 'string' ? dates.parse(value) : undefined
      if (units === undefined) expected = `a date such as ${dates.pattern}`
      else if (units < min || units > max) expected = `a date from ${given.min} to ${given.max}`
    }
    if (expected === undefined) continue
    const message = `row ${index}, column ${JSON.stringify(name)}: expected ${expected}, got ${describe(value)}`
    throw new TableError('ERR_MILLRACE_TABLE_VALUE', message, { index, expected, actual: value })
  }
}

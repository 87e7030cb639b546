import { StatsCounter, type StatsHooks } from '../flow/index.ts'
import { PullStage } from '../flow/pull-stage.ts'
import { DEFAULT_MAX_DEPTH } from '../framing/json-scanner.ts'
import {
  checkBoolean,
  checkChoice,
  checkFunction,
  checkInteger,
  checkLimit,
  checkSignal,
} from '../options.ts'
import { OptionError } from '../errors.ts'
import type { OnInvalid, Reviver } from './careful-parser.ts'
import { checkOnInvalid } from './check-on-invalid.ts'
import { ReaderCore, SingleRecords, type JsonFormat, type ReaderSettings } from './reader-core.ts'

/**
 * Bytes that are parsed at once: larger blocks were no faster, smaller ones were (16 KiB: 0.7 of the speed).
 */
export const DEFAULT_PARSE_BLOCK = 64 * 1024
/** Longest record, in bytes: what one record may cost in memory. */
export const DEFAULT_MAX_VALUE_BYTES = 64 * 1024 * 1024
/** Batches that wait for the reader. More of them cost memory and were no faster. */
const BATCHES_HELD = 2

/** Options of {@link JsonReader} and {@link readJson}. */
export interface JsonReaderOptions extends StatsHooks {
  /**
   * What the bytes are.
   *
   * - `'array'`: one JSON array; its elements are the records. Anything else at the top is an error.
   * - `'ndjson'`: a value a line. Lines may end in CR LF, the last one in nothing; blank lines are passed over.
   * - `'concat'`: values one after another, with or without white space between.
   * - `'seq'`: an RFC 7464 text sequence.
   * - `'auto'`: an array if the first character is `[`; else lines, if the first value stands on a line of its own;
   *   else values one after another. So one lone object or number is one record.
   *
   * @defaultValue 'auto'
   */
  readonly format?: JsonFormat
  /**
   * Keys down to the array or object whose elements or members are the records; members come as `{ key, value }`. An
   * array on the way takes an index (`'0'`), and of two equal keys the first one counts. What is skipped is not parsed,
   * nor checked other than for its brackets and its end. With format `'auto'` or `'array'`.
   */
  readonly path?: readonly string[]
  /**
   * Gives a {@link RecordBatch} for each block that was parsed, instead of single records: cheaper by up to 15 %, and
   * far more in what comes after.
   *
   * @defaultValue false
   */
  readonly batches?: boolean
  /**
   * What to do with a record that is `null`, which cannot travel alone in an object stream: Node reads it as the end.
   * In batches it is a record like any other, unless it is to be skipped.
   *
   * @defaultValue 'error'
   */
  readonly nulls?: 'error' | 'skip'
  /**
   * What to do with a record that is not JSON: fail, leave it out, or take what a function returns instead
   * (`undefined` leaves it out). What breaks the document itself, like a missing bracket, always fails.
   *
   * @defaultValue 'throw'
   */
  readonly onInvalid?: OnInvalid
  /** Called for each record by itself, as the second argument of `JSON.parse`. Halves the speed. */
  readonly reviver?: Reviver
  /**
   * Deepest nesting of a record, in brackets, or `Infinity`.
   *
   * @defaultValue 1024
   */
  readonly maxDepth?: number
  /**
   * Longest record with the white space and the delimiters around it, in bytes, or `Infinity`. Checked before memory
   * is taken.
   *
   * @defaultValue 64 MiB
   */
  readonly maxValueBytes?: number
  /**
   * Bytes that are parsed at once. Together with the input it decides what records a batch holds.
   *
   * @defaultValue 64 KiB
   */
  readonly blockSize?: number
  /**
   * Whether an input without any value is fine in the formats `'array'` and `'auto'`. In the others it always is.
   *
   * @defaultValue false
   */
  readonly allowEmpty?: boolean
  /** Aborts the stage. */
  readonly signal?: AbortSignal
  /**
   * Records, or batches, that may wait for the reader before the stage takes no more bytes.
   *
   * @defaultValue 16 records or 2 batches
   */
  readonly highWaterMark?: number
}

/** Checks the options that the stage and the iterable share. */
export function readerSettings({
  format = 'auto',
  path,
  batches = false,
  nulls = 'error',
  onInvalid = 'throw',
  reviver,
  maxDepth = DEFAULT_MAX_DEPTH,
  maxValueBytes = DEFAULT_MAX_VALUE_BYTES,
  blockSize = DEFAULT_PARSE_BLOCK,
  allowEmpty = false,
  signal,
}: JsonReaderOptions): ReaderSettings {
  checkChoice('format', format, ['auto', 'array', 'ndjson', 'concat', 'seq'])
  if (path !== undefined) checkPath(path, format)
  checkBoolean('batches', batches)
  checkChoice('nulls', nulls, ['error', 'skip'])
  checkOnInvalid(onInvalid)
  checkFunction('reviver', reviver)
  checkLimit('maxDepth', maxDepth)
  checkLimit('maxValueBytes', maxValueBytes)
  checkInteger('blockSize', blockSize, 1)
  checkBoolean('allowEmpty', allowEmpty)
  checkSignal('signal', signal)
  const keepNulls = batches && nulls === 'error'
  const parse = { maxDepth, onInvalid, reviver, nulls: keepNulls ? ('keep' as const) : nulls }
  return { format, path, blockSize, maxValueBytes, maxDepth, allowEmpty, parse }
}

function checkPath(path: readonly string[], format: JsonFormat): void {
  const isPath = Array.isArray(path) && path.every((key) => typeof key === 'string')
  if (!isPath) throw new OptionError('path', path, 'an array of keys')
  if (format !== 'auto' && format !== 'array')
    throw new OptionError('path', path, `no path with format '${format}'`)
}

/**
 * JSON bytes, cut anywhere, in; out come records, or batches of them.
 *
 * @remarks
 * Boundaries are found in bytes by a scanner that knows brackets and strings only; `JSON.parse` then runs once a block
 * of 64 KiB (arrays) or once a line. It takes and refuses what `JSON.parse` of the whole text would, once the limits
 * are raised. O(n); memory is one block, or the longest record, and what waits for the reader.
 *
 * UTF-8 is checked, and a byte order mark at the very start is dropped. Keys that come twice, big numbers and
 * `__proto__` (an own property) are as `JSON.parse` has them.
 *
 * Selections that brackets cannot make (filters on values, parts of one giant record) are for {@link JsonSelector},
 * which reads token by token and is several times slower.
 *
 * An error is a `JsonError` with record number, byte offset, line and column, and comes after all records before it.
 *
 * @typeParam T - A record; or with `batches: true` a `RecordBatch` of them.
 * @throws {@link OptionError} if an option is out of range.
 * @see https://www.rfc-editor.org/rfc/rfc8259 and https://www.rfc-editor.org/rfc/rfc7464
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { JsonReader } from 'millrace'
 *
 * const input = Readable.from([Buffer.from('[{"id":1},{"i'), Buffer.from('d":2}]')])
 * const ids: number[] = []
 * for await (const { id } of input.pipe(new JsonReader<{ id: number }>())) ids.push(id)
 * assert.deepEqual(ids, [1, 2])
 *
 * // on a bad record: what and where, after all good ones
 * const reader = new JsonReader({ onInvalid: (error) => ({ id: 0, problem: error.message }) })
 * reader.end('{"id":1}\n{"id":2,}\n')
 * assert.deepEqual(await reader.toArray(), [
 *   { id: 1 },
 *   { id: 0, problem: "invalid JSON in record 1 at byte 17 (line 2, column 9): expected a key, got '}'" },
 * ])
 * ```
 */
export class JsonReader<T = any> extends PullStage<Buffer, unknown> {
  constructor(options: JsonReaderOptions = {}) {
    const settings = readerSettings(options)
    const { batches = false, signal, highWaterMark = batches ? BATCHES_HELD : undefined } = options
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
    const counter = new StatsCounter('JsonReader', options)
    const core = new ReaderCore(settings, counter)
    super(batches ? core : new SingleRecords(core), counter, {
      readableObjectMode: true,
      ...(signal && { signal }),
      ...(highWaterMark !== undefined && { readableHighWaterMark: highWaterMark }),
    })
  }

  override [Symbol.asyncIterator](): NodeJS.AsyncIterator<T> {
    return super[Symbol.asyncIterator]()
  }
}

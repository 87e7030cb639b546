import { Readable, addAbortSignal } from 'node:stream'
import { StatsCounter, type RecordBatch } from '../flow/index.ts'
import { checkBoolean } from '../options.ts'
import { readerSettings, type JsonReaderOptions } from './json-reader.ts'
import { ReaderCore, type ReaderSettings } from './reader-core.ts'

/** Bytes as they come: a stream of either kind, a generator, an array of chunks. */
export type ByteSource = AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>

/** Options of {@link readJson}: those of `JsonReader`, but a `null` record is a record here, and nothing is queued. */
export interface ReadJsonOptions extends Omit<JsonReaderOptions, 'highWaterMark' | 'nulls'> {
  readonly nulls?: 'skip'
  /**
   * Whether the records of each chunk are given at once, and not when their block is full: for slow input. What is in which batch depends on
   * the chunks then; the records do not.
   *
   * @defaultValue false
   */
  readonly eager?: boolean
}

/**
 * JSON bytes in; out come records, for a `for await` that may stop early: leaving the loop destroys the source, and
 * nothing rejects with an `AbortError` behind it, as a pipeline would. A `null` record is a record here.
 *
 * @remarks Reads and parses as `JsonReader` does, without a stream between. Memory: one block and its records.
 * @throws {@link JsonError} at the bad record, and what the source fails with.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { readJson } from 'millrace'
 *
 * const found: unknown[] = []
 * for await (const record of readJson([Buffer.from('[1, null, {"a":'), Buffer.from('2}, 3]')])) {
 *   found.push(record)
 *   if (found.length === 3) break
 * }
 * assert.deepEqual(found, [1, null, { a: 2 }])
 * ```
 */
export function readJson<T = unknown>(
  source: ByteSource,
  options: ReadJsonOptions & { readonly batches: true },
): AsyncGenerator<RecordBatch<T>, void, undefined>
export function readJson<T = unknown>(
  source: ByteSource,
  options?: ReadJsonOptions,
): AsyncGenerator<T, void, undefined>
export function readJson<T>(
  source: ByteSource,
  options: ReadJsonOptions = {},
): AsyncGenerator<T | RecordBatch<T>, void, undefined> {
  // not a generator itself: a wrong option is an error of the call, not of the loop
  const settings = readerSettings(options)
  const eager = checkBoolean('eager', options.eager ?? false)
  const parse = { ...settings.parse, nulls: options.nulls ?? ('keep' as const) }
  return generate<T>(source, { ...settings, parse, eager }, options)
}

async function* generate<T>(source: ByteSource, settings: ReaderSettings, options: ReadJsonOptions) {
  const { batches = false, signal } = options
  const counter = new StatsCounter('readJson', options)
  const core = new ReaderCore<T>(settings, counter)
  try {
    for await (const chunk of signal ? abortable(source, signal) : source) {
      core.write(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
      for (let batch = core.next(); batch; batch = core.next()) yield* batches ? [batch] : batch.records
    }
    core.end()
    for (let batch = core.next(); batch; batch = core.next()) yield* batches ? [batch] : batch.records
    counter.completed()
  } catch (error) {
    counter.failed(error)
    throw error
  }
}

const abortable = (source: ByteSource, signal: AbortSignal): Readable =>
  source instanceof Readable
    ? addAbortSignal(signal, source)
    : Readable.from(source, { signal, objectMode: true })

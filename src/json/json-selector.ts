import { OptionError } from '../errors.ts'
import { StatsCounter, type RecordBatch, type StatsHooks } from '../flow/index.ts'
import { PullStage, type PullCore } from '../flow/pull-stage.ts'
import { DEFAULT_MAX_DEPTH } from '../framing/json-scanner.ts'
import { checkBoolean, checkChoice, checkInteger, checkLimit, checkSignal } from '../options.ts'
import { DEFAULT_MAX_VALUE_BYTES } from './json-reader.ts'
import { SingleRecords } from './reader-core.ts'
import type { JsonFilter, SelectorCore, SelectorSettings } from './selector-core.ts'

/** Records of a batch. Fixed, so that batches do not depend on how the input was cut. */
const BATCH_SIZE = 256

/** Options of {@link JsonSelector}. */
export interface JsonSelectorOptions extends StatsHooks {
  /**
   * Which parts of the document to read: a path like `'data.items'`, a pattern for such a path, or a function of the
   * keys and indices on the way.
   *
   * @defaultValue the whole document
   */
  readonly pick?: JsonFilter
  /** Which parts to leave out of what was picked, likewise; paths count from the top of the picked part. */
  readonly ignore?: JsonFilter
  /**
   * What of a picked part is a record: the whole part, each element of an array, each member of an object (as
   * `{ key, value }`), or each token. Tokens bring long strings in pieces (`startString`, `stringChunk`, …,
   * `endString`), so that a value of any size can be read in constant memory.
   *
   * @defaultValue 'values'
   */
  readonly records?: 'values' | 'elements' | 'members' | 'tokens'
  /**
   * `'json'` is one document; `'concat'` any number of them, one after another or a line each.
   *
   * @defaultValue 'json'
   */
  readonly format?: 'json' | 'concat'
  /**
   * Gives a {@link RecordBatch} of up to 256 records instead of single ones.
   *
   * @defaultValue false
   */
  readonly batches?: boolean
  /**
   * What to do with a record that is `null`, as for `JsonReader`.
   *
   * @defaultValue 'error'
   */
  readonly nulls?: 'error' | 'skip'
  /**
   * Deepest nesting of the document, in brackets, or `Infinity`.
   *
   * @defaultValue 1024
   */
  readonly maxDepth?: number
  /**
   * Longest string anywhere, and longest record, in characters of their tokens, or `Infinity`.
   *
   * @defaultValue 64 MiB
   */
  readonly maxValueBytes?: number
  /** Aborts the stage. */
  readonly signal?: AbortSignal
  /**
   * Records, or batches, that may wait for the reader before the stage takes no more bytes.
   *
   * @defaultValue 16
   */
  readonly highWaterMark?: number
}

function checkFilter(name: string, value: unknown): void {
  if (
    value === undefined ||
    typeof value === 'string' ||
    typeof value === 'function' ||
    value instanceof RegExp
  )
    return
  throw new OptionError(name, value, 'a path, a regular expression or a function')
}

/** Loads stream-json when a first stage starts: all that the package holds would start 20 ms later for it. */
class LateCore implements PullCore<Uint8Array, RecordBatch> {
  readonly #settings: SelectorSettings
  readonly #counter: StatsCounter
  #core: SelectorCore<unknown> | undefined

  constructor(settings: SelectorSettings, counter: StatsCounter) {
    this.#settings = settings
    this.#counter = counter
  }

  async load(): Promise<void> {
    const { SelectorCore } = await import('./selector-core.ts')
    this.#core = new SelectorCore(this.#settings, this.#counter)
  }

  write(chunk: Uint8Array): void {
    this.#core?.write(chunk)
  }

  end(): void {
    this.#core?.end()
  }

  next(): RecordBatch | undefined {
    return this.#core?.next()
  }
}

/**
 * JSON bytes, cut anywhere, in; out come the parts of the document that filters choose, or its tokens.
 *
 * @remarks
 * For what `JsonReader` cannot do with brackets alone: filters on paths at any depth, parts of a record, one giant
 * value token by token. It reads every token in JavaScript (stream-json's parser, filters and streamers), and so runs
 * at a small part of the speed of `JsonReader` with its `path`; prefer that where it is enough. The whole document is
 * checked. For other stages of stream-json, put them in a `chain()` beside these.
 *
 * O(n); memory is one record, or one string, and what waits for the reader. Errors are `JsonError`s with byte offset,
 * line and column of the token at fault, and come after all records before it.
 *
 * @typeParam T - A record; or with `batches: true` a `RecordBatch` of them.
 * @throws {@link OptionError} if an option is out of range.
 * @see https://github.com/uhop/stream-json
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { JsonSelector } from 'millrace'
 *
 * const selector = new JsonSelector({ pick: /^users\.\d+\.name$/ })
 * selector.end('{"total":2,"users":[{"id":1,"name":"Ada"},{"id":2,"name":"Grace"}]}')
 * assert.deepEqual(await selector.toArray(), ['Ada', 'Grace'])
 * ```
 */
export class JsonSelector<T = any> extends PullStage<Buffer, unknown> {
  readonly #core: LateCore

  constructor({
    pick,
    ignore,
    records = 'values',
    format = 'json',
    batches = false,
    nulls = 'error',
    maxDepth = DEFAULT_MAX_DEPTH,
    maxValueBytes = DEFAULT_MAX_VALUE_BYTES,
    signal,
    highWaterMark,
    ...hooks
  }: JsonSelectorOptions = {}) {
    checkFilter('pick', pick)
    checkFilter('ignore', ignore)
    checkChoice('records', records, ['values', 'elements', 'members', 'tokens'])
    checkChoice('format', format, ['json', 'concat'])
    checkBoolean('batches', batches)
    checkChoice('nulls', nulls, ['error', 'skip'])
    checkLimit('maxDepth', maxDepth)
    checkLimit('maxValueBytes', maxValueBytes)
    checkSignal('signal', signal)
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
    const counter = new StatsCounter('JsonSelector', hooks)
    const keepNulls = batches && nulls === 'error'
    const settings = {
      pick,
      ignore,
      records,
      concat: format === 'concat',
      maxDepth,
      maxValueBytes,
      nulls: keepNulls ? ('keep' as const) : nulls,
      batchSize: batches ? BATCH_SIZE : 1,
    }
    const core = new LateCore(settings, counter)
    super(batches ? core : new SingleRecords(core), counter, {
      readableObjectMode: true,
      ...(signal && { signal }),
      ...(highWaterMark !== undefined && { readableHighWaterMark: highWaterMark }),
    })
    this.#core = core
  }

  /** Node calls it before the first read or write, and holds these back until it is done. */
  override _construct(callback: (error?: Error | null) => void): void {
    this.#core.load().then(() => callback(), callback)
  }

  override [Symbol.asyncIterator](): NodeJS.AsyncIterator<T> {
    return super[Symbol.asyncIterator]()
  }
}

import { asError } from '../errors.ts'
import { RecordBatch, StatsCounter, type StatsHooks } from '../flow/index.ts'
import { PullStage, type PullCore } from '../flow/pull-stage.ts'
import { checkChoice, checkFunction, checkInteger, checkSignal } from '../options.ts'
import { checkOnInvalid } from './check-on-invalid.ts'
import {
  stringifyBlock,
  stringifyRecord,
  type JsonTextFormat,
  type OnInvalidRecord,
  type Stringify,
  type StringifyBlockOptions,
} from './stringify-block.ts'

/** Text that a chunk holds at least, in UTF-16 units (bytes, as long as it is ASCII). */
export const DEFAULT_CHUNK_THRESHOLD = 32 * 1024

/**
 * Text that may wait for the reader, in bytes. Node's default holds no second chunk, so that a file sink and the
 * stringifying would take turns; with four of them a file was written in 0.8 of the time.
 */
const DEFAULT_HIGH_WATER_MARK = 128 * 1024

/** Options of {@link JsonChunker}. */
export interface JsonChunkerOptions extends StatsHooks {
  /**
   * One JSON array, a line a record, or an RFC 7464 sequence.
   *
   * @defaultValue 'array'
   */
  readonly format?: JsonTextFormat
  /**
   * A chunk is sent when its text is this long, in UTF-16 units (bytes, as long as it is ASCII).
   *
   * @defaultValue 32 KiB
   */
  readonly threshold?: number
  /**
   * Gives the text of one record.
   *
   * @defaultValue `JSON.stringify`, called once for many records of a batch
   */
  readonly stringify?: Stringify
  /**
   * What to do with a record that JSON cannot hold: fail, leave it out, or write what a function returns instead
   * (`undefined` leaves it out).
   *
   * @defaultValue 'throw'
   */
  readonly onInvalid?: OnInvalidRecord
  /** Aborts the stage. */
  readonly signal?: AbortSignal
  /**
   * How much text may wait for the reader, in bytes, before the stage takes no more records.
   *
   * @defaultValue 128 KiB
   */
  readonly highWaterMark?: number
}

/** How many records the first piece of the first batch has: their size is not known yet. */
const FIRST_PIECE = 8

/** Grows a text record by record, and gives it away chunk by chunk. */
class ChunkerCore implements PullCore<unknown, Buffer> {
  readonly #format: JsonTextFormat
  readonly #threshold: number
  readonly #options: StringifyBlockOptions
  readonly #counter: StatsCounter
  #text = ''
  /** Records in `#text`. */
  #held = 0
  /** Records taken so far: the number of the next one. */
  #index = 0
  #isFirst = true
  #batch: readonly unknown[] = []
  #cursor = 0
  #unitsPerRecord: number
  #error: Error | undefined
  #ended = false

  constructor(
    format: JsonTextFormat,
    threshold: number,
    options: StringifyBlockOptions,
    counter: StatsCounter,
  ) {
    this.#format = format
    this.#threshold = threshold
    this.#options = options
    this.#counter = counter
    this.#unitsPerRecord = threshold / FIRST_PIECE
  }

  write(chunk: unknown): void {
    if (RecordBatch.is(chunk)) {
      this.#counter.received(0, chunk.length)
      this.#batch = chunk.records
      this.#cursor = 0
      return
    }
    this.#counter.received(0, 1)
    // at once, not when the chunk is full: the record is the writer's again when its write is done
    try {
      const text = stringifyRecord(chunk, this.#format, this.#index++, this.#options)
      if (text !== undefined) this.#append(text, 1)
    } catch (error) {
      this.#error = asError(error)
    }
  }

  end(): void {
    this.#ended = true
  }

  next(): Buffer | undefined {
    while (
      this.#text.length < this.#threshold &&
      this.#cursor < this.#batch.length &&
      this.#error === undefined
    ) {
      this.#takePiece()
    }
    if (this.#text.length >= this.#threshold) return this.#flush()
    if (this.#error !== undefined) {
      if (this.#text !== '') return this.#flush()
      throw this.#error
    }
    this.#batch = []
    if (!this.#ended) return undefined
    this.#ended = false
    if (this.#format === 'array') this.#text += this.#isFirst ? '[]' : ']'
    return this.#text === '' ? undefined : this.#flush()
  }

  /**
   * As many records of the batch as probably fill the chunk: a large batch gives many chunks, not a large one. The rest
   * of a batch goes along if it fits in twice that, because a cut costs 3 %.
   */
  #takePiece(): void {
    const left = this.#batch.length - this.#cursor
    const room = this.#threshold - this.#text.length
    const fits = left * this.#unitsPerRecord <= room + this.#threshold
    const count = fits ? left : Math.max(1, Math.ceil(room / this.#unitsPerRecord))
    const from = this.#cursor
    const isWhole = from === 0 && count >= this.#batch.length
    const piece = isWhole ? this.#batch : this.#batch.slice(from, from + count)
    this.#cursor += piece.length
    const { text, written, error } = stringifyBlock(piece, this.#format, this.#index, this.#options)
    this.#index += piece.length
    this.#error = error
    if (written === 0) return
    this.#unitsPerRecord = text.length / written
    this.#append(text, written)
  }

  #append(text: string, records: number): void {
    if (this.#format === 'array') this.#text += this.#isFirst ? '[' : ','
    this.#text += text
    this.#isFirst = false
    this.#held += records
  }

  #flush(): Buffer {
    const chunk = Buffer.from(this.#text)
    this.#counter.sent(chunk.length, this.#held)
    this.#text = ''
    this.#held = 0
    return chunk
  }
}

/**
 * A stream of records, or batches of them, in; out come JSON bytes: an array, NDJSON, or a text sequence.
 *
 * @remarks
 * Chunks hold about `threshold` bytes and never one record each: a chunk a record costs half of the speed on the way
 * to a file. A large batch comes out in many chunks, as fast as they are read. Memory: one chunk, and the batch that
 * is being written. Batches are faster than single records by half (one `JSON.stringify` for many).
 *
 * No record gives `[]`, or nothing in the other formats. A record that JSON cannot hold (`undefined`, a function, a
 * symbol, a BigInt, a cycle) is an error with the number of the record, `ERR_MILLRACE_JSON_VALUE`, after all records
 * before it were written. `null` is a record like any other, but can travel in a batch only.
 *
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { text } from 'node:stream/consumers'
 * import { JsonChunker, RecordBatch } from 'millrace'
 *
 * const records = Readable.from([{ a: 1 }, new RecordBatch(1, [null, 2])])
 * assert.equal(await text(records.pipe(new JsonChunker())), '[{"a":1},null,2]')
 * ```
 */
export class JsonChunker extends PullStage<unknown, Buffer> {
  constructor({
    format = 'array',
    threshold = DEFAULT_CHUNK_THRESHOLD,
    stringify,
    onInvalid = 'throw',
    signal,
    highWaterMark = DEFAULT_HIGH_WATER_MARK,
    ...hooks
  }: JsonChunkerOptions = {}) {
    checkChoice('format', format, ['array', 'ndjson', 'seq'])
    checkInteger('threshold', threshold, 1)
    checkFunction('stringify', stringify)
    checkOnInvalid(onInvalid)
    checkSignal('signal', signal)
    checkInteger('highWaterMark', highWaterMark)
    const counter = new StatsCounter('JsonChunker', hooks)
    super(new ChunkerCore(format, threshold, { stringify, onInvalid }, counter), counter, {
      writableObjectMode: true,
      ...(signal && { signal }),
      readableHighWaterMark: highWaterMark,
    })
  }
}

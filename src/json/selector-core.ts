import { getManyValues, isMany, none } from 'stream-chain/core'
import { ignore } from 'stream-json/core/filters/ignore.js'
import { pick } from 'stream-json/core/filters/pick.js'
import { jsonParser, type Token } from 'stream-json/core/parser.js'
import { streamArray } from 'stream-json/core/streamers/stream-array.js'
import { streamObject } from 'stream-json/core/streamers/stream-object.js'
import { streamValues } from 'stream-json/core/streamers/stream-values.js'
import { jsonVerifier, type VerifierError } from 'stream-json/core/utils/verifier.js'
import { JsonError, asError } from '../errors.ts'
import { RecordBatch, type StatsCounter } from '../flow/index.ts'
import type { PullCore } from '../flow/pull-stage.ts'
import { TextPieces, type TextPiece } from './text-pieces.ts'

/** A token of JSON, as stream-json makes them: `{ name: 'startObject' }`, `{ name: 'keyValue', value: 'id' }`, … */
export type JsonToken = Token

/**
 * Chooses parts of a document by their path: `'data.items'` (and all below), a pattern for the path joined with dots,
 * or a function of the keys and indices on the way.
 */
export type JsonFilter = string | RegExp | ((path: readonly (string | number | null)[]) => boolean)

/** The checked options that the core works by. */
export interface SelectorSettings {
  readonly pick: JsonFilter | undefined
  readonly ignore: JsonFilter | undefined
  readonly records: 'values' | 'elements' | 'members' | 'tokens'
  readonly concat: boolean
  readonly maxDepth: number
  readonly maxValueBytes: number
  readonly nulls: 'keep' | 'skip' | 'error'
  readonly batchSize: number
}

/** Bytes that are tokenised at once, so that the edges of string pieces follow from the input, not from its chunks. */
const PIECE = 16 * 1024
/** The verifier may find fault with a token that began this many characters before the piece. */
const LOOK_BACK = 64

type Stage = (token: Token | typeof none) => unknown
type TextStage = (text: string | typeof none) => unknown

const sizeOf = (token: Token) =>
  'value' in token && typeof token.value === 'string' ? token.value.length : 1

/** Bytes in, batches of selected records out, token by token. No stream in it. */
export class SelectorCore<T> implements PullCore<Uint8Array, RecordBatch<T>> {
  readonly #settings: SelectorSettings
  readonly #counter: StatsCounter
  readonly #pieces = new TextPieces()
  readonly #verify: TextStage
  readonly #tokenise: TextStage
  readonly #filters: readonly Stage[]
  readonly #assemble: Stage | undefined
  readonly #piece = Buffer.allocUnsafeSlow(PIECE)
  #filled = 0
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  #tokens: readonly Token[] = []
  #cursor = 0
  #depth = 0
  /** Characters since the last token, and those of the record that is being put together. */
  #open = 0
  #size = 0
  #records: unknown[] = []
  /** Records found, those left out included, and those given. */
  #seen = 0
  #given = 0
  #error: Error | undefined
  #ended = false
  #flushed = false
  #closed = false
  /** Text right before the next piece, for the place of an error: characters, and where they begin. */
  #back = { text: '', units: 0, offset: 0, line: 1, column: 1 }

  constructor(settings: SelectorSettings, counter: StatsCounter) {
    this.#settings = settings
    this.#counter = counter
    const tokens = settings.records === 'tokens'
    const jsonStreaming = settings.concat
    this.#verify = jsonVerifier({ jsonStreaming }) as TextStage
    const strings = tokens && { packStrings: false }
    this.#tokenise = jsonParser({ jsonStreaming, streamValues: false, ...strings }) as TextStage
    const { maxDepth } = settings
    this.#filters = [
      ...(settings.pick === undefined ? [] : [pick({ filter: settings.pick as string, maxDepth }) as Stage]),
      ...(settings.ignore === undefined
        ? []
        : [ignore({ filter: settings.ignore as string, maxDepth }) as Stage]),
    ]
    const assemblers = { values: streamValues, elements: streamArray, members: streamObject }
    this.#assemble = settings.records === 'tokens' ? undefined : (assemblers[settings.records]() as Stage)
  }

  write(chunk: Uint8Array): void {
    this.#counter.received(chunk.length)
    this.#chunk = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    this.#at = 0
  }

  end(): void {
    this.#ended = true
  }

  next(): RecordBatch<T> | undefined {
    for (;;) {
      if (this.#records.length >= this.#settings.batchSize) return this.#batch()
      if (this.#cursor < this.#tokens.length) this.#take(this.#tokens[this.#cursor++]!)
      else if (this.#error !== undefined) {
        if (this.#records.length > 0) return this.#batch()
        throw this.#error
      } else if (this.#fill()) this.#read(this.#piece.subarray(0, this.#filled), false)
      else if (!this.#ended) return undefined
      else if (!this.#flushed) this.#flush()
      else if (!this.#closed) this.#close()
      else return this.#records.length > 0 ? this.#batch() : undefined
    }
  }

  #batch(): RecordBatch<T> {
    const batch = new RecordBatch(this.#given, this.#records as T[])
    this.#given += this.#records.length
    this.#counter.sent(0, this.#records.length)
    this.#records = []
    return batch
  }

  /** Fills the piece from the chunk. True when it is full. */
  #fill(): boolean {
    if (this.#filled === PIECE) this.#filled = 0
    const copied = this.#chunk.copy(this.#piece, this.#filled, this.#at)
    this.#filled += copied
    this.#at += copied
    return this.#filled === PIECE
  }

  /** Checks the next bytes and makes tokens of them, up to the first fault. */
  #read(bytes: Buffer, isLast: boolean): void {
    const piece = this.#pieces.decode(bytes, isLast)
    const good = this.#check(piece, isLast)
    try {
      const made = this.#tokenise(piece.text.slice(0, good))
      this.#tokens = isMany(made) ? (getManyValues(made) as Token[]) : made === none ? [] : [made as Token]
      /* v8 ignore start -- the verifier has let the text pass */
    } catch (error) {
      this.#error ??= asError(error)
    }
    /* v8 ignore stop */
    this.#cursor = 0
    this.#open = this.#tokens.length === 0 ? this.#open + piece.text.length : 0
    if (this.#open > this.#settings.maxValueBytes) this.#failTooLong(piece.offset)
  }

  /** How many characters of the piece are JSON; the error is kept until all before it is given. */
  #check({ text, offset }: TextPiece, isLast: boolean): number {
    const back = this.#back
    const start = back.units + back.text.length
    let good = text.length
    try {
      this.#verify(text)
      if (isLast && this.#pieces.badAt === undefined) this.#verify(none)
    } catch (error) {
      const cause = error as VerifierError
      good = Math.max(0, cause.offset - start)
      const reason = cause.message
        .replace(/^ERROR[^:]*: /, '')
        .replace(/^Verifier (cannot parse input: |has )?/, '')
      const atEnd = isLast && cause.offset >= start + text.length
      const code = atEnd ? (this.#seen === 0 && start + text.length === 0 ? 'EMPTY' : 'TRUNCATED') : 'SYNTAX'
      this.#error = this.#fault(code, reason, back.text + text, cause.offset - back.units, cause)
    }
    if (this.#error === undefined && this.#pieces.badAt !== undefined) {
      this.#error = this.#fault('UTF8', 'not UTF-8', back.text + text, back.text.length + text.length)
    }
    this.#remember(back.text + text, offset + Buffer.byteLength(text))
    return good
  }

  #fault(code: string, reason: string, text: string, units: number, cause?: unknown): JsonError {
    const before = text.slice(0, Math.max(0, units))
    const { line, column } = this.#advance(before)
    const offset = this.#back.offset + Buffer.byteLength(before)
    const message = `invalid JSON at byte ${offset} (line ${line}, column ${column}): ${reason}`
    return new JsonError(`ERR_MILLRACE_JSON_${code}`, message, { offset, line, column, cause })
  }

  /** Line and column behind some text that follows `#back`'s start. */
  #advance(text: string): { line: number; column: number } {
    let { line, column } = this.#back
    const last = text.lastIndexOf('\n')
    if (last !== -1) column = 1
    for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) line++
    return { line, column: column + Buffer.byteLength(text.slice(last + 1)) }
  }

  #remember(text: string, end: number): void {
    const gone = Math.max(0, text.length - LOOK_BACK)
    const kept = text.slice(gone)
    const units = this.#back.units + gone
    this.#back = {
      text: kept,
      units,
      offset: end - Buffer.byteLength(kept),
      ...this.#advance(text.slice(0, gone)),
    }
  }

  #flush(): void {
    this.#flushed = true
    this.#read(this.#piece.subarray(0, this.#filled === PIECE ? 0 : this.#filled), true)
    if (this.#error !== undefined) return
    const made = this.#tokenise(none)
    const rest = isMany(made) ? (getManyValues(made) as Token[]) : []
    this.#tokens = [...this.#tokens, ...rest]
  }

  #take(token: Token): void {
    const { name } = token
    if (name === 'startObject' || name === 'startArray') {
      if (++this.#depth > this.#settings.maxDepth)
        return this.#stop('DEPTH', `nested deeper than ${this.#settings.maxDepth} levels`)
    } else if (name === 'endObject' || name === 'endArray') this.#depth--
    try {
      this.#pass(token, 0)
    } catch (error) {
      this.#stop('PATH', asError(error).message, error)
    }
  }

  /** A filter may owe the brackets of what it let through. */
  #close(): void {
    this.#closed = true
    for (const [index, filter] of this.#filters.entries()) this.#passAll(filter(none), index + 1)
  }

  #pass(token: Token, index: number): void {
    const filter = this.#filters[index]
    if (filter === undefined) this.#put(token)
    else this.#passAll(filter(token), index + 1)
  }

  #passAll(made: unknown, index: number): void {
    if (isMany(made)) for (const value of getManyValues(made)) this.#pass(value as Token, index)
    else if (made !== none) this.#pass(made as Token, index)
  }

  #put(token: Token): void {
    if (this.#assemble === undefined) {
      this.#seen++
      this.#records.push(token)
      return
    }
    this.#size += sizeOf(token)
    if (this.#size > this.#settings.maxValueBytes) return this.#failTooLong()
    const made = this.#assemble(token)
    if (made === none) return
    this.#size = 0
    const record: unknown = this.#settings.records === 'members' ? made : (made as { value: unknown }).value
    if (record === null && this.#settings.nulls === 'error') {
      this.#stop(
        'NULL',
        "null ends an object stream: take records in batches (batches: true) or leave it out (nulls: 'skip')",
      )
    } else {
      this.#seen++
      if (record !== null || this.#settings.nulls === 'keep') this.#records.push(record)
    }
  }

  #failTooLong(offset?: number): void {
    this.#stop('TOO_LONG', `longer than ${this.#settings.maxValueBytes} bytes`, undefined, offset)
  }

  /** Ends the stage at the record that is under way. */
  #stop(code: string, reason: string, cause?: unknown, offset?: number): void {
    this.#tokens = []
    this.#cursor = 0
    this.#error = new JsonError(`ERR_MILLRACE_JSON_${code}`, `record ${this.#seen}: ${reason}`, {
      index: this.#seen,
      ...(offset !== undefined && { offset }),
      cause,
    })
  }
}

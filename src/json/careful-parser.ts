import { isAscii, isUtf8 } from 'node:buffer'
import { JsonError, asError } from '../errors.ts'
import type { BlockPosition } from '../flow/index.ts'
import { DEFAULT_MAX_DEPTH } from '../framing/json-scanner.ts'
import { findJsonFault, isJsonSpace, type JsonFault } from './find-json-fault.ts'
import { afterString, jsonFrames, type JsonFrame, type JsonLayout } from './json-frames.ts'

/**
 * What `JSON.parse` takes as its second argument. Called for each record by itself, whose root has the key `''`; a
 * record for which it returns `undefined` is left out.
 */
export type Reviver = (this: unknown, key: string, value: unknown) => unknown

/**
 * What to do with a record that is not JSON: fail, leave it out, or ask a function, whose result takes the record's
 * place (`undefined` leaves it out, a throw fails the stage with what was thrown).
 */
export type OnInvalid = 'throw' | 'skip' | ((error: JsonError) => unknown)

/** Options of {@link parseBlock}. */
export interface ParseBlockOptions {
  /** @defaultValue 1024 brackets. Checked here for lines and sequences; a scanner has checked the other layouts. */
  readonly maxDepth?: number
  /** @defaultValue 'throw' */
  readonly onInvalid?: OnInvalid
  readonly reviver?: Reviver | undefined
  /**
   * What to do with a record that is `null`: keep it, leave it out, or fail with `ERR_MILLRACE_JSON_NULL`.
   *
   * @defaultValue 'keep'
   */
  readonly nulls?: 'keep' | 'skip' | 'error'
  /**
   * What `index` counts in lines: records, or frames, so blank lines too. Only frames can be counted without having parsed
   * what came before, so blocks that are parsed apart from each other are numbered by them.
   *
   * @defaultValue 'records'
   */
  readonly numbering?: 'records' | 'frames'
}

/** Where a block starts, and how many frames its scanner counted in it, if it did. */
export interface BlockStart extends BlockPosition {
  readonly frames?: number
}

/** Nesting needs an opening and a closing bracket a level, so short text is shallow without a look. */
export const mayBeDeep = (length: number, maxDepth: number) => length >= 2 * maxDepth + 2

/** Whether text has more opening brackets than `maxDepth`, in strings or not: only then is it worth to count levels. */
export function hasManyOpeners(text: string, maxDepth: number): boolean {
  let openers = 0
  for (let i = 0; i < text.length; i++) {
    if ((text.charCodeAt(i) | 0x20) === 0x7b && ++openers > maxDepth) return true
  }
  return false
}

const LF = 0x0a

const UNIT = { array: 'element', object: 'member', concat: 'value', lines: 'line', seq: 'text' } as const
const CODE = {
  syntax: 'ERR_MILLRACE_JSON_SYNTAX',
  truncated: 'ERR_MILLRACE_JSON_TRUNCATED',
  depth: 'ERR_MILLRACE_JSON_DEPTH',
  utf8: 'ERR_MILLRACE_JSON_UTF8',
} as const

/** Line and column of a byte of a block. */
function place(bytes: Uint8Array, to: number, at: BlockPosition): { line: number; column: number } {
  let { line, column } = at
  let start = 0
  for (let i = bytes.indexOf(LF); i !== -1 && i < to; i = bytes.indexOf(LF, i + 1)) {
    line++
    column = 1
    start = i + 1
  }
  return { line, column: column + to - start }
}

/** Walks a block record by record. The fast ways above give up on anything unusual and leave it to this one. */
export class CarefulParser {
  readonly records: unknown[] = []
  readonly numbers: number[] = []
  seen = 0
  skipped = 0
  error: Error | undefined
  readonly #bytes: Buffer
  readonly #layout: JsonLayout
  readonly #at: BlockStart
  readonly #maxDepth: number
  readonly #options: ParseBlockOptions
  /** The whole block when it is ASCII: slices of it are cheaper than decoding each record. */
  readonly #ascii: string | undefined
  readonly #isUtf8: boolean
  readonly #byLine: boolean
  /** Line feeds before the byte `#countedTo` of the block. */
  #lineFeeds = 0
  #countedTo = 0

  constructor(bytes: Buffer, layout: JsonLayout, at: BlockStart, options: ParseBlockOptions) {
    this.#bytes = bytes
    this.#layout = layout
    this.#at = at
    this.#maxDepth =
      layout === 'lines' || layout === 'seq' ? (options.maxDepth ?? DEFAULT_MAX_DEPTH) : Infinity
    this.#options = options
    this.#ascii = isAscii(bytes) ? bytes.toString('latin1') : undefined
    this.#isUtf8 = this.#ascii !== undefined || isUtf8(bytes)
    this.#byLine = layout === 'lines' && options.numbering === 'frames'
  }

  run(): this {
    const { onInvalid = 'throw' } = this.#options
    try {
      for (const frame of jsonFrames(this.#bytes, this.#layout, this.#at.frames)) {
        const error = this.#parse(frame)
        if (error !== undefined) {
          if (onInvalid === 'throw') throw error
          this.#add(onInvalid === 'skip' ? undefined : onInvalid(error), frame)
        }
        this.seen++
      }
    } catch (thrown) {
      this.error = asError(thrown)
    }
    return this
  }

  #add(record: unknown, { start }: JsonFrame): void {
    const { nulls } = this.#options
    if (record === undefined || (record === null && nulls === 'skip')) {
      this.skipped++
    } else if (record === null && nulls === 'error') {
      const { where, ...facts } = this.#where(start)
      const ways = "take records in batches (batches: true) or leave it out (nulls: 'skip')"
      const message = `record ${facts.index} at ${where} is null, which ends an object stream: ${ways}`
      throw new JsonError('ERR_MILLRACE_JSON_NULL', message, facts)
    } else {
      this.records.push(record)
      this.numbers.push(this.#number(start))
    }
  }

  /** What `index` is for the record at `start`, which must not come before one asked for earlier. */
  #number(start: number): number {
    if (!this.#byLine) return this.#at.index + this.seen
    for (
      let at = this.#bytes.indexOf(LF, this.#countedTo);
      at !== -1 && at < start;
      at = this.#bytes.indexOf(LF, at + 1)
    ) {
      this.#lineFeeds++
      this.#countedTo = at + 1
    }
    return this.#at.index + this.#lineFeeds
  }

  /** Adds the frame's record, or says why it has none. */
  #parse(frame: JsonFrame): JsonError | undefined {
    const { start, end, closed } = frame
    if (this.#layout === 'seq' && !closed && this.#mayBeCut(start)) {
      return this.#invalid({ kind: 'truncated', offset: end, expected: 'white space after the value' }, frame)
    }
    let record: unknown
    try {
      record = this.#layout === 'object' ? this.#member(start, end) : this.#value(start, end)
    } catch (cause) {
      const fault = this.#fault(start, end)
      return fault === undefined ? this.#refused(start, cause) : this.#invalid(fault, frame, cause)
    }
    this.#add(record, frame)
    return undefined
  }

  #value(start: number, end: number): unknown {
    const text = this.#text(start, end)
    if (this.#isTooDeep(text, start, end)) throw new RangeError('nested too deep')
    return JSON.parse(text, this.#options.reviver as Parameters<typeof JSON.parse>[1])
  }

  /** Key and value each by themselves: an object of one member has a hidden class of its own in V8, which is slow. */
  #member(start: number, end: number): { key: string; value: unknown } | undefined {
    let colon = afterString(this.#bytes, start)
    const key: unknown = JSON.parse(this.#text(start, Math.min(colon, end)))
    while (isJsonSpace(this.#bytes[colon])) colon++
    if (typeof key !== 'string' || colon >= end || this.#bytes[colon] !== 0x3a)
      throw new SyntaxError('no member')
    const value = this.#value(colon + 1, end)
    return value === undefined ? undefined : { key, value }
  }

  #fault(start: number, end: number): JsonFault | undefined {
    if (this.#layout !== 'object') return findJsonFault(this.#bytes, start, end, this.#maxDepth)
    const object = Buffer.concat([Buffer.from('{'), this.#bytes.subarray(start, end), Buffer.from('}')])
    // of nothing, `{}` would be right
    const fault = findJsonFault(object, 0, start === end ? 1 : undefined)
    return (
      fault && {
        ...fault,
        expected: fault.expected,
        kind: fault.kind,
        offset: Math.min(end, start + fault.offset - 1),
      }
    )
  }

  #isTooDeep(text: string, start: number, end: number): boolean {
    return (
      mayBeDeep(text.length, this.#maxDepth) &&
      hasManyOpeners(text, this.#maxDepth) &&
      findJsonFault(this.#bytes, start, end, this.#maxDepth)?.kind === 'depth'
    )
  }

  /** RFC 7464, 2.4: a number or word at the end of a text may have lost its tail, unless white space follows. */
  #mayBeCut(start: number): boolean {
    const first = this.#bytes[start]
    return first !== 0x22 && first !== 0x5b && first !== 0x7b
  }

  #text(start: number, end: number): string {
    if (this.#ascii !== undefined) return this.#ascii.slice(start, end)
    if (this.#isUtf8 || isUtf8(this.#bytes.subarray(start, end)))
      return this.#bytes.toString('utf8', start, end)
    throw new TypeError('not UTF-8')
  }

  #refused(start: number, cause: unknown): JsonError {
    const { where, ...facts } = this.#where(start)
    return new JsonError(
      'ERR_MILLRACE_JSON_REVIVER',
      `the reviver threw on record ${facts.index} at ${where}`,
      {
        ...facts,
        cause,
      },
    )
  }

  #invalid(
    { kind, offset: to, expected }: JsonFault,
    { end, closed }: JsonFrame,
    cause?: unknown,
  ): JsonError {
    const isLast = !closed && (this.#layout === 'lines' || this.#layout === 'seq')
    const code = CODE[kind === 'truncated' && !isLast ? 'syntax' : kind]
    const atEnd = isLast ? 'the end of the input' : `the end of the ${UNIT[this.#layout]}`
    const actual = to < end ? describeByte(this.#bytes[to]!) : atEnd
    const { where, ...facts } = this.#where(to)
    const message = `invalid JSON in record ${facts.index} at ${where}: expected ${expected}, got ${actual}`
    return new JsonError(code, message, { ...facts, expected, actual, cause })
  }

  #where(to: number) {
    const index = this.#number(to)
    const offset = this.#at.offset + to
    const { line, column } = place(this.#bytes, to, this.#at)
    return { index, offset, line, column, where: `byte ${offset} (line ${line}, column ${column})` }
  }
}

const describeByte = (byte: number) =>
  byte > 0x20 && byte < 0x7f
    ? `'${String.fromCharCode(byte)}'`
    : `byte 0x${byte.toString(16).padStart(2, '0')}`

import { FrameFault } from './frame-scanner.ts'
import { CLOSE, FIRST, JsonScanState, type JsonScan } from './json-scan.ts'
import { isJsonOpener, skipJsonSpace } from './json-space.ts'

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_ARRAY = 0x5b
const BACKSLASH = 0x5c
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

/** What is skipped is never parsed, so its nesting costs nothing. */
const ANY_DEPTH = 0x7fff_ffff
/** A UTF-16 unit takes at most 6 bytes in JSON: backslash, u and four digits. */
const MOST_BYTES_PER_UNIT = 6

type Part = 'value' | 'key' | 'inKey' | 'colon' | 'skip' | 'behind' | 'rest'

const pathFault = (message: string, at?: number) => new FrameFault(message, at, 'ERR_MILLRACE_JSON_PATH')
const syntaxFault = (message: string, at: number) => new FrameFault(message, at, 'ERR_MILLRACE_JSON_SYNTAX')

/**
 * The way down to the value that a path names, and up again behind it to the end of the document. Only keys on the way are
 * read; all else is stepped over by its brackets and strings. Holds a few bytes: a key that may be the wanted one.
 */
export class JsonDescent {
  /** What the path leads to, once it is found. */
  target: 'array' | 'object' | undefined
  readonly #path: readonly string[]
  readonly #scanJson: JsonScan
  readonly #state = new JsonScanState()
  #part: Part = 'value'
  /** Closing brackets of what is open around the place, outermost first. */
  readonly #around: number[] = []
  /** Elements to step over before the wanted one. */
  #elements = 0
  #key: number[] = []
  #keyEscaped = false
  #keyPlain = true

  constructor(path: readonly string[], scanJson: JsonScan) {
    this.#path = path
    this.#scanJson = scanJson
  }

  /**
   * Goes on with the way down.
   *
   * @returns Index behind the bracket that opens the target, or -1 when it is still to come.
   * @throws {@link FrameFault} when the path leads to nothing, or to what holds no records.
   */
  descend(bytes: Buffer, from: number, to: number): number {
    let at = from
    while (at < to) {
      if (this.#part === 'inKey') {
        at = this.#readKey(bytes, at, to)
      } else if (this.#part === 'skip') {
        at = this.#skip(bytes, at, to)
      } else {
        at = skipJsonSpace(bytes, at, to)
        if (at === to) return -1
        if (this.#part === 'value') {
          this.#enter(bytes[at]!, at)
          if (this.target !== undefined) return at + 1
        } else if (this.#part === 'key') {
          this.#expectKey(bytes[at]!, at)
        } else {
          if (bytes[at] !== COLON) throw syntaxFault("expected ':' behind a key", at)
          this.#takeKey()
        }
        at++
      }
    }
    return -1
  }

  /**
   * Goes on from behind the target to the end of the document.
   *
   * @returns Index behind the last bracket, or -1 when it is still to come.
   * @throws {@link FrameFault} when brackets do not match.
   */
  ascend(bytes: Buffer, from: number, to: number): number {
    let at = from
    while (this.#around.length > 0) {
      if (this.#part === 'rest') {
        at = this.#scanJson(this.#state, bytes, at, to, CLOSE, ANY_DEPTH)
        if (this.#state.bracket === -1) return -1
      } else {
        at = skipJsonSpace(bytes, at, to)
        if (at === to) return -1
        if (bytes[at] === COMMA) {
          this.#part = 'rest'
          this.#state.reset()
          at++
          if (at === to) return -1
          continue
        }
      }
      const closer = this.#around.pop()!
      if (bytes[at] !== closer) throw syntaxFault(`expected ',' or '${String.fromCharCode(closer)}'`, at)
      this.#part = 'behind'
      at++
    }
    return at
  }

  /** All that was opened on the way down is closed again. */
  get isOver(): boolean {
    return this.#around.length === 0
  }

  /** Says where the way down stood when the input ended. */
  get where(): string {
    return this.#level === 0 ? 'the document' : `the value at ${this.#name(this.#level)}`
  }

  get #level(): number {
    return this.#around.length
  }

  #name(length: number): string {
    return JSON.stringify(this.#path.slice(0, length).join('.'))
  }

  /** A value begins on the path. */
  #enter(byte: number, at: number): void {
    const level = this.#level
    const isArray = byte === OPEN_ARRAY
    if (level === this.#path.length) {
      if (!isJsonOpener(byte)) {
        throw pathFault(`expected an array or object at path ${this.#name(level)}`, at)
      }
      this.target = isArray ? 'array' : 'object'
      this.#part = 'behind'
      return
    }
    const key = this.#path[level]!
    if (byte === OPEN_OBJECT) {
      this.#part = 'key'
    } else if (isArray && /^(0|[1-9]\d{0,14})$/.test(key)) {
      this.#elements = Number(key)
      this.#part = this.#elements > 0 ? 'skip' : 'value'
      this.#state.reset()
    } else {
      throw pathFault(`expected an object with the key ${JSON.stringify(key)}`, at)
    }
    this.#around.push(isArray ? CLOSE_ARRAY : CLOSE_OBJECT)
  }

  #expectKey(byte: number, at: number): void {
    if (byte === CLOSE_OBJECT) throw this.#missing(at)
    if (byte !== QUOTE) throw syntaxFault('expected a key', at)
    this.#part = 'inKey'
    this.#key = []
    this.#keyPlain = true
    this.#keyEscaped = false
  }

  #readKey(bytes: Buffer, from: number, to: number): number {
    const most = MOST_BYTES_PER_UNIT * this.#path[this.#level - 1]!.length
    for (let at = from; at < to; at++) {
      const byte = bytes[at]!
      if (this.#keyEscaped) this.#keyEscaped = false
      else if (byte === QUOTE) {
        this.#part = 'colon'
        return at + 1
      } else if (byte === BACKSLASH) {
        this.#keyEscaped = true
        this.#keyPlain = false
      }
      // one byte more than can match: longer keys are no different
      if (this.#key.length <= most) this.#key.push(byte)
    }
    return to
  }

  /** The key and its colon are read: its value is the next on the path, or one to step over. */
  #takeKey(): void {
    const wanted = this.#path[this.#level - 1]!
    this.#part = this.#isKey(wanted) ? 'value' : 'skip'
    this.#elements = 0
    this.#state.reset()
  }

  #isKey(wanted: string): boolean {
    const raw = Buffer.from(this.#key)
    if (this.#keyPlain) return raw.equals(Buffer.from(wanted))
    try {
      return JSON.parse(`"${raw.toString()}"`) === wanted
    } catch {
      // not JSON, but that is not looked at in what is skipped
      return false
    }
  }

  /** Steps over one value and the comma behind it. */
  #skip(bytes: Buffer, from: number, to: number): number {
    const at = this.#scanJson(this.#state, bytes, from, to, FIRST, ANY_DEPTH)
    if (this.#state.bracket !== -1) throw this.#missing(at)
    if (this.#state.comma === -1) return at
    this.#state.reset()
    if (this.#around.at(-1) === CLOSE_OBJECT) this.#part = 'key'
    else if (--this.#elements === 0) this.#part = 'value'
    return at
  }

  #missing(at: number): FrameFault {
    return pathFault(`expected the path ${this.#name(this.#level)}, got the end of what holds it`, at)
  }
}

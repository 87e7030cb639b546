/** Where and why a run of bytes is not one JSON value. */
export interface JsonFault {
  readonly kind: 'syntax' | 'truncated' | 'depth' | 'utf8'
  /** Index of the first byte that no JSON text could have here; `end` where the text stops too early. */
  readonly offset: number
  /** What could have stood there. */
  readonly expected: string
}

const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const QUOTE = 0x22
const PLUS = 0x2b
const COMMA = 0x2c
const MINUS = 0x2d
const DOT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const OPEN_ARRAY = 0x5b
const BACKSLASH = 0x5c
const CLOSE_ARRAY = 0x5d
const LOWER_U = 0x75
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

/** The letters that may follow a backslash, besides `u`. */
const ESCAPES = new Set(Buffer.from('"\\/bfnrt'))

export const isJsonSpace = (code: number | undefined): boolean =>
  code === SPACE || code === LF || code === CR || code === TAB

/** Length of the well-formed UTF-8 sequence of a non-ASCII character at `at`, or 0 (Unicode 15, table 3-7). */
export function sequenceLength(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at]!
  const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0
  if (length === 0 || at + length > end) return 0
  const second = bytes[at + 1]!
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf
  if (second < low || second > high) return 0
  for (let i = at + 2; i < at + length; i++) if ((bytes[i]! & 0xc0) !== 0x80) return 0
  return length
}

/** Thrown and caught in this file only: it leaves the grammar with one jump. */
class Fault extends Error implements JsonFault {
  readonly kind: JsonFault['kind']
  readonly offset: number
  readonly expected: string
  constructor(kind: JsonFault['kind'], offset: number, expected: string) {
    super(expected)
    this.kind = kind
    this.offset = offset
    this.expected = expected
  }
}

/** One pass over the grammar of RFC 8259. Nesting is a list, not recursion, so that depth costs no stack. */
class Validator {
  readonly #bytes: Uint8Array
  readonly #end: number
  readonly #maxDepth: number
  #at: number

  constructor(bytes: Uint8Array, start: number, end: number, maxDepth: number) {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
    this.#maxDepth = maxDepth
  }

  run(): void {
    const open: number[] = []
    for (;;) {
      this.#space()
      const code = this.#bytes[this.#at]!
      if (this.#at < this.#end && (code === OPEN_ARRAY || code === OPEN_OBJECT)) {
        if (open.length >= this.#maxDepth) {
          throw new Fault('depth', this.#at, `nesting of at most ${this.#maxDepth}`)
        }
        this.#at++
        this.#space()
        if (
          this.#at < this.#end &&
          this.#bytes[this.#at] === (code === OPEN_ARRAY ? CLOSE_ARRAY : CLOSE_OBJECT)
        ) {
          this.#at++
        } else {
          open.push(code)
          if (code === OPEN_OBJECT) this.#key("a key or '}'")
          continue
        }
      } else {
        this.#scalar(open.length > 0 && open.at(-1) === OPEN_ARRAY)
      }
      if (!this.#afterValue(open)) return
    }
  }

  /** Closes what ends here. True when another value must follow, false at the end of the text. */
  #afterValue(open: number[]): boolean {
    for (;;) {
      this.#space()
      const inside = open.at(-1)
      if (inside === undefined) {
        if (this.#at === this.#end) return false
        throw this.#fault('the end of the value')
      }
      const closer = inside === OPEN_ARRAY ? CLOSE_ARRAY : CLOSE_OBJECT
      const code = this.#at < this.#end ? this.#bytes[this.#at] : undefined
      if (code === COMMA) {
        this.#at++
        if (inside === OPEN_OBJECT) {
          this.#space()
          this.#key('a key')
        }
        return true
      }
      if (code !== closer) throw this.#fault(`',' or '${String.fromCharCode(closer)}'`)
      this.#at++
      open.pop()
    }
  }

  #space(): void {
    while (this.#at < this.#end && isJsonSpace(this.#bytes[this.#at])) this.#at++
  }

  #key(expected: string): void {
    if (this.#at >= this.#end || this.#bytes[this.#at] !== QUOTE) throw this.#fault(expected)
    this.#string()
    this.#space()
    if (this.#at >= this.#end || this.#bytes[this.#at] !== COLON) throw this.#fault("':'")
    this.#at++
  }

  #scalar(mayClose: boolean): void {
    const code = this.#at < this.#end ? this.#bytes[this.#at]! : 0
    if (code === QUOTE) this.#string()
    else if (code === MINUS || (code >= ZERO && code <= NINE)) this.#number()
    else if (code === 0x74) this.#word('true')
    else if (code === 0x66) this.#word('false')
    else if (code === 0x6e) this.#word('null')
    else throw this.#fault(mayClose ? 'a value in the array' : 'a value')
  }

  #word(word: string): void {
    for (let i = 0; i < word.length; i++, this.#at++) {
      if (this.#at >= this.#end || this.#bytes[this.#at] !== word.charCodeAt(i))
        throw this.#fault(`'${word}'`)
    }
  }

  #digits(): void {
    const start = this.#at
    while (this.#at < this.#end && this.#bytes[this.#at]! >= ZERO && this.#bytes[this.#at]! <= NINE)
      this.#at++
    if (this.#at === start) throw this.#fault('a digit')
  }

  #next(code: number): boolean {
    if (this.#at >= this.#end || this.#bytes[this.#at] !== code) return false
    this.#at++
    return true
  }

  #number(): void {
    this.#next(MINUS)
    if (!this.#next(ZERO)) this.#digits()
    if (this.#next(DOT)) this.#digits()
    if (this.#next(0x65) || this.#next(0x45)) {
      if (!this.#next(PLUS)) this.#next(MINUS)
      this.#digits()
    }
  }

  #string(): void {
    this.#at++
    for (;;) {
      if (this.#at >= this.#end) throw this.#fault("'\"'")
      const code = this.#bytes[this.#at]!
      if (code >= 0x80) {
        const length = sequenceLength(this.#bytes, this.#at, this.#end)
        if (length === 0) throw this.#fault('UTF-8')
        this.#at += length
      } else if (code < SPACE) {
        throw this.#fault('an escaped control character')
      } else {
        this.#at++
        if (code === QUOTE) return
        if (code === BACKSLASH) this.#escape()
      }
    }
  }

  #escape(): void {
    const code = this.#at < this.#end ? this.#bytes[this.#at]! : 0
    if (code !== LOWER_U) {
      if (!ESCAPES.has(code)) throw this.#fault('an escape')
      this.#at++
      return
    }
    this.#at++
    for (let i = 0; i < 4; i++, this.#at++) {
      const digit = this.#at < this.#end ? this.#bytes[this.#at]! : 0
      const isHex = (digit >= ZERO && digit <= NINE) || ((digit | 0x20) >= 0x61 && (digit | 0x20) <= 0x66)
      if (!isHex) throw this.#fault('a hexadecimal digit')
    }
  }

  #fault(expected: string): Fault {
    const at = this.#at
    if (at >= this.#end) return new Fault('truncated', this.#end, expected)
    if (this.#bytes[at]! >= 0x80 && sequenceLength(this.#bytes, at, this.#end) === 0) {
      return new Fault('utf8', at, 'UTF-8')
    }
    return new Fault('syntax', at, expected)
  }
}

/**
 * Takes bytes `[start, end)` that should be one JSON value in UTF-8 and says where they stop being that, or nothing
 * when they are. It agrees with `JSON.parse` on what is JSON, and is for the slow path only: the parser's own messages
 * count characters, not bytes, and differ from one version of Node to the next.
 *
 * @remarks O(n) time, O(depth) memory.
 * @see https://www.rfc-editor.org/rfc/rfc8259
 */
export function findJsonFault(
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
  maxDepth = Infinity,
): JsonFault | undefined {
  try {
    new Validator(bytes, start, end, maxDepth).run()
    return undefined
  } catch (error) {
    if (error instanceof Fault) return error
    /* v8 ignore start -- nothing else is thrown, unless there is a mistake above */
    throw error
  }
  /* v8 ignore stop */
}

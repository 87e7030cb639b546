import { isJsonSpace } from './find-json-fault.ts'

/**
 * How records stand in a block of whole frames.
 *
 * - `array`: `a , b , c`: elements of one array with the commas between, without brackets.
 * - `object`: `"k": a, "l": b`: members of one object, likewise; a record is `{ key, value }`.
 * - `concat`: values one after another, with or without white space between.
 * - `lines`: one value a line (NDJSON); blank lines hold nothing.
 * - `seq`: RFC 7464: a record separator (0x1E), a value, a line feed.
 */
export type JsonLayout = 'array' | 'object' | 'concat' | 'lines' | 'seq'

/** One record's bytes within a block: `[start, end)` without the white space around it. */
export interface JsonFrame {
  readonly start: number
  readonly end: number
  /** Whether something after the record shows that it is whole; only the last line or text of an input can lack it. */
  readonly closed: boolean
}

const LF = 0x0a
const SEPARATOR = 0x1e
const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c

const isOpener = (code: number) => (code | 0x20) === 0x7b
const isCloser = (code: number) => (code | 0x20) === 0x7d

/**
 * Index after the string or the escape at `at`. Outside strings no JSON has a backslash; in the scanners it escapes a
 * quote all the same, because that makes strings cheap to find 64 bytes at a time.
 */
function afterQuoted(bytes: Uint8Array, at: number): number {
  if (bytes[at] === QUOTE) return afterString(bytes, at)
  const next = bytes[at + 1]
  return next === QUOTE || next === BACKSLASH ? at + 2 : at + 1
}

/** Index after the string that starts at `at`. */
export function afterString(bytes: Uint8Array, at: number): number {
  for (let i = at + 1; i < bytes.length; i++) {
    if (bytes[i] === BACKSLASH) i++
    else if (bytes[i] === QUOTE) return i + 1
  }
  return bytes.length
}

/** Index of the comma at depth 0 that ends the element at `at`, or the end of the block. */
function elementEnd(bytes: Uint8Array, at: number): number {
  let depth = 0
  for (let i = at; i < bytes.length;) {
    const code = bytes[i]!
    if (code === QUOTE || code === BACKSLASH) {
      i = afterQuoted(bytes, i)
      continue
    }
    if (isOpener(code)) depth++
    else if (isCloser(code)) depth--
    else if (code === COMMA && depth === 0) return i
    i++
  }
  return bytes.length
}

/** Index after the value at `at` in a row of values: its closing bracket or quote, or where a bare word stops. */
function valueEnd(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!
  if (first === QUOTE) return afterString(bytes, at)
  let i = at
  if (isOpener(first)) {
    let depth = 0
    while (i < bytes.length) {
      const code = bytes[i]!
      if (code === QUOTE || code === BACKSLASH) {
        i = afterQuoted(bytes, i)
        continue
      }
      i++
      if (isOpener(code)) depth++
      else if (isCloser(code) && --depth === 0) return i
    }
    return bytes.length
  }
  do i++
  while (i < bytes.length && !isJsonSpace(bytes[i]) && bytes[i] !== QUOTE && !isOpener(bytes[i]!))
  return i
}

/**
 * Takes a block of whole frames and gives the place of each record in it, by the rules by which the scanners of the
 * framing room cut: brackets and strings only, so that a bad record does not move the edges of its neighbours.
 * Blank lines and empty texts of a sequence are passed over; an empty array element is a record (and a bad one).
 * Where the block is empty, `frames` tells an empty element from no element at all.
 *
 * @remarks O(n) time, O(1) memory.
 */
export function* jsonFrames(
  bytes: Uint8Array,
  layout: JsonLayout,
  frames = 0,
): Generator<JsonFrame, void, undefined> {
  const hasCommas = layout === 'array' || layout === 'object'
  let trailing = hasCommas && frames > 0
  for (let at = 0; at < bytes.length;) {
    let start = at
    let end: number
    if (hasCommas) {
      end = elementEnd(bytes, at)
      at = end + 1
      trailing = at === bytes.length
    } else if (layout === 'concat') {
      while (start < bytes.length && isJsonSpace(bytes[start])) start++
      if (start === bytes.length) return
      end = valueEnd(bytes, start)
      at = end
    } else if (layout === 'lines') {
      end = bytes.indexOf(LF, at)
      if (end === -1) end = bytes.length
      at = end + 1
    } else {
      if (bytes[at] === SEPARATOR) start++
      end = bytes.indexOf(SEPARATOR, start)
      if (end === -1) end = bytes.length
      at = end
    }
    const closed = layout === 'seq' ? end > start && isJsonSpace(bytes[end - 1]) : end < bytes.length
    while (start < end && isJsonSpace(bytes[start])) start++
    while (end > start && isJsonSpace(bytes[end - 1])) end--
    if (start === end && (layout === 'lines' || layout === 'seq')) continue
    yield { start, end, closed }
  }
  if (trailing) yield { start: bytes.length, end: bytes.length, closed: false }
}

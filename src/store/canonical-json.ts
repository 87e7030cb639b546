import { StoreError, describe } from '../errors.ts'

/** A record: a JSON object. */
export type JsonObject = { [key: string]: JsonValue }

/** What a record may hold. */
export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject

/** How deep a record may be nested. Protobuf counts three levels for each, and Go's stops at 10 000. */
export const MAX_RECORD_DEPTH = 1000

/** What Go's encoder writes differently, or what needs a closer look. */
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const SPECIAL = /[\u0000-\u001f"\\<>&\u2028\u2029\ud800-\udfff]/
const ESCAPED_BY_GO = /[<>&\u2028\u2029]/g
/** From here on the order of UTF-16 units is not the order of bytes in UTF-8. */
const HIGH = /[\ud800-\uffff]/

/** Different first keys whose order is remembered. */
const MAX_SHAPES = 1000

/** The keys of an object as they come, and how they are written. */
interface Shape {
  readonly keys: readonly string[]
  readonly sorted: readonly string[]
  /** `"key":` for each of `sorted`. */
  readonly names: readonly string[]
  /** The same as bytes. Made when it is asked for. */
  order?: KeyOrder
}

/** Keys in the order of their bytes. */
export interface KeyOrder {
  /** For each, its number among the keys as they come. */
  readonly from: readonly number[]
  /** For each, `"key":` in UTF-8. */
  readonly names: readonly { readonly bytes: Buffer; readonly isAscii: boolean }[]
  /** False if one comes twice. */
  readonly isUnique: boolean
}

/** Records of one kind have the same keys in the same order: sorting them once saves half of the time. */
const shapes = new Map<string, Shape>()

/**
 * A record in, the text out that its CID is the hash of: JSON without white space, keys in the order of their bytes in UTF-8, as
 * Go's `encoding/json` writes it.
 *
 * As in `JSON.stringify`, `toJSON` is used and members that are `undefined` are left out. Whatever else JSON cannot hold is
 * refused rather than changed.
 *
 * @remarks Takes time and memory in proportion to the record.
 * @throws {@link StoreError} `ERR_MILLRACE_STORE_INVALID` if it is no object, or holds a function, a symbol, a bigint, a number
 * that is not finite, text that is not well-formed, or more than 1000 levels.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { canonicalJson } from 'millrace/store'
 *
 * assert.equal(canonicalJson({ b: 1, a: '<é>', c: -0 }), '{"a":"\\u003cé\\u003e","b":1,"c":-0}')
 * ```
 */
export function canonicalJson(record: unknown): string {
  const value = plain(record)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`expected an object, got ${describe(record)}`)
  }
  return writeObject(value as Record<string, unknown>, 1)
}

/**
 * Canonical JSON in, the record out. As `JSON.parse`, but for what that of Node 24 makes of keys with escapes: it takes `"\\n"` for
 * `"\\\\"` where it has seen the latter in the same place before.
 */
export function parseCanonical(text: string): JsonObject {
  const record = JSON.parse(text) as JsonObject
  return !text.includes('\\') || canonicalJson(record) === text ? record : parseNumbered(text)
}

/** The way around: slower, and right on every Node. */
export function parseNumbered(text: string): JsonObject {
  // with a number of its own before each key, no key can be taken for one that was seen before
  let count = 0
  const numbered = text.replace(/"((?:[^"\\]|\\.)*)"(:?)/g, (string, content: string, colon: string) =>
    colon === '' ? string : `"${unique}.${count++} ${content}":`,
  )
  unique++
  return withoutNumbers(JSON.parse(numbered)) as JsonObject
}

let unique = 0

function withoutNumbers(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(withoutNumbers)
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key.slice(key.indexOf(' ') + 1), withoutNumbers(each)]),
  )
}

/** What `JSON.stringify` would take in its place. */
export function plain(value: unknown): unknown {
  return typeof value === 'object' &&
    value !== null &&
    typeof (value as { toJSON?: unknown }).toJSON === 'function'
    ? (value as { toJSON(): unknown }).toJSON()
    : value
}

/** What is wrong with a record. */
export function invalid(problem: string): StoreError {
  return new StoreError('ERR_MILLRACE_STORE_INVALID', 'item', `record: ${problem}`)
}

/** @throws {@link StoreError} if the text has half a surrogate pair, which no encoding can carry. */
export function checkWellFormed(text: string): void {
  if (!text.isWellFormed()) throw invalid(`expected well-formed text, got ${describe(text)}`)
}

function write(value: unknown, depth: number): string {
  if (typeof value === 'string') return writeString(value)
  if (typeof value === 'number') return writeNumber(value)
  if (value === null) return 'null'
  if (typeof value === 'boolean') return value ? 'true' : 'false'
  if (typeof value !== 'object') throw invalid(`expected JSON, got ${describe(value)}`)
  if (depth > MAX_RECORD_DEPTH) throw invalid(`expected at most ${MAX_RECORD_DEPTH} levels, got more`)
  if (Array.isArray(value)) {
    let text = '['
    for (let i = 0; i < value.length; i++) text += (i > 0 ? ',' : '') + write(plain(value[i]), depth + 1)
    return text + ']'
  }
  return writeObject(value as Record<string, unknown>, depth)
}

function writeObject(object: Record<string, unknown>, depth: number): string {
  const { sorted, names } = shapeOf(Object.keys(object))
  let text = ''
  for (let i = 0; i < sorted.length; i++) {
    let value = object[sorted[i]!]
    if (typeof value === 'object') value = plain(value)
    if (value === undefined) continue
    text += (text === '' ? '{' : ',') + names[i]! + write(value, depth + 1)
  }
  return text === '' ? '{}' : text + '}'
}

/** The order of the keys of an object. */
export function keyOrder(keys: string[]): KeyOrder {
  const shape = shapeOf(keys)
  shape.order ??= {
    from: shape.sorted.map((key) => shape.keys.indexOf(key)),
    names: shape.names.map((name) => {
      const bytes = Buffer.from(name)
      return { bytes, isAscii: bytes.length === name.length }
    }),
    isUnique: new Set(keys).size === keys.length,
  }
  return shape.order
}

function shapeOf(keys: string[]): Shape {
  const first = keys[0] ?? ''
  const known = shapes.get(first)
  if (known !== undefined && isSame(known.keys, keys)) return known
  const sorted = keys.toSorted()
  if (sorted.some((key) => HIGH.test(key)))
    sorted.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const shape: Shape = { keys, sorted, names: sorted.map((key) => `${writeString(key)}:`) }
  // a record used as a table, with its keys as data, shall not be kept
  if (keys.length <= 256) {
    if (shapes.size >= MAX_SHAPES) shapes.clear()
    shapes.set(first, shape)
  }
  return shape
}

function isSame(known: readonly string[], keys: readonly string[]): boolean {
  if (known.length !== keys.length) return false
  for (let i = 0; i < keys.length; i++) if (known[i] !== keys[i]) return false
  return true
}

/** Text as Go's encoder writes it. */
function writeString(text: string): string {
  if (!SPECIAL.test(text)) return `"${text}"`
  checkWellFormed(text)
  return JSON.stringify(text).replace(
    ESCAPED_BY_GO,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

export function writeNumber(number: number): string {
  if (!Number.isFinite(number)) throw invalid(`expected a finite number, got ${number}`)
  // JavaScript prints minus zero without its sign
  return number === 0 && Object.is(number, -0) ? '-0' : `${number}`
}

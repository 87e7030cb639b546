import * as fc from 'fast-check'
import { checkBoolean, checkChoice, checkInteger } from '../options.ts'

/** How the records of a {@link JsonDocument} stand one after another. */
export const JSON_DOCUMENT_FORMATS = ['array', 'ndjson', 'concat', 'seq'] as const

/** See {@link jsonDocument}. */
export type JsonDocumentFormat = (typeof JSON_DOCUMENT_FORMATS)[number]

/** Options of {@link jsonText} and {@link jsonValue}. */
export interface JsonTextOptions {
  /**
   * Whether line breaks may stand between tokens.
   *
   * @defaultValue true
   */
  readonly lineBreaks?: boolean
  /**
   * How deep a chain of brackets may come up; other nesting stays shallow.
   *
   * @defaultValue 50
   */
  readonly maxDepth?: number
}

/** Options of {@link jsonDocument}. */
export interface JsonDocumentOptions {
  /** How the records are written down. */
  readonly format: JsonDocumentFormat
  /**
   * Texts of the records. For `'ndjson'` without line breaks.
   *
   * @defaultValue {@link jsonText}
   */
  readonly record?: fc.Arbitrary<string>
  /**
   * Most records of a document.
   *
   * @defaultValue 10
   */
  readonly maxRecords?: number
}

/** Bytes, and what a reader must find in them. */
export interface JsonDocument {
  readonly bytes: Buffer
  readonly records: readonly unknown[]
}

const NUMBERS = [
  '0',
  '-0',
  '-0.0',
  '1e5',
  '1E+05',
  '-1.5e-7',
  '1e400',
  '5e-324',
  '123456789012345678901',
  '0.1e1',
]
const KEYS = ['__proto__', 'constructor', 'toJSON', 'length', '', 'a', 'a']
const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '/': '\\/',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
}
/** What a scanner of brackets and quotes may stumble over, and what a decoder of UTF-8 may. */
const CHARACTERS = [
  '"',
  '\\',
  '/',
  '[',
  ']',
  '{',
  '}',
  ',',
  ':',
  '\0',
  '\n',
  '\t',
  '\u007f',
  '\u2028',
  '\ufeff',
  '\ufffd',
  'é',
  '水',
  '😀',
]

const escaped = (text: string) =>
  text
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('')
const mustEscape = (text: string) => text < ' ' || text === '"' || text === '\\'

/** A character as it may stand in a string: as it is, as `\u` with either case of digits, or in its short form. */
const spelled: fc.Arbitrary<string> = fc.oneof(
  fc
    .tuple(
      fc.oneof(
        fc.constantFrom(...CHARACTERS),
        fc.string({ minLength: 1, maxLength: 1 }),
        fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
      ),
      fc.nat(3),
    )
    .map(([text, way]) => {
      if (way === 0) return escaped(text)
      if (way === 1) return escaped(text).replaceAll(/[a-f]/g, (digit) => digit.toUpperCase())
      if (way === 2 && text in SHORT_ESCAPES) return SHORT_ESCAPES[text]!
      return text.split('').some(mustEscape) ? escaped(text) : text
    }),
  // halves of a pair: text that JSON can hold and UTF-8 cannot
  { arbitrary: fc.constantFrom('\\ud83d', '\\uDE00', '\\ud83d\\ude00'), weight: 1 },
)
const stringText = fc.array(spelled, { maxLength: 8 }).map((parts) => `"${parts.join('')}"`)
const keyText = fc.oneof(
  fc.constantFrom(...KEYS).map((key) => JSON.stringify(key)),
  stringText,
)
const numberText = fc.oneof(
  fc.constantFrom(...NUMBERS),
  fc.integer().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => JSON.stringify(number)),
)

const space = (characters: readonly string[]) =>
  fc.oneof(
    { arbitrary: fc.constant(''), weight: 3 },
    fc.string({ unit: fc.constantFrom(...characters), maxLength: 3 }),
  )

/**
 * An arbitrary of JSON texts, each of one value: any white space between tokens, strange numbers and strings in all their
 * spellings, keys such as `__proto__` and equal keys, long chains of brackets. `JSON.parse` says what they mean.
 *
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import fc from 'fast-check'
 * import { jsonText } from 'millrace/testing'
 *
 * fc.assert(
 *   fc.property(jsonText(), (text) => {
 *     assert.doesNotThrow(() => JSON.parse(text))
 *   }),
 * )
 * ```
 */
export function jsonText({ lineBreaks = true, maxDepth = 50 }: JsonTextOptions = {}): fc.Arbitrary<string> {
  checkBoolean('lineBreaks', lineBreaks)
  checkInteger('maxDepth', maxDepth, 1)
  const gap = space(lineBreaks ? [' ', '\t', '\n', '\r'] : [' ', '\t'])
  const { value } = fc.letrec<{ value: string; scalar: string }>((tie) => {
    const list = (item: fc.Arbitrary<string>) =>
      fc
        .tuple(
          gap,
          fc.array(
            fc.tuple(gap, item, gap).map((parts) => parts.join('')),
            { maxLength: 4 },
          ),
        )
        .map(([inside, items]) => (items.length === 0 ? inside : items.join(',')))
    const member = fc
      .tuple(keyText, gap, gap, tie('value'))
      .map(([key, before, after, text]) => `${key}${before}:${after}${text}`)
    return {
      scalar: fc.oneof(fc.constantFrom('null', 'true', 'false'), numberText, stringText),
      value: fc.oneof(
        { maxDepth: 3 },
        { arbitrary: tie('scalar'), weight: 6 },
        { arbitrary: list(tie('value')).map((items) => `[${items}]`), weight: 2 },
        { arbitrary: list(member).map((items) => `{${items}}`), weight: 3 },
        {
          arbitrary: fc
            .tuple(fc.integer({ min: 1, max: maxDepth }), tie('scalar'))
            .map(([depth, text]) => `${'['.repeat(depth)}${text}${']'.repeat(depth)}`),
          weight: 1,
        },
      ),
    }
  })
  return value
}

/**
 * An arbitrary of JSON values: what {@link jsonText} means, odd numbers, lone surrogates and own `__proto__` keys included.
 *
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import fc from 'fast-check'
 * import { jsonValue } from 'millrace/testing'
 *
 * fc.assert(
 *   fc.property(jsonValue(), (value) => {
 *     assert.equal(JSON.stringify(JSON.parse(JSON.stringify(value))), JSON.stringify(value))
 *   }),
 * )
 * ```
 */
export function jsonValue(options?: JsonTextOptions): fc.Arbitrary<unknown> {
  return jsonText(options).map((text): unknown => JSON.parse(text))
}

/**
 * An arbitrary of documents in a format: their bytes, and the records that a reader must find in them.
 *
 * - `'array'`: one array, with white space wherever it may stand.
 * - `'ndjson'`: a record a line, with empty lines, either line end, and a last line with or without one.
 * - `'concat'`: records one after another, apart only where they must be.
 * - `'seq'`: an RFC 7464 sequence.
 *
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import fc from 'fast-check'
 * import { jsonDocument } from 'millrace/testing'
 *
 * fc.assert(
 *   fc.property(jsonDocument({ format: 'array' }), ({ bytes, records }) => {
 *     assert.deepEqual(JSON.parse(String(bytes)), records)
 *   }),
 * )
 * ```
 */
export function jsonDocument({
  format,
  record,
  maxRecords = 10,
}: JsonDocumentOptions): fc.Arbitrary<JsonDocument> {
  checkChoice('format', format, JSON_DOCUMENT_FORMATS)
  checkInteger('maxRecords', maxRecords)
  const text = record ?? jsonText({ lineBreaks: format !== 'ndjson' })
  const gap = space([' ', '\t', '\n', '\r'])
  const lineEnd = fc.constantFrom('\n', '\r\n', '\n\n', '\n \n')
  const parts = fc.array(fc.record({ text, before: gap, after: gap, lineEnd }), { maxLength: maxRecords })
  return fc
    .record({ parts, first: gap, last: gap, open: fc.boolean() })
    .map(({ parts, first, last, open }) => {
      const texts = parts.map(({ text }) => text)
      let whole: string
      if (format === 'array') {
        const items = parts.map(({ before, text, after }) => before + text + after)
        whole = `${first}[${items.length === 0 ? last : items.join(',')}]${last}`
      } else if (format === 'ndjson') {
        whole = parts.map(({ text, lineEnd }) => text + lineEnd).join('')
        if (open) whole = whole.trimEnd()
      } else if (format === 'seq') {
        whole = parts.map(({ before, text, after }) => `\u001e${before}${text}${after}\n`).join('')
      } else {
        whole =
          first + parts.map(({ text, after }, i) => text + apart(text, after, texts[i + 1])).join('') + last
      }
      return { bytes: Buffer.from(whole), records: texts.map((text): unknown => JSON.parse(text)) }
    })
}

/** What stands between two values of a run: at least a blank, where the first does not show its own end. */
function apart(text: string, gap: string, next: string | undefined): string {
  return gap === '' && next !== undefined && !/["\]}]$/.test(text) ? ' ' : gap
}

import { ModelError } from '../errors.ts'
import { mix } from '../bytes/object-format.ts'

/**
 * How the ids of a column are made, from the number of the record alone:
 *
 * - `sequence`: `prefix`, then `first` plus the number, with zeros before it up to `width`; a number where there is no prefix.
 * - `uuid`: a UUID of version 4 in form, upper case or not.
 * - `template`: a text in which `A` stands for a capital, `a` for a small letter, `0` for a digit, `\` before what is meant literally.
 */
export type IdSpec =
  | {
      readonly form: 'sequence'
      readonly prefix: string
      readonly first: number
      readonly width: number
      readonly text: boolean
    }
  | { readonly form: 'uuid'; readonly upper: boolean }
  | { readonly form: 'template'; readonly template: string }

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const SEQUENCE = /^(.*?)(\d{1,15})$/s

const SIZES: Record<string, number> = { A: 26, a: 26, '0': 10 }
const FIRST: Record<string, number> = { A: 65, a: 97, '0': 48 }

/** What makes ids like these texts or numbers, or undefined if they have no form in common. */
export function detectId(values: readonly (string | number)[]): IdSpec | undefined {
  if (values.every((value) => typeof value === 'number')) {
    if (!values.every((value) => Number.isSafeInteger(value) && value >= 0)) return undefined
    return {
      form: 'sequence',
      prefix: '',
      first: values.reduce((a, b) => Math.min(a, b), Infinity),
      width: 0,
      text: false,
    }
  }
  if (!values.every((value) => typeof value === 'string')) return undefined
  if (values.every((text) => UUID.test(text))) return { form: 'uuid', upper: false }
  if (values.every((text) => UUID.test(text.toLowerCase()))) return { form: 'uuid', upper: true }
  return detectSequence(values) ?? detectTemplate(values)
}

function detectSequence(values: readonly string[]): IdSpec | undefined {
  const parts = values.map((text) => SEQUENCE.exec(text))
  const prefix = parts[0]?.[1]
  if (prefix === undefined || !parts.every((part) => part?.[1] === prefix)) return undefined
  const digits = parts.map((part) => part![2]!)
  const padded = digits.some((text) => text.length > 1 && text.startsWith('0'))
  const width = padded ? digits.reduce((least, text) => Math.min(least, text.length), 15) : 0
  const first = digits.reduce((least, text) => Math.min(least, +text), Infinity)
  return { form: 'sequence', prefix, first, width, text: true }
}

function detectTemplate(values: readonly string[]): IdSpec | undefined {
  const shape = (text: string) =>
    text.replace(/[\\A-Za-z0-9]/g, (c) => (c === '\\' ? '\\\\' : c >= 'a' ? 'a' : c >= 'A' ? 'A' : '0'))
  const template = shape(values[0]!)
  return values.every((text) => shape(text) === template) ? { form: 'template', template } : undefined
}

/** Makes the id of every record: unique, and in no need of the records before it. */
export class IdMaker {
  readonly spec: IdSpec
  readonly #name: string
  readonly #key: number
  /** Different ids there are. */
  readonly #capacity: number
  readonly #step: number

  constructor(name: string, spec: IdSpec, key: number) {
    this.#name = name
    this.spec = spec
    this.#key = key
    this.#capacity = spec.form === 'template' ? capacityOf(spec.template) : Infinity
    this.#step = spec.form === 'template' ? coprime(this.#capacity) : 1
  }

  /** @throws {@link ModelError} when the form has no more ids. */
  make(record: number): string | number {
    const { spec } = this
    if (spec.form === 'sequence') {
      const number = spec.first + record
      return spec.text ? spec.prefix + String(number).padStart(spec.width, '0') : number
    }
    if (spec.form === 'uuid') {
      const text = uuid(record, this.#key)
      return spec.upper ? text.toUpperCase() : text
    }
    if (record >= this.#capacity) {
      const message = `column ${JSON.stringify(this.#name)}: there are only ${this.#capacity} ids of the form ${spec.template}`
      throw new ModelError('ERR_MILLRACE_MODEL_IDS', message, { index: record, expected: this.#capacity })
    }
    return fillTemplate(spec.template, this.#scatter(record))
  }

  /** A bijection of the numbers below the capacity, so that ids do not look counted. */
  #scatter(record: number): bigint {
    const capacity = BigInt(this.#capacity)
    return (BigInt(record) * BigInt(this.#step) + BigInt(this.#key)) % capacity
  }
}

/** 48 bits of it are a bijection of the record's number, so that no two are alike. */
function uuid(record: number, key: number): string {
  const hex = (n: number, digits: number) => (n >>> 0).toString(16).padStart(8, '0').slice(0, digits)
  const low = mix((record ^ key) | 0)
  const high = Math.floor(record / 2 ** 32)
  const more = mix(low ^ 0x5bd1e995)
  const last = mix(more ^ key)
  const variant = 8 + (more & 3)
  return `${hex(low, 8)}-${hex(last, 4)}-4${hex(more, 3)}-${variant.toString(16)}${hex(mix(last), 3)}-${hex(mix(more + 1), 8)}${hex((high ^ key) << 16, 4)}`
}

function capacityOf(template: string): number {
  let capacity = 1
  for (const character of template.replace(/\\./g, '')) capacity *= SIZES[character] ?? 1
  return Math.min(capacity, 2 ** 52)
}

function coprime(capacity: number): number {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))
  let step = Math.max(1, Math.floor(capacity * 0.618_033_988_75))
  while (gcd(step, capacity) !== 1) step++
  return step
}

function fillTemplate(template: string, number: bigint): string {
  const out: string[] = []
  let rest = number
  const tokens = template.match(/\\.|[^]/g) ?? []
  for (const token of tokens.toReversed()) {
    const size = SIZES[token]
    if (size === undefined) {
      out.push(token.length === 2 ? token[1]! : token)
      continue
    }
    out.push(String.fromCharCode(FIRST[token]! + Number(rest % BigInt(size))))
    rest /= BigInt(size)
  }
  return out.toReversed().join('')
}

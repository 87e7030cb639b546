import { detectDateFormat } from './date-format.ts'
import { detectId } from './id-maker.ts'
import { MAX_DECIMALS, type ColumnSchema, type Value } from './schema.ts'

/** Rows from which on "all different" says something. */
const MIN_ROWS = 20
/** Share of different texts from which on they are free text, and none of them a category. */
const TEXT_SHARE = 0.5
/** Share of the numbers from the least to the greatest that are there, from which on all different ones are taken for counted. */
const SEQUENCE_DENSITY = 0.5

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/
const ID_NAME = /(^|[_\s-])(id|uuid|guid|key)$|Id$|ID$/

/** Turns the texts of a CSV column into numbers or booleans, if every one of them is written like one. */
export function castTexts(values: Value[]): void {
  const present = values.filter((value) => value !== null) as string[]
  if (present.length === 0) return
  if (present.every((text) => NUMBER.test(text) && Number.isFinite(+text))) {
    for (const [i, value] of values.entries()) if (value !== null) values[i] = +(value as string)
  } else if (present.every((text) => /^(true|false)$/i.test(text))) {
    for (const [i, value] of values.entries()) {
      if (value !== null) values[i] = (value as string).toLowerCase() === 'true'
    }
  }
}

/** Tells what a column is from its values. Deterministic, and O(values). */
export function inferColumn(name: string, values: readonly Value[]): ColumnSchema {
  const present = values.filter((value) => value !== null)
  const nullRate = values.length === 0 ? 0 : 1 - present.length / values.length
  const distinct = new Set(present)
  const base = { name, nullRate }
  if (distinct.size <= 1) return { ...base, kind: 'constant' }
  if (present.every((value) => typeof value === 'boolean')) return { ...base, kind: 'boolean' }
  const allDifferent = distinct.size === values.length && values.length >= MIN_ROWS
  if (present.every((value) => typeof value === 'number')) {
    return describeNumbers(name, nullRate, present, allDifferent)
  }
  if (present.every((value) => typeof value === 'string')) {
    const dates = detectDateFormat(distinct as Set<string>)
    if (dates !== undefined) {
      let [min, max] = [Infinity, -Infinity]
      for (const text of distinct as Set<string>) {
        const units = dates.parse(text)!
        min = Math.min(min, units)
        max = Math.max(max, units)
      }
      return {
        ...base,
        kind: 'datetime',
        dateFormat: dates.pattern,
        min: dates.format(min),
        max: dates.format(max),
      }
    }
    const id = allDifferent ? detectId(present) : undefined
    if (id !== undefined) return { ...base, kind: 'id', id }
  }
  const isText = values.length >= MIN_ROWS && distinct.size > TEXT_SHARE * present.length
  return { ...base, kind: isText ? 'text' : 'category' }
}

function describeNumbers(
  name: string,
  nullRate: number,
  numbers: readonly number[],
  allDifferent: boolean,
): ColumnSchema {
  let [min, max, decimals] = [Infinity, -Infinity, 0]
  for (const number of numbers) {
    if (number < min) min = number
    if (number > max) max = number
    if (decimals <= MAX_DECIMALS) decimals = Math.max(decimals, decimalsOf(number))
  }
  if (allDifferent && decimals === 0) {
    const counted = numbers.length >= SEQUENCE_DENSITY * (max - min + 1)
    const id = counted || ID_NAME.test(name) ? detectId(numbers) : undefined
    if (id !== undefined) return { name, nullRate, kind: 'id', id }
  }
  const isExact = decimals <= MAX_DECIMALS && Math.max(-min, max) * 10 ** decimals <= Number.MAX_SAFE_INTEGER
  return {
    name,
    nullRate,
    kind: decimals === 0 ? 'integer' : 'decimal',
    min,
    max,
    ...(isExact && { decimals }),
  }
}

/** Digits after the point, as the number is written without an exponent. */
function decimalsOf(number: number): number {
  if (Number.isInteger(number)) return 0
  const text = String(number)
  const exponent = text.indexOf('e')
  const mantissa = exponent < 0 ? text : text.slice(0, exponent)
  const point = mantissa.indexOf('.')
  const digits = point < 0 ? 0 : mantissa.length - point - 1
  return Math.max(0, digits - (exponent < 0 ? 0 : +text.slice(exponent + 1)))
}

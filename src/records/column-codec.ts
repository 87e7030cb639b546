import { mix } from '../bytes/object-format.ts'
import { DateFormat } from './date-format.ts'
import { IdMaker, type IdSpec } from './id-maker.ts'
import type { ColumnKind, ColumnSchema, Value } from './schema.ts'
import { TextMaker, poolOf, shapeOf, type CharacterPool } from './text-shape.ts'

/** Different values up to which each is a level of its own, and beyond which numbers and dates are cut into as many bins. */
const MAX_LEVELS = 256
/** Values that are kept of a bin: what is drawn lies on the straight lines between them. */
const KNOTS = 16
/** Shapes that are kept of a column of free text. */
const MAX_SHAPES = 256
/** Codes are 16 bits. */
const MAX_CODES = 65_000

/**
 * What a model knows of the values of a column. Each value has a code, a small whole number; null is the last one.
 *
 * - `levels`: code `i` is `values[i]`.
 * - `range`: code `i` is a bin, `bins[i]` values from its least to its greatest, in whole units of the last decimal (or of the
 *   date's format).
 * - `text`: code `i` is a shape of texts. `id`: there is no code.
 */
export type ColumnModel = { readonly name: string; readonly kind: ColumnKind; readonly nullable: boolean } & (
  | {
      readonly coding: 'levels'
      readonly values: readonly Exclude<Value, null>[]
      readonly dateFormat?: string
    }
  | {
      readonly coding: 'range'
      readonly bins: readonly (readonly number[])[]
      readonly decimals?: number
      readonly dateFormat?: string
    }
  | {
      readonly coding: 'text'
      readonly shapes: readonly string[]
      readonly pool: CharacterPool
      readonly counts: readonly number[]
    }
  | { readonly coding: 'id'; readonly id: IdSpec }
)

/** Learns the values of a column. `orderOf` gives categories their place; without it they stand in alphabetic order. */
export function learnColumn(
  schema: ColumnSchema,
  values: readonly Value[],
  orderOf?: (value: Value) => number,
): ColumnModel {
  const { name, kind, dateFormat, decimals } = schema
  const base = { name, kind, nullable: values.includes(null) }
  if (kind === 'id') return { ...base, nullable: false, coding: 'id', id: schema.id! }
  if (kind === 'text') return { ...base, coding: 'text', ...learnTexts(values) }
  const present = values.filter((value) => value !== null)
  if (kind === 'integer' || kind === 'decimal' || kind === 'datetime') {
    const dates = kind === 'datetime' ? new DateFormat(dateFormat!) : undefined
    const scale = decimals === undefined ? 1 : 10 ** decimals
    const units =
      dates === undefined
        ? Float64Array.from(present as number[], (value) =>
            decimals === undefined ? value : Math.round(value * scale),
          )
        : Float64Array.from(present as string[], (text) => dates.parse(text)!)
    units.sort()
    const distinct = units.filter((unit, i) => i === 0 || unit !== units[i - 1])
    if (distinct.length > MAX_LEVELS) {
      return {
        ...base,
        coding: 'range',
        bins: cutBins(units),
        ...(decimals !== undefined && dates === undefined && { decimals }),
        ...(dates !== undefined && { dateFormat: dates.pattern }),
      }
    }
    const levels = Array.from<number, Exclude<Value, null>>(distinct, (unit) =>
      dates === undefined ? unit / scale : dates.format(unit),
    )
    return {
      ...base,
      coding: 'levels',
      values: levels,
      ...(dates !== undefined && { dateFormat: dates.pattern }),
    }
  }
  const distinct = [...new Set(present)].sort(compareValues)
  if (distinct.length > MAX_CODES) return { ...base, coding: 'text', ...learnTexts(values) }
  if (orderOf !== undefined) distinct.sort((a, b) => orderOf(a) - orderOf(b))
  return { ...base, coding: 'levels', values: distinct }
}

/** Any fixed order: numbers before texts, texts by code units, so that no locale decides. */
function compareValues(a: Value, b: Value): number {
  if (typeof a === typeof b) return a! < b! ? -1 : 1
  return typeof a < typeof b ? -1 : 1
}

/** Bins of about as many values each; a value that comes often has one for itself. */
function cutBins(sorted: Float64Array): number[][] {
  const bins: number[][] = []
  const size = sorted.length / MAX_LEVELS
  for (let from = 0; from < sorted.length;) {
    let to = Math.min(sorted.length, Math.max(from + 1, Math.ceil((bins.length + 1) * size)))
    const last = sorted[to - 1]!
    while (to < sorted.length && sorted[to] === last) to++
    // what began before a frequent value is a bin of its own
    let first = to - 1
    while (first > from && sorted[first - 1] === last) first--
    if (first > from && to - first > size) to = first
    bins.push(knotsOf(sorted, from, to))
    from = to
  }
  return bins
}

function knotsOf(sorted: Float64Array, from: number, to: number): number[] {
  const count = Math.min(KNOTS, to - from)
  if (sorted[from] === sorted[to - 1]) return [sorted[from]!]
  return Array.from(
    { length: count },
    (_, i) => sorted[from + Math.round((i * (to - from - 1)) / (count - 1))]!,
  )
}

function learnTexts(values: readonly Value[]) {
  const texts = values.filter((value) => value !== null).map(String)
  const shapes = new Map<string, number>()
  for (const text of texts) {
    const shape = shapeOf(text)
    shapes.set(shape, (shapes.get(shape) ?? 0) + 1)
  }
  const kept = [...shapes].sort(([, a], [, b]) => b - a).slice(0, MAX_SHAPES)
  const nulls = values.length - texts.length
  // shapes that are left out count for those that are kept, so that the share of nulls stays
  const factor = texts.length / kept.reduce((sum, [, count]) => sum + count, 0)
  const counts = kept.map(([, count]) => count * factor)
  return {
    shapes: kept.map(([shape]) => shape),
    pool: poolOf(texts),
    counts: nulls > 0 ? [...counts, nulls] : counts,
  }
}

/** Turns the values of a column into codes, and codes into values. */
export class ColumnCodec {
  readonly model: ColumnModel
  /** Number of codes, null included. 0 for ids, which have none. */
  readonly codes: number
  /** The code of null, or -1. */
  readonly nullCode: number
  /** Dates, numbers: their codes have an order that means something. */
  readonly isOrdered: boolean
  /** Whether a value follows from its code alone. */
  readonly isExact: boolean
  readonly dates: DateFormat | undefined
  readonly #scale: number
  readonly #index = new Map<Value, number>()
  readonly #knots: Float64Array
  readonly #start: Uint32Array
  readonly #ends: Float64Array
  readonly #texts: TextMaker | undefined

  constructor(model: ColumnModel) {
    this.model = model
    const bins = model.coding === 'range' ? model.bins : []
    const size =
      model.coding === 'levels'
        ? model.values.length
        : model.coding === 'range'
          ? bins.length
          : model.coding === 'text'
            ? model.shapes.length
            : 0
    this.nullCode = model.nullable ? size : -1
    this.codes = size + (model.nullable ? 1 : 0)
    this.isExact = model.coding === 'levels'
    this.isOrdered = model.kind === 'integer' || model.kind === 'decimal' || model.kind === 'datetime'
    const dateFormat = 'dateFormat' in model ? model.dateFormat : undefined
    this.dates = dateFormat === undefined ? undefined : new DateFormat(dateFormat)
    this.#scale = model.coding === 'range' && model.decimals !== undefined ? 10 ** model.decimals : 0
    if (model.coding === 'levels')
      for (const [code, value] of model.values.entries()) this.#index.set(value, code)
    this.#knots = Float64Array.from(bins.flat())
    this.#start = new Uint32Array(bins.length + 1)
    for (const [i, bin] of bins.entries()) this.#start[i + 1] = this.#start[i]! + bin.length
    this.#ends = Float64Array.from(bins, (bin) => bin.at(-1)!)
    this.#texts = model.coding === 'text' ? new TextMaker(model.pool) : undefined
  }

  /** What {@link ColumnCodec.units} goes by, for whoever does the same; decimals are -1 where numbers have no fixed number of them. */
  get knots(): { readonly units: Float64Array; readonly starts: Uint32Array; readonly decimals: number } {
    const { model } = this
    const decimals = model.coding === 'range' ? (model.decimals ?? -1) : -1
    return { units: this.#knots, starts: this.#start, decimals }
  }

  /** The code of a value, or -1 for one that the column cannot have. */
  encode(value: Value): number {
    if (value === null) return this.nullCode
    if (this.model.coding === 'levels') return this.#index.get(value) ?? -1
    if (this.model.coding !== 'range') return -1
    const units = this.toUnits(value)
    if (units === undefined || !(units >= this.#knots[0]! && units <= this.#ends[this.#ends.length - 1]!))
      return -1
    return this.binOf(units)
  }

  /** The bin of a number of units: the first that does not end before it. */
  binOf(units: number): number {
    let [low, high] = [0, this.#ends.length - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#ends[middle]! < units) low = middle + 1
      else high = middle
    }
    return low
  }

  /** A number or date as units of a range, or undefined if it is neither. */
  toUnits(value: Value): number | undefined {
    if (this.dates !== undefined) return typeof value === 'string' ? this.dates.parse(value) : undefined
    if (typeof value !== 'number') return undefined
    return this.#scale === 0 ? value : Math.round(value * this.#scale)
  }

  /** The number of units that a bin and a random word stand for; never -0. */
  units(code: number, word: number): number {
    const start = this.#start[code]!
    const last = this.#start[code + 1]! - start - 1
    if (last === 0) return this.#knots[start]!
    const x = word * 2 ** -32 * last
    const i = x | 0
    const low = this.#knots[start + i]!
    const value = low + (x - i) * (this.#knots[start + i + 1]! - low)
    return this.#scale === 0 && this.dates === undefined ? value : Math.round(value) + 0
  }

  /** The value of units. */
  fromUnits(units: number): number | string {
    if (this.dates !== undefined) return this.dates.format(units)
    return this.#scale === 0 ? units : units / this.#scale
  }

  /** The value that a code and a random word stand for; codes of levels need no word. */
  decode(code: number, word: number): Value {
    if (code === this.nullCode) return null
    const { model } = this
    if (model.coding === 'levels') return model.values[code]!
    if (model.coding === 'range') return this.fromUnits(this.units(code, word))
    return this.#texts!.make((model as { shapes: readonly string[] }).shapes[code]!, word)
  }

  /** A number that stands for a code, in the order of the values: for correlations. */
  middle(code: number): number {
    const { model } = this
    if (model.coding !== 'levels') return this.units(code, 2 ** 31)
    const value = model.values[code]!
    return typeof value === 'number' ? value : (this.dates?.parse(String(value)) ?? code)
  }
}

/** Makes the ids of a column, the same for the same seed. */
export function idMaker(model: ColumnModel, seedKey: number): IdMaker | undefined {
  if (model.coding !== 'id') return undefined
  let key = seedKey
  for (const byte of Buffer.from(model.name)) key = mix(key ^ byte)
  return new IdMaker(model.name, model.id, key)
}

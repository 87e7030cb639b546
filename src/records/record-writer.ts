import type { BlockSampler } from './block-sampler.ts'
import type { ColumnCodec } from './column-codec.ts'
import type { Value } from './schema.ts'

/** How records are written: a line of JSON each, one JSON array, or CSV with a header line. */
export type RecordFormat = 'ndjson' | 'json' | 'csv'

/** Before the first record, and after the last one. */
export function framesOf(
  format: RecordFormat,
  names: readonly string[],
): { head: string; tail: string; tailIfEmpty: string } {
  if (format === 'json') return { head: '[\n', tail: '\n]\n', tailIfEmpty: '[]\n' }
  if (format === 'csv') {
    const head = `${names.map(csvText).join(',')}\n`
    return { head, tail: '', tailIfEmpty: head }
  }
  return { head: '', tail: '', tailIfEmpty: '' }
}

/** The text of a value in a format: what `JSON.stringify` gives, or a field of RFC 4180. */
export function textOf(format: RecordFormat, value: Value): string {
  return format === 'csv' ? (value === null ? '' : csvText(String(value))) : JSON.stringify(value)
}

function csvText(text: string): string {
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

const QUOTE = 0x22
const MINUS = 0x2d
const POINT = 0x2e
const ZERO = 0x30
/** Longest text of a number. */
const NUMBER_BYTES = 32
/** Copies go in steps of 8 bytes, so up to 7 bytes more than asked are read and written. */
const SLACK = 8
/** Units below which decimal digits are all that the number has: what JSON writes is then what they are. */
export const EXACT_UNITS = 1e15

interface ColumnPlan {
  readonly codec: ColumnCodec
  readonly codes: Uint16Array
  readonly words: Uint32Array
  readonly decimals: number
  /** What stands before the value, and after it: numbers of fragments. */
  readonly before: number
  readonly after: number
}

/**
 * Writes blocks of codes as text, without making a record or a string: every value that a code stands for is written once,
 * when the model is loaded, with its name before it, and copied from then on.
 */
export class RecordWriter {
  readonly #sampler: BlockSampler
  readonly #format: RecordFormat
  readonly #columns: readonly ColumnPlan[]
  /** All fragments, one after another. */
  readonly #pool: DataView
  readonly #starts: Uint32Array
  readonly #lengths: Uint32Array
  /** By column: the fragment of its code 0, or -1 where codes are not enough. */
  readonly #bases: Int32Array
  readonly #hasDel: boolean
  /** By column: longest text of a value, with what stands before and after it. */
  readonly #bounds: readonly number[]
  readonly #maxRecord: number
  /** Where is written to now. */
  #out: Buffer = Buffer.alloc(0)
  #view: DataView = new DataView(new ArrayBuffer(0))

  constructor(sampler: BlockSampler, format: RecordFormat) {
    this.#sampler = sampler
    this.#format = format
    const fragments: string[] = []
    const bases: number[] = []
    const bounds: number[] = []
    this.#columns = sampler.codecs.map((codec, column) => {
      const { model } = codec
      const { before, after } = endsOf(sampler, column, format)
      const ends = [fragments.push(before) - 1, fragments.push(after) - 1] as const
      if (model.coding === 'levels') {
        bases.push(fragments.length)
        const texts = levelTexts(sampler, column, format)
        fragments.push(...texts)
        bounds.push(texts.reduce((max, text) => Math.max(max, Buffer.byteLength(text)), 0))
      } else {
        bases.push(-1)
        const longest =
          model.coding === 'text'
            ? model.shapes.reduce((max, shape) => Math.max(max, shape.length * 6 + 2), 4)
            : 80
        bounds.push(Buffer.byteLength(before) + Buffer.byteLength(after) + longest + idBytes(codec))
      }
      return {
        codec,
        codes: sampler.codes[column]!,
        words: sampler.words[column]!,
        decimals: model.coding === 'range' && codec.dates === undefined ? (model.decimals ?? -1) : -1,
        before: ends[0],
        after: ends[1],
      }
    })
    const bytes = fragments.map((text) => Buffer.from(text))
    const pool = Buffer.concat([...bytes, Buffer.alloc(SLACK)])
    this.#pool = new DataView(pool.buffer, pool.byteOffset, pool.byteLength)
    this.#lengths = Uint32Array.from(bytes, ({ length }) => length)
    this.#starts = new Uint32Array(bytes.length)
    for (let i = 1; i < bytes.length; i++) this.#starts[i] = this.#starts[i - 1]! + this.#lengths[i - 1]!
    this.#bases = Int32Array.from(bases)
    // as a number of 64 bits, eight bytes that end in DEL could be a NaN, which a copy need not keep
    this.#hasDel = pool.includes(0x7f)
    this.#bounds = bounds
    this.#maxRecord = bounds.reduce((sum, one) => sum + one, 0)
  }

  /** Bytes that so many records may take, with what a copy may write beyond them. */
  bound(records: number): number {
    return records * this.#maxRecord + SLACK
  }

  /** Bytes that the text of one value may take, with what a copy may write beyond it. */
  boundOf(column: number): number {
    return this.#bounds[column]! + SLACK
  }

  /**
   * Records `[from, to)` of the block that the sampler drew last, to memory of the caller's from `start` on, where there must be
   * {@link RecordWriter.bound} bytes; returns where they end. `first` is the number of record 0 of the block.
   */
  writeTo(target: Buffer, start: number, from: number, to: number, first: number): number {
    this.#aimAt(target)
    let at = start
    const bases = this.#bases
    const columns = this.#columns
    for (let row = from; row < to; row++) {
      for (let column = 0; column < columns.length; column++) {
        const base = bases[column]!
        const plan = columns[column]!
        at =
          base >= 0 ? this.#copy(base + plan.codes[row]!, at) : this.#writeOther(column, row, first + row, at)
      }
    }
    return at
  }

  /** The text of one value that does not follow from its code alone, to memory of the caller's; returns where it ends. */
  writeOneTo(target: Buffer, at: number, column: number, row: number, record: number): number {
    this.#aimAt(target)
    return this.#writeOther(column, row, record, at)
  }

  #aimAt(target: Buffer): void {
    if (this.#out === target) return
    this.#out = target
    this.#view = new DataView(target.buffer, target.byteOffset, target.length)
  }

  #copy(fragment: number, at: number): number {
    const start = this.#starts[fragment]!
    const length = this.#lengths[fragment]!
    const pool = this.#pool
    const view = this.#view
    if (this.#hasDel) {
      for (let i = 0; i < length; i += 4) view.setInt32(at + i, pool.getInt32(start + i, true), true)
    } else {
      // 3.4 GB/s, where steps of four bytes reach 2.1 and single bytes 0.6
      for (let i = 0; i < length; i += 8) view.setFloat64(at + i, pool.getFloat64(start + i, true), true)
    }
    return at + length
  }

  /** A value that does not follow from its code alone. */
  #writeOther(column: number, row: number, record: number, start: number): number {
    const { codec, codes, words, decimals, before, after } = this.#columns[column]!
    let at = this.#copy(before, start)
    const id = this.#sampler.ids[column]
    if (id !== undefined) at = this.#writeText(textOf(this.#format, id.make(record)), at)
    else if (codes[row] === codec.nullCode || codec.model.coding === 'text') {
      at = this.#writeText(textOf(this.#format, codec.decode(codes[row]!, words[row]!)), at)
    } else if (decimals >= 0) at = this.#writeNumber(codec.units(codes[row]!, words[row]!), decimals, at)
    else if (codec.dates !== undefined) {
      // no pattern has a character that would have to be escaped, but one has a comma
      if (this.#format === 'csv')
        at = this.#writeText(textOf('csv', codec.decode(codes[row]!, words[row]!)), at)
      else {
        this.#out[at++] = QUOTE
        at += this.#out.write(codec.decode(codes[row]!, words[row]!) as string, at, 'latin1')
        this.#out[at++] = QUOTE
      }
    } else at = this.#writeText(String(codec.units(codes[row]!, words[row]!)), at)
    return this.#copy(after, at)
  }

  #writeText(text: string, at: number): number {
    return at + this.#out.write(text, at)
  }

  /** Decimal digits, with a point where it belongs and no zeros at the end: what `JSON.stringify` writes of the same number. */
  #writeNumber(units: number, decimals: number, start: number): number {
    let rest = units < 0 ? -units : units
    if (rest >= EXACT_UNITS || (decimals > 6 && rest < 10 ** (decimals - 6))) {
      return this.#writeText(String(units / 10 ** decimals), start)
    }
    let at = start
    const out = this.#out
    if (units < 0) out[at++] = MINUS
    let places = decimals
    while (places > 0 && rest % 10 === 0) {
      rest /= 10
      places--
    }
    let digits = places + 1
    for (let bound = 10 ** digits; rest >= bound; bound *= 10) digits++
    const end = at + digits + (places > 0 ? 1 : 0)
    let to = end
    for (let i = 0; i < digits; i++) {
      if (i === places && i > 0) out[--to] = POINT
      const tens = rest < 2 ** 31 ? (rest / 10) | 0 : Math.floor(rest / 10)
      out[--to] = ZERO + (rest - tens * 10)
      rest = tens
    }
    return end
  }
}

/** By code: the text of a column whose values follow from codes, with what stands before and after it. */
export function levelTexts(sampler: BlockSampler, column: number, format: RecordFormat): string[] {
  const codec = sampler.codecs[column]!
  const { before, after } = endsOf(sampler, column, format)
  return Array.from(
    { length: codec.codes },
    (_, code) => before + textOf(format, codec.decode(code, 0)) + after,
  )
}

/** What stands before and after the values of a column. */
export function endsOf(
  { codecs }: BlockSampler,
  column: number,
  format: RecordFormat,
): { before: string; after: string } {
  const isFirst = column === 0
  const isLast = column === codecs.length - 1
  if (format === 'csv') return { before: isFirst ? '' : ',', after: isLast ? '\n' : '' }
  const open = format === 'json' ? ',\n{' : '{'
  const before = `${isFirst ? open : ','}${JSON.stringify(codecs[column]!.model.name)}:`
  return { before, after: isLast ? (format === 'json' ? '}' : '}\n') : '' }
}

function idBytes({ model }: ColumnCodec): number {
  if (model.coding !== 'id') return 0
  if (model.id.form === 'uuid') return 40
  const text = model.id.form === 'sequence' ? model.id.prefix : model.id.template
  return text.length * 6 + NUMBER_BYTES
}

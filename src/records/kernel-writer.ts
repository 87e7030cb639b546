import { BLOCK_RECORDS, type BlockSampler } from './block-sampler.ts'
import type { ColumnCodec } from './column-codec.ts'
import type { RecordKernel } from './record-kernel.ts'
import { EXACT_UNITS, endsOf, levelTexts, type RecordFormat, type RecordWriter } from './record-writer.ts'

/** Texts of columns next to each other are made one, while there are no more of them and none is longer: fewer copies. */
const MAX_JOINT = 512
const MAX_JOINT_BYTES = 128
/** Bytes that are written before they are copied to where they are wanted: they stay in the second-level cache. */
const PIECE = 65_536
/** Bytes that a copy may read or write too many. */
const SLACK = 32
const BYTES_16 = 2 * BLOCK_RECORDS
const BYTES_32 = 4 * BLOCK_RECORDS
/** Decimals up to which digits are all that a number is written with. */
const MAX_DECIMALS = 6

/** Columns next to each other, as texts: by pick, of which a row has one. */
interface JointColumns {
  readonly from: number
  readonly to: number
  /** Empty where texts are made a block at a time. */
  readonly texts: readonly Buffer[]
}

/** Where they are: a table of addresses and lengths by pick, and picks by row. */
interface Place {
  readonly joint: JointColumns
  readonly table: number
  readonly picks: number
  readonly numbers: Numbers | undefined
}

/** Addresses of what the texts of a column of numbers are made of. */
interface Numbers {
  readonly codes: number
  readonly words: number
  readonly starts: number
  readonly knots: number
  readonly decimals: number
  readonly before: number
  readonly after: number
  readonly afterLength: number
}

interface Places {
  readonly epoch: number
  readonly columns: readonly Place[]
  readonly plans: number
  readonly codes: number
  readonly out: number
  readonly outBytes: number
}

/** Writes blocks of codes as {@link RecordWriter} does, in WebAssembly, three times as fast. */
export class KernelWriter {
  readonly #kernel: RecordKernel
  readonly #sampler: BlockSampler
  readonly #format: RecordFormat
  /** Writes what is neither one of a few texts nor a number. */
  readonly #plain: RecordWriter
  readonly #joints: readonly JointColumns[]
  #places: Places | undefined

  private constructor(
    kernel: RecordKernel,
    sampler: BlockSampler,
    format: RecordFormat,
    plain: RecordWriter,
    joints: readonly JointColumns[],
  ) {
    this.#kernel = kernel
    this.#sampler = sampler
    this.#format = format
    this.#plain = plain
    this.#joints = joints
  }

  /** In place of a plain writer, or that where its texts would fill the kernel's memory. */
  static of(
    kernel: RecordKernel,
    sampler: BlockSampler,
    format: RecordFormat,
    plain: RecordWriter,
  ): KernelWriter | RecordWriter {
    const joints = jointsOf(sampler, format)
    const bytes = joints.reduce(
      (sum, { from, texts }) =>
        texts.reduce((all, { length }) => all + length, sum) +
        (texts.length === 0 ? plain.boundOf(from) * BLOCK_RECORDS : 0),
      plain.bound(1),
    )
    return kernel.hasRoomFor(bytes) ? new KernelWriter(kernel, sampler, format, plain, joints) : plain
  }

  /** Bytes that so many records may take. */
  bound(records: number): number {
    return this.#plain.bound(records)
  }

  /** Records `[from, to)` of the block that the sampler drew last, to memory of the caller's; returns where they end. */
  writeTo(target: Uint8Array, start: number, from: number, to: number, first: number): number {
    if (this.#places?.epoch !== this.#kernel.epoch) this.#places = this.#place()
    const places = this.#places
    const { run } = this.#kernel
    this.#prepare(places, from, to, first)
    const step = Math.max(1, Math.floor(places.outBytes / this.bound(1)))
    let at = start
    for (let row = from; row < to; row += step) {
      const end = run.writeRows(
        places.out,
        places.plans,
        places.columns.length,
        row,
        Math.min(to, row + step),
      )
      target.set(this.#kernel.bytes.subarray(places.out, end), at)
      at += end - places.out
    }
    return at
  }

  /** Readies the picks of all rows, and the texts that are made. */
  #prepare({ columns, codes }: Places, from: number, to: number, first: number): void {
    const kernel = this.#kernel
    const { run } = kernel
    const sampler = this.#sampler
    for (const { joint, table, picks, numbers } of columns) {
      const column = joint.from
      if (numbers !== undefined) {
        const { codes, words, starts, knots, decimals, before, after, afterLength } = numbers
        kernel.set(codes, sampler.codes[column]!)
        kernel.set(words, sampler.words[column]!)
        const { nullCode } = sampler.codecs[column]!
        const nullLength = this.#format === 'csv' ? 0 : 4
        run.writeNumbers(
          table,
          from,
          to,
          codes,
          words,
          starts,
          knots,
          decimals,
          nullCode,
          nullLength,
          before,
          after,
          afterLength,
        )
      } else if (joint.texts.length === 0) {
        const { bytes } = kernel
        for (let row = from; row < to; row++) {
          const begin = bytes.readUInt32LE(table + row * 8)
          const end = this.#plain.writeOneTo(bytes, begin, column, row, first + row)
          bytes.writeUInt32LE(end - begin, table + row * 8 + 4)
        }
      } else {
        kernel.set(picks, sampler.codes[column]!)
        for (let other = column + 1; other < joint.to; other++) {
          kernel.set(codes, sampler.codes[other]!)
          run.join(picks, codes, sampler.codecs[other]!.codes)
        }
      }
    }
  }

  #place(): Places {
    const kernel = this.#kernel
    const epoch = kernel.open()
    const columns = this.#joints.map((joint) => this.#placeColumns(joint))
    const plans = kernel.put(Uint32Array.from(columns.flatMap(({ picks, table }) => [picks, table])))
    const outBytes = Math.max(PIECE, this.bound(1))
    return {
      epoch,
      columns,
      plans,
      codes: kernel.reserve(BYTES_16),
      out: kernel.reserve(outBytes + SLACK),
      outBytes,
    }
  }

  #placeColumns(joint: JointColumns): Place {
    const kernel = this.#kernel
    const { from, texts } = joint
    if (texts.length > 0) {
      const pool = kernel.put(Buffer.concat([...texts, Buffer.alloc(SLACK)]))
      let at = pool
      const table = texts.flatMap(({ length }) => {
        at += length
        return [at - length, length]
      })
      return {
        joint,
        table: kernel.put(Uint32Array.from(table)),
        picks: kernel.reserve(BYTES_16),
        numbers: undefined,
      }
    }
    const codec = this.#sampler.codecs[from]!
    const { before, after } = endsOf(this.#sampler, from, this.#format)
    const room = this.#plain.boundOf(from)
    const rooms = Buffer.alloc(room * BLOCK_RECORDS + SLACK)
    for (let row = 0; row < BLOCK_RECORDS; row++) rooms.write(before, row * room)
    const begin = kernel.put(rooms)
    const table = Uint32Array.from({ length: 2 * BLOCK_RECORDS }, (_, i) => begin + (i >> 1) * room)
    return {
      joint,
      table: kernel.put(table),
      picks: kernel.put(Uint16Array.from({ length: BLOCK_RECORDS }, (_, row) => row)),
      numbers: isPlain(codec)
        ? {
            codes: kernel.reserve(BYTES_16),
            words: kernel.reserve(BYTES_32),
            starts: kernel.put(codec.knots.starts),
            knots: kernel.put(codec.knots.units),
            decimals: codec.knots.decimals,
            before: Buffer.byteLength(before),
            after: kernel.put(Buffer.from(after)),
            afterLength: after.length,
          }
        : undefined,
    }
  }
}

/** Whether the digits of a column's units, and a point among them, are what JSON writes of its numbers. */
function isPlain({ knots, dates }: ColumnCodec): boolean {
  const { decimals, units } = knots
  return (
    dates === undefined &&
    decimals >= 0 &&
    decimals <= MAX_DECIMALS &&
    units.every((one) => Math.abs(one) < EXACT_UNITS)
  )
}

function jointsOf(sampler: BlockSampler, format: RecordFormat): JointColumns[] {
  const joints: { from: number; to: number; texts: Buffer[] }[] = []
  let [last, most] = [undefined as (typeof joints)[number] | undefined, 0]
  for (const [column, { model }] of sampler.codecs.entries()) {
    if (model.coding !== 'levels') {
      joints.push({ from: column, to: column + 1, texts: [] })
      last = undefined
      continue
    }
    const texts = levelTexts(sampler, column, format).map((text) => Buffer.from(text))
    const longest = texts.reduce((max, { length }) => Math.max(max, length), 0)
    if (
      last !== undefined &&
      last.texts.length * texts.length <= MAX_JOINT &&
      most + longest <= MAX_JOINT_BYTES
    ) {
      last.texts = last.texts.flatMap((text) => texts.map((next) => Buffer.concat([text, next])))
      last.to++
      most += longest
    } else {
      joints.push((last = { from: column, to: column + 1, texts }))
      most = longest
    }
  }
  return joints
}

import { BLOCK_RECORDS, BlockSampler, type DrawOptions } from './block-sampler.ts'
import type { ModelData } from './model-data.ts'
import { RecordBuilder } from './record-builder.ts'
import { RecordWriter, type RecordFormat } from './record-writer.ts'
import type { Row } from './schema.ts'

/** A run of records: the number of the first, and the number after the last. */
export interface RecordRange {
  readonly from: number
  readonly to: number
}

/**
 * Makes any run of a model's records, as objects or as text: the work that streams hand to threads. What it throws has the records of
 * the blocks before in its property `partial`, in the same form.
 */
export class Renderer {
  readonly names: readonly string[]
  readonly #sampler: BlockSampler
  readonly #builder: RecordBuilder
  readonly #writers = new Map<RecordFormat, RecordWriter>()
  #made = 0

  constructor(data: ModelData, options: DrawOptions) {
    this.names = data.columns.map(({ name }) => name)
    this.#sampler = new BlockSampler(data, options)
    this.#builder = new RecordBuilder(this.#sampler)
  }

  /** Records that the last call made, whether it threw or not. */
  get made(): number {
    return this.#made
  }

  /** The records of a range. */
  records(range: RecordRange): Row[] {
    const records: Row[] = []
    return this.#eachBlock(
      range,
      (start, end, first) => {
        for (let row = start; row < end; row++) records.push(this.#builder.build(row, first + row))
      },
      () => records,
    )
  }

  /** Bytes that memory must have for {@link Renderer.text} to write so many records there. */
  bound(records: number, format: RecordFormat): number {
    return this.#writer(format).bound(records)
  }

  /**
   * The text of a range, without what stands before the first record and after the last; each record of a JSON array has its comma
   * before it, the first one too. At the start of `target`, if that is long enough; otherwise in a fresh buffer.
   */
  text(range: RecordRange, format: RecordFormat, target?: Buffer): Buffer {
    const writer = this.#writer(format)
    if (target !== undefined && writer.bound(range.to - range.from) <= target.length) {
      let length = 0
      return this.#eachBlock(
        range,
        (start, end, first) => {
          length += writer.writeTo(target, length, start, end, first).length
        },
        () => target.subarray(0, length),
      )
    }
    const parts: Buffer[] = []
    return this.#eachBlock(
      range,
      (start, end, first) => {
        const borrowed = writer.write(start, end, first)
        const own = Buffer.allocUnsafeSlow(borrowed.length)
        own.set(borrowed)
        parts.push(own)
      },
      () => (parts.length === 1 ? parts[0]! : Buffer.concat(parts)),
    )
  }

  #writer(format: RecordFormat): RecordWriter {
    let writer = this.#writers.get(format)
    if (writer === undefined) this.#writers.set(format, (writer = new RecordWriter(this.#sampler, format)))
    return writer
  }

  #eachBlock<T>(
    { from, to }: RecordRange,
    work: (start: number, end: number, first: number) => void,
    result: () => T,
  ): T {
    this.#made = 0
    for (let at = from; at < to;) {
      const block = Math.floor(at / BLOCK_RECORDS)
      const first = block * BLOCK_RECORDS
      const end = Math.min(BLOCK_RECORDS, to - first)
      try {
        this.#sampler.draw(block, end)
        work(at - first, end, first)
      } catch (error) {
        throw Object.assign(error as Error, { partial: result() })
      }
      at = first + end
      this.#made = at - from
    }
    return result()
  }
}

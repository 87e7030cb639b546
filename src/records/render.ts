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

/** Makes any run of a model's records, as objects or as text: the work that streams hand to threads. */
export class Renderer {
  readonly names: readonly string[]
  readonly #sampler: BlockSampler
  readonly #builder: RecordBuilder
  readonly #writers = new Map<RecordFormat, RecordWriter>()

  constructor(data: ModelData, options: DrawOptions) {
    this.names = data.columns.map(({ name }) => name)
    this.#sampler = new BlockSampler(data, options)
    this.#builder = new RecordBuilder(this.#sampler)
  }

  /** The records of a range. */
  records({ from, to }: RecordRange): Row[] {
    const records: Row[] = []
    this.#eachBlock(from, to, (start, end, first) => {
      for (let row = start; row < end; row++) records.push(this.#builder.build(row, first + row))
    })
    return records
  }

  /** The text of a range, in a fresh buffer, without what stands before the first record and after the last. */
  text({ from, to }: RecordRange, format: RecordFormat): Buffer {
    let writer = this.#writers.get(format)
    if (writer === undefined) this.#writers.set(format, (writer = new RecordWriter(this.#sampler, format)))
    const parts: Buffer[] = []
    this.#eachBlock(from, to, (start, end, first) => {
      const borrowed = writer.write(start, end, first)
      const own = Buffer.allocUnsafeSlow(borrowed.length)
      own.set(borrowed)
      parts.push(own)
    })
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  }

  #eachBlock(from: number, to: number, work: (start: number, end: number, first: number) => void): void {
    for (let at = from; at < to;) {
      const block = Math.floor(at / BLOCK_RECORDS)
      const first = block * BLOCK_RECORDS
      const end = Math.min(BLOCK_RECORDS, to - first)
      this.#sampler.draw(block, end)
      work(at - first, end, first)
      at = first + end
    }
  }
}

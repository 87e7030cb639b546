import { BLOCK_RECORDS, BlockSampler, type DrawOptions } from './block-sampler.ts'
import { KernelWriter } from './kernel-writer.ts'
import type { ModelData } from './model-data.ts'
import { RecordBuilder } from './record-builder.ts'
import { sharedRecordKernel, type RecordKernel } from './record-kernel.ts'
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
  readonly #kernel: RecordKernel | null
  readonly #sampler: BlockSampler
  readonly #builder: RecordBuilder
  readonly #writers = new Map<RecordFormat, RecordWriter | KernelWriter>()
  /** Where text is written whose length is not known before. */
  #scratch: Buffer = Buffer.alloc(0)
  #made = 0

  constructor(data: ModelData, options: DrawOptions, kernel: RecordKernel | null = sharedRecordKernel()) {
    this.#kernel = kernel
    this.names = data.columns.map(({ name }) => name)
    this.#sampler = new BlockSampler(data, options, kernel)
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
    const bound = writer.bound(range.to - range.from)
    const isLent = target !== undefined && bound <= target.length
    if (!isLent && this.#scratch.length < bound) this.#scratch = Buffer.allocUnsafeSlow(bound)
    const out = isLent ? target : this.#scratch
    let length = 0
    return this.#eachBlock(
      range,
      (start, end, first) => {
        length = writer.writeTo(out, length, start, end, first)
      },
      () => {
        if (isLent) return out.subarray(0, length)
        const own = Buffer.allocUnsafeSlow(length)
        own.set(out.subarray(0, length))
        return own
      },
    )
  }

  #writer(format: RecordFormat): RecordWriter | KernelWriter {
    let writer = this.#writers.get(format)
    if (writer === undefined) {
      const plain = new RecordWriter(this.#sampler, format)
      writer = this.#kernel === null ? plain : KernelWriter.of(this.#kernel, this.#sampler, format, plain)
      this.#writers.set(format, writer)
    }
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

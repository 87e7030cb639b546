import { OffloadError, describe } from '../errors.ts'
import { positionOf, RecordBatch, type BlockPosition } from '../flow/index.ts'
import { FrameCutter, JsonScanner, SeqScanner, type FileRange } from '../framing/index.ts'
import type { JsonLayout } from '../json/index.ts'

/** One unit of work. */
export interface Block {
  /** Its bytes, or … */
  readonly bytes?: Uint8Array
  /** … the part of a file that they are in, or … */
  readonly range?: FileRange
  /** … its records. */
  readonly records?: readonly unknown[]
  /** Records in it, as far as it is known before it is parsed. */
  readonly count: number
  readonly at: BlockPosition
  /** Frames in it, where it was cut by frames. */
  readonly frames?: number
  /** How its records stand in its bytes, where it is to be parsed. */
  readonly layout?: JsonLayout
}

/** Makes blocks of what is written. Pulled, so that the stage can stop between two blocks of one chunk. */
export interface BlockSource {
  write(chunk: unknown): void
  /** Nothing more will be written. */
  end(): void
  /** The next block; its bytes are borrowed until the next call. `undefined`: needs more, or all is done. */
  next(): Block | undefined
}

/** Each chunk is a block. */
export class ChunkSource implements BlockSource {
  #chunk: Uint8Array | undefined
  #index = 0
  #offset = 0

  write(chunk: Uint8Array): void {
    this.#chunk = chunk
  }

  end(): void {}

  next(): Block | undefined {
    const bytes = this.#chunk
    if (bytes === undefined) return undefined
    this.#chunk = undefined
    const at = positionOf(bytes) ?? { index: this.#index, offset: this.#offset, line: 0, column: 0 }
    this.#index++
    this.#offset += bytes.byteLength
    return { bytes, count: 0, at }
  }
}

/** Each range is a block, which nobody here reads. */
export class RangeSource implements BlockSource {
  #range: FileRange | undefined
  #index = 0

  write(range: FileRange): void {
    this.#range = range
  }

  end(): void {}

  next(): Block | undefined {
    const range = this.#range
    if (range === undefined) return undefined
    this.#range = undefined
    const index = this.#index++
    if (!isRange(range)) {
      const message = `block ${index}: expected a range { path, offset, length } of a file, got ${describe(range)}`
      throw new OffloadError('ERR_MILLRACE_OFFLOAD_INPUT', message, { index, actual: range })
    }
    const at = positionOf(range) ?? { index, offset: range.offset, line: 0, column: 0 }
    return { range, count: 0, at }
  }
}

function isRange(value: unknown): value is FileRange {
  if (typeof value !== 'object' || value === null) return false
  const { path, offset, length } = value as Partial<Record<keyof FileRange, unknown>>
  return (
    typeof path === 'string' && isSize(offset) && isSize(length) && offset + length <= Number.MAX_SAFE_INTEGER
  )
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** A batch is a block; single records are put together by a fixed number, so that blocks do not depend on timing. */
export class RecordSource implements BlockSource {
  readonly #batchSize: number
  #singles: unknown[] = []
  #index = 0
  readonly #ready: Block[] = []

  constructor(batchSize: number) {
    this.#batchSize = batchSize
  }

  write(chunk: unknown): void {
    if (RecordBatch.is(chunk)) {
      this.#flush()
      this.#add(chunk.records, positionOf(chunk))
    } else {
      this.#singles.push(chunk)
      if (this.#singles.length >= this.#batchSize) this.#flush()
    }
  }

  end(): void {
    this.#flush()
  }

  next(): Block | undefined {
    return this.#ready.shift()
  }

  #flush(): void {
    const records = this.#singles
    this.#singles = []
    this.#add(records, undefined)
  }

  #add(records: readonly unknown[], position: BlockPosition | undefined): void {
    if (records.length === 0) return
    const at = position ?? { index: this.#index, offset: 0, line: 0, column: 0 }
    this.#index += records.length
    this.#ready.push({ records, count: records.length, at })
  }
}

/** What {@link TextSource} cuts. */
type TextFormat = 'auto' | 'json' | 'ndjson' | 'concat' | 'seq'

export interface TextSourceOptions {
  readonly format: TextFormat
  readonly blockSize: number
  readonly maxValueBytes: number
  readonly maxDepth?: number | undefined
  readonly allowEmpty?: boolean | undefined
  readonly path?: readonly string[] | undefined
}

const MODES = { auto: 'auto', json: 'array', ndjson: 'lines', concat: 'concat' } as const

/** Cuts bytes into blocks of whole JSON records, without parsing them. */
export class TextSource implements BlockSource {
  readonly #cutter: FrameCutter
  readonly #layout: () => JsonLayout

  constructor({ format, blockSize, maxValueBytes, maxDepth, allowEmpty, path }: TextSourceOptions) {
    const options = { blockSize, maxFrameLength: maxValueBytes, tooLong: 'ERR_MILLRACE_JSON_TOO_LONG' }
    if (format === 'seq') {
      this.#cutter = new FrameCutter(new SeqScanner(), options)
      this.#layout = () => 'seq'
    } else {
      const scanner = new JsonScanner({
        mode: MODES[format],
        ...(maxDepth !== undefined && { maxDepth }),
        ...(allowEmpty !== undefined && { allowEmpty }),
        ...(path && { path }),
      })
      this.#cutter = new FrameCutter(scanner, options)
      this.#layout = () => scanner.layout ?? 'concat'
    }
  }

  write(chunk: Uint8Array): void {
    this.#cutter.write(chunk)
  }

  end(): void {
    this.#cutter.end()
  }

  next(): Block | undefined {
    const block = this.#cutter.next()
    if (block === undefined) return undefined
    const { bytes, index, offset, line, column, frames } = block
    return { bytes, count: frames, frames, at: { index, offset, line, column }, layout: this.#layout() }
  }
}

import { RecordBatch, withPosition, type StatsCounter } from '../flow/index.ts'
import type { PullCore } from '../flow/pull-stage.ts'
import { FrameCutter } from '../framing/frame-cutter.ts'
import { JsonScanner } from '../framing/json-scanner.ts'
import { SeqScanner } from '../framing/seq-scanner.ts'
import type { ParseBlockOptions } from './careful-parser.ts'
import type { JsonLayout } from './json-frames.ts'
import { parseBlock } from './parse-block.ts'

/** What {@link JsonReader} reads. */
export type JsonFormat = 'auto' | 'array' | 'ndjson' | 'concat' | 'seq'

/** The checked options that the core works by. */
export interface ReaderSettings {
  readonly format: JsonFormat
  readonly path: readonly string[] | undefined
  readonly blockSize: number
  readonly maxValueBytes: number
  readonly maxDepth: number
  readonly allowEmpty: boolean
  readonly parse: ParseBlockOptions
  readonly eager?: boolean
}

/** Bytes in, batches of records out, one for each block that holds any. No stream in it. */
export class ReaderCore<T> implements PullCore<Uint8Array, RecordBatch<T>> {
  readonly #scanner: JsonScanner | SeqScanner
  readonly #cutter: FrameCutter
  readonly #parse: ParseBlockOptions
  readonly #counter: StatsCounter
  /** Records of the input so far, left out ones included, and those given. */
  #seen = 0
  #given = 0
  #error: Error | undefined

  constructor(settings: ReaderSettings, counter: StatsCounter) {
    const { format, path, maxDepth, allowEmpty, blockSize, maxValueBytes, eager = false } = settings
    const mode = format === 'ndjson' ? 'lines' : format
    this.#scanner =
      mode === 'seq'
        ? new SeqScanner()
        : new JsonScanner({ mode, maxDepth, allowEmpty, ...(path && { path }) })
    this.#cutter = new FrameCutter(this.#scanner, {
      blockSize,
      maxFrameLength: maxValueBytes,
      tooLong: 'ERR_MILLRACE_JSON_TOO_LONG',
      eager,
    })
    this.#parse = settings.parse
    this.#counter = counter
  }

  write(chunk: Uint8Array): void {
    this.#counter.received(chunk.length)
    this.#cutter.write(chunk)
  }

  end(): void {
    this.#cutter.end()
  }

  next(): RecordBatch<T> | undefined {
    for (;;) {
      if (this.#error !== undefined) throw this.#error
      const block = this.#cutter.next()
      if (block === undefined) return undefined
      // frames of lines may be blank, so the cutter's number of the first one is not the number of its record
      const { bytes, offset, line, column, frames } = block
      const at = { index: this.#seen, offset, line, column, frames }
      const { records, seen, error } = parseBlock(bytes, this.#layout, at, this.#parse)
      this.#error = error
      this.#seen += seen
      if (records.length === 0) continue
      const batch = new RecordBatch(this.#given, records as T[])
      this.#given += records.length
      this.#counter.sent(0, records.length)
      return withPosition(batch, { index: at.index, offset, line, column })
    }
  }

  get #layout(): JsonLayout {
    return this.#scanner instanceof SeqScanner ? 'seq' : (this.#scanner.layout ?? 'concat')
  }
}

/** The same, one record at a time. */
export class SingleRecords<T> implements PullCore<Uint8Array, T> {
  readonly #core: PullCore<Uint8Array, RecordBatch<T>>
  #records: readonly T[] = []
  #cursor = 0

  constructor(core: PullCore<Uint8Array, RecordBatch<T>>) {
    this.#core = core
  }

  write(chunk: Uint8Array): void {
    this.#core.write(chunk)
  }

  end(): void {
    this.#core.end()
  }

  next(): T | undefined {
    if (this.#cursor === this.#records.length) {
      this.#records = this.#core.next()?.records ?? []
      this.#cursor = 0
    }
    return this.#cursor < this.#records.length ? this.#records[this.#cursor++] : undefined
  }
}

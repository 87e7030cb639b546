import { EventEmitter } from 'node:events'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import type { StreamStats } from '../flow/index.ts'
import { ChunkedReader } from '../framing/index.ts'
import { checkString } from '../options.ts'
import { formatOfName } from './detect-format.ts'
import { StreamingDecoder, type StreamingDecoderOptions } from './streaming-decoder.ts'
import { StreamingEncoder, type StreamingEncoderOptions } from './streaming-encoder.ts'

/** How far a file is. */
export interface FileProgress {
  readonly input: string
  readonly output: string
  readonly bytesIn: number
  readonly bytesOut: number
  /** Bytes that the input has. */
  readonly totalBytes: number | undefined
}

/** Of one file. */
export interface FileOptions {
  /** Ends the work; what was written of the output is removed. */
  readonly signal?: AbortSignal
}

interface DoneFile {
  readonly stats: StreamStats
  readonly packs: boolean
}

/** Bytes that are written at once. */
const WRITE_BYTES = 1_048_576

/**
 * Packs and unpacks whole files, with the same options for all, and counts what it did. Emits `'progress'` with a {@link FileProgress}.
 *
 * The output comes into being under its name when all of it is written. The format follows from the name of the packed file, unless
 * `format` says it.
 *
 * @remarks Memory is that of a {@link StreamingEncoder}: the file is read into its blocks, and its size is never asked for.
 * @throws {@link OptionError} from the first file on, if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { readFileSync, writeFileSync } from 'node:fs'
 * import { FileEncoder } from 'millrace'
 *
 * writeFileSync('log.txt', 'all is well\n'.repeat(100_000))
 * const encoder = new FileEncoder({ codec: 'deflate' })
 * encoder.on('progress', ({ bytesIn, totalBytes }) => assert(bytesIn <= totalBytes))
 * await encoder.encodeFile('log.txt', 'log.txt.mrz')
 * assert(encoder.stats().ratio > 100)
 *
 * encoder.reset()
 * await encoder.decodeFile('log.txt.mrz', 'again.txt')
 * assert(readFileSync('again.txt').equals(readFileSync('log.txt')))
 * assert.equal(encoder.stats().bytesOut, 1_200_000)
 * ```
 */
export class FileEncoder extends EventEmitter<{ progress: [FileProgress] }> {
  readonly #options: StreamingEncoderOptions
  readonly #decoderOptions: StreamingDecoderOptions
  #files: DoneFile[] = []

  constructor(options: StreamingEncoderOptions = {}, decoderOptions: StreamingDecoderOptions = {}) {
    super()
    this.#options = options
    this.#decoderOptions = decoderOptions
  }

  /** Packs a file. */
  async encodeFile(input: string, output: string, { signal }: FileOptions = {}): Promise<StreamStats> {
    const format = this.#options.format ?? formatOfName(checkString('output', output))
    const { onChunk } = this.#options
    const stage: StreamingEncoder = new StreamingEncoder({
      ...this.#options,
      ...(format && { format }),
      onChunk: (chunk) => {
        onChunk?.(chunk)
        this.#report(stage, reader, input, output)
      },
    })
    const reader = new ChunkedReader(input, { chunkSize: stage.blockSize, into: stage })
    return this.#run(reader, stage, output, signal)
  }

  /** Unpacks a file. */
  async decodeFile(input: string, output: string, { signal }: FileOptions = {}): Promise<StreamStats> {
    const { onChunk } = this.#decoderOptions
    const stage: StreamingDecoder = new StreamingDecoder({
      ...this.#decoderOptions,
      onChunk: (chunk) => {
        onChunk?.(chunk)
        this.#report(stage, reader, input, output)
      },
    })
    const reader = new ChunkedReader(input)
    return this.#run(reader, stage, output, signal)
  }

  /** What was done since the last {@link FileEncoder.reset}, over all files. */
  stats(): StreamStats {
    const sum = (of: (stats: StreamStats) => number | undefined) =>
      this.#files.reduce((total, { stats }) => total + (of(stats) ?? 0), 0)
    const bytesIn = sum((stats) => stats.bytesIn)
    const bytesOut = sum((stats) => stats.bytesOut)
    const elapsedMs = sum((stats) => stats.elapsedMs)
    const perSecond = (count: number) => (elapsedMs === 0 ? 0 : (count * 1000) / elapsedMs)
    return {
      bytesIn,
      bytesOut,
      recordsIn: 0,
      recordsOut: 0,
      chunks: sum((stats) => stats.chunks),
      errors: sum((stats) => stats.errors),
      elapsedMs,
      bytesPerSecond: perSecond(bytesOut || bytesIn),
      recordsPerSecond: 0,
      ratio: ratioOf(this.#files),
      blocks: sum((stats) => stats.blocks),
      storedBlocks: sum((stats) => stats.storedBlocks),
      gaps: sum((stats) => stats.gaps),
    }
  }

  /** Forgets what was done. */
  reset(): void {
    this.#files = []
  }

  #report(stage: { stats(): StreamStats }, reader: ChunkedReader, input: string, output: string): void {
    const { bytesIn, bytesOut } = stage.stats()
    this.emit('progress', { input, output, bytesIn, bytesOut, totalBytes: reader.size })
  }

  async #run(
    reader: ChunkedReader,
    stage: StreamingEncoder | StreamingDecoder,
    output: string,
    signal: AbortSignal | undefined,
  ): Promise<StreamStats> {
    const partial = `${checkString('output', output)}.partial`
    try {
      await pipeline(reader, stage, createWriteStream(partial, { highWaterMark: WRITE_BYTES }), {
        ...(signal && { signal }),
      })
      await rename(partial, output)
    } catch (error) {
      await rm(partial, { force: true })
      throw error
    } finally {
      this.#files.push({ stats: stage.stats(), packs: stage instanceof StreamingEncoder })
    }
    return stage.stats()
  }
}

/** Over all files, raw bytes for a packed one. */
function ratioOf(files: readonly DoneFile[]): number {
  let raw = 0
  let packed = 0
  for (const { stats, packs } of files) {
    raw += packs ? stats.bytesIn : stats.bytesOut
    packed += packs ? stats.bytesOut : stats.bytesIn
  }
  return packed === 0 ? 0 : raw / packed
}

/**
 * Packs a file into another, and gives what was done; one file of a {@link FileEncoder}.
 *
 * @throws {@link OptionError} if an option is out of range; otherwise what reading or writing fails with.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { readFileSync, writeFileSync } from 'node:fs'
 * import { gunzipSync } from 'node:zlib'
 * import { encodeFile } from 'millrace'
 *
 * writeFileSync('notes.txt', 'as before\n'.repeat(1000))
 * const { bytesIn } = await encodeFile('notes.txt', 'notes.txt.gz')
 * assert.equal(bytesIn, gunzipSync(readFileSync('notes.txt.gz')).length)
 * ```
 */
export async function encodeFile(
  input: string,
  output: string,
  options: StreamingEncoderOptions = {},
): Promise<StreamStats> {
  const { signal, ...rest } = options
  return new FileEncoder(rest).encodeFile(input, output, signal ? { signal } : {})
}

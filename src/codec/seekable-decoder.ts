import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { Readable } from 'node:stream'
import { CodecError } from '../errors.ts'
import { mapOrdered } from '../flow/index.ts'
import { checkInteger, checkSignal } from '../options.ts'
import { BgzfMap } from './bgzf-map.ts'
import { checkCodec, type BlockCodec } from './block-codec.ts'
import type { BlockMap, BlockRef, MapFacts } from './block-map.ts'
import { ContainerMap } from './container-map.ts'
import { CodecTable } from './decode-block.ts'
import { DETECT_BYTES, detectFormat } from './detect-format.ts'
import { openRangeSource, type RangeInput, type RangeSource } from './range-source.ts'
import { MAX_BLOCK_SIZE, type PackFormat } from './streaming-encoder.ts'
import { ZstdMap } from './zstd-map.ts'

/** Options of {@link SeekableDecoder} and {@link decodeRange}. */
export interface SeekableDecoderOptions {
  /** Codecs beside those that Node has, by their names. */
  readonly codecs?: readonly BlockCodec[]
  /** Most raw bytes of a block, up to 32 MiB. @defaultValue 33554432 */
  readonly maxBlockSize?: number
  /** Blocks that are unpacked at the same time. @defaultValue `os.availableParallelism()` */
  readonly workers?: number
  /** The `.gzi` index of a BGZF file. @defaultValue what lies beside the file under its name and `.gzi`, if anything does */
  readonly gzi?: Uint8Array
  /** Ends reading when it is aborted. */
  readonly signal?: AbortSignal
}

/** What {@link SeekableDecoder} knows of a file without unpacking it. */
export interface PackedFileFacts extends MapFacts {
  readonly format: PackFormat
  readonly packedBytes: number
  /** Raw bytes for every packed byte. */
  readonly ratio: number
}

/**
 * Opens a packed file to read any part of it: only the blocks that hold the part are read and unpacked, several at a time. Takes
 * containers, BGZF, and zstd with a seek table. Other gzip and zstd can only be read from the start.
 *
 * @remarks
 * Finds a block by way of the index at the end of the file, in three reads; the index of a container that lacks its trailer is made anew
 * from the headers of its glyphs, one small read a block. Holds `workers + 1` blocks or, with context, runs of them, and 16 bytes for every block of a file without an index in levels.
 * @throws {@link CodecError} `ERR_MILLRACE_CODEC_UNSEEKABLE` for a file that can only be read from its start.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { buffer } from 'node:stream/consumers'
 * import { SeekableDecoder, StreamingEncoder } from 'millrace'
 *
 * const raw = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 256))
 * const packed = await buffer(Readable.from([raw]).pipe(new StreamingEncoder({ codec: 'deflate', blockSize: 4096 })))
 * const file = await SeekableDecoder.open(packed)
 * assert.equal(file.size, 100_000)
 * assert((await file.read(50_000, 60_000)).equals(raw.subarray(50_000, 60_000)))
 * await file.close()
 * ```
 */
export class SeekableDecoder {
  /** What is known of the file. */
  readonly facts: PackedFileFacts
  readonly #source: RangeSource
  readonly #map: BlockMap
  readonly #codecs: CodecTable
  readonly #workers: number

  private constructor(
    source: RangeSource,
    map: BlockMap,
    format: PackFormat,
    codecs: CodecTable,
    workers: number,
  ) {
    this.#source = source
    this.#map = map
    this.#codecs = codecs
    this.#workers = workers
    const ratio = source.size === 0 ? 0 : map.facts.rawBytes / source.size
    this.facts = { format, packedBytes: source.size, ratio, ...map.facts }
  }

  static async open(input: RangeInput, options: SeekableDecoderOptions = {}): Promise<SeekableDecoder> {
    const { codecs = [], maxBlockSize = MAX_BLOCK_SIZE, workers = availableParallelism() } = options
    for (const [i, codec] of codecs.entries()) checkCodec(`codecs[${i}]`, codec)
    checkInteger('maxBlockSize', maxBlockSize, 1, MAX_BLOCK_SIZE)
    checkInteger('workers', workers, 1, 64)
    const source = await openRangeSource(input)
    const table = new CodecTable(codecs)
    try {
      const format = detectFormat(await source.read(0, Math.min(source.size, DETECT_BYTES)))
      const map = await openMap(source, format, table, maxBlockSize, () => options.gzi ?? gziBeside(input))
      if (format !== undefined && map !== undefined)
        return new SeekableDecoder(source, map, format, table, workers)
      throw unseekable(format)
    } catch (error) {
      await source.close?.()
      throw error
    }
  }

  /** Raw bytes that there are. */
  get size(): number {
    return this.facts.rawBytes
  }

  /**
   * A stream of the raw bytes from `start` up to, but not including, `end`.
   *
   * @throws {@link CodecError} `ERR_MILLRACE_CODEC_RANGE` for a range outside of the content.
   */
  range(
    start: number,
    end: number = this.size,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Readable {
    checkInteger('start', start)
    checkInteger('end', end, start)
    checkSignal('signal', signal)
    if (end > this.size) {
      const what = this.facts.complete ? '' : ', as far as the file is whole'
      throw new CodecError(
        'ERR_MILLRACE_CODEC_RANGE',
        `range ${start}-${end}: the content has ${this.size} bytes${what}`,
        {
          expected: end,
          actual: this.size,
        },
      )
    }
    return Readable.from(this.#pieces(start, end), {
      objectMode: false,
      highWaterMark: 1 << 18,
      ...(signal && { signal }),
    })
  }

  /** The raw bytes from `start` up to, but not including, `end`, in one piece. */
  async read(start: number, end: number): Promise<Buffer> {
    const pieces: Buffer[] = []
    for await (const piece of this.range(start, end)) pieces.push(piece as Buffer)
    return Buffer.concat(pieces)
  }

  /** Closes the file. */
  async close(): Promise<void> {
    await this.#codecs.close()
    await this.#source.close?.()
  }

  async *#pieces(start: number, end: number): AsyncGenerator<Buffer> {
    if (start === end) return
    const runs = mapOrdered(this.#map.find(start, end), (run) => this.#unpack(run), {
      concurrency: this.#workers + 1,
    })
    for await (const { run, raws } of runs) {
      for (const [i, { rawOffset }] of run.entries()) {
        const piece = raws[i]!.subarray(Math.max(0, start - rawOffset), Math.max(0, end - rawOffset))
        if (piece.length > 0) yield piece
      }
    }
  }

  async #unpack(run: readonly BlockRef[]): Promise<{ run: readonly BlockRef[]; raws: Buffer[] }> {
    const last = run.at(-1)!
    const packed = await this.#source.read(run[0]!.offset, last.offset + last.length)
    return { run, raws: await this.#map.unpack(run, packed) }
  }
}

/**
 * A stream of a part of a packed file: the raw bytes from `start` up to, but not including, `end`. Reads only what holds them.
 *
 * @throws the stream fails with what {@link SeekableDecoder} throws.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { createWriteStream } from 'node:fs'
 * import { Readable } from 'node:stream'
 * import { text } from 'node:stream/consumers'
 * import { pipeline } from 'node:stream/promises'
 * import { StreamingEncoder, decodeRange } from 'millrace'
 *
 * await pipeline(Readable.from([Buffer.from('0123456789')]), new StreamingEncoder(), createWriteStream('digits.mrz'))
 * assert.equal(await text(decodeRange('digits.mrz', 3, 7)), '3456')
 * ```
 */
export function decodeRange(
  input: RangeInput,
  start: number,
  end: number,
  options: SeekableDecoderOptions = {},
): Readable {
  checkInteger('start', start)
  checkInteger('end', end, start)
  const { signal } = options
  checkSignal('signal', signal)
  async function* pieces(): AsyncGenerator<Buffer> {
    const file = await SeekableDecoder.open(input, options)
    try {
      yield* file.range(start, end) as AsyncIterable<Buffer>
    } finally {
      await file.close()
    }
  }
  return Readable.from(pieces(), { objectMode: false, highWaterMark: 1 << 18, ...(signal && { signal }) })
}

async function openMap(
  source: RangeSource,
  format: PackFormat | undefined,
  codecs: CodecTable,
  maxBlockSize: number,
  gzi: () => Uint8Array | undefined | Promise<Uint8Array | undefined>,
): Promise<BlockMap | undefined> {
  if (format === 'container') return ContainerMap.open({ source, codecs, maxBlockSize })
  if (format === 'zstd') return ZstdMap.open(source, maxBlockSize)
  if (format !== 'bgzf') return undefined
  const index = await gzi()
  return BgzfMap.open(source, index && Buffer.from(index))
}

async function gziBeside(input: RangeInput): Promise<Buffer | undefined> {
  if (typeof input !== 'string' && !(input instanceof URL)) return undefined
  const path = input instanceof URL ? new URL(`${input.href}.gzi`) : `${input}.gzi`
  return readFile(path).catch(() => undefined)
}

function unseekable(format: PackFormat | undefined): CodecError {
  if (format === undefined) {
    return new CodecError('ERR_MILLRACE_CODEC_INVALID', 'byte 0: expected a container, BGZF or zstd', {
      offset: 0,
    })
  }
  const what = format === 'zstd' ? 'this zstd file has no seek table' : 'a gzip file has no index'
  return new CodecError('ERR_MILLRACE_CODEC_UNSEEKABLE', `${what}: it can only be decoded from its start`)
}

import { availableParallelism } from 'node:os'
import { OptionError } from '../errors.ts'
import { StatsCounter, type StatsHooks } from '../flow/stream-stats.ts'
import type { ChunkAllocator } from '../framing/index.ts'
import { checkChoice, checkInteger, checkSignal } from '../options.ts'
import { checkCodec, type BlockCodec } from './block-codec.ts'
import { BlockStage } from './block-stage.ts'
import { BGZF_BLOCK_SIZE, BgzfWriter } from './bgzf-writer.ts'
import { ContainerWriter, type BlockContext } from './container-writer.ts'
import { EncoderCore, type FormatWriter } from './encoder-core.ts'
import { GzipWriter } from './gzip-writer.ts'
import { builtInCodec, checkContext, checkLevel, hasZstd, needZstd, type CodecName } from './zlib-codecs.ts'
import { ZstdWriter } from './zstd-writer.ts'

/** Formats that can be written: the glyph container, and three that other tools read. */
export type PackFormat = 'container' | 'gzip' | 'bgzf' | 'zstd'

/** The largest block, in bytes: 32 MiB. */
export const MAX_BLOCK_SIZE = 33_554_432
/** Blocks of a container with `context: 'previous'` from one that can be read by itself to the next, unless told otherwise. */
export const DEFAULT_RESTART_EVERY = 8

/** Options of {@link StreamingEncoder}. */
export interface StreamingEncoderOptions extends StatsHooks {
  /** @defaultValue 'container' */
  readonly format?: PackFormat
  /**
   * How blocks of a container are packed; the other formats have their own.
   * @defaultValue 'zstd' where Node has it (22.15), else 'deflate'
   */
  readonly codec?: CodecName | BlockCodec
  /**
   * How hard to try: deflate 0 to 9, brotli 0 to 11, zstd 1 to 22.
   * @defaultValue 6 for deflate, 4 for brotli, 3 for zstd
   */
  readonly level?: number
  /**
   * Raw bytes of a block, up to 32 MiB. `'auto'`: 256 KiB for deflate, 2 MiB for zstd, 1 MiB for all others. The same bytes give the same file
   * only with the same block size. BGZF has 65280 at most.
   * @defaultValue 'auto'
   */
  readonly blockSize?: number | 'auto'
  /**
   * What a block may refer to beside itself. `'previous'`: the end of the raw block before it, which packs better and leaves blocks
   * to be packed in parallel; a reader begins at the last restart. `'dictionary'`: bytes that the file holds once.
   * For containers; gzip takes `'none'` and `'previous'`, and brotli none.
   * @defaultValue 'none'; 'previous' for gzip
   */
  readonly context?: BlockContext
  /** Blocks from one restart to the next, with `context: 'previous'` in a container: 1 to 65535. @defaultValue 8 */
  readonly restartEvery?: number
  /** What `context: 'dictionary'` refers to. @defaultValue the beginning of the first block */
  readonly dictionary?: Uint8Array
  /**
   * Blocks that are packed at the same time, in libuv's pool (which has `UV_THREADPOOL_SIZE` threads, 4 unless set).
   * @defaultValue `os.availableParallelism()`
   */
  readonly workers?: number
  /** Keeps what a `.gzi` index of BGZF holds: 16 bytes a block. @defaultValue false */
  readonly gzi?: boolean
  /** Destroys the stage when it is aborted. */
  readonly signal?: AbortSignal
  readonly highWaterMark?: number
}

interface EncoderPlan {
  readonly writer: FormatWriter
  readonly blockSize: number
  readonly workers: number
  readonly gzi: number[] | undefined
}

/** Blocks that wait or are done, for each in work: the pool shall never wait for this thread. */
const WINDOW_FACTOR = 2

/**
 * Bytes in, packed bytes out: as a glyph container (docs/container.md), gzip, BGZF or zstd, in blocks that are packed on several
 * cores at once. The output depends on the bytes and the options alone, never on how the input was cut or on `workers`.
 *
 * A container can be read from any place, tells damage where it is, and what is not damaged can still be read; files can be joined by
 * `cat`, so parts of one can be made on different machines. Blocks that packing does not make smaller are stored.
 *
 * @remarks
 * Holds some `3 × workers` blocks, raw and packed, in buffers that are used again. As an allocator it lends a reader the
 * memory of blocks to read into, which saves a copy. zstd and BGZF with `gzi` hold 8 and 16 bytes for every block until the end.
 * @throws {@link OptionError} if an option is out of range; {@link NodeVersionError} for zstd where Node has none.
 * @see RFC 1951, 1952, 7932, 8878 for the formats of blocks
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { createReadStream, createWriteStream, writeFileSync } from 'node:fs'
 * import { buffer } from 'node:stream/consumers'
 * import { pipeline } from 'node:stream/promises'
 * import { StreamingDecoder, StreamingEncoder } from 'millrace'
 *
 * writeFileSync('numbers.txt', Array.from({ length: 100_000 }, (_, i) => `line ${i}\n`).join(''))
 * const encoder = new StreamingEncoder({ codec: 'deflate', level: 6, workers: 2 })
 * await pipeline(createReadStream('numbers.txt'), encoder, createWriteStream('numbers.txt.mrz'))
 * assert(encoder.stats().ratio > 4)
 *
 * const raw = await buffer(createReadStream('numbers.txt.mrz').pipe(new StreamingDecoder()))
 * assert.equal(raw.length, encoder.stats().bytesIn)
 * ```
 */
export class StreamingEncoder extends BlockStage implements ChunkAllocator {
  /** Raw bytes of a block. */
  readonly blockSize: number
  readonly #core: EncoderCore
  readonly #gzi: number[] | undefined

  constructor(options: StreamingEncoderOptions = {}) {
    const { writer, blockSize, workers, gzi } = planEncoder(options)
    const counter = new StatsCounter('StreamingEncoder', options)
    counter.packing = { blocks: 0, storedBlocks: 0, gaps: 0, packs: true }
    const core = new EncoderCore(writer, blockSize, counter)
    super(core, counter, {
      concurrency: workers + 1,
      window: WINDOW_FACTOR * workers + 1,
      signal: checkSignal('signal', options.signal),
      highWaterMark: options.highWaterMark ?? Math.max(blockSize, 1 << 16),
    })
    this.blockSize = blockSize
    this.#core = core
    this.#gzi = gzi
  }

  /** Lends memory of a block: fill it, and write it to this stage, or give it back. */
  alloc(size: number): Buffer {
    return this.#core.cutter.alloc(size)
  }

  /** Takes back memory of {@link StreamingEncoder.alloc} that is not to be written after all. */
  release(buffer: Buffer): void {
    this.#core.cutter.release(buffer)
  }

  /**
   * The `.gzi` index of the BGZF that was written, as bgzip and samtools read it.
   *
   * @throws {@link OptionError} without `gzi: true`.
   */
  gziIndex(): Buffer {
    if (this.#gzi === undefined) throw new OptionError('gzi', false, "true, with format: 'bgzf'")
    const index = Buffer.alloc(8 + 8 * this.#gzi.length)
    index.writeBigUInt64LE(BigInt(this.#gzi.length / 2), 0)
    for (const [i, offset] of this.#gzi.entries()) index.writeBigUInt64LE(BigInt(offset), 8 + 8 * i)
    return index
  }
}

function planEncoder(options: StreamingEncoderOptions): EncoderPlan {
  const { format = 'container', workers = availableParallelism(), gzi = false } = options
  checkChoice('format', format, ['container', 'gzip', 'bgzf', 'zstd'])
  checkInteger('workers', workers, 1, 1024)
  if (options.highWaterMark !== undefined) checkInteger('highWaterMark', options.highWaterMark)
  if (gzi && format !== 'bgzf') throw new OptionError('gzi', gzi, "false, unless with format: 'bgzf'")
  if (format === 'container') return { ...planContainer(options), workers, gzi: undefined }
  const needed = format === 'zstd' ? 'zstd' : 'deflate'
  const { codec = needed, context = format === 'gzip' ? 'previous' : 'none' } = options
  if (codec !== needed) throw new OptionError('codec', codec, `'${needed}' with format: '${format}'`)
  for (const name of ['dictionary', 'restartEvery'] as const) {
    if (options[name] !== undefined)
      throw new OptionError(name, options[name], `nothing with format: '${format}'`)
  }
  checkChoice('context', context, format === 'gzip' ? ['none', 'previous'] : ['none'])
  const level = checkLevel(builtInCodec(needed)!, options.level)
  const max = format === 'bgzf' ? BGZF_BLOCK_SIZE : MAX_BLOCK_SIZE
  const blockSize = checkBlockSize(
    options.blockSize,
    format === 'bgzf' ? BGZF_BLOCK_SIZE : AUTO_BLOCK_SIZE[needed],
    max,
  )
  const index: number[] | undefined = gzi ? [] : undefined
  let writer: FormatWriter
  if (format === 'gzip') writer = new GzipWriter(level, context === 'previous')
  else writer = format === 'bgzf' ? new BgzfWriter(level, index) : new ZstdWriter(level)
  return { writer, blockSize, workers, gzi: index }
}

/** Where blocks by themselves lose little: 2 MiB of zstd pack to 0.5 to 1.4 % more than one long frame, 1 MiB to 1.3 to 2.9 %. */
const AUTO_BLOCK_SIZE = { deflate: 262_144, other: 1_048_576, zstd: 2_097_152 }

function planContainer(options: StreamingEncoderOptions) {
  const { codec: asked = hasZstd ? 'zstd' : 'deflate', context = 'none', dictionary } = options
  const codec = typeof asked === 'string' ? builtInCodec(asked) : checkCodec('codec', asked)
  if (codec === undefined) {
    throw new OptionError('codec', asked, "'deflate', 'brotli', 'zstd', 'store', or a BlockCodec")
  }
  if (asked === 'zstd') needZstd('packing with zstd')
  checkChoice('context', context, ['none', 'previous', 'dictionary'])
  checkContext(codec, context)
  const { restartEvery = DEFAULT_RESTART_EVERY } = options
  checkInteger('restartEvery', restartEvery, 1, 0xffff)
  if (dictionary !== undefined) {
    if (context !== 'dictionary')
      throw new OptionError('dictionary', dictionary, "nothing without context: 'dictionary'")
    if (!(dictionary instanceof Uint8Array) || dictionary.length > codec.contextBytes!) {
      throw new OptionError('dictionary', dictionary, `a Uint8Array of at most ${codec.contextBytes} bytes`)
    }
  }
  const { level } = options
  if (level !== undefined) checkInteger('level', level, Number.MIN_SAFE_INTEGER)
  const builtIn = typeof asked === 'string' ? builtInCodec(asked) : undefined
  const blockSize = checkBlockSize(
    options.blockSize,
    AUTO_BLOCK_SIZE[codec.name === 'deflate' || codec.name === 'zstd' ? codec.name : 'other'],
    MAX_BLOCK_SIZE,
  )
  const writer = new ContainerWriter({
    codec,
    level: builtIn ? checkLevel(builtIn, level) : level,
    blockSize,
    context,
    restartEvery,
    dictionary: dictionary && Buffer.from(dictionary),
  })
  return { writer, blockSize }
}

function checkBlockSize(asked: number | 'auto' = 'auto', automatic: number, max: number): number {
  if (asked === 'auto') return automatic
  if (typeof asked === 'string') throw new OptionError('blockSize', asked, "a number of bytes, or 'auto'")
  return checkInteger('blockSize', asked, 1, max)
}

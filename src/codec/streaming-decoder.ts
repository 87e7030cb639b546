import { availableParallelism } from 'node:os'
import { CodecError, OptionError } from '../errors.ts'
import { StatsCounter, type StatsHooks } from '../flow/stream-stats.ts'
import {
  checkBoolean,
  checkChoice,
  checkFunction,
  checkInteger,
  checkLimit,
  checkSignal,
} from '../options.ts'
import { BgzfReader } from './bgzf-reader.ts'
import { checkCodec, type BlockCodec } from './block-codec.ts'
import { BlockStage, type BlockCore, type BlockTask } from './block-stage.ts'
import { ContainerReader } from './container-reader.ts'
import { CodecTable } from './decode-block.ts'
import { DETECT_BYTES, detectFormat } from './detect-format.ts'
import type { Gap } from './gap-ledger.ts'
import { GzipReader } from './gzip-reader.ts'
import { RatioLimit } from './ratio-limit.ts'
import { MAX_BLOCK_SIZE, type PackFormat } from './streaming-encoder.ts'
import { ZstdReader } from './zstd-reader.ts'

/** Raw bytes for a packed one that are taken unless told otherwise: no block of {@link StreamingEncoder} comes near. */
export const DEFAULT_MAX_RATIO = 1_048_576

/** Options of {@link StreamingDecoder}. */
export interface StreamingDecoderOptions extends StatsHooks {
  /** @defaultValue 'auto': what the first bytes say */
  readonly format?: PackFormat | 'auto'
  /**
   * What to do about damage. `'strict'`: an error with the byte offset, the block and the raw offset, after all that comes before.
   * `'recover'`, for containers: go on with the next good block, and tell what is lost.
   * @defaultValue 'strict'
   */
  readonly mode?: 'strict' | 'recover'
  /** Called with each gap before what follows it is sent on; also the event `'gap'`. For `mode: 'recover'`. */
  readonly onGap?: (gap: Gap) => void
  /** Whether gaps of a known length are filled with zeros, so that all other bytes keep their places. @defaultValue false */
  readonly fill?: boolean
  /** Codecs beside those that Node has, by their names. */
  readonly codecs?: readonly BlockCodec[]
  /** Most raw bytes of a block that is unpacked in memory, up to 32 MiB. @defaultValue 33554432 */
  readonly maxBlockSize?: number
  /** Most raw bytes for a packed byte, over all of the input so far; or `Infinity`. @defaultValue 1048576 */
  readonly maxRatio?: number
  /** Blocks that are unpacked at the same time. @defaultValue `os.availableParallelism()` */
  readonly workers?: number
  /** Destroys the stage when it is aborted. */
  readonly signal?: AbortSignal
  readonly highWaterMark?: number
}

/** The most that any input makes a decoder hold at a time; the reader itself says how much it needs. */
const MAX_WINDOW = 512

/**
 * Packed bytes in, cut anywhere; raw bytes out. Reads what {@link StreamingEncoder} writes, and gzip, BGZF and zstd of any other
 * writer. Everything is verified: what comes out is what went in, and all of it, or there is an error.
 *
 * With `mode: 'recover'` every raw byte of a damaged container is either sent on, verified, or lies in a gap that is told.
 *
 * @remarks
 * Blocks are unpacked side by side: those of a container, of BGZF, and of zstd in frames that tell their size. Holds some `2 × workers`
 * blocks, packed and raw. A length or ratio that is not allowed is refused before memory is taken for it. A single gzip member, or a large zstd frame,
 * is unpacked in one thread, while this one reads and writes.
 * @throws {@link OptionError} if an option is out of range.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { buffer } from 'node:stream/consumers'
 * import { StreamingDecoder, StreamingEncoder } from 'millrace'
 *
 * const raw = Buffer.from(Array.from({ length: 5000 }, (_, i) => i % 251))
 * const packed = await buffer(Readable.from([raw]).pipe(new StreamingEncoder({ codec: 'deflate', blockSize: 1000 })))
 *
 * packed[packed.length >> 1]! ^= 1
 * await assert.rejects(buffer(Readable.from([packed]).pipe(new StreamingDecoder())), { rawOffset: 2000 })
 *
 * const gaps: object[] = []
 * const decoder = new StreamingDecoder({ mode: 'recover', fill: true, onGap: ({ start, end }) => gaps.push({ start, end }) })
 * const saved = await buffer(Readable.from([packed]).pipe(decoder))
 * assert.deepEqual(gaps, [{ start: 2000, end: 3000 }])
 * assert(saved.equals(Buffer.from(raw).fill(0, 2000, 3000)))
 * ```
 */
export class StreamingDecoder extends BlockStage {
  readonly #core: DecoderCore

  constructor(options: StreamingDecoderOptions = {}) {
    const counter = new StatsCounter('StreamingDecoder', options)
    counter.packing = { blocks: 0, storedBlocks: 0, gaps: 0, packs: false }
    let onGap: (gap: Gap) => void = () => {}
    const core = new DecoderCore(
      planDecoder(options, (gap) => onGap(gap)),
      counter,
    )
    super(core, counter, {
      concurrency: MAX_WINDOW,
      window: MAX_WINDOW,
      signal: checkSignal('signal', options.signal),
      highWaterMark: options.highWaterMark ?? 1 << 18,
    })
    this.#core = core
    onGap = (gap) => {
      options.onGap?.(gap)
      this.emit('gap', gap)
    }
  }

  /** What the input is; undefined until its first bytes have come. */
  get format(): PackFormat | undefined {
    return this.#core.format
  }
}

interface DecoderPlan {
  readonly format: PackFormat | 'auto'
  readonly recover: boolean
  readonly fill: boolean
  readonly onGap: (gap: Gap) => void
  readonly codecs: CodecTable
  readonly maxBlockSize: number
  readonly maxRatio: number
  readonly workers: number
}

function planDecoder(options: StreamingDecoderOptions, onGap: (gap: Gap) => void): DecoderPlan {
  const {
    format = 'auto',
    mode = 'strict',
    fill = false,
    codecs = [],
    maxBlockSize = MAX_BLOCK_SIZE,
    maxRatio = DEFAULT_MAX_RATIO,
    workers = availableParallelism(),
  } = options
  checkChoice('format', format, ['auto', 'container', 'gzip', 'bgzf', 'zstd'])
  checkChoice('mode', mode, ['strict', 'recover'])
  checkBoolean('fill', fill)
  checkFunction('onGap', options.onGap)
  for (const [i, codec] of codecs.entries()) checkCodec(`codecs[${i}]`, codec)
  checkInteger('maxBlockSize', maxBlockSize, 1, MAX_BLOCK_SIZE)
  checkLimit('maxRatio', maxRatio)
  checkInteger('workers', workers, 1, 64)
  if (options.highWaterMark !== undefined) checkInteger('highWaterMark', options.highWaterMark)
  const recover = mode === 'recover'
  if (fill && !recover) throw new OptionError('fill', fill, "false, unless with mode: 'recover'")
  if (recover && format !== 'auto' && format !== 'container') {
    throw new OptionError('mode', mode, `'strict' with format: '${format}'`)
  }
  return { format, recover, fill, onGap, codecs: new CodecTable(codecs), maxBlockSize, maxRatio, workers }
}

/** Finds out what the input is, and leaves the rest to the reader of that format. */
class DecoderCore implements BlockCore {
  readonly #plan: DecoderPlan
  readonly #counter: StatsCounter
  #reader: BlockCore | undefined
  #start: Buffer = Buffer.alloc(0)
  #ended = false
  format: PackFormat | undefined

  constructor(plan: DecoderPlan, counter: StatsCounter) {
    this.#plan = plan
    this.#counter = counter
    if (plan.format !== 'auto') this.#open(plan.format)
  }

  get window(): number {
    return this.#reader?.window ?? 1
  }

  write(chunk: Buffer): void {
    if (this.#reader !== undefined) return this.#reader.write(chunk)
    this.#start = Buffer.concat([this.#start, chunk])
  }

  end(): void {
    this.#ended = true
    this.#reader?.end()
  }

  next(): BlockTask | 'wait' | undefined {
    if (this.#reader === undefined) {
      if (!this.#ended && this.#start.length < DETECT_BYTES) return undefined
      const reader = this.#open(this.#detect())
      reader.write(this.#start)
      if (this.#ended) reader.end()
      this.#start = Buffer.alloc(0)
      return reader.next()
    }
    return this.#reader.next()
  }

  finish(): Iterable<Buffer> {
    return this.#reader?.finish?.() ?? []
  }

  async close(): Promise<void> {
    await this.#reader?.close?.()
  }

  #detect(): PackFormat {
    const found = detectFormat(this.#start)
    // its beginning may be what is damaged
    if (this.#plan.recover && (found === undefined || found === 'container')) return 'container'
    if (found === undefined) {
      const actual = this.#start.toString('hex', 0, 8)
      const message =
        this.#start.length === 0
          ? 'the input is empty'
          : `byte 0: expected a container, gzip, BGZF or zstd, got ${actual}${this.#start.length > 8 ? '…' : ''}`
      const code = this.#start.length === 0 ? 'TRUNCATED' : 'INVALID'
      throw new CodecError(`ERR_MILLRACE_CODEC_${code}`, message, { offset: 0, rawOffset: 0, actual })
    }
    if (this.#plan.recover)
      throw new OptionError('mode', 'recover', `'strict' for ${found}: only containers can be recovered`)
    return found
  }

  #open(format: PackFormat): BlockCore {
    this.format = format
    const { maxBlockSize, maxRatio, workers } = this.#plan
    const limit = new RatioLimit(maxRatio)
    if (format === 'container') this.#reader = new ContainerReader(this.#plan, this.#counter)
    else if (format === 'gzip') this.#reader = new GzipReader(limit)
    else if (format === 'bgzf') this.#reader = new BgzfReader(workers, this.#counter)
    else this.#reader = new ZstdReader({ workers, maxBlockSize, limit }, this.#counter)
    return this.#reader
  }
}

import zlib from 'node:zlib'
import { CodecError, FrameError } from '../errors.ts'
import type { StatsCounter } from '../flow/index.ts'
import { ZstdFrameWalker } from '../framing/zstd-frame-walker.ts'
import type { BlockCore, BlockTask } from './block-stage.ts'
import type { RatioLimit } from './ratio-limit.ts'
import { SequenceRunner, type Step } from './sequence-task.ts'
import { callZlib, needZstd, packedBound } from './zlib-codecs.ts'
import { FEED_BYTES, ZlibFeed } from './zlib-feed.ts'

/** Most memory that a frame may ask its decoder to look back on, in bytes, as in the zstd tool: 128 MiB. */
const MAX_ZSTD_WINDOW = 134_217_728
/** A frame header is complete within that many bytes. */
const MAX_HEADER_BYTES = 18

/**
 * Reads zstd of any writer. Frames that say that they are small are unpacked whole, side by side; others as streams. Finds the ends of
 * frames itself, since Node's decoder silently drops all that follows the first one (nodejs/node#64741).
 *
 * @see RFC 8878
 */
export class ZstdReader implements BlockCore {
  readonly window: number
  readonly #maxBlockSize: number
  readonly #limit: RatioLimit
  readonly #counter: StatsCounter
  readonly #walker = new ZstdFrameWalker()
  readonly #sequence = new SequenceRunner()
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  /** Packed bytes before `#chunk[#at]`. */
  #offset = 0
  #ended = false
  #frames = 0
  #kind: 'unknown' | 'whole' | 'stream' | 'skip' = 'unknown'
  /** Bytes of the frame that are not given to a task yet. */
  #pieces: Buffer[] = []
  #held = 0
  #maxHeld = 0
  #frameStart = 0
  #stream: ZstdStream | undefined
  #rawBytes = 0

  constructor(options: { workers: number; maxBlockSize: number; limit: RatioLimit }, counter: StatsCounter) {
    needZstd('zstd input')
    this.window = 2 * options.workers + 2
    this.#maxBlockSize = options.maxBlockSize
    this.#limit = options.limit
    this.#counter = counter
  }

  write(chunk: Buffer): void {
    this.#chunk = chunk
    this.#at = 0
  }

  end(): void {
    this.#ended = true
  }

  next(): BlockTask | 'wait' | undefined {
    const stream = this.#stream
    if (stream !== undefined && (stream.backlog > FEED_BYTES || stream.hasAll)) {
      if (!stream.hasAll) return this.#sequence.task(() => stream.step())
      if (!stream.isOver)
        return this.#sequence.running > 0 ? 'wait' : this.#sequence.task(() => stream.step())
      this.#stream = undefined
    }
    while (this.#at < this.#chunk.length) {
      const task = this.#advance()
      if (task) return task
    }
    if (!this.#ended) return undefined
    if (this.#frames > 0 && this.#walker.atBoundary) return undefined
    if (this.#kind === 'stream' && this.#held > 0) return this.#streamTask(false)
    if (this.#sequence.running > 0) return 'wait'
    if (stream !== undefined && stream.backlog > 0) return this.#sequence.task(() => stream.step())
    const where = this.#walker.atBoundary ? 'before its first frame' : 'inside of a frame'
    throw new CodecError(
      'ERR_MILLRACE_CODEC_TRUNCATED',
      `the zstd input ends ${where}, at byte ${this.#offset}`,
      {
        offset: this.#offset,
      },
    )
  }

  close(): void {
    this.#stream?.close()
  }

  #advance(): BlockTask | undefined {
    if (this.#walker.atBoundary) {
      this.#frameStart = this.#offset
      this.#kind = 'unknown'
    }
    // byte by byte until the header is read, and then as much as a task may have
    const most = this.#kind === 'unknown' ? 1 : this.#kind === 'stream' ? FEED_BYTES : Infinity
    const piece = this.#chunk.subarray(this.#at, this.#at + most)
    let end
    try {
      end = this.#walker.walk(piece, 0)
    } catch (error) {
      throw asCodecError(error as FrameError)
    }
    const taken = end === -1 ? piece : piece.subarray(0, end)
    this.#at += taken.length
    this.#offset += taken.length
    if (this.#kind === 'unknown' && (this.#walker.frame !== undefined || this.#walker.skippable))
      this.#classify()
    if (this.#kind !== 'skip') this.#hold(taken)
    if (end !== -1) {
      this.#frames++
      if (this.#kind === 'skip') return undefined
      return this.#kind === 'stream' ? this.#streamTask(true) : this.#wholeTask()
    }
    return this.#kind === 'stream' && this.#held >= FEED_BYTES ? this.#streamTask(false) : undefined
  }

  /** Decides how the frame is read, now that its header is known. */
  #classify(): void {
    const { frame } = this.#walker
    if (frame === undefined) {
      this.#kind = 'skip'
      this.#pieces = []
      this.#held = 0
      return
    }
    const { contentSize, windowSize, dictionary } = frame
    if (dictionary !== 0) {
      throw this.#error('UNKNOWN', `a zstd frame that needs the dictionary ${dictionary}`)
    }
    if (contentSize !== undefined && contentSize <= this.#maxBlockSize) {
      this.#kind = 'whole'
      this.#maxHeld = packedBound(contentSize) + MAX_HEADER_BYTES
      return
    }
    if (windowSize > MAX_ZSTD_WINDOW && contentSize !== windowSize) {
      throw this.#error(
        'LIMIT',
        `a zstd frame with a window of ${windowSize} bytes, where ${MAX_ZSTD_WINDOW} are allowed`,
      )
    }
    this.#kind = 'stream'
    this.#stream = new ZstdStream(this.#frameStart, this.#limit)
  }

  #hold(bytes: Buffer): void {
    this.#pieces.push(Buffer.from(bytes))
    this.#held += bytes.length
    if (this.#kind === 'whole' && this.#held > this.#maxHeld) {
      throw this.#error(
        'LIMIT',
        `a zstd frame of more than ${this.#maxHeld} bytes for a content that needs fewer`,
      )
    }
  }

  #takeHeld(): Buffer {
    const bytes = Buffer.concat(this.#pieces)
    this.#pieces = []
    this.#held = 0
    return bytes
  }

  #wholeTask(): BlockTask {
    const bytes = this.#takeHeld()
    const offset = this.#frameStart
    const packing = this.#counter.packing!
    const { contentSize = 0 } = this.#wholeFacts(bytes)
    this.#rawBytes += contentSize
    this.#limit.check(this.#rawBytes, this.#offset)
    const task: BlockTask<Buffer> = {
      run: () => unpackFrame(bytes, contentSize, offset),
      join(raw) {
        packing.blocks++
        if (bytes.length >= raw.length) packing.storedBlocks++
        return [raw]
      },
    }
    return task
  }

  /** The walker forgets a frame that is over. */
  #wholeFacts(bytes: Buffer): { contentSize?: number | undefined } {
    const walker = new ZstdFrameWalker()
    walker.walk(bytes.subarray(0, Math.min(bytes.length - 1, MAX_HEADER_BYTES)), 0)
    return walker.frame ?? {}
  }

  #streamTask(isLast: boolean): BlockTask {
    const bytes = this.#takeHeld()
    const stream = this.#stream!
    stream.hasAll = isLast
    return this.#sequence.task(() => stream.feed(bytes, isLast))
  }

  #error(code: string, message: string): CodecError {
    const offset = this.#frameStart
    return new CodecError(`ERR_MILLRACE_CODEC_${code}`, `byte ${offset}: ${message}`, { offset })
  }
}

/** One frame with a decoder of its own. */
class ZstdStream {
  readonly #feed = new ZlibFeed(zlib.createZstdDecompress({ chunkSize: 1 << 17 }))
  readonly #limit: RatioLimit
  readonly #queue: (Buffer | undefined)[] = []
  /** Set when its last piece is on its way. */
  hasAll = false
  /** All came out, or an error. */
  isOver = false
  #isEnded = false
  #offset: number
  #packed = 0
  #raw = 0

  constructor(offset: number, limit: RatioLimit) {
    this.#offset = offset
    this.#limit = limit
  }

  /** Packed bytes that wait. */
  get backlog(): number {
    return this.#queue.reduce((sum, piece) => sum + (piece?.length ?? 0), 0)
  }

  feed(bytes: Buffer, isLast: boolean): Promise<Step> {
    this.#queue.push(bytes)
    if (isLast) this.#queue.push(undefined)
    return this.step()
  }

  /** Goes on with what waits. */
  async step(): Promise<Step> {
    const output: Buffer[] = []
    try {
      while (this.#queue.length > 0) {
        const piece = this.#queue[0]
        if (this.#feed.idle) this.#feed.give(piece)
        const fed = await this.#feed.step()
        for (const chunk of fed.output) {
          this.#raw += chunk.length
          output.push(chunk)
        }
        if (fed.error !== undefined) throw damagedFrame(fed.error, this.#offset)
        this.#limit.check(this.#raw, this.#packed + (piece?.length ?? 0))
        if (!fed.done) return { output }
        this.#queue.shift()
        this.#isEnded = piece === undefined
        this.#offset += piece?.length ?? 0
        this.#packed += piece?.length ?? 0
      }
      this.isOver = this.#isEnded
      return { output }
    } catch (error) {
      this.isOver = true
      return { output, error }
    }
  }

  close(): void {
    this.#feed.close()
  }
}

/** Unpacks one whole frame. @throws {@link CodecError} if it is damaged. */
export async function unpackFrame(frame: Buffer, rawLength: number, offset: number): Promise<Buffer> {
  let raw
  try {
    const options = { chunkSize: Math.max(64, rawLength + 1), maxOutputLength: Math.max(1, rawLength) }
    raw = await callZlib(needZstd('zstd input').zstdDecompress, frame, options)
  } catch (error) {
    throw damagedFrame(error as Error, offset)
  }
  if (raw.length === rawLength) return raw
  throw new CodecError(
    'ERR_MILLRACE_CODEC_CHECKSUM',
    `byte ${offset}: a zstd frame unpacks to ${raw.length} bytes, not to ${rawLength}`,
    { offset, expected: rawLength, actual: raw.length },
  )
}

function damagedFrame(cause: Error, offset: number): CodecError {
  const message = `byte ${offset}: a zstd frame is damaged: ${cause.message}`
  return new CodecError('ERR_MILLRACE_CODEC_CHECKSUM', message, { offset, cause })
}

function asCodecError({ message, offset = 0, expected, actual }: FrameError): CodecError {
  return new CodecError('ERR_MILLRACE_CODEC_INVALID', message, { offset, expected, actual })
}

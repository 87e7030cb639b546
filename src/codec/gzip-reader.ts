import zlib from 'node:zlib'
import { CodecError } from '../errors.ts'
import type { BlockCore, BlockTask } from './block-stage.ts'
import { GZIP_TRAILER_BYTES } from './bgzf-writer.ts'
import { crc32 } from './crc32.ts'
import { hex } from './decode-block.ts'
import { MAX_GZIP_HEADER_BYTES, gzipHeaderLength } from './gzip-header.ts'
import type { RatioLimit } from './ratio-limit.ts'
import { SequenceRunner, type Step } from './sequence-task.ts'
import { FEED_BYTES, ZlibFeed } from './zlib-feed.ts'

const EMPTY: Buffer = Buffer.alloc(0)

/** Reads gzip of any writer, one member after the other: a deflate stream cannot be entered in the middle. */
export class GzipReader implements BlockCore {
  /** One step is at work, one waits for it. */
  readonly window = 3
  readonly #sequence = new SequenceRunner()
  readonly #machine: GzipMachine
  #chunk = EMPTY
  #at = 0
  #ended = false

  constructor(limit: RatioLimit) {
    this.#machine = new GzipMachine(limit)
  }

  write(chunk: Buffer): void {
    this.#chunk = chunk
    this.#at = 0
  }

  end(): void {
    this.#ended = true
  }

  next(): BlockTask | 'wait' | undefined {
    const machine = this.#machine
    // what a small piece gives may take many steps
    if (machine.backlog > FEED_BYTES) return this.#sequence.task(() => machine.step())
    if (this.#at < this.#chunk.length) {
      const piece = Buffer.from(this.#chunk.subarray(this.#at, this.#at + FEED_BYTES))
      this.#at += piece.length
      return this.#sequence.task(() => machine.feed(piece))
    }
    if (!this.#ended || machine.isOver) return undefined
    return this.#sequence.running > 0 ? 'wait' : this.#sequence.task(() => machine.end())
  }

  close(): void {
    this.#machine.close()
  }
}

/** The state of a gzip input, and what is known of the member that is open. */
class GzipMachine {
  readonly #limit: RatioLimit
  /** The end was found, good or bad. */
  isOver = false
  #state: 'header' | 'body' | 'trailer' | 'padding' = 'header'
  /** Pieces that are not used up. */
  readonly #queue: Buffer[] = []
  /** Bytes of a header or trailer that is not complete. */
  #held = EMPTY
  #feed: ZlibFeed | undefined
  /** Packed bytes used. */
  #offset = 0
  #members = 0
  #checksum = 0
  #memberBytes = 0
  #rawOffset = 0

  constructor(limit: RatioLimit) {
    this.#limit = limit
  }

  /** Packed bytes that wait. */
  get backlog(): number {
    return this.#queue.reduce((sum, { length }) => sum + length, 0)
  }

  feed(piece: Buffer): Promise<Step> {
    this.#queue.push(piece)
    return this.step()
  }

  /** Goes on with what waits. */
  async step(): Promise<Step> {
    const output: Buffer[] = []
    try {
      while (this.#queue.length > 0) {
        const piece = this.#queue[0]!
        if (this.#state === 'body') {
          if (!(await this.#body(piece, output))) break
        } else this.#use(this.#state === 'trailer' ? this.#trailer(piece) : this.#header(piece))
      }
      return { output }
    } catch (error) {
      this.isOver = true
      return { output, error }
    }
  }

  async end(): Promise<Step> {
    const { output, error } = await this.step()
    if (error !== undefined || this.#queue.length > 0) return { output, error }
    this.isOver = true
    const isComplete =
      this.#members > 0 && this.#held.length === 0 && (this.#state === 'header' || this.#state === 'padding')
    if (isComplete) return { output }
    const where =
      this.#members === 0 && this.#state === 'header' ? 'before its first member' : 'inside of a member'
    return { output, error: this.#error('TRUNCATED', `the gzip input ends ${where}`) }
  }

  close(): void {
    this.#feed?.close()
  }

  /** What is left of the first piece takes its place. */
  #use(rest: Buffer): void {
    if (rest.length > 0) this.#queue[0] = rest
    else this.#queue.shift()
  }

  #header(rest: Buffer): Buffer {
    const bytes = Buffer.concat([this.#held, rest])
    // tapes and block devices fill what is left with zeros
    if (this.#members > 0 && bytes[0] === 0) this.#state = 'padding'
    if (this.#state === 'padding') {
      const at = bytes.findIndex((byte) => byte !== 0)
      this.#offset += at === -1 ? bytes.length : at
      if (at === -1) return EMPTY
      throw this.#error(
        'INVALID',
        'expected the end or zeros behind the last gzip member, got something else',
      )
    }
    const length = gzipHeaderLength(bytes)
    if (length === -1)
      throw this.#error('INVALID', `expected a gzip member, got ${bytes.toString('hex', 0, 4)}`)
    if (length === 0) {
      if (bytes.length > MAX_GZIP_HEADER_BYTES) throw this.#error('LIMIT', 'a gzip header that does not end')
      this.#held = bytes
      return EMPTY
    }
    this.#held = EMPTY
    this.#offset += length
    this.#feed = new ZlibFeed(zlib.createInflateRaw({ chunkSize: 1 << 16 }))
    this.#checksum = this.#memberBytes = 0
    this.#state = 'body'
    return bytes.subarray(length)
  }

  /** False when the step is full. */
  async #body(piece: Buffer, output: Buffer[]): Promise<boolean> {
    const feed = this.#feed!
    if (feed.idle) feed.give(piece)
    const fed = await feed.step()
    for (const chunk of fed.output) {
      this.#checksum = crc32(chunk, this.#checksum)
      this.#memberBytes += chunk.length
      this.#rawOffset += chunk.length
      output.push(chunk)
    }
    if (fed.error) {
      this.#offset += fed.used
      throw this.#error('INVALID', `the packed data is damaged: ${fed.error.message}`, { cause: fed.error })
    }
    this.#limit.check(this.#rawOffset, this.#offset + fed.used)
    if (!fed.done) return false
    this.#offset += fed.used
    if (fed.used < piece.length) {
      feed.close()
      this.#state = 'trailer'
    }
    this.#use(piece.subarray(fed.used))
    return true
  }

  #trailer(rest: Buffer): Buffer {
    const bytes = Buffer.concat([this.#held, rest])
    this.#held = EMPTY
    if (bytes.length < GZIP_TRAILER_BYTES) {
      this.#held = bytes
      return EMPTY
    }
    const checksum = bytes.readUInt32LE(0)
    const size = bytes.readUInt32LE(4)
    if (checksum !== this.#checksum) {
      const message = `the CRC-32 of the member is ${hex(this.#checksum)}, not ${hex(checksum)}`
      throw this.#error('CHECKSUM', message, { expected: checksum, actual: this.#checksum })
    }
    if (size !== this.#memberBytes % 2 ** 32) {
      const message = `the member has ${this.#memberBytes} bytes, not ${size}`
      throw this.#error('CHECKSUM', message, { expected: size, actual: this.#memberBytes % 2 ** 32 })
    }
    this.#offset += GZIP_TRAILER_BYTES
    this.#members++
    this.#state = 'header'
    return bytes.subarray(GZIP_TRAILER_BYTES)
  }

  #error(code: string, message: string, facts: object = {}): CodecError {
    const offset = this.#offset + (code === 'TRUNCATED' ? this.#held.length : 0)
    return new CodecError(
      `ERR_MILLRACE_CODEC_${code}`,
      `byte ${offset} (raw byte ${this.#rawOffset}): ${message}`,
      {
        offset,
        rawOffset: this.#rawOffset,
        ...facts,
      },
    )
  }
}

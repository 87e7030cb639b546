import { FrameError, JsonError, type ErrorFacts } from '../errors.ts'
import { checkInteger, checkLimit } from '../options.ts'
import { FrameFault, type FrameScanner } from './frame-scanner.ts'
import { TextPosition } from './text-position.ts'

/** A run of whole frames. */
export interface CutBlock {
  /** The frames, without the delimiter behind the last one. Borrowed: valid until the next call of the cutter. */
  readonly bytes: Buffer
  /** Number of the first frame, from 0. */
  readonly index: number
  /** Where the first byte stands in the input, in bytes from its start. */
  readonly offset: number
  /** Line of the first byte, from 1. */
  readonly line: number
  /** Column of the first byte in its line, in bytes, from 1. */
  readonly column: number
  /** How many frames. */
  readonly frames: number
}

/** Options of {@link FrameCutter}. */
export interface FrameCutterOptions {
  /** Most bytes of a block, delimiters included. A longer frame is a block alone, and 1 makes every frame a block. */
  readonly blockSize: number
  /** Most bytes of a frame, its trimmed delimiter not included, or `Infinity`. */
  readonly maxFrameLength: number
  /** Code of the error for a longer one. @defaultValue 'ERR_MILLRACE_FRAME_TOO_LONG' */
  readonly tooLong?: string
  /** Blocks in memory that is never used again, so that they may be kept. @defaultValue false */
  readonly fresh?: boolean
  /**
   * Gives the whole frames that are there with each chunk and waits for no more: for slow input whose frames are wanted at once. Where blocks
   * end depends on the chunks then; what the frames are does not. @defaultValue false
   */
  readonly eager?: boolean
}

const EMPTY = Buffer.alloc(0)

/**
 * Takes bytes, cut anywhere, and gives blocks of whole frames. The core of every stage that has to find boundaries;
 * synchronous, and pulled, so that a stream can stop between two blocks.
 *
 * A block starts where the previous one ended and holds the largest run of whole frames that fits in `blockSize`
 * bytes; a first frame longer than that is a block alone. (A frame that only the byte behind it ends, like a bare number in a
 * row of values, needs room for that byte too.) So blocks follow from the bytes and `blockSize`, never from the chunks.
 *
 * @remarks
 * Time is linear in the input for chunks of any size: no byte is scanned twice or moved more than twice. Memory: one
 * block, or one frame if that is longer; a block that lies within one chunk is a view of it.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { FrameCutter, LineScanner } from 'millrace'
 *
 * const cutter = new FrameCutter(new LineScanner(), { blockSize: 8, maxFrameLength: 1000 })
 * const blocks: string[] = []
 * const take = () => {
 *   for (let block = cutter.next(); block; block = cutter.next()) blocks.push(block.bytes.toString())
 * }
 * for (const chunk of ['one\nt', 'wo\nthr', 'ee\nfour']) {
 *   cutter.write(Buffer.from(chunk))
 *   take()
 * }
 * cutter.end()
 * take()
 * assert.deepEqual(blocks, ['one\ntwo\n', 'three\n', 'four'])
 * ```
 */
export class FrameCutter {
  readonly #scanner: FrameScanner
  readonly #blockSize: number
  readonly #maxFrameLength: number
  readonly #tooLong: string
  readonly #fresh: boolean
  readonly #eager: boolean
  /** Frames are found one by one: a block could hide one that is too long. */
  readonly #byFrame: boolean

  // Where the next block starts
  #index = 0
  #offset = 0
  readonly #position: TextPosition

  // The next block's bytes: the first ones held back from earlier chunks, the others in the chunk
  #held: Buffer = EMPTY
  #heldLength = 0
  #chunk: Buffer = EMPTY
  #at = 0
  /** Bytes of `#held` that the last block has lent out: dropped at the next call. */
  #lent = 0

  // Counted from the start of the next block
  #scanned = 0
  /** End of its last whole frame so far, and how many these are. */
  #end = 0
  #frames = 0
  /** End of a frame that is found already but does not fit. */
  #ahead = 0
  /** End of the bytes behind the last frame that belong to none. */
  #gap = 0

  #ended = false
  #finished = false
  /** The last frame was ended by the end of the input, not by a delimiter. */
  #bare = false
  #fault: unknown

  /** @throws {@link OptionError} if an option is out of range. */
  constructor(
    scanner: FrameScanner,
    {
      blockSize,
      maxFrameLength,
      tooLong = 'ERR_MILLRACE_FRAME_TOO_LONG',
      fresh = false,
      eager = false,
    }: FrameCutterOptions,
  ) {
    this.#blockSize = checkInteger('blockSize', blockSize, 1)
    this.#maxFrameLength = checkLimit('maxFrameLength', maxFrameLength)
    this.#scanner = scanner
    this.#position = new TextPosition(() => scanner.lines ?? 'count')
    this.#tooLong = tooLong
    this.#fresh = fresh
    this.#eager = eager
    this.#byFrame = blockSize === 1 || maxFrameLength < blockSize
  }

  /** Bytes that are held back: whole frames that wait for their block to fill, and the open frame. */
  get pendingBytes(): number {
    return this.#heldLength - this.#lent + this.#chunk.length - this.#at
  }

  /** Bytes of the open frame that the scanner has seen. 0: the last byte that it saw ended a frame. */
  get openBytes(): number {
    return this.#scanned - Math.max(this.#end, this.#ahead, this.#gap)
  }

  /** Hands over the next bytes, which are borrowed until `next()` returns `undefined`. */
  write(chunk: Uint8Array): void {
    if (this.#ended || this.#at < this.#chunk.length) {
      throw new Error(this.#ended ? 'write() after end()' : 'write() before next() returned undefined')
    }
    this.#settle()
    this.#chunk = Buffer.isBuffer(chunk)
      ? chunk
      : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    this.#at = 0
  }

  /** Says that no more bytes follow. */
  end(): void {
    this.#ended = true
  }

  /**
   * The next block, or `undefined`: it needs more bytes, or all is done.
   *
   * @throws {@link FrameError} or {@link JsonError} (by the scanner) when the input cannot be cut further, once all
   *   whole frames before the fault have been returned.
   */
  next(): CutBlock | undefined {
    this.#settle()
    for (;;) {
      if (this.#end > 0 && this.#isFull(this.#at + this.#scanned - this.#heldLength < this.#chunk.length)) {
        return this.#cut()
      }
      if (this.#gap > 0) this.#dropGap()
      if (this.#fault !== undefined) throw this.#fault
      const from = this.#at + this.#scanned - this.#heldLength
      if (from < this.#chunk.length) {
        this.#scan(from)
      } else if (!this.#ended) {
        if (this.#eager && this.#end > 0) return this.#cut()
        this.#hold(this.#chunk.length - this.#at)
        return undefined
      } else if (!this.#finished) {
        this.#finish()
      } else {
        return undefined
      }
    }
  }

  /** Whether no further frame can join the block. `isMore`: there are bytes that the scanner has not seen. */
  #isFull(isMore: boolean): boolean {
    if (this.#ahead > 0 || this.#gap > 0 || this.#finished || this.#fault !== undefined) return true
    if (this.#end >= this.#blockSize || this.#scanned > this.#blockSize) return true
    // Right at the limit the open frame still fits if the input ends here, or if only the byte behind it shows its end
    return !this.#byFrame && this.#scanned === this.#blockSize && isMore
  }

  #scan(from: number): void {
    const scanner = this.#scanner
    const first = this.#byFrame || this.#scanned >= this.#blockSize
    // One byte more than a frame may have: some scanners see an end only there
    const limit = first ? this.#end + this.#maxFrameLength + (scanner.trim ?? 0) + 1 : this.#blockSize
    if (this.#scanned >= limit) return this.#failTooLong()
    const to = Math.min(this.#chunk.length, from + limit - this.#scanned)
    const behind = this.#heldLength - this.#at
    let stopped = from
    try {
      stopped = scanner.scan(this.#chunk, from, to, first)
    } catch (error) {
      this.#found(behind)
      this.#fault = error instanceof FrameFault ? this.#explain(error, behind) : error
      return
    }
    this.#found(behind)
    this.#scanned = stopped + behind
    if (scanner.openLength !== undefined && scanner.openLength - (scanner.trim ?? 0) > this.#maxFrameLength) {
      this.#failTooLong(scanner.openLength)
    }
  }

  /** Takes over what the scanner found. */
  #found(behind: number): void {
    const { end, frames } = this.#scanner
    if (end < 0) return
    if (frames === 0) this.#gap = end + behind
    else this.#addFrames(end + behind, frames)
  }

  #addFrames(end: number, frames: number): void {
    // A block of several frames is no longer than one frame may be, or its frames are added one by one
    const frame = frames === 1 ? end - this.#end - (this.#bare ? 0 : (this.#scanner.trim ?? 0)) : 0
    if (frame > this.#maxFrameLength) {
      this.#failTooLong(frame)
    } else if (this.#byFrame && this.#end > 0 && end > this.#blockSize) {
      this.#ahead = end
    } else {
      this.#end = end
      this.#frames += frames
    }
  }

  #finish(): void {
    this.#finished = true
    const open = this.#scanned - this.#end
    try {
      const ending = this.#scanner.finish(open)
      if (ending === 'truncated') {
        this.#fault = this.#error(
          'ERR_MILLRACE_FRAME_TRUNCATED',
          'the input ended inside a frame that starts',
          this.#end,
          {
            ...(this.#scanner.openLength && { expected: this.#scanner.openLength }),
            actual: open,
          },
        )
      } else if (open > 0) {
        this.#bare = ending === 'frame'
        if (this.#bare) this.#addFrames(this.#scanned, 1)
        else this.#gap = this.#scanned
      }
    } catch (error) {
      this.#fault = error instanceof FrameFault ? this.#explain(error, 0) : error
    }
  }

  #cut(): CutBlock {
    const length = this.#end
    const isBare = this.#bare && length === this.#scanned
    const whole = this.#take(length)
    const block = {
      bytes: isBare || !this.#scanner.trim ? whole : whole.subarray(0, length - this.#scanner.trim),
      index: this.#index,
      offset: this.#offset,
      line: this.#position.line,
      column: this.#position.column,
      frames: this.#frames,
    }
    this.#position.pass(whole, this.#frames)
    this.#index += this.#frames
    this.#start(length)
    return block
  }

  /** The first bytes of the block, in one piece. */
  #take(length: number): Buffer {
    if (this.#heldLength === 0) {
      this.#at += length
      return this.#chunk.subarray(this.#at - length, this.#at)
    }
    if (length > this.#heldLength) this.#hold(length - this.#heldLength)
    this.#lent = length
    const block = this.#held.subarray(0, length)
    // a small block that may be kept shall not keep a large assembly alive
    return this.#fresh && 2 * length < this.#held.length ? Buffer.from(block) : block
  }

  #dropGap(): void {
    const length = this.#gap
    const held = Math.min(length, this.#heldLength)
    this.#passPart(this.#position, length)
    this.#at += length - held
    this.#lent = held
    this.#settle()
    this.#start(length)
  }

  /** Makes the next block start `length` bytes further on. */
  #start(length: number): void {
    this.#offset += length
    this.#scanned -= length
    this.#gap = Math.max(0, this.#gap - length)
    this.#end = Math.max(0, this.#ahead - length)
    this.#frames = this.#ahead > 0 ? 1 : 0
    this.#ahead = 0
  }

  /** Copies the next bytes of the chunk behind what is held already. */
  #hold(count: number): void {
    const length = this.#heldLength + count
    if (length > this.#held.length) {
      // doubling keeps the work linear, and memory in proportion to bytes that came, not to what a header promised
      const most = Math.max(this.#blockSize, this.#maxFrameLength + (this.#scanner.trim ?? 0))
      const size = Math.max(length, this.#blockSize, Math.min(2 * this.#held.length, most))
      const larger = Buffer.allocUnsafeSlow(size)
      this.#held.copy(larger, 0, 0, this.#heldLength)
      this.#held = larger
    }
    this.#chunk.copy(this.#held, this.#heldLength, this.#at, this.#at + count)
    this.#heldLength = length
    this.#at += count
  }

  /** Takes back what the last block had borrowed. */
  #settle(): void {
    if (this.#lent === 0) return
    const rest = this.#held.subarray(this.#lent, this.#heldLength)
    this.#lent = 0
    this.#heldLength = rest.length
    // memory that one long frame needed is not kept for the others
    if (this.#fresh || this.#held.length > 4 * this.#blockSize) this.#held = Buffer.from(rest)
    else if (rest.length > 0) rest.copy(this.#held)
  }

  #failTooLong(length?: number): void {
    const message = `a frame is longer than ${this.#maxFrameLength} bytes; it starts`
    this.#fault = this.#error(this.#tooLong, message, Math.max(this.#end, this.#ahead), {
      expected: this.#maxFrameLength,
      ...(length !== undefined && { actual: length }),
    })
  }

  #explain({ message, at, code }: FrameFault, behind: number): Error {
    return this.#error(code, message, at === undefined ? this.#scanned : at + behind)
  }

  /** An error about the byte `to` bytes behind the start of the block. */
  #error(code: string, message: string, to: number, facts: ErrorFacts = {}): Error {
    const { line, column } = this.#passPart(this.#position.copy(), to)
    const offset = this.#offset + to
    const index = this.#index + this.#frames + (this.#ahead > 0 ? 1 : 0)
    const isJson = code.startsWith('ERR_MILLRACE_JSON')
    const where = this.#scanner.lines === 'none' ? '' : ` (line ${line}, column ${column})`
    const text = `${message} at byte ${offset}${where}, in ${isJson ? 'record' : 'frame'} ${index}`
    return new (isJson ? JsonError : FrameError)(code, text, { offset, line, column, index, ...facts })
  }

  /** Moves a position over the first bytes of the block, which may lie in two pieces. */
  #passPart(position: TextPosition, length: number): TextPosition {
    const held = Math.min(length, this.#heldLength)
    position.pass(this.#held.subarray(0, held))
    position.pass(this.#chunk.subarray(this.#at, this.#at + length - held))
    return position
  }
}

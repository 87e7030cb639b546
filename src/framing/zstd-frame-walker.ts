import { FrameError } from '../errors.ts'

const MAGIC = 0xfd2fb528
const SKIPPABLE_MAGIC = 0x184d2a50
const CHECKSUM_BYTES = 4

/**
 * Finds where a zstd frame ends, from bytes in any cut, without decompressing: it reads the frame header and then steps
 * from block header to block header. Node's own decoder silently drops all that follows the first frame of a chunk
 * (nodejs/node#64741), so whoever feeds it must know the ends. Constant memory: at most 14 header bytes are held.
 *
 * @see RFC 8878, section 3.1
 */
export class ZstdFrameWalker {
  /** True between two frames, where an input may end. */
  atBoundary = true
  /** True inside a skippable frame, whose bytes no decoder wants. */
  skippable = false
  /** What the header of the open frame says; undefined until it is complete, and for a skippable frame. */
  frame: ZstdFrameFacts | undefined
  readonly #header = Buffer.alloc(14)
  #have = 0
  #step: 'magic' | 'frame-header' | 'block-header' | 'body' = 'magic'
  #need = 4
  #bodyBytes = 0
  #lastBlock = false
  #hasChecksum = false
  #offset = 0

  /**
   * Steps through `bytes` from `from` to the end of the frame or of the bytes.
   *
   * @returns the offset in `bytes` just past the frame, or -1 if it goes on after these bytes
   * @throws {@link FrameError} `ERR_MILLRACE_FRAME_INVALID` where neither a frame nor a skippable one begins
   */
  walk(bytes: Uint8Array, from: number): number {
    let at = from
    while (at < bytes.length) {
      this.atBoundary = false
      if (this.#step === 'body') {
        const taken = Math.min(this.#bodyBytes, bytes.length - at)
        at += taken
        this.#bodyBytes -= taken
        if (this.#bodyBytes > 0) break
        if (this.#lastBlock) return this.#endFrame(at - from, at)
        this.#expect('block-header', 3)
        continue
      }
      const taken = Math.min(this.#need - this.#have, bytes.length - at)
      this.#header.set(bytes.subarray(at, at + taken), this.#have)
      this.#have += taken
      at += taken
      if (this.#have === this.#need && this.#readHeader(at - from)) return this.#endFrame(at - from, at)
    }
    this.#offset += at - from
    return -1
  }

  /** Acts on a whole header; true if the frame ends with it. */
  #readHeader(consumed: number): boolean {
    const header = this.#header
    if (this.#step === 'magic') {
      const magic = header.readUInt32LE(0)
      this.skippable = (magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC
      if (magic !== MAGIC && !this.skippable) {
        const offset = this.#offset + consumed - 4
        throw new FrameError(
          'ERR_MILLRACE_FRAME_INVALID',
          `zstd input: expected a frame at byte ${offset}, got 0x${magic.toString(16)}`,
          {
            offset,
            expected: MAGIC,
            actual: magic,
          },
        )
      }
      // the descriptor is the next byte of a frame; a skippable one has its length there
      this.#expect('frame-header', this.skippable ? 4 : 1)
      return false
    }
    if (this.#step === 'frame-header') {
      if (this.skippable) return this.#enterBody(header.readUInt32LE(0), true)
      const descriptor = header[0] as number
      const length = frameHeaderLength(descriptor)
      if (this.#need < length) {
        this.#need = length
        return false
      }
      this.#hasChecksum = (descriptor & 4) !== 0
      this.frame = readFacts(header, descriptor)
      this.#expect('block-header', 3)
      return false
    }
    const block = header.readUIntLE(0, 3)
    const isRle = ((block >> 1) & 3) === 1
    const last = (block & 1) === 1
    return this.#enterBody((isRle ? 1 : block >> 3) + (last && this.#hasChecksum ? CHECKSUM_BYTES : 0), last)
  }

  #enterBody(length: number, last: boolean): boolean {
    if (length === 0 && last) return true
    if (length === 0) this.#expect('block-header', 3)
    else {
      this.#step = 'body'
      this.#bodyBytes = length
      this.#lastBlock = last
    }
    return false
  }

  #expect(step: 'magic' | 'frame-header' | 'block-header', bytes: number): void {
    this.#step = step
    this.#need = bytes
    this.#have = 0
  }

  #endFrame(consumed: number, at: number): number {
    this.#offset += consumed
    this.#expect('magic', 4)
    this.#hasChecksum = false
    this.skippable = false
    this.frame = undefined
    this.atBoundary = true
    return at
  }
}

/** What a frame says of itself. */
export interface ZstdFrameFacts {
  /** Raw bytes in it, where it tells. */
  readonly contentSize: number | undefined
  /** Memory that a decoder needs to look back, in bytes. */
  readonly windowSize: number
  /** Number of the dictionary that it needs; 0 for none. */
  readonly dictionary: number
}

function readFacts(header: Buffer, descriptor: number): ZstdFrameFacts {
  const singleSegment = (descriptor & 0x20) !== 0
  let at = 1
  let windowSize = 0
  if (!singleSegment) {
    const base = 2 ** (10 + (header[at]! >> 3))
    windowSize = base + (base / 8) * (header[at]! & 7)
    at++
  }
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!
  const dictionary = dictionaryBytes === 0 ? 0 : header.readUIntLE(at, dictionaryBytes)
  at += dictionaryBytes
  const sizeFlag = descriptor >> 6
  let contentSize: number | undefined
  if (sizeFlag === 0) contentSize = singleSegment ? header[at] : undefined
  else if (sizeFlag === 1) contentSize = header.readUInt16LE(at) + 256
  else if (sizeFlag === 2) contentSize = header.readUInt32LE(at)
  else contentSize = Number(header.readBigUInt64LE(at))
  return { contentSize, windowSize: singleSegment ? contentSize! : windowSize, dictionary }
}

/** Bytes of a frame header after the magic, by its descriptor. */
function frameHeaderLength(descriptor: number): number {
  const singleSegment = (descriptor & 0x20) !== 0
  const windowBytes = singleSegment ? 0 : 1
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number
  const sizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] as number
  return 1 + windowBytes + dictionaryBytes + sizeBytes
}

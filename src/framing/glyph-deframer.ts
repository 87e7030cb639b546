import { FrameError } from '../errors.ts'
import { checkFunction, checkLimit } from '../options.ts'
import { GlyphLength, MAX_LENGTH_BYTES } from './glyph-frame.ts'
import { DEFAULT_MAX_FRAME_LENGTH } from './limits.ts'

/** Called with each glyph: its payload is `bytes[start, end)`, borrowed until the call returns. */
export type OnGlyph = (bytes: Buffer, start: number, end: number, header: number) => void

/** Options of {@link GlyphDeframer}. */
export interface GlyphDeframerOptions {
  /** Most bytes of a frame, header and length included. @defaultValue 64 MiB */
  readonly maxFrameLength?: number
}

const EMPTY = Buffer.alloc(0)
/** Held memory that is kept for the next frame, in bytes. */
const KEPT = 256 * 1024

/**
 * Takes bytes, cut anywhere, and calls a function with each glyph in them: without an object, a view or a copy for a
 * glyph that lies within one chunk, so that even tiny glyphs cost little more than the call.
 *
 * @remarks
 * Linear time for chunks of any size. Memory: the bytes of one frame that is cut by a chunk's edge, in a buffer that is
 * used again and grows with the bytes that came, not with what a header promises.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { GlyphDeframer, encodeGlyph } from 'millrace'
 *
 * const glyphs: string[] = []
 * const deframer = new GlyphDeframer((bytes, start, end, header) => {
 *   glyphs.push(`${header} ${bytes.toString('latin1', start, end)}`)
 * })
 * const wire = Buffer.concat([encodeGlyph(1, Buffer.from('one')), encodeGlyph(2, Buffer.from('two'))])
 * deframer.write(wire.subarray(0, 4))
 * deframer.write(wire.subarray(4))
 * deframer.end()
 * assert.deepEqual(glyphs, ['1 one', '2 two'])
 * ```
 */
export class GlyphDeframer {
  readonly #onGlyph: OnGlyph
  readonly #maxFrameLength: number
  readonly #length = new GlyphLength()
  /** Glyphs so far. */
  frames = 0
  /** Bytes of the frames so far. */
  #offset = 0
  /** The first bytes of a frame that a chunk's edge has cut. */
  #held = EMPTY
  #heldLength = 0
  /** Length of that frame; 0 until its header is complete. */
  #openLength = 0

  /** @throws {@link OptionError} if an option is out of range. */
  constructor(onGlyph: OnGlyph, { maxFrameLength = DEFAULT_MAX_FRAME_LENGTH }: GlyphDeframerOptions = {}) {
    this.#onGlyph = checkFunction('onGlyph', onGlyph)!
    this.#maxFrameLength = checkLimit('maxFrameLength', maxFrameLength)
  }

  /** Bytes of the open frame that are held. */
  get pendingBytes(): number {
    return this.#heldLength
  }

  /**
   * Takes the next bytes, and calls back for every frame that ends in them.
   *
   * @throws {@link FrameError} after the call for the last good frame: a length of more than 5 bytes, or a frame longer
   *   than `maxFrameLength`.
   */
  write(chunk: Uint8Array): void {
    const bytes = Buffer.isBuffer(chunk)
      ? chunk
      : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    let at = this.#heldLength > 0 ? this.#complete(bytes, 0) : 0
    const { length } = bytes
    const onGlyph = this.#onGlyph
    const max = this.#maxFrameLength
    while (length - at > MAX_LENGTH_BYTES) {
      // one or two bytes of length by hand: this loop is all the work there is for small frames
      const low = bytes[at + 1]!
      let start = at + 2
      let size = low
      if (low > 127) {
        const high = bytes[start++]!
        size = (low & 127) + high * 128
        if (high > 127) {
          size = this.#readLength(bytes, at)
          start = at + 1 + this.#length.bytes
        }
      }
      const end = start + size
      if (end - at > max) this.#failTooLong(end - at)
      if (end > length) break
      this.frames++
      this.#offset += end - at
      onGlyph(bytes, start, end, bytes[at]!)
      at = end
    }
    // at most five bytes, or a frame that goes on in the next chunk; small frames of the tail are done one by one
    while (at < length) {
      at += this.#begin(bytes, at)
    }
  }

  /** @throws {@link FrameError} `ERR_MILLRACE_FRAME_TRUNCATED` when the input ends inside a frame. */
  end(): void {
    if (this.#heldLength === 0) return
    throw this.#error('ERR_MILLRACE_FRAME_TRUNCATED', 'the input ended inside a frame that starts', {
      ...(this.#openLength > 0 && { expected: this.#openLength }),
      actual: this.#heldLength,
    })
  }

  #readLength(bytes: Buffer, at: number): number {
    this.#length.reset()
    let state = 0
    for (let i = at + 1; state === 0; i++) state = this.#length.take(bytes[i]!)
    if (state === -1) this.#failLength()
    return this.#length.value
  }

  /** Starts a held frame at `at`; returns how many bytes it took, all of the frame or all that there are. */
  #begin(bytes: Buffer, at: number): number {
    this.#openLength = 0
    this.#length.reset()
    this.#hold(bytes, at, at + 1)
    return 1 + this.#complete(bytes, at + 1)
  }

  /** Goes on with the held frame; returns how many bytes from `from` on it took. */
  #complete(bytes: Buffer, from: number): number {
    let at = from
    while (this.#openLength === 0) {
      if (at === bytes.length) return at - from
      const state = this.#length.take(bytes[at]!)
      if (state === -1) this.#failLength()
      this.#hold(bytes, at, ++at)
      if (state === 1) this.#openLength = this.#heldLength + this.#length.value
      if (this.#openLength > this.#maxFrameLength) this.#failTooLong(this.#openLength)
    }
    const end = Math.min(bytes.length, at + this.#openLength - this.#heldLength)
    this.#hold(bytes, at, end)
    if (this.#heldLength === this.#openLength) {
      const held = this.#held
      const start = 1 + this.#length.bytes
      this.#heldLength = 0
      this.frames++
      this.#offset += this.#openLength
      // one long frame shall not keep its memory
      if (held.length > KEPT) this.#held = EMPTY
      this.#onGlyph(held, start, this.#openLength, held[0]!)
    }
    return end - from
  }

  #hold(bytes: Buffer, from: number, to: number): void {
    const length = this.#heldLength + to - from
    if (length > this.#held.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#held.length, 1024))
      this.#held.copy(larger, 0, 0, this.#heldLength)
      this.#held = larger
    }
    bytes.copy(this.#held, this.#heldLength, from, to)
    this.#heldLength = length
  }

  #failLength(): never {
    const message = `a length has more than ${MAX_LENGTH_BYTES} bytes`
    throw this.#error('ERR_MILLRACE_FRAME_INVALID', message, {}, MAX_LENGTH_BYTES)
  }

  #failTooLong(actual: number): never {
    const message = `a frame is longer than ${this.#maxFrameLength} bytes; it starts`
    throw this.#error('ERR_MILLRACE_FRAME_TOO_LONG', message, { expected: this.#maxFrameLength, actual })
  }

  #error(
    code: string,
    message: string,
    facts: { expected?: number; actual?: number },
    behind = 0,
  ): FrameError {
    const at = { offset: this.#offset + behind, index: this.frames }
    return new FrameError(code, `${message} at byte ${at.offset}, in frame ${at.index}`, { ...at, ...facts })
  }
}

import type { FrameEnding, FrameScanner } from './frame-scanner.ts'

/** Bit of the first byte: a length and a payload follow. */
const HAS_PAYLOAD = 0x20
/** The low five bits of the first byte: the primitive itself is the next byte. */
const ESCAPE = 0x1f

/**
 * Frames are glyphs as SigmaLang writes them: a byte with the type (two bits), whether there is a payload (one bit) and the primitive
 * (five bits, of which 31 means that the next byte has it); with a payload, its length in one byte below 128, or in two with the high
 * bits first, and the payload. They are not the glyphs of {@link GlyphScanner}, which always have a length of another form.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { BoundaryHandler } from 'millrace'
 *
 * const wire = Buffer.from([0x41, 0x65, 2, 0x68, 0x69, 0xdf, 200])
 * const glyphs = Readable.from([wire]).pipe(new BoundaryHandler('sigma-glyph', { emit: 'frames' }))
 * assert.deepEqual((await glyphs.toArray()).map((glyph) => glyph.length), [1, 4, 2])
 * ```
 */
export class SigmaGlyphScanner implements FrameScanner {
  end = -1
  frames = 0
  /** Length of the open glyph in bytes; 0 until its header is complete. */
  openLength = 0
  readonly lines = 'none'
  #part: 'first' | 'primitive' | 'length' | 'low-length' | 'payload' = 'first'
  #hasPayload = false
  #headerBytes = 0
  #high = 0
  #payloadLeft = 0

  scan(bytes: Buffer, from: number, to: number, first: boolean): number {
    this.end = -1
    this.frames = 0
    let at = from
    while (at < to) {
      if (this.#part === 'first' && !first) {
        at = this.#scanWhole(bytes, at, to)
        if (at === to) return to
      }
      if (this.#part === 'payload') {
        const step = Math.min(this.#payloadLeft, to - at)
        at += step
        this.#payloadLeft -= step
      } else this.#takeHeader(bytes[at++]!)
      if (this.#part !== 'payload' || this.#payloadLeft > 0) continue
      this.#part = 'first'
      this.openLength = 0
      this.end = at
      this.frames++
      if (first) return at
    }
    return to
  }

  finish(open: number): FrameEnding {
    return open > 0 ? 'truncated' : 'frame'
  }

  /** Steps over glyphs whose header, and maybe payload, lie whole in the range. */
  #scanWhole(bytes: Buffer, from: number, to: number): number {
    let at = from
    let frames = 0
    // a header has four bytes at most
    while (at + 4 <= to) {
      const byte = bytes[at]!
      let next = at + ((byte & ESCAPE) === ESCAPE ? 2 : 1)
      if ((byte & HAS_PAYLOAD) !== 0) {
        const low = bytes[next]!
        next += low < 128 ? 1 + low : 2 + (low & 127) * 256 + bytes[next + 1]!
      }
      if (next > to) break
      at = next
      frames++
    }
    if (frames > 0) {
      this.end = at
      this.frames += frames
    }
    return at
  }

  #takeHeader(byte: number): void {
    this.#headerBytes++
    if (this.#part === 'first') {
      this.#headerBytes = 1
      this.#hasPayload = (byte & HAS_PAYLOAD) !== 0
      if ((byte & ESCAPE) === ESCAPE) this.#part = 'primitive'
      else this.#enterLength()
    } else if (this.#part === 'primitive') this.#enterLength()
    else if (this.#part === 'length' && byte > 127) {
      this.#high = byte & 127
      this.#part = 'low-length'
    } else this.#enterPayload(this.#part === 'length' ? byte : this.#high * 256 + byte)
  }

  #enterLength(): void {
    if (this.#hasPayload) this.#part = 'length'
    else this.#enterPayload(0)
  }

  #enterPayload(length: number): void {
    this.#part = 'payload'
    this.#payloadLeft = length
    this.openLength = this.#headerBytes + length
  }
}

import { FrameFault, type FrameEnding, type FrameScanner } from './frame-scanner.ts'
import { GlyphLength, MAX_LENGTH_BYTES } from './glyph-frame.ts'

/**
 * Frames are glyphs: one header byte, the payload's length as an LEB128 number of at most 5 bytes, the payload. Looks at
 * headers only, so its time is that of the frames, not of the bytes.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { FrameCutter, GlyphScanner, encodeGlyph } from 'millrace'
 *
 * const cutter = new FrameCutter(new GlyphScanner(), { blockSize: 100, maxFrameLength: 1000 })
 * cutter.write(Buffer.concat([encodeGlyph(1, Buffer.from('one')), encodeGlyph(2, Buffer.from('two'))]))
 * cutter.end()
 * assert.equal(cutter.next()?.frames, 2)
 * ```
 */
export class GlyphScanner implements FrameScanner {
  end = -1
  frames = 0
  /** Length of the open frame in bytes; 0 until its header is complete. */
  openLength = 0
  readonly lines = 'none'
  readonly #length = new GlyphLength()
  #part: 'header' | 'length' | 'payload' = 'header'
  #payloadLeft = 0

  scan(bytes: Buffer, from: number, to: number, first: boolean): number {
    this.end = -1
    this.frames = 0
    let at = from
    while (at < to) {
      if (this.#part === 'header') {
        at = first ? at : this.#scanWhole(bytes, at, to)
        if (at === to) return to
        this.#length.reset()
        this.#part = 'length'
        at++
      }
      if (this.#part === 'length') {
        at = this.#scanLength(bytes, at, to)
        if (this.#part === 'length') return to
      }
      const step = Math.min(this.#payloadLeft, to - at)
      at += step
      this.#payloadLeft -= step
      if (this.#payloadLeft > 0) return to
      this.#part = 'header'
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

  /** Steps over frames that lie whole in the range and have a length of one or two bytes: nearly all. */
  #scanWhole(bytes: Buffer, from: number, to: number): number {
    let at = from
    let frames = 0
    while (at + 2 < to) {
      const low = bytes[at + 1]!
      const next = low < 128 ? at + 2 + low : at + 3 + (low & 127) + bytes[at + 2]! * 128
      if (next > to || (low >= 128 && bytes[at + 2]! >= 128)) break
      at = next
      frames++
    }
    if (frames > 0) {
      this.end = at
      this.frames += frames
    }
    return at
  }

  #scanLength(bytes: Buffer, from: number, to: number): number {
    for (let at = from; at < to; at++) {
      const state = this.#length.take(bytes[at]!)
      if (state === 0) continue
      if (state === -1) throw new FrameFault(`a length has more than ${MAX_LENGTH_BYTES} bytes`, at)
      this.#part = 'payload'
      this.#payloadLeft = this.#length.value
      this.openLength = 1 + this.#length.bytes + this.#length.value
      return at + 1
    }
    return to
  }
}

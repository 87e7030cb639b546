/** A glyph is one header byte, the payload's length as an LEB128 number of at most 5 bytes, and the payload. */
export const MAX_LENGTH_BYTES = 5

/**
 * Takes a header byte and a payload, and gives the frame: a fresh buffer.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { encodeGlyph } from 'millrace'
 *
 * assert.deepEqual([...encodeGlyph(0x20, Buffer.from('hi'))], [0x20, 2, 0x68, 0x69])
 * ```
 */
export function encodeGlyph(header: number, payload: Uint8Array): Buffer {
  let lengthBytes = 1
  for (let rest = payload.length; rest > 127; rest = Math.floor(rest / 128)) lengthBytes++
  const frame = Buffer.allocUnsafeSlow(1 + lengthBytes + payload.length)
  frame[0] = header
  let rest = payload.length
  for (let i = 1; i < lengthBytes; i++) {
    frame[i] = (rest % 128) | 128
    rest = Math.floor(rest / 128)
  }
  frame[lengthBytes] = rest
  frame.set(payload, 1 + lengthBytes)
  return frame
}

/** Reads the length of a glyph byte by byte, over any number of chunks. Numbers of 5 bytes have 35 bits: no shifts. */
export class GlyphLength {
  /** The payload's length so far. */
  value = 0
  /** Bytes read so far. */
  bytes = 0
  #unit = 1

  reset(): void {
    this.value = 0
    this.bytes = 0
    this.#unit = 1
  }

  /** Takes the next byte. 1: the length is complete; 0: more bytes follow; -1: too many bytes. */
  take(byte: number): -1 | 0 | 1 {
    this.value += (byte & 127) * this.#unit
    this.#unit *= 128
    this.bytes++
    if (byte < 128) return 1
    return this.bytes < MAX_LENGTH_BYTES ? 0 : -1
  }
}

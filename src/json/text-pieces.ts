import { isUtf8 } from 'node:buffer'
import { sequenceLength } from './find-json-fault.ts'

/** A run of text, and where its first byte stands. */
export interface TextPiece {
  readonly text: string
  readonly offset: number
}

const EMPTY = Buffer.alloc(0)
const BOM = 0xfeff

/** Bytes at the end that begin a character of UTF-8 whose rest is still to come: 0 to 3. */
function openTail(bytes: Buffer): number {
  for (let length = 1; length <= 3 && length <= bytes.length; length++) {
    const byte = bytes[bytes.length - length]!
    if (byte < 0x80) return 0
    if (byte < 0xc0) continue
    const needed = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
    return needed > length ? length : 0
  }
  return 0
}

/** Bytes of UTF-8 in, cut anywhere; text out in whole characters, up to the first byte that is not UTF-8. */
export class TextPieces {
  /** Offset of the first byte that is not UTF-8, once one has come. */
  badAt: number | undefined
  #carry: Buffer = EMPTY
  #offset = 0

  /** The text of what has come so far and was not given yet. */
  decode(bytes: Buffer, isLast: boolean): TextPiece {
    const joined = this.#carry.length === 0 ? bytes : Buffer.concat([this.#carry, bytes])
    const tail = isLast ? 0 : openTail(joined)
    let end = joined.length - tail
    if (!isUtf8(joined.subarray(0, end))) {
      end = 0
      for (let length = 1; length > 0; end += length) {
        length = joined[end]! < 0x80 ? 1 : sequenceLength(joined, end, joined.length)
      }
      this.badAt = this.#offset + end
    }
    this.#carry = Buffer.from(joined.subarray(end))
    const offset = this.#offset
    this.#offset += end
    const text = joined.toString('utf8', 0, end)
    if (offset === 0 && text.charCodeAt(0) === BOM) return { text: text.slice(1), offset: 3 }
    return { text, offset }
  }
}

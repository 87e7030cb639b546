import { OptionError } from '../errors.ts'
import { checkChoice, checkInteger } from '../options.ts'

/** What a SigmaLang glyph is, in the order of its two bits. */
export const SIGMA_TYPES = ['primitive', 'reference', 'delta', 'composite'] as const

/** One glyph of SigmaLang. */
export interface SigmaGlyph {
  readonly type: (typeof SIGMA_TYPES)[number]
  /** Number of the primitive, 0 to 255; from 31 on it takes a byte of its own. */
  readonly primitive: number
  /** Up to 32767 bytes. None at all, and none in number, are told apart. */
  readonly payload?: Uint8Array
}

/** What stands before the glyphs of a SigmaLang stream. */
export interface SigmaHeader {
  /** 0 to 3. @defaultValue 1 */
  readonly version?: number
  /** 0 to 63. @defaultValue 0 */
  readonly flags?: number
  /** 0 to 4095. @defaultValue 0 */
  readonly context?: number
}

/** The longest payload that the two bytes of its length can tell. */
const MAX_SIGMA_PAYLOAD = 32_767
/** The most glyphs that the twelve bits of a header can count. */
export const MAX_SIGMA_GLYPHS = 4095
export const SIGMA_HEADER_BYTES = 4
export const SIGMA_CRC_BYTES = 2

/**
 * Takes a glyph as SigmaLang has them, gives its bytes.
 *
 * @throws {@link OptionError} for what does not fit: a primitive above 255, a payload of more than 32767 bytes.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { encodeSigmaGlyph } from 'millrace'
 *
 * assert.deepEqual([...encodeSigmaGlyph({ type: 'reference', primitive: 5, payload: Buffer.from('hi') })], [0x65, 2, 0x68, 0x69])
 * assert.deepEqual([...encodeSigmaGlyph({ type: 'composite', primitive: 200 })], [0xdf, 200])
 * ```
 */
export function encodeSigmaGlyph({ type, primitive, payload }: SigmaGlyph): Buffer {
  const number = SIGMA_TYPES.indexOf(checkChoice('glyph.type', type, SIGMA_TYPES))
  checkInteger('glyph.primitive', primitive, 0, 255)
  const first = (number << 6) | (payload === undefined ? 0 : 0x20)
  const header = primitive < 31 ? [first | primitive] : [first | 31, primitive]
  if (payload === undefined) return Buffer.from(header)
  const { length } = payload
  if (length > MAX_SIGMA_PAYLOAD) {
    throw new OptionError('glyph.payload', `${length} bytes`, `at most ${MAX_SIGMA_PAYLOAD} bytes`)
  }
  if (length < 128) header.push(length)
  else header.push(0x80 | (length >> 8), length & 255)
  return Buffer.concat([Buffer.from(header), payload])
}

/** The glyph that these bytes are, the whole of them. */
export function readSigmaGlyph(bytes: Buffer): SigmaGlyph {
  const first = bytes[0]!
  const type = SIGMA_TYPES[first >> 6]!
  const escaped = (first & 31) === 31
  const primitive = escaped ? bytes[1]! : first & 31
  if ((first & 0x20) === 0) return { type, primitive }
  const lengthAt = escaped ? 2 : 1
  return { type, primitive, payload: bytes.subarray(lengthAt + (bytes[lengthAt]! < 128 ? 1 : 2)) }
}

const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1
  return crc
})

/** CRC-16-CCITT with all bits set at first, as SigmaLang has it: 0x29b1 for `123456789`. */
export function crc16(bytes: Uint8Array, start = 0xffff): number {
  let crc = start
  for (const byte of bytes) crc = ((crc << 8) & 0xffff) ^ TABLE[(crc >> 8) ^ byte]!
  return crc
}

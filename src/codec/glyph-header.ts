import { crc32 } from './crc32.ts'

/** Bytes before the payload of every glyph of a container. The layout is in docs/container.md. */
export const HEADER_BYTES = 37

/** What every glyph has at its bytes 5 to 8, and no payload anywhere. */
export const MARKER = Buffer.from([0xf5, 0x1e, 0xc7, 0xa9])

/** Where the marker stands in a glyph. */
export const MARKER_AT = 5

/** The first byte of a glyph. */
export const GLYPH = { file: 0x89, dictionary: 0x57, data: 0x44, index: 0x49, root: 0x52, end: 0x45 } as const

/** Codecs by number; {@link NAMED_CODEC} is the one that the file glyph names. */
export const CODEC_NUMBERS = { store: 0, deflate: 1, brotli: 2, zstd: 3 } as const
export const NAMED_CODEC = 15

const PREVIOUS_FLAG = 0x10
const DICTIONARY_FLAG = 0x20

/** What stands before a payload. */
export interface GlyphHeader {
  readonly type: number
  /** Number of the codec that made the payload. */
  readonly codec: number
  /** Whether it was made with the end of the block before as context. */
  readonly usesPrevious: boolean
  /** Whether it was made with the dictionary as context. */
  readonly usesDictionary: boolean
  /** What every byte of the payload is combined with by exclusive or, so that no payload holds the marker. */
  readonly mask: number
  /** Tells one of several joined files from the next. */
  readonly member: number
  /** Number of the block in its member; blocks so far for glyphs that are none. */
  readonly index: number
  /** Raw bytes before this glyph in its member. */
  readonly rawOffset: number
  readonly rawLength: number
  readonly packedLength: number
  /** CRC-32 of the raw bytes. */
  readonly checksum: number
}

export function writeGlyphHeader(header: GlyphHeader): Buffer {
  const bytes = Buffer.allocUnsafeSlow(HEADER_BYTES)
  bytes[0] = header.type
  let length = HEADER_BYTES - MARKER_AT + header.packedLength
  for (let at = 1; at < 4; at++) {
    bytes[at] = (length & 127) | 128
    length >>>= 7
  }
  bytes[4] = length
  bytes.set(MARKER, MARKER_AT)
  const flags = (header.usesPrevious ? PREVIOUS_FLAG : 0) | (header.usesDictionary ? DICTIONARY_FLAG : 0)
  bytes[9] = header.codec | flags
  bytes[10] = header.mask
  bytes.writeUInt32LE(header.member, 11)
  bytes.writeUInt32LE(header.index, 15)
  bytes.writeUIntLE(header.rawOffset, 19, 6)
  bytes.writeUInt32LE(header.rawLength, 25)
  bytes.writeUInt32LE(header.checksum, 29)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 33)), 33)
  return bytes
}

/** The header at `at`, which must have all its bytes there; undefined if it is none. */
export function readGlyphHeader(bytes: Buffer, at: number): GlyphHeader | undefined {
  if (bytes.readUInt32LE(at + 33) !== crc32(bytes.subarray(at, at + 33))) return undefined
  if (bytes.compare(MARKER, 0, 4, at + MARKER_AT, at + MARKER_AT + 4) !== 0) return undefined
  // three bytes that go on and one that does not: a length that never ends is none
  const isLength =
    bytes[at + 1]! > 127 && bytes[at + 2]! > 127 && bytes[at + 3]! > 127 && bytes[at + 4]! < 128
  const length =
    (bytes[at + 1]! & 127) |
    ((bytes[at + 2]! & 127) << 7) |
    ((bytes[at + 3]! & 127) << 14) |
    (bytes[at + 4]! << 21)
  if (!isLength || length < HEADER_BYTES - MARKER_AT) return undefined
  const kind = bytes[at + 9]!
  return {
    type: bytes[at]!,
    codec: kind & 15,
    usesPrevious: (kind & PREVIOUS_FLAG) !== 0,
    usesDictionary: (kind & DICTIONARY_FLAG) !== 0,
    mask: bytes[at + 10]!,
    member: bytes.readUInt32LE(at + 11),
    index: bytes.readUInt32LE(at + 15),
    rawOffset: bytes.readUIntLE(at + 19, 6),
    rawLength: bytes.readUInt32LE(at + 25),
    packedLength: length - (HEADER_BYTES - MARKER_AT),
    checksum: bytes.readUInt32LE(at + 29),
  }
}

/**
 * The mask under which a payload does not hold the marker: 0 nearly always. Without it, a container that is packed in another
 * container could pass for a part of it when the outer one is damaged.
 */
export function maskFor(payload: Buffer): number {
  if (!payload.includes(MARKER)) return 0
  const taken = new Set<number>()
  // the marker appears under a mask where the bytes differ from it by that mask, all four of them
  const difference = MARKER.readUInt32LE(0)
  for (let at = 0; at + 4 <= payload.length; at++) {
    const word = (payload.readUInt32LE(at) ^ difference) >>> 0
    const byte = word & 255
    if (word === byte * 0x01010101) taken.add(byte)
  }
  for (let mask = 1; mask < 256; mask++) if (!taken.has(mask)) return mask
  // made to hold it under every mask: only the recovery of such a file is open to confusion
  return 0
}

/** A copy of the payload under a mask; the same again gives the payload back. */
export function masked(payload: Buffer, mask: number): Buffer {
  if (mask === 0) return payload
  const copy = Buffer.allocUnsafeSlow(payload.length)
  for (let i = 0; i < payload.length; i++) copy[i] = payload[i]! ^ mask
  return copy
}

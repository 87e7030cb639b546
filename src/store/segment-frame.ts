// A segment is a run of glyphs behind a line that names the format. The payload of a glyph is the CRC-32 of all that follows it
// and of the header, the digest, and the canonical JSON; a tombstone has no text.
import { crc32 } from 'node:zlib'

/** Begins every segment. */
export const SEGMENT_HEAD = Buffer.from('millrace segment 1\n')

/** Headers of the glyphs. Neither byte occurs in UTF-8, so that frames can be found again behind damaged ones. */
export const PUT = 0xfe
export const TOMBSTONE = 0xfd

/** CRC and digest. */
const FIXED_LENGTH = 36
/** Header, a length of up to five bytes, CRC and digest: the most that is not text. */
export const MAX_OVERHEAD = 42

/** A frame that was found. Offsets count in the bytes it was found in. */
export interface SegmentFrame {
  readonly kind: number
  readonly digest: string
  readonly textStart: number
  readonly end: number
}

/** Writes a frame at `at` and returns its end. There must be room for `text.length + MAX_OVERHEAD` bytes. */
export function writeFrame(
  bytes: Buffer,
  at: number,
  kind: number,
  digest: string,
  text: Uint8Array,
): number {
  const textStart = at + 1 + lengthBytes(FIXED_LENGTH + text.length) + FIXED_LENGTH
  bytes.set(text, textStart)
  bytes[at] = kind
  let rest = FIXED_LENGTH + text.length
  let i = at + 1
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes[i++] = (rest % 128) | 128
  bytes[i++] = rest
  bytes.write(digest, i + 4, 32, 'latin1')
  const end = textStart + text.length
  bytes.writeUInt32LE(checksum(bytes, i + 4, end, kind), i)
  return end
}

/**
 * Reads the frame that begins at `at`. `'short'`: it goes on behind the end of the bytes, by as far as its header tells;
 * `'bad'`: there is none, or it is damaged.
 */
export function readFrame(bytes: Buffer, at: number, maxLength: number): SegmentFrame | 'short' | 'bad' {
  const kind = bytes[at]
  if (kind !== PUT && kind !== TOMBSTONE) return kind === undefined ? 'short' : 'bad'
  let length = 0
  let unit = 1
  let i = at + 1
  for (; ; unit *= 128) {
    const byte = bytes[i++]
    if (byte === undefined) return 'short'
    length += (byte & 127) * unit
    if (byte < 128) break
    if (i - at > 5) return 'bad'
  }
  if (length < FIXED_LENGTH || length > maxLength + FIXED_LENGTH) return 'bad'
  if (kind === TOMBSTONE && length !== FIXED_LENGTH) return 'bad'
  const end = i + length
  if (end > bytes.length) return 'short'
  if (checksum(bytes, i + 4, end, kind) !== bytes.readUInt32LE(i)) return 'bad'
  return { kind, digest: bytes.toString('latin1', i + 4, i + 36), textStart: i + FIXED_LENGTH, end }
}

function checksum(bytes: Buffer, from: number, to: number, kind: number): number {
  // the kind is the start value: a put whose header was damaged must not pass for a tombstone
  return crc32(bytes.subarray(from, to), kind)
}

function lengthBytes(length: number): number {
  let count = 1
  for (let rest = length; rest > 127; rest = Math.floor(rest / 128)) count++
  return count
}

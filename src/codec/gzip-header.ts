/** The longest header that is taken: a full extra field, and names of a length that file systems know. */
export const MAX_GZIP_HEADER_BYTES = 131_072

const FLAG_CRC = 2
const FLAG_EXTRA = 4
const FLAG_NAME = 8
const FLAG_COMMENT = 16

/** Length of the gzip header that these bytes begin with; 0 if they end before it does, -1 if they are none. @see RFC 1952 */
export function gzipHeaderLength(bytes: Buffer): number {
  for (const [i, byte] of [0x1f, 0x8b, 8].entries()) if (bytes.length > i && bytes[i] !== byte) return -1
  if (bytes.length < 10) return 0
  const flags = bytes[3]!
  if (flags > 31) return -1
  let at = 10
  if (flags & FLAG_EXTRA) {
    if (bytes.length < at + 2) return 0
    at += 2 + bytes.readUInt16LE(at)
  }
  for (const flag of [FLAG_NAME, FLAG_COMMENT]) {
    if ((flags & flag) === 0) continue
    const end = at <= bytes.length ? bytes.indexOf(0, at) : -1
    if (end === -1) return 0
    at = end + 1
  }
  if (flags & FLAG_CRC) at += 2
  return at <= bytes.length ? at : 0
}

/** Length of the whole BGZF block that these bytes begin with; 0 if it cannot be told yet, -1 if it is none. */
export function bgzfBlockLength(bytes: Buffer): number {
  for (const [i, byte] of [0x1f, 0x8b, 8, FLAG_EXTRA].entries())
    if (bytes.length > i && bytes[i] !== byte) return -1
  if (bytes.length < 12) return 0
  const end = 12 + bytes.readUInt16LE(10)
  for (let at = 12; at + 4 <= end;) {
    if (bytes.length < at + 4) return 0
    const length = bytes.readUInt16LE(at + 2)
    if (bytes[at] === 0x42 && bytes[at + 1] === 0x43 && length === 2) {
      if (bytes.length < at + 6) return 0
      const size = bytes.readUInt16LE(at + 4) + 1
      return size < end + 8 ? -1 : size
    }
    at += 4 + length
  }
  return -1
}

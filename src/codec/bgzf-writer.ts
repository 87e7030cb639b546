import zlib from 'node:zlib'
import { crc32 } from './crc32.ts'
import type { FormatWriter, JoinedBlock, RawBlock } from './encoder-core.ts'
import { callZlib, packedBound } from './zlib-codecs.ts'

/** Raw bytes of a block, as bgzip makes them: incompressible ones must fit in 64 KiB with all that stands around them. */
export const BGZF_BLOCK_SIZE = 65_280
/** Bytes of the header that BGZF writers write, and of CRC and length behind the data. */
const BGZF_HEADER_BYTES = 18
export const GZIP_TRAILER_BYTES = 8
/** The empty block that ends a file. */
const BGZF_END = Buffer.from('1f8b08040000000000ff0600424302001b0003000000000000000000', 'hex')
const BGZF_HEADER = Buffer.from('1f8b08040000000000ff0600424302000000', 'hex')
const MAX_BLOCK_BYTES = 65_536

/**
 * Writes BGZF: gzip of many small members, each of which says how long it is, so that it can be entered anywhere.
 *
 * @see the SAM specification, section 4.1
 */
export class BgzfWriter implements FormatWriter {
  readonly #level: number
  /** Packed and raw offset of each block but the first, as a `.gzi` index has them; only when it is asked for. */
  readonly #gzi: number[] | undefined
  #position = 0
  #rawOffset = 0

  constructor(level: number, gzi: number[] | undefined) {
    this.#level = level
    this.#gzi = gzi
  }

  async pack({ bytes }: RawBlock): Promise<Buffer> {
    const packed = await callZlib(zlib.deflateRaw, bytes, {
      level: this.#level,
      chunkSize: packedBound(bytes.length),
    })
    const rest = MAX_BLOCK_BYTES - BGZF_HEADER_BYTES - GZIP_TRAILER_BYTES
    return packed.length <= rest && packed.length < bytes.length + 5 ? packed : storedBlock(bytes)
  }

  join({ bytes }: RawBlock, packed: Buffer): JoinedBlock {
    const member = Buffer.allocUnsafeSlow(BGZF_HEADER_BYTES + packed.length + GZIP_TRAILER_BYTES)
    member.set(BGZF_HEADER)
    member.writeUInt16LE(member.length - 1, BGZF_HEADER_BYTES - 2)
    member.set(packed, BGZF_HEADER_BYTES)
    member.writeUInt32LE(crc32(bytes), member.length - 8)
    member.writeUInt32LE(bytes.length, member.length - 4)
    if (this.#position > 0) this.#gzi?.push(this.#position, this.#rawOffset)
    this.#position += member.length
    this.#rawOffset += bytes.length
    return { output: [member], stored: packed.length >= bytes.length }
  }

  end(): Buffer[] {
    return [Buffer.from(BGZF_END)]
  }
}

/** A deflate block that holds the bytes as they are. */
function storedBlock(bytes: Buffer): Buffer {
  const block = Buffer.allocUnsafeSlow(5 + bytes.length)
  block[0] = 1
  block.writeUInt16LE(bytes.length, 1)
  block.writeUInt16LE(bytes.length ^ 0xffff, 3)
  block.set(bytes, 5)
  return block
}

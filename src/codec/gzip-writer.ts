import zlib from 'node:zlib'
import { combineCrc32, crc32 } from './crc32.ts'
import { TailContext, type FormatWriter, type JoinedBlock, type RawBlock } from './encoder-core.ts'
import { builtInCodec, callZlib, packedBound } from './zlib-codecs.ts'

/** Deflate, no flags, no time, no hint about the level, unknown system: nothing that depends on when or where. */
const GZIP_HEADER = Buffer.from('1f8b08000000000000ff', 'hex')
/** An empty last deflate block. */
const LAST_BLOCK = Buffer.from([3, 0])

/**
 * Writes gzip of one member. Each block ends on a byte, by an empty block as a flush makes it, so that they join to one deflate
 * stream; with context a block refers to the 32 KiB before it, which any decoder has at hand anyway.
 *
 * @see RFC 1952
 */
export class GzipWriter implements FormatWriter {
  readonly #level: number
  readonly #tail: TailContext | undefined
  #checksum = 0
  #rawBytes = 0
  #begun = false

  constructor(level: number, usesPrevious: boolean) {
    this.#level = level
    if (usesPrevious) this.#tail = new TailContext(builtInCodec('deflate')!, Infinity)
  }

  contextFor(index: number, bytes: Buffer): Buffer | undefined {
    return this.#tail?.take(index, bytes)
  }

  pack({ bytes, context }: RawBlock): Promise<Buffer> {
    return callZlib(zlib.deflateRaw, bytes, {
      level: this.#level,
      chunkSize: packedBound(bytes.length),
      finishFlush: zlib.constants.Z_SYNC_FLUSH,
      ...(context && { dictionary: context }),
    })
  }

  join({ bytes }: RawBlock, packed: Buffer): JoinedBlock {
    this.#checksum = combineCrc32(this.#checksum, crc32(bytes), bytes.length)
    this.#rawBytes += bytes.length
    return { output: [...this.#begin(), packed], stored: packed.length >= bytes.length }
  }

  end(): Buffer[] {
    const trailer = Buffer.alloc(8)
    trailer.writeUInt32LE(this.#checksum, 0)
    trailer.writeUInt32LE(this.#rawBytes % 2 ** 32, 4)
    return [...this.#begin(), LAST_BLOCK, trailer].map((bytes) => Buffer.from(bytes))
  }

  #begin(): Buffer[] {
    if (this.#begun) return []
    this.#begun = true
    return [Buffer.from(GZIP_HEADER)]
  }
}

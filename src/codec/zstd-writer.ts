import { CodecError } from '../errors.ts'
import type { FormatWriter, JoinedBlock, RawBlock } from './encoder-core.ts'
import { callZlib, needZstd, zstdOptions } from './zlib-codecs.ts'

/** Magic of the skippable frame that holds a seek table, and of the table itself. */
export const SEEK_TABLE_FRAME = 0x184d2a5e
export const SEEKABLE_MAGIC = 0x8f92eab1
/** Frame count, descriptor, magic. */
export const SEEK_FOOTER_BYTES = 9
/** What the format allows. */
const MAX_FRAMES = 0x8000000

/**
 * Writes a frame of zstd for each block, with its size and checksum, and behind them a seek table in a frame that decoders skip.
 *
 * @remarks The table is written at the end, so 8 bytes are held for every block.
 * @see the zstd seekable format 0.1.0, contrib/seekable_format of zstd
 */
export class ZstdWriter implements FormatWriter {
  readonly #level: number
  /** Packed and raw bytes of each frame. */
  readonly #frames: number[] = []

  constructor(level: number) {
    needZstd('writing zstd')
    this.#level = level
  }

  pack({ bytes }: RawBlock): Promise<Buffer> {
    return callZlib(
      needZstd('writing zstd').zstdCompress,
      bytes,
      zstdOptions(bytes.length, this.#level, true),
    )
  }

  join({ bytes, index, offset }: RawBlock, packed: Buffer): JoinedBlock {
    /* v8 ignore start -- after 134 217 728 frames */
    if (index === MAX_FRAMES) {
      throw new CodecError('ERR_MILLRACE_CODEC_LIMIT', `a seek table holds at most ${MAX_FRAMES} frames`, {
        index,
        rawOffset: offset,
      })
    }
    /* v8 ignore stop */
    this.#frames.push(packed.length, bytes.length)
    return { output: [packed], stored: packed.length >= bytes.length }
  }

  end(): Buffer[] {
    const table = Buffer.alloc(8 + this.#frames.length * 4 + SEEK_FOOTER_BYTES)
    table.writeUInt32LE(SEEK_TABLE_FRAME, 0)
    table.writeUInt32LE(table.length - 8, 4)
    for (const [i, bytes] of this.#frames.entries()) table.writeUInt32LE(bytes, 8 + 4 * i)
    table.writeUInt32LE(this.#frames.length / 2, table.length - 9)
    table.writeUInt32LE(SEEKABLE_MAGIC, table.length - 4)
    // a file of no bytes still is a frame
    return this.#frames.length === 0 ? [Buffer.from(EMPTY_FRAME), table] : [table]
  }
}

/** Of no bytes, with a checksum, as zstd writes it. */
const EMPTY_FRAME = Buffer.from('28b52ffd240001000099e9d851', 'hex')

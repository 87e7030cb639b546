import { CodecError } from '../errors.ts'
import { BlockList, type BlockMap, type BlockRef, type MapFacts } from './block-map.ts'
import type { RangeSource } from './range-source.ts'
import { packedBound } from './zlib-codecs.ts'
import { unpackFrame } from './zstd-reader.ts'
import { SEEKABLE_MAGIC, SEEK_FOOTER_BYTES, SEEK_TABLE_FRAME } from './zstd-writer.ts'

const CHECKSUM_FLAG = 0x80

/** Where the frames of a seekable zstd file are: from the table at its end. */
export class ZstdMap implements BlockMap {
  readonly facts: MapFacts
  readonly #list: BlockList
  readonly #maxBlockSize: number

  private constructor(list: BlockList, maxBlockSize: number) {
    this.#list = list
    this.#maxBlockSize = maxBlockSize
    this.facts = {
      codec: 'zstd',
      blockSize: undefined,
      context: 'none',
      members: 1,
      blocks: list.length,
      rawBytes: list.rawBytes,
      index: 'file',
      complete: true,
    }
  }

  /** Undefined if there is no table. */
  static async open(source: RangeSource, maxBlockSize: number): Promise<ZstdMap | undefined> {
    const { size } = source
    if (size < SEEK_FOOTER_BYTES + 8) return undefined
    const footer = await source.read(size - SEEK_FOOTER_BYTES, size)
    if (footer.readUInt32LE(5) !== SEEKABLE_MAGIC) return undefined
    const frames = footer.readUInt32LE(0)
    const entryBytes = (footer[4]! & CHECKSUM_FLAG) === 0 ? 8 : 12
    const tableAt = size - 8 - frames * entryBytes - SEEK_FOOTER_BYTES
    if (tableAt < 0) throw damaged(size - SEEK_FOOTER_BYTES)
    const table = await source.read(tableAt, size)
    if (table.readUInt32LE(0) !== SEEK_TABLE_FRAME || table.readUInt32LE(4) !== table.length - 8)
      throw damaged(tableAt)
    const list = new BlockList()
    let offset = 0
    for (let at = 8; at < table.length - SEEK_FOOTER_BYTES; at += entryBytes) {
      const length = table.readUInt32LE(at)
      const rawLength = table.readUInt32LE(at + 4)
      if (length > packedBound(rawLength)) throw damaged(tableAt + at)
      if (rawLength > 0) list.add(offset, length, rawLength)
      offset += length
    }
    // the frame of a file of no bytes is in no table
    if (offset !== tableAt && frames > 0) throw damaged(tableAt)
    return new ZstdMap(list, maxBlockSize)
  }

  async *find(start: number, end: number): AsyncGenerator<readonly BlockRef[]> {
    for (const block of this.#list.find(start, end)) yield [block]
  }

  async unpack([block]: readonly BlockRef[], packed: Buffer): Promise<Buffer[]> {
    const { rawLength, offset, rawOffset } = block!
    if (rawLength > this.#maxBlockSize) {
      const message = `byte ${offset}: a zstd frame of ${rawLength} bytes, where at most ${this.#maxBlockSize} are unpacked in memory`
      throw new CodecError('ERR_MILLRACE_CODEC_LIMIT', message, {
        offset,
        rawOffset,
        expected: this.#maxBlockSize,
        actual: rawLength,
      })
    }
    return [await unpackFrame(packed, rawLength, offset)]
  }
}

function damaged(offset: number): CodecError {
  return new CodecError(
    'ERR_MILLRACE_CODEC_INVALID',
    `byte ${offset}: the seek table of the zstd file is damaged`,
    { offset },
  )
}

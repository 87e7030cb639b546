import { CodecError } from '../errors.ts'
import { BlockList, type BlockMap, type BlockRef, type MapFacts } from './block-map.ts'
import { MAX_BGZF_BYTES, unpackBgzf } from './bgzf-reader.ts'
import { bgzfBlockLength } from './gzip-header.ts'
import type { RangeSource } from './range-source.ts'

/** Bytes of a header that are read at once; extra fields beside BGZF's own are short. */
const PEEK_BYTES = 64

/** Where the blocks of a BGZF file are: from a `.gzi` index, or from the headers of all blocks. */
export class BgzfMap implements BlockMap {
  readonly facts: MapFacts
  readonly #list: BlockList

  private constructor(list: BlockList, index: MapFacts['index'], complete: boolean) {
    this.#list = list
    this.facts = {
      codec: 'deflate',
      blockSize: undefined,
      context: 'none',
      members: 1,
      blocks: list.length,
      rawBytes: list.rawBytes,
      index,
      complete,
    }
  }

  static async open(source: RangeSource, gzi: Buffer | undefined): Promise<BgzfMap> {
    const list = new BlockList()
    let offset = 0
    if (gzi !== undefined) offset = readGzi(gzi, list, source.size)
    let isClosed = false
    while (offset < source.size) {
      const header = await source.read(offset, Math.min(source.size, offset + PEEK_BYTES))
      const length = bgzfBlockLength(header)
      if (length <= 0) throw invalid(offset, `byte ${offset}: expected a BGZF block`)
      if (offset + length > source.size) break
      const rawLength = (await source.read(offset + length - 4, offset + length)).readUInt32LE(0)
      if (rawLength > MAX_BGZF_BYTES)
        throw invalid(offset, `byte ${offset}: a BGZF block of ${rawLength} raw bytes`)
      if (rawLength > 0) list.add(offset, length, rawLength)
      isClosed = rawLength === 0
      offset += length
    }
    return new BgzfMap(list, gzi === undefined ? 'rebuilt' : 'beside', isClosed && offset === source.size)
  }

  async *find(start: number, end: number): AsyncGenerator<readonly BlockRef[]> {
    for (const block of this.#list.find(start, end)) yield [block]
  }

  async unpack([block]: readonly BlockRef[], packed: Buffer): Promise<Buffer[]> {
    const { offset, rawOffset, rawLength } = block!
    if (bgzfBlockLength(packed) !== packed.length) {
      throw invalid(offset, `byte ${offset}: the index says that a BGZF block begins here, but it does not`)
    }
    const raw = await unpackBgzf(packed, offset)
    if (raw.length === rawLength) return [raw]
    throw invalid(
      offset,
      `byte ${offset} (raw byte ${rawOffset}): ${raw.length} raw bytes, where the index says ${rawLength}`,
    )
  }
}

/** Takes over all blocks of the index but the last, whose length it does not tell; gives the offset of that one. */
function readGzi(gzi: Buffer, list: BlockList, size: number): number {
  const count = gzi.length >= 8 ? Number(gzi.readBigUInt64LE(0)) : -1
  if (gzi.length !== 8 + 16 * count)
    throw invalid(0, `a .gzi index of ${gzi.length} bytes for ${count} blocks`)
  let offset = 0
  let rawOffset = 0
  for (let i = 0; i < count; i++) {
    const next = Number(gzi.readBigUInt64LE(8 + 16 * i))
    const rawNext = Number(gzi.readBigUInt64LE(16 + 16 * i))
    const isNext = next > offset && next <= size && rawNext >= rawOffset && next - offset <= MAX_BGZF_BYTES
    if (!isNext) throw invalid(offset, `the .gzi index does not fit the file: block ${i + 1} at byte ${next}`)
    if (rawNext > rawOffset) list.add(offset, next - offset, rawNext - rawOffset)
    offset = next
    rawOffset = rawNext
  }
  return offset
}

function invalid(offset: number, message: string): CodecError {
  return new CodecError('ERR_MILLRACE_CODEC_INVALID', message, { offset })
}

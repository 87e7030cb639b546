import { CodecError } from '../errors.ts'
import { floorIndex, type BlockMap, type BlockRef, type MapFacts } from './block-map.ts'
import { MAX_INDEX_BYTES, unpackNumbers } from './container-index.ts'
import {
  readGlyph,
  readMembers,
  walkMembers,
  type MappedMember,
  type MappedSegment,
} from './container-members.ts'
import { decodeBlock, type CodecTable } from './decode-block.ts'
import { GLYPH, HEADER_BYTES, readGlyphHeader } from './glyph-header.ts'
import type { RangeSource } from './range-source.ts'
import { contextOf } from './zlib-codecs.ts'

/** What a container is opened with. */
export interface MapOptions {
  readonly source: RangeSource
  readonly codecs: CodecTable
  readonly maxBlockSize: number
}

/** Where the index was made anew, an index glyph counts as a part of the block before it. */
const INDEX_GLYPH_BYTES = HEADER_BYTES + MAX_INDEX_BYTES

interface MappedBlock extends BlockRef {
  readonly member: MappedMember
  readonly index: number
}

/** Where the blocks of a container are: from its index, or from the headers of all glyphs where the trailer is missing. */
export class ContainerMap implements BlockMap {
  readonly facts: MapFacts
  readonly #source: RangeSource
  readonly #codecs: CodecTable
  readonly #maxBlockSize: number
  readonly #members: readonly MappedMember[]

  private constructor(
    { source, codecs, maxBlockSize }: MapOptions,
    members: readonly MappedMember[],
    complete: boolean,
    index: 'file' | 'rebuilt',
  ) {
    this.#source = source
    this.#codecs = codecs
    this.#maxBlockSize = maxBlockSize
    this.#members = members
    const { facts, dictionary } = members[0]!
    this.facts = {
      codec: facts.codec,
      blockSize: facts.blockSize,
      context: facts.restartEvery > 0 ? 'previous' : dictionary === undefined ? 'none' : 'dictionary',
      members: members.length,
      blocks: members.reduce((sum, { blocks }) => sum + blocks, 0),
      rawBytes: members.reduce((sum, { rawBytes }) => sum + rawBytes, 0),
      index,
      complete,
    }
  }

  static async open(options: MapOptions): Promise<ContainerMap> {
    const { source, codecs } = options
    const members = await readMembers(source, codecs)
    if (members !== undefined) return new ContainerMap(options, members, true, 'file')
    const walked = await walkMembers(source, codecs)
    return new ContainerMap(options, walked.members, walked.complete, 'rebuilt')
  }

  async *find(start: number, end: number): AsyncGenerator<readonly MappedBlock[]> {
    let run: MappedBlock[] = []
    for (const member of this.#members) {
      if (member.base + member.rawBytes <= start || member.base >= end) continue
      const { restartEvery } = member.facts
      for await (const block of this.#blocksOf(member, start - member.base, end - member.base)) {
        const begins = restartEvery === 0 || block.index % restartEvery === 0
        if (begins && run.length > 0) {
          yield run
          run = []
        }
        run.push(block)
      }
      if (run.length > 0) yield run
      run = []
    }
  }

  async unpack(run: readonly BlockRef[], packed: Buffer): Promise<Buffer[]> {
    const raws: Buffer[] = []
    for (const { member, index, offset, length, rawOffset, rawLength } of run as readonly MappedBlock[]) {
      const at = offset - run[0]!.offset
      const place = { offset, index, rawOffset }
      const header = length >= HEADER_BYTES ? readGlyphHeader(packed, at) : undefined
      const isIt =
        header?.type === GLYPH.data &&
        header.index === index &&
        header.rawOffset === rawOffset - member.base &&
        header.packedLength <= length - HEADER_BYTES &&
        header.packedLength <= header.rawLength &&
        header.rawLength === rawLength
      if (!isIt) {
        const message = `byte ${offset} (raw byte ${rawOffset}): the index says that block ${index} begins here, but it does not`
        throw new CodecError('ERR_MILLRACE_CODEC_INVALID', message, place)
      }
      const codec = this.#codecs.find(header.codec, member.facts.codec)
      if (codec === undefined) {
        const message = `the codec ${JSON.stringify(member.facts.codec)} is needed; give it in codecs`
        throw new CodecError('ERR_MILLRACE_CODEC_UNKNOWN', message, {
          ...place,
          expected: member.facts.codec,
        })
      }
      const before = header.usesPrevious
        ? raws.at(-1)
        : header.usesDictionary
          ? await member.dictionary
          : undefined
      const payload = packed.subarray(at + HEADER_BYTES, at + HEADER_BYTES + header.packedLength)
      const raw = await decodeBlock(header, payload, codec, before && contextOf(codec, before), place)
      // what was stored would keep the whole run in memory
      raws.push(raw.buffer === packed.buffer ? Buffer.from(raw) : raw)
    }
    return raws
  }

  /** Blocks that overlap the range, and those before it from the last restart on. */
  async *#blocksOf(member: MappedMember, start: number, end: number): AsyncGenerator<MappedBlock> {
    const { segments, base } = member
    const first = await this.#firstBlock(member, Math.max(0, start))
    const from = floorIndex(segments.length, (i) => segments[i]!.firstBlock, first)
    for (const segment of segments.slice(from)) {
      if (segment.rawStart >= end) return
      const entries = (segment.entries ??= await this.#readEntries(segment))
      let offset = segment.start
      let rawOffset = segment.rawStart
      for (let i = 0; i < entries.length && rawOffset < end; i += 2) {
        const [length, rawLength] = [entries[i]!, entries[i + 1]!]
        const index = segment.firstBlock + i / 2
        this.#checkLength(offset, length, rawLength, index)
        if (index >= first) yield { member, index, offset, length, rawOffset: base + rawOffset, rawLength }
        offset += length
        rawOffset += rawLength
      }
    }
  }

  /** Number of the block to begin with: the last restart up to the one that holds `start`. */
  async #firstBlock({ segments, facts }: MappedMember, start: number): Promise<number> {
    const segment =
      segments[
        Math.max(
          0,
          floorIndex(segments.length, (i) => segments[i]!.rawStart, start),
        )
      ]!
    const entries = (segment.entries ??= await this.#readEntries(segment))
    let { rawStart: rawOffset, firstBlock: index } = segment
    for (let i = 1; i < entries.length && rawOffset + entries[i]! <= start; i += 2) {
      rawOffset += entries[i]!
      index++
    }
    return facts.restartEvery === 0 ? index : index - (index % facts.restartEvery)
  }

  /** Before memory is taken for the block. */
  #checkLength(offset: number, length: number, rawLength: number, index: number): void {
    const most = this.#maxBlockSize
    if (rawLength <= most && length <= rawLength + HEADER_BYTES + INDEX_GLYPH_BYTES) return
    const message = `byte ${offset}: the index tells a block of ${rawLength} raw bytes in ${length}, where at most ${most} are allowed`
    throw new CodecError('ERR_MILLRACE_CODEC_LIMIT', message, {
      offset,
      index,
      expected: most,
      actual: rawLength,
    })
  }

  async #readEntries({ start, facts, firstBlock }: MappedSegment): Promise<readonly number[]> {
    const offset = start + facts.dataBytes
    const glyph = await readGlyph(this.#source, offset, GLYPH.index, MAX_INDEX_BYTES)
    const entries = glyph && unpackNumbers(glyph.raw)
    const sum = (odd: number) => entries!.reduce((total, n, i) => total + (i % 2 === odd ? n : 0), 0)
    const isIt =
      entries !== undefined &&
      entries.length === 2 * facts.blocks &&
      sum(0) === facts.dataBytes &&
      sum(1) === facts.rawBytes
    if (isIt) return entries
    const message = `byte ${offset}: the index of the blocks from ${firstBlock} on is damaged; recover the file, or decode it from its start`
    throw new CodecError('ERR_MILLRACE_CODEC_INVALID', message, { offset, index: firstBlock })
  }
}

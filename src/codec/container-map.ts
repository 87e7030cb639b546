import { CodecError } from '../errors.ts'
import { floorIndex, type BlockMap, type BlockRef, type MapFacts } from './block-map.ts'
import {
  MAX_ROOT_BYTES,
  MAX_INDEX_BYTES,
  readSegments,
  unpackNumbers,
  type Segment,
} from './container-index.ts'
import { END_BYTES, END_PAYLOAD_BYTES, FILE_BYTES, FILE_PAYLOAD_BYTES } from './container-writer.ts'
import { checkRaw, decodeBlock, type CodecTable } from './decode-block.ts'
import { readFilePayload, type FileFacts } from './file-glyph.ts'
import { GLYPH, HEADER_BYTES, masked, readGlyphHeader, type GlyphHeader } from './glyph-header.ts'
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

/** One of several joined files. */
interface MappedMember {
  readonly start: number
  /** Raw bytes of the members before. */
  readonly base: number
  readonly rawBytes: number
  readonly blocks: number
  readonly facts: FileFacts
  readonly segments: readonly MappedSegment[]
  dictionary: Promise<Buffer | undefined> | undefined
}

/** Some thousand blocks, as the root lists them, or as walking found them. */
interface MappedSegment {
  readonly start: number
  readonly rawStart: number
  /** Number of the first block. */
  readonly firstBlock: number
  readonly facts: Segment
  /** Packed and raw length of each block by turns, once they are read. */
  entries: readonly number[] | undefined
}

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

interface Glyph {
  readonly header: GlyphHeader
  readonly raw: Buffer
  readonly length: number
}

/** A glyph that is stored, checked; undefined if there is none of that type. */
async function readGlyph(
  source: RangeSource,
  offset: number,
  type: number,
  most: number,
): Promise<Glyph | undefined> {
  if (offset < 0 || offset + HEADER_BYTES > source.size) return undefined
  const header = readGlyphHeader(await source.read(offset, offset + HEADER_BYTES), 0)
  if (header === undefined || header.type !== type || header.packedLength > most) return undefined
  const start = offset + HEADER_BYTES
  if (start + header.packedLength > source.size) return undefined
  const raw = masked(await source.read(start, start + header.packedLength), header.mask)
  try {
    checkRaw(header, raw, { offset, index: header.index, rawOffset: header.rawOffset })
  } catch {
    return undefined
  }
  return { header, raw, length: HEADER_BYTES + header.packedLength }
}

/** From the end: each trailer says where its file begins. Undefined if a trailer or root is not there. */
async function readMembers(source: RangeSource, codecs: CodecTable): Promise<MappedMember[] | undefined> {
  const found: Omit<MappedMember, 'base'>[] = []
  for (let end = source.size; end > 0;) {
    const trailer = await readGlyph(source, end - END_BYTES, GLYPH.end, END_PAYLOAD_BYTES)
    if (trailer === undefined || trailer.raw.length !== END_PAYLOAD_BYTES) return undefined
    const start = end - trailer.raw.readUIntLE(0, 6)
    const rootAt = end - END_BYTES - trailer.raw.readUInt32LE(6)
    const root = await readGlyph(source, rootAt, GLYPH.root, MAX_ROOT_BYTES)
    const file = await readGlyph(source, start, GLYPH.file, FILE_PAYLOAD_BYTES)
    const segments = root && readSegments(root.raw)
    if (segments === undefined || file === undefined) return undefined
    let before = rootAt - segments.reduce((sum, { dataBytes, indexBytes }) => sum + dataBytes + indexBytes, 0)
    const dictionary = before > start + FILE_BYTES ? readDictionary(source, codecs, start) : undefined
    let rawStart = 0
    let firstBlock = 0
    const mapped: MappedSegment[] = []
    for (const facts of segments) {
      mapped.push({ start: before, rawStart, firstBlock, facts, entries: undefined })
      before += facts.dataBytes + facts.indexBytes
      rawStart += facts.rawBytes
      firstBlock += facts.blocks
    }
    const { rawOffset: rawBytes, index: blocks } = trailer.header
    if (rawStart !== rawBytes || firstBlock !== blocks) return undefined
    found.push({
      start,
      rawBytes,
      blocks,
      facts: readFilePayload(file.raw, start),
      segments: mapped,
      dictionary,
    })
    end = start
  }
  let base = 0
  const members: MappedMember[] = []
  for (const member of found.toReversed()) {
    members.push({ ...member, base })
    base += member.rawBytes
  }
  return members.length > 0 ? members : undefined
}

/** From the start, header by header, as far as there are good ones. */
async function walkMembers(
  source: RangeSource,
  codecs: CodecTable,
): Promise<{ members: MappedMember[]; complete: boolean }> {
  const members: MappedMember[] = []
  let entries: number[] = []
  let dataStart = 0
  let file: Glyph | undefined
  let fileStart = 0
  let base = 0
  let complete = false
  let dictionary: Promise<Buffer | undefined> | undefined

  const close = () => {
    if (file === undefined) return
    const rawBytes = entries.reduce((sum, n, i) => sum + (i % 2 === 1 ? n : 0), 0)
    const facts = { dataBytes: 0, rawBytes, indexBytes: 0, blocks: entries.length / 2 }
    const segments = [{ start: dataStart, rawStart: 0, firstBlock: 0, facts, entries }]
    members.push({
      start: fileStart,
      base,
      rawBytes,
      blocks: facts.blocks,
      facts: readFilePayload(file.raw, fileStart),
      segments,
      dictionary,
    })
    base += rawBytes
    file = undefined
  }
  for (let offset = 0; offset + HEADER_BYTES <= source.size;) {
    const header = readGlyphHeader(await source.read(offset, offset + HEADER_BYTES), 0)
    if (header === undefined) break
    const next = offset + HEADER_BYTES + header.packedLength
    if (next > source.size) break
    if (header.type === GLYPH.file) {
      close()
      file = await readGlyph(source, offset, GLYPH.file, FILE_PAYLOAD_BYTES)
      if (file === undefined) break
      fileStart = offset
      dataStart = next
      entries = []
      dictionary = undefined
      complete = false
    } else if (header.type === GLYPH.dictionary) {
      dictionary = readDictionary(source, codecs, fileStart)
      dataStart = next
    } else if (header.type === GLYPH.data) {
      entries.push(next - offset, header.rawLength)
    } else if (header.type === GLYPH.end) {
      complete = next === source.size
    } else if (entries.length > 0 && header.type === GLYPH.index) {
      // index glyphs stand between blocks: counted as a part of the one before
      entries[entries.length - 2]! += next - offset
    }
    offset = next
  }
  close()
  if (members.length === 0) {
    throw new CodecError('ERR_MILLRACE_CODEC_INVALID', 'byte 0: expected the beginning of a container', {
      offset: 0,
    })
  }
  return { members, complete }
}

/** The dictionary behind a file glyph. A promise that never rejects: whoever needs it misses it. */
async function readDictionary(
  source: RangeSource,
  codecs: CodecTable,
  start: number,
): Promise<Buffer | undefined> {
  try {
    const offset = start + FILE_BYTES
    const file = await source.read(start + HEADER_BYTES, offset)
    const header = readGlyphHeader(await source.read(offset, offset + HEADER_BYTES), 0)
    if (header?.type !== GLYPH.dictionary) return undefined
    const codec = codecs.find(header.codec, readFilePayload(file, start).codec)
    const payload = await source.read(offset + HEADER_BYTES, offset + HEADER_BYTES + header.packedLength)
    return codec && (await decodeBlock(header, payload, codec, undefined, { offset, index: 0, rawOffset: 0 }))
  } catch {
    return undefined
  }
}

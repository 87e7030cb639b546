import { CodecError } from '../errors.ts'
import { MAX_ROOT_BYTES, readSegments, type Segment } from './container-index.ts'
import { END_BYTES, END_PAYLOAD_BYTES, FILE_BYTES, FILE_PAYLOAD_BYTES } from './container-writer.ts'
import { checkRaw, decodeBlock, type CodecTable } from './decode-block.ts'
import { readFilePayload, type FileFacts } from './file-glyph.ts'
import { GLYPH, HEADER_BYTES, masked, readGlyphHeader, type GlyphHeader } from './glyph-header.ts'
import type { RangeSource } from './range-source.ts'

/** One of several joined files. */
export interface MappedMember {
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
export interface MappedSegment {
  readonly start: number
  readonly rawStart: number
  /** Number of the first block. */
  readonly firstBlock: number
  readonly facts: Segment
  /** Packed and raw length of each block by turns, once they are read. */
  entries: readonly number[] | undefined
}

interface Glyph {
  readonly header: GlyphHeader
  readonly raw: Buffer
  readonly length: number
}

/** A glyph that is stored, checked; undefined if there is none of that type. */
export async function readGlyph(
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
export async function readMembers(
  source: RangeSource,
  codecs: CodecTable,
): Promise<MappedMember[] | undefined> {
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
export async function walkMembers(
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

import { CodecError } from '../errors.ts'
import { IndexBuilder, SEGMENT_BLOCKS } from './container-index.ts'
import { END_BYTES } from './container-writer.ts'
import { combineCrc32 } from './crc32.ts'
import { checkRaw, hex } from './decode-block.ts'
import type { FileFacts } from './file-glyph.ts'
import { GLYPH, HEADER_BYTES, type GlyphHeader } from './glyph-header.ts'

/** What is known of one of several joined files while it is read, and whether each glyph is the one that must come next. */
export class ContainerMember {
  readonly id: number
  /** Raw bytes of the members before. */
  readonly base: number
  /** Undefined where its file glyph is lost. */
  readonly facts: FileFacts | undefined
  /** Raw bytes and blocks so far, lost ones included. */
  rawBytes = 0
  blocks = 0
  dictionary: Promise<Buffer | undefined> | undefined
  /** The end of the raw block before, for the next; its number is `blocks - 1`. */
  tail: Promise<Buffer | undefined> | undefined
  phase: 'data' | 'root' | 'end' = 'data'
  /** Packed bytes before it. */
  readonly #start: number
  readonly #index = new IndexBuilder()
  #checksum = 0
  #rootBytes = 0

  constructor(id: number, base: number, start: number, facts: FileFacts | undefined) {
    this.id = id
    this.base = base
    this.#start = start
    this.facts = facts
  }

  /** Raw bytes before what comes next, those of the members before included. */
  get position(): number {
    return this.base + this.rawBytes
  }

  /** @throws unless the glyph is the one that must come next. */
  checkNext({ type, member, index, rawOffset }: GlyphHeader, offset: number): void {
    if (member !== this.id || index !== this.blocks || rawOffset !== this.rawBytes) {
      const what = `expected block ${this.blocks} at raw byte ${this.rawBytes}, got ${index} at ${rawOffset}`
      const foreign = member === this.id ? '' : ', of another file'
      throw this.#error('ERR_MILLRACE_CODEC_INVALID', offset, `${what}${foreign}`, this.blocks, index)
    }
    const isData = type === GLYPH.data || type === GLYPH.index
    if (isData ? this.phase !== 'data' : type === GLYPH.end && this.phase !== 'root') {
      throw this.#error('ERR_MILLRACE_CODEC_INVALID', offset, 'a glyph in the wrong place')
    }
  }

  /** Counts a block of data. */
  add({ rawLength, checksum }: GlyphHeader): void {
    this.blocks++
    this.rawBytes += rawLength
    this.#checksum = combineCrc32(this.#checksum, checksum, rawLength)
  }

  /** Lists a block of data, for the comparison with the index that follows. */
  list({ packedLength, rawLength }: GlyphHeader, offset: number): void {
    if (this.#index.open === SEGMENT_BLOCKS) {
      throw this.#error('ERR_MILLRACE_CODEC_INVALID', offset, 'an index glyph is missing')
    }
    this.#index.add(HEADER_BYTES + packedLength, rawLength)
  }

  /** @throws unless an index, a root or a trailer says what was found. */
  checkIndex(header: GlyphHeader, raw: Buffer, offset: number): void {
    const { type, index } = header
    checkRaw(header, raw, { offset, index, rawOffset: this.position })
    if (type === GLYPH.end) return this.#checkEnd(raw, offset)
    this.#rootBytes = HEADER_BYTES + raw.length
    const expected = type === GLYPH.index ? this.#index.closeSegment(HEADER_BYTES) : this.#index.root()
    if (!raw.equals(expected) || (type === GLYPH.root && this.#index.open > 0)) {
      const message = 'the index does not list the blocks that are there'
      throw this.#error('ERR_MILLRACE_CODEC_INVALID', offset, message)
    }
  }

  #checkEnd(raw: Buffer, offset: number): void {
    const bytes = offset + END_BYTES - this.#start
    if (raw.readUIntLE(0, 6) !== bytes || raw.readUInt32LE(6) !== this.#rootBytes) {
      const message = 'the trailer belongs to a file of another length'
      throw this.#error('ERR_MILLRACE_CODEC_INVALID', offset, message)
    }
    const checksum = raw.readUInt32LE(10)
    if (checksum === this.#checksum) return
    const message = `the CRC-32 of the whole is ${hex(this.#checksum)}, not ${hex(checksum)}`
    throw this.#error('ERR_MILLRACE_CODEC_CHECKSUM', offset, message, checksum, this.#checksum)
  }

  #error(code: string, offset: number, message: string, expected?: unknown, actual?: unknown): CodecError {
    return memberError(code, offset, this, message, expected, actual)
  }
}

/** An error in a container, with where it stands. */
export function memberError(
  code: string,
  offset: number,
  member: ContainerMember | undefined,
  message: string,
  expected?: unknown,
  actual?: unknown,
): CodecError {
  const rawOffset = member?.position ?? 0
  return new CodecError(code, `byte ${offset} (raw byte ${rawOffset}): ${message}`, {
    offset,
    rawOffset,
    ...(member && { index: member.blocks }),
    ...(expected !== undefined && { expected, actual }),
  })
}

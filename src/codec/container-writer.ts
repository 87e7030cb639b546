import { CodecError } from '../errors.ts'
import type { BlockCodec } from './block-codec.ts'
import {
  CODEC_NUMBERS,
  GLYPH,
  HEADER_BYTES,
  NAMED_CODEC,
  maskFor,
  masked,
  writeGlyphHeader,
} from './glyph-header.ts'
import { IndexBuilder, SEGMENT_BLOCKS } from './container-index.ts'
import { combineCrc32, crc32 } from './crc32.ts'
import { TailContext, type FormatWriter, type JoinedBlock, type RawBlock } from './encoder-core.ts'
import { codecFailed, contextOf, type CodecName } from './zlib-codecs.ts'

/** Version of the container, in its file glyph. */
export const CONTAINER_VERSION = 1
/** Bytes of the payload of a file glyph, and of an end glyph. */
export const FILE_PAYLOAD_BYTES = 27
export const END_PAYLOAD_BYTES = 14
export const FILE_BYTES = HEADER_BYTES + FILE_PAYLOAD_BYTES
export const END_BYTES = HEADER_BYTES + END_PAYLOAD_BYTES
/** The last four bytes of the file glyph: a transfer that changes line ends breaks them. */
export const LINE_ENDS = Buffer.from('\r\n\x1a\n', 'latin1')

/** What blocks are packed with besides themselves. */
export type BlockContext = 'none' | 'previous' | 'dictionary'

export interface ContainerPlan {
  readonly codec: BlockCodec
  readonly level: number | undefined
  readonly blockSize: number
  readonly context: BlockContext
  /** Blocks from one that needs no other to the next such block. */
  readonly restartEvery: number
  /** Undefined with `context: 'dictionary'`: the beginning of the first block. */
  readonly dictionary: Buffer | undefined
}

/** Number of a codec in a glyph. */
function codecNumber({ name }: BlockCodec): number {
  return CODEC_NUMBERS[name as CodecName] ?? NAMED_CODEC
}

/** Writes the glyph container, see docs/container.md. */
export class ContainerWriter implements FormatWriter {
  readonly #plan: ContainerPlan
  readonly #codecNumber: number
  readonly #index = new IndexBuilder()
  #dictionary: Buffer | undefined
  #dictionaryPacking: Promise<Buffer> | undefined
  #packedDictionary: Buffer | undefined
  readonly #tail: TailContext | undefined
  #member: number | undefined
  /** Bytes, raw bytes and blocks so far. */
  #position = 0
  #rawOffset = 0
  #blocks = 0
  #checksum = 0

  constructor(plan: ContainerPlan) {
    this.#plan = plan
    this.#codecNumber = codecNumber(plan.codec)
    this.#dictionary = plan.dictionary
    if (plan.context === 'previous') this.#tail = new TailContext(plan.codec, plan.restartEvery)
  }

  contextFor(index: number, bytes: Buffer): Buffer | undefined {
    const { context, codec } = this.#plan
    if (context !== 'dictionary') return this.#tail?.take(index, bytes)
    // the beginning of the first block, not its end: what it begins with packs to nothing
    this.#dictionary ??= Buffer.from(bytes.subarray(0, codec.contextBytes))
    return contextOf(codec, this.#dictionary)
  }

  async pack(block: RawBlock): Promise<Buffer> {
    const { codec, level } = this.#plan
    try {
      if (this.#dictionary !== undefined) {
        this.#dictionaryPacking ??= Promise.resolve(
          codec.pack(this.#dictionary, { level, context: undefined }),
        )
        this.#packedDictionary = await this.#dictionaryPacking
      }
      return await codec.pack(block.bytes, { level, context: block.context })
    } catch (error) {
      throw codecFailed(error, `${codec.name} failed on block ${block.index}`, {
        index: block.index,
        rawOffset: block.offset,
      })
    }
  }

  join(block: RawBlock, packed: Buffer): JoinedBlock {
    const { bytes } = block
    const checksum = crc32(bytes)
    const output = this.#member === undefined ? this.#begin(checksum) : []
    /* v8 ignore start -- after 4 294 967 295 blocks */
    if (block.index === 0xffffffff) {
      throw new CodecError('ERR_MILLRACE_CODEC_LIMIT', 'a container holds at most 2^32 - 1 blocks', {
        index: block.index,
        rawOffset: block.offset,
      })
    }
    /* v8 ignore stop */
    const stored = packed.length >= bytes.length
    const payload = stored ? bytes : packed
    const glyph = this.#glyph(GLYPH.data, payload, {
      codec: stored ? 0 : this.#codecNumber,
      usesPrevious: !stored && this.#plan.context === 'previous' && block.context !== undefined,
      usesDictionary: !stored && this.#plan.context === 'dictionary' && block.context !== undefined,
      rawLength: bytes.length,
      checksum,
    })
    output.push(...glyph)
    this.#index.add(HEADER_BYTES + payload.length, bytes.length)
    this.#checksum = combineCrc32(this.#checksum, checksum, bytes.length)
    this.#rawOffset += bytes.length
    this.#blocks++
    if (this.#index.open === SEGMENT_BLOCKS) output.push(...this.#segment())
    return { output, stored, keepsRaw: glyph[1] === bytes }
  }

  end(): Buffer[] {
    const output = this.#member === undefined ? this.#begin(0) : []
    if (this.#index.open > 0) output.push(...this.#segment())
    const root = this.#plain(GLYPH.root, this.#index.root())
    output.push(...root)
    const rootBytes = root.reduce((sum, { length }) => sum + length, 0)
    const payload = Buffer.alloc(END_PAYLOAD_BYTES)
    payload.writeUIntLE(this.#position + END_BYTES, 0, 6)
    payload.writeUInt32LE(rootBytes, 6)
    payload.writeUInt32LE(this.#checksum, 10)
    output.push(...this.#plain(GLYPH.end, payload))
    return output
  }

  async close(): Promise<void> {
    await this.#plan.codec.close?.()
  }

  /** The first glyph, and the dictionary. */
  #begin(firstChecksum: number): Buffer[] {
    this.#member = firstChecksum
    const { codec, blockSize, context, restartEvery } = this.#plan
    const payload = Buffer.alloc(FILE_PAYLOAD_BYTES)
    payload[0] = CONTAINER_VERSION
    payload.writeUInt16LE(context === 'previous' ? restartEvery : 0, 1)
    payload.writeUInt32LE(blockSize, 3)
    payload.write(codec.name, 7, 'latin1')
    payload.set(LINE_ENDS, 23)
    const output = this.#plain(GLYPH.file, payload)
    if (this.#dictionary !== undefined && this.#packedDictionary !== undefined) {
      const packed = this.#packedDictionary.length < this.#dictionary.length
      output.push(
        ...this.#glyph(GLYPH.dictionary, packed ? this.#packedDictionary : this.#dictionary, {
          codec: packed ? this.#codecNumber : 0,
          usesPrevious: false,
          usesDictionary: false,
          rawLength: this.#dictionary.length,
          checksum: crc32(this.#dictionary),
        }),
      )
    }
    return output
  }

  #segment(): Buffer[] {
    return this.#plain(GLYPH.index, this.#index.closeSegment(HEADER_BYTES))
  }

  #plain(type: number, payload: Buffer): Buffer[] {
    return this.#glyph(type, payload, {
      codec: 0,
      usesPrevious: false,
      usesDictionary: false,
      rawLength: payload.length,
      checksum: crc32(payload),
    })
  }

  #glyph(
    type: number,
    payload: Buffer,
    facts: {
      codec: number
      usesPrevious: boolean
      usesDictionary: boolean
      rawLength: number
      checksum: number
    },
  ): Buffer[] {
    const mask = maskFor(payload)
    const header = writeGlyphHeader({
      ...facts,
      type,
      mask,
      member: this.#member!,
      index: this.#blocks,
      rawOffset: this.#rawOffset,
      packedLength: payload.length,
    })
    this.#position += HEADER_BYTES + payload.length
    return [header, masked(payload, mask)]
  }
}

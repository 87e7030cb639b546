import { CodecError, MillraceError, asError } from '../errors.ts'
import type { BlockCodec } from './block-codec.ts'
import { CODEC_NUMBERS, NAMED_CODEC, masked, type GlyphHeader } from './glyph-header.ts'
import { crc32 } from './crc32.ts'
import { freeMemory } from './own-memory.ts'
import { builtInCodec } from './zlib-codecs.ts'

/** Where a glyph stands, for messages. */
export interface GlyphPlace {
  /** Packed bytes before it. */
  readonly offset: number
  readonly index: number
  /** Raw bytes before it. */
  readonly rawOffset: number
}

/** The codecs that a decoder knows: those that Node has, and those that it was given. */
export class CodecTable {
  readonly #given: readonly BlockCodec[]

  constructor(given: readonly BlockCodec[]) {
    this.#given = given
  }

  /** The codec with that number in a glyph; `name` is what the file glyph says. Undefined if it is not at hand. */
  find(number: number, name: string | undefined): BlockCodec | undefined {
    const known = number === NAMED_CODEC ? name : NAMES[number]
    if (known === undefined) return undefined
    return this.#given.find((codec) => codec.name === known) ?? builtInCodec(known)
  }

  async close(): Promise<void> {
    for (const codec of this.#given) await codec.close?.()
  }
}

const NAMES: Record<number, string> = Object.fromEntries(
  Object.entries(CODEC_NUMBERS).map(([name, number]) => [number, name]),
)

/** The raw bytes of a glyph, checked. @throws {@link CodecError} if they are not what they should be. */
export async function decodeBlock(
  header: GlyphHeader,
  payload: Buffer,
  codec: BlockCodec,
  context: Buffer | undefined,
  place: GlyphPlace,
): Promise<Buffer> {
  const packed = masked(payload, header.mask)
  let raw
  if (header.codec === CODEC_NUMBERS.store) raw = packed
  else {
    try {
      raw = await codec.unpack(packed, { rawLength: header.rawLength, context })
    } catch (error) {
      throw damaged(error, codec, header, place)
    }
    if (raw.buffer !== payload.buffer) freeMemory(payload)
  }
  checkRaw(header, raw, place)
  return raw
}

function damaged(error: unknown, codec: BlockCodec, { rawLength }: GlyphHeader, place: GlyphPlace): Error {
  if ((error as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE') return tooMuch(rawLength, place)
  // a worker that cannot be started, a Node without the codec: no fault of the bytes
  if (MillraceError.is(error)) return error
  return new CodecError(
    'ERR_MILLRACE_CODEC_CHECKSUM',
    `${placeOf(place)} is damaged: ${codec.name} cannot unpack it: ${asError(error).message}`,
    { ...place, cause: error },
  )
}

const tooMuch = (rawLength: number, place: GlyphPlace) =>
  new CodecError(
    'ERR_MILLRACE_CODEC_LIMIT',
    `${placeOf(place)} unpacks to more than the ${rawLength} bytes that it says`,
    { ...place, expected: rawLength },
  )

/** @throws {@link CodecError} unless these are the bytes that the header describes. */
export function checkRaw(header: GlyphHeader, raw: Buffer, place: GlyphPlace): void {
  const { rawLength, checksum } = header
  if (raw.length > rawLength) throw tooMuch(rawLength, place)
  if (raw.length < rawLength) {
    const message = `${placeOf(place)} unpacks to ${raw.length} bytes, not to ${rawLength}`
    throw new CodecError('ERR_MILLRACE_CODEC_CHECKSUM', message, {
      ...place,
      expected: rawLength,
      actual: raw.length,
    })
  }
  const actual = crc32(raw)
  if (actual === checksum) return
  throw new CodecError(
    'ERR_MILLRACE_CODEC_CHECKSUM',
    `${placeOf(place)} is damaged: its CRC-32 is ${hex(actual)}, not ${hex(checksum)}`,
    { ...place, expected: checksum, actual },
  )
}

export function placeOf({ index, offset, rawOffset }: GlyphPlace): string {
  return `block ${index} at byte ${offset} (raw byte ${rawOffset})`
}

export function hex(number: number): string {
  return `0x${number.toString(16).padStart(8, '0')}`
}

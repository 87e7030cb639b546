import { CodecError } from '../errors.ts'
import { MAX_INDEX_BYTES, MAX_ROOT_BYTES } from './container-index.ts'
import { isKnownType } from './container-parser.ts'
import { END_PAYLOAD_BYTES, FILE_PAYLOAD_BYTES } from './container-writer.ts'
import { placeOf } from './decode-block.ts'
import { GLYPH, type GlyphHeader } from './glyph-header.ts'

const MAX_DICTIONARY_BYTES = 1_048_576

const EXACT_BYTES: Record<number, number> = {
  [GLYPH.file]: FILE_PAYLOAD_BYTES,
  [GLYPH.end]: END_PAYLOAD_BYTES,
}
const MOST_BYTES: Record<number, number> = {
  [GLYPH.dictionary]: MAX_DICTIONARY_BYTES,
  [GLYPH.index]: MAX_INDEX_BYTES,
  [GLYPH.root]: MAX_ROOT_BYTES,
}

/**
 * Before memory is taken for a payload.
 *
 * @throws unless a header can be right, and its payload may be kept in memory.
 */
export function checkHeader(
  header: GlyphHeader,
  offset: number,
  position: number,
  maxBlockSize: number,
): void {
  const { type, rawLength, packedLength, index, rawOffset } = header
  const place = { offset, index, rawOffset: position }
  if (!isKnownType(type)) {
    // as in PNG: a small letter may be passed over
    if (type >= 0x61 && type <= 0x7a) return
    const message = `byte ${offset}: a glyph of type ${type}, which a later version may know`
    throw new CodecError('ERR_MILLRACE_CODEC_UNKNOWN', message, { ...place, actual: type })
  }
  const exact = EXACT_BYTES[type]
  const most = type === GLYPH.data ? maxBlockSize : MOST_BYTES[type]!
  const wrong = exact === undefined ? rawLength > most : rawLength !== exact
  if (wrong) {
    const message = `${placeOf({ ...place, rawOffset })}: ${rawLength} raw bytes, where ${exact ?? `at most ${most}`} can be`
    throw new CodecError('ERR_MILLRACE_CODEC_LIMIT', message, {
      ...place,
      expected: exact ?? most,
      actual: rawLength,
    })
  }
  if (packedLength <= rawLength && (rawLength > 0 || type !== GLYPH.data)) return
  throw new CodecError(
    'ERR_MILLRACE_CODEC_INVALID',
    `${placeOf(place)}: ${packedLength} packed bytes for ${rawLength} raw ones`,
    { ...place, expected: rawLength, actual: packedLength },
  )
}

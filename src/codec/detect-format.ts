import { GLYPH, MARKER, MARKER_AT } from './glyph-header.ts'
import { bgzfBlockLength } from './gzip-header.ts'
import type { PackFormat } from './streaming-encoder.ts'

/** Bytes from which the format of an input can be told. */
export const DETECT_BYTES = 18

const ZSTD_MAGIC = 0xfd2fb528
const SKIPPABLE_MAGIC = 0x184d2a50

/**
 * Takes the first 18 bytes of an input (or all that there are), and says in which format it is packed; undefined for none that
 * {@link StreamingDecoder} reads.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { gzipSync } from 'node:zlib'
 * import { detectFormat } from 'millrace'
 *
 * assert.equal(detectFormat(gzipSync('some text')), 'gzip')
 * assert.equal(detectFormat(Buffer.from('some text')), undefined)
 * ```
 */
export function detectFormat(start: Uint8Array): PackFormat | undefined {
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.byteLength)
  if (bytes.length > 2 && bytes.readUIntBE(0, 3) === 0x1f8b08)
    return bgzfBlockLength(bytes) > 0 ? 'bgzf' : 'gzip'
  if (bytes.length > 3) {
    const magic = bytes.readUInt32LE(0)
    if (magic === ZSTD_MAGIC || (magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) return 'zstd'
  }
  const marker = bytes.subarray(MARKER_AT, MARKER_AT + MARKER.length)
  return bytes[0] === GLYPH.file && marker.equals(MARKER) ? 'container' : undefined
}

const ENDINGS: Record<string, PackFormat> = {
  mrz: 'container',
  gz: 'gzip',
  tgz: 'gzip',
  bgz: 'bgzf',
  bgzf: 'bgzf',
  zst: 'zstd',
  tzst: 'zstd',
}

/**
 * Takes the name of a file, gives the format that its ending stands for; undefined where the name does not tell.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { formatOfName } from 'millrace'
 *
 * assert.deepEqual(['a.mrz', 'b.vcf.bgz', 'c.txt'].map(formatOfName), ['container', 'bgzf', undefined])
 * ```
 */
export function formatOfName(name: string): PackFormat | undefined {
  const ending = /\.([a-z]+)$/i.exec(name)?.[1]?.toLowerCase() ?? ''
  return Object.hasOwn(ENDINGS, ending) ? ENDINGS[ending] : undefined
}

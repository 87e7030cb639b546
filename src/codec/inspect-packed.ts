import { Readable } from 'node:stream'
import { CodecError } from '../errors.ts'
import { DETECT_BYTES, detectFormat } from './detect-format.ts'
import { openRangeSource, type RangeInput, type RangeSource } from './range-source.ts'
import { SeekableDecoder, type PackedFileFacts, type SeekableDecoderOptions } from './seekable-decoder.ts'
import { StreamingDecoder } from './streaming-decoder.ts'
import type { PackFormat } from './streaming-encoder.ts'

/** What {@link inspectPacked} finds out. */
export interface PackedReport extends Partial<PackedFileFacts> {
  readonly format: PackFormat
  readonly packedBytes: number
  /** Whether any part can be read without what comes before. */
  readonly seekable: boolean
  /** With `verify`: that all of it was unpacked and every checksum is right. What is wrong is thrown. */
  readonly verified?: true
  readonly storedBlocks?: number
}

/** Options of {@link inspectPacked}. */
export interface InspectOptions extends SeekableDecoderOptions {
  /** Whether to unpack all of it. @defaultValue false */
  readonly verify?: boolean
}

/** Bytes of a piece that is read when all is unpacked. */
const PIECE_BYTES = 262_144

/**
 * Takes a packed file, and says what it is: format, codec, blocks, ratio, index; with `verify`, whether all of it is as it was.
 *
 * @throws {@link CodecError} for what is no packed file, or, with `verify`, is damaged.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { writeFileSync } from 'node:fs'
 * import { encodeFile, inspectPacked } from 'millrace'
 *
 * writeFileSync('zeros.bin', Buffer.alloc(1_000_000))
 * await encodeFile('zeros.bin', 'zeros.mrz', { codec: 'deflate', blockSize: 100_000 })
 * const report = await inspectPacked('zeros.mrz', { verify: true })
 * assert.deepEqual([report.format, report.codec, report.blocks, report.verified], ['container', 'deflate', 10, true])
 * ```
 */
export async function inspectPacked(input: RangeInput, options: InspectOptions = {}): Promise<PackedReport> {
  const { verify = false, ...rest } = options
  const source = await openRangeSource(input)
  try {
    const facts = await factsOf(input, source, rest)
    if (!verify) return facts
    const decoder = new StreamingDecoder({
      ...(rest.codecs && { codecs: rest.codecs }),
      ...(rest.maxBlockSize && { maxBlockSize: rest.maxBlockSize }),
      ...(rest.workers && { workers: rest.workers }),
    })
    const raw = Readable.from(pieces(source), { objectMode: false }).pipe(decoder)
    let rawBytes = 0
    for await (const chunk of raw as AsyncIterable<Buffer>) rawBytes += chunk.length
    const { blocks = 0, storedBlocks = 0 } = decoder.stats()
    return {
      ...facts,
      rawBytes,
      ratio: source.size === 0 ? 0 : rawBytes / source.size,
      ...(blocks > 0 && { blocks, storedBlocks }),
      verified: true,
    }
  } finally {
    await source.close?.()
  }
}

async function factsOf(
  input: RangeInput,
  source: RangeSource,
  options: SeekableDecoderOptions,
): Promise<PackedReport> {
  try {
    const file = await SeekableDecoder.open(input, options)
    await file.close()
    return { ...file.facts, seekable: true }
  } catch (error) {
    if (!CodecError.is(error) || error.code !== 'ERR_MILLRACE_CODEC_UNSEEKABLE') throw error
    const format = detectFormat(await source.read(0, Math.min(source.size, DETECT_BYTES)))!
    return { format, packedBytes: source.size, seekable: false }
  }
}

async function* pieces(source: RangeSource): AsyncGenerator<Buffer> {
  for (let at = 0; at < source.size; at += PIECE_BYTES) {
    yield await source.read(at, Math.min(source.size, at + PIECE_BYTES))
  }
}

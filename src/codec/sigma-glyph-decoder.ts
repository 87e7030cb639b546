import { CodecError } from '../errors.ts'
import { StatsCounter, type StatsHooks } from '../flow/stream-stats.ts'
import { PullStage, type PullCore } from '../flow/pull-stage.ts'
import { SigmaGlyphScanner } from '../framing/sigma-glyph-scanner.ts'
import { checkInteger, checkSignal } from '../options.ts'
import {
  SIGMA_CRC_BYTES,
  SIGMA_HEADER_BYTES,
  crc16,
  readSigmaGlyph,
  type SigmaGlyph,
  type SigmaHeader,
} from './sigma-glyph.ts'

/** Options of {@link SigmaGlyphDecoder}. */
export interface SigmaGlyphDecoderOptions extends StatsHooks {
  readonly signal?: AbortSignal
  /** Glyphs that wait for the reader. @defaultValue 16 */
  readonly highWaterMark?: number
}

const EMPTY: Buffer = Buffer.alloc(0)

class SigmaCore implements PullCore<Buffer, SigmaGlyph> {
  readonly #counter: StatsCounter
  readonly #scanner = new SigmaGlyphScanner()
  #chunk = EMPTY
  #at = 0
  #offset = 0
  #ended = false
  /** Bytes of what is not complete; all of them are in the CRC-16 already. */
  #held = EMPTY
  #crc = 0xffff
  #part: 'header' | 'glyphs' | 'crc' = 'header'
  #left = 0
  #streams = 0
  #index = 0
  header: Required<SigmaHeader> | undefined

  constructor(counter: StatsCounter) {
    this.#counter = counter
  }

  write(chunk: Buffer): void {
    this.#counter.received(chunk.length)
    this.#chunk = chunk
    this.#at = 0
  }

  end(): void {
    this.#ended = true
  }

  next(): SigmaGlyph | undefined {
    while (this.#at < this.#chunk.length) {
      if (this.#part === 'header') this.#readHeader()
      else if (this.#part === 'crc') this.#readCrc()
      else {
        const glyph = this.#readGlyph()
        if (glyph) return glyph
      }
    }
    if (!this.#ended) return undefined
    const isOver = this.#streams > 0 && this.#part === 'header' && this.#held.length === 0
    if (isOver) return undefined
    throw this.#error('TRUNCATED', `the input ends inside of glyph stream ${this.#streams}`)
  }

  /** Bytes of a field; undefined until they are all there. */
  #take(length: number): Buffer | undefined {
    const end = Math.min(this.#chunk.length, this.#at + length - this.#held.length)
    const bytes = Buffer.concat([this.#held, this.#chunk.subarray(this.#at, end)])
    this.#offset += end - this.#at
    this.#at = end
    this.#held = bytes.length < length ? bytes : EMPTY
    return bytes.length < length ? undefined : bytes
  }

  #readHeader(): void {
    const bytes = this.#take(SIGMA_HEADER_BYTES)
    if (bytes === undefined) return
    const word = bytes.readUInt32BE(0)
    this.header = { version: word >>> 30, flags: (word >>> 24) & 63, context: (word >>> 12) & 4095 }
    this.#left = word & 4095
    this.#crc = crc16(bytes)
    this.#part = this.#left > 0 ? 'glyphs' : 'crc'
  }

  #readGlyph(): SigmaGlyph | undefined {
    const from = this.#at
    this.#at = this.#scanner.scan(this.#chunk, from, this.#chunk.length, true)
    const piece = this.#chunk.subarray(from, this.#at)
    this.#offset += piece.length
    this.#crc = crc16(piece, this.#crc)
    // a copy: the glyph belongs to whoever reads it
    this.#held = Buffer.concat([this.#held, piece])
    if (this.#scanner.end === -1) return undefined
    const glyph = readSigmaGlyph(this.#held)
    this.#held = EMPTY
    this.#left--
    if (this.#left === 0) this.#part = 'crc'
    this.#index++
    this.#counter.sent(0, 1)
    return glyph
  }

  #readCrc(): void {
    const bytes = this.#take(SIGMA_CRC_BYTES)
    if (bytes === undefined) return
    const expected = bytes.readUInt16BE(0)
    if (expected !== this.#crc) {
      const message = `the CRC-16 of glyph stream ${this.#streams} is 0x${this.#crc.toString(16)}, not 0x${expected.toString(16)}`
      throw this.#error('CHECKSUM', message, { expected, actual: this.#crc })
    }
    this.#streams++
    this.#part = 'header'
  }

  #error(code: string, message: string, facts: object = {}): CodecError {
    return new CodecError(
      `ERR_MILLRACE_CODEC_${code}`,
      `byte ${this.#offset}, glyph ${this.#index}: ${message}`,
      {
        offset: this.#offset,
        index: this.#index,
        ...facts,
      },
    )
  }
}

/**
 * SigmaLang's glyph streams in, one or several, cut anywhere; their glyphs out, as records. The other way around is
 * {@link SigmaGlyphEncoder}.
 *
 * A glyph is sent on when it is complete; that the CRC-16 behind the last one of its stream is wrong is an error after them.
 *
 * @remarks Holds one glyph, and `highWaterMark` of them.
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { SigmaGlyphDecoder } from 'millrace'
 *
 * const decoder = new SigmaGlyphDecoder()
 * const glyphs = await Readable.from([Buffer.from('40005001017dba', 'hex')]).pipe(decoder).toArray()
 * assert.deepEqual(glyphs, [{ type: 'primitive', primitive: 1 }])
 * assert.deepEqual(decoder.header, { version: 1, flags: 0, context: 5 })
 * ```
 */
export class SigmaGlyphDecoder extends PullStage<Buffer, SigmaGlyph> {
  readonly #core: SigmaCore

  constructor(options: SigmaGlyphDecoderOptions = {}) {
    const { signal, highWaterMark = 16 } = options
    checkSignal('signal', signal)
    checkInteger('highWaterMark', highWaterMark)
    const counter = new StatsCounter('SigmaGlyphDecoder', options)
    const core = new SigmaCore(counter)
    super(core, counter, {
      readableObjectMode: true,
      readableHighWaterMark: highWaterMark,
      ...(signal && { signal }),
    })
    this.#core = core
  }

  /** The header that was read last. */
  get header(): Required<SigmaHeader> | undefined {
    return this.#core.header
  }
}

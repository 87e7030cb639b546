import { Transform, addAbortSignal, type TransformCallback } from 'node:stream'
import { OptionError } from '../errors.ts'
import { StatsCounter, type StatsHooks, type StreamStats } from '../flow/stream-stats.ts'
import { checkInteger, checkSignal } from '../options.ts'
import {
  MAX_SIGMA_GLYPHS,
  SIGMA_HEADER_BYTES,
  crc16,
  encodeSigmaGlyph,
  type SigmaGlyph,
  type SigmaHeader,
} from './sigma-glyph.ts'

/** Options of {@link SigmaGlyphEncoder}. */
export interface SigmaGlyphEncoderOptions extends SigmaHeader, StatsHooks {
  /** Most glyphs of a stream; more of them make more streams, one behind the other. 1 to 4095. @defaultValue 4095 */
  readonly maxGlyphs?: number
  readonly signal?: AbortSignal
  readonly highWaterMark?: number
}

/**
 * SigmaLang glyphs in, as records; out come SigmaLang's glyph streams: a header of four bytes, at most 4095 glyphs, a CRC-16.
 *
 * The header counts the glyphs, so a stream is sent on when it is full or the input is over; no input gives a stream of no glyphs.
 *
 * @remarks Holds the glyphs of one stream, at most 4095 × 32771 bytes.
 * @throws {@link OptionError} for an option that is out of range. The stage fails with it for a glyph that cannot be written.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { buffer } from 'node:stream/consumers'
 * import { SigmaGlyphEncoder } from 'millrace'
 *
 * const glyphs = Readable.from([{ type: 'primitive', primitive: 1 }])
 * assert.equal((await buffer(glyphs.pipe(new SigmaGlyphEncoder({ context: 5 })))).toString('hex'), '40005001017dba')
 * ```
 */
export class SigmaGlyphEncoder extends Transform {
  readonly #counter: StatsCounter
  readonly #header: number
  readonly #maxGlyphs: number
  #glyphs: Buffer[] = []
  #streams = 0

  constructor(options: SigmaGlyphEncoderOptions = {}) {
    const {
      version = 1,
      flags = 0,
      context = 0,
      maxGlyphs = MAX_SIGMA_GLYPHS,
      signal,
      highWaterMark,
    } = options
    checkInteger('version', version, 0, 3)
    checkInteger('flags', flags, 0, 63)
    checkInteger('context', context, 0, 4095)
    checkInteger('maxGlyphs', maxGlyphs, 1, MAX_SIGMA_GLYPHS)
    checkSignal('signal', signal)
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
    super({
      writableObjectMode: true,
      ...(highWaterMark !== undefined && { readableHighWaterMark: highWaterMark }),
    })
    this.#header = (version << 30) | (flags << 24) | (context << 12)
    this.#maxGlyphs = maxGlyphs
    this.#counter = new StatsCounter('SigmaGlyphEncoder', options)
    if (signal) addAbortSignal(signal, this)
  }

  stats(): StreamStats {
    return this.#counter.snapshot()
  }

  override _transform(glyph: SigmaGlyph, _encoding: BufferEncoding, done: TransformCallback): void {
    try {
      if (typeof glyph !== 'object')
        throw new OptionError('glyph', glyph, 'an object with type and primitive')
      this.#counter.received(0, 1)
      this.#glyphs.push(encodeSigmaGlyph(glyph))
      if (this.#glyphs.length === this.#maxGlyphs) this.#send()
    } catch (error) {
      return done(error as Error)
    }
    done()
  }

  override _flush(done: TransformCallback): void {
    try {
      if (this.#glyphs.length > 0 || this.#streams === 0) this.#send()
      this.#counter.completed()
    } catch (error) {
      return done(error as Error)
    }
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    try {
      if (error) this.#counter.failed(error)
    } catch {
      // onError threw: the stage fails already, and the first error is the one that explains
    }
    done(error)
  }

  #send(): void {
    const header = Buffer.alloc(SIGMA_HEADER_BYTES)
    header.writeInt32BE(this.#header | this.#glyphs.length)
    const body = Buffer.concat([header, ...this.#glyphs])
    const crc = Buffer.alloc(2)
    crc.writeUInt16BE(crc16(body))
    const stream = Buffer.concat([body, crc])
    this.#counter.sent(stream.length, this.#glyphs.length)
    this.#glyphs = []
    this.#streams++
    this.push(stream)
  }
}

import { GLYPH, HEADER_BYTES, MARKER, MARKER_AT, readGlyphHeader, type GlyphHeader } from './glyph-header.ts'
import { ownMemory } from './own-memory.ts'

/** A whole glyph, found in the input. */
export interface FoundGlyph {
  readonly header: GlyphHeader
  /** Memory of its own, which may be freed unless the parser is to recover. */
  readonly payload: Buffer
  /** Packed bytes before the glyph. */
  readonly offset: number
  /** Bytes right before it that belong to no glyph. */
  readonly skipped: number
}

/** What the reader thinks of a header, before memory is taken for the payload. */
export type Verdict = 'take' | 'skip' | 'refuse'

/**
 * Finds glyphs in bytes that are cut anywhere. Where none stands it either fails or looks for the next one, by its marker.
 *
 * In that mode it keeps each payload until the header behind it has shown that the payload was all there: if bytes are missing in it,
 * the next glyph begins inside of what was taken for its end.
 */
export class ContainerParser {
  readonly #recover: boolean
  readonly #judge: (header: GlyphHeader, offset: number) => Verdict
  /** @throws what ends the reading. */
  readonly #onInvalid: (bytes: Buffer, offset: number) => void
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  /** Packed bytes before `#chunk[#at]`. */
  #offset = 0
  readonly #headerBytes = Buffer.alloc(HEADER_BYTES)
  #headerFilled = 0
  #header: GlyphHeader | undefined
  /** Undefined while a payload is skipped. */
  #payload: Buffer | undefined
  #payloadFilled = 0
  #skippedBefore = 0
  #last: Buffer | undefined
  /** Bytes that are looked through for a marker. */
  #held: Buffer | undefined
  /** Bytes that belong to no glyph, since the last good one. */
  skipped = 0

  constructor(options: {
    readonly recover: boolean
    readonly judge: (header: GlyphHeader, offset: number) => Verdict
    readonly onInvalid: (bytes: Buffer, offset: number) => void
  }) {
    this.#recover = options.recover
    this.#judge = options.judge
    this.#onInvalid = options.onInvalid
  }

  /** Packed bytes that were taken so far. */
  get offset(): number {
    return this.#offset
  }

  /** Bytes of a glyph, or of what may be one, that is not complete. */
  get openBytes(): number {
    if (this.#held) return this.#held.length
    return this.#header === undefined ? this.#headerFilled : HEADER_BYTES + this.#payloadFilled
  }

  write(chunk: Buffer): void {
    this.#chunk = chunk
    this.#at = 0
  }

  next(): FoundGlyph | undefined {
    for (;;) {
      if (this.#held !== undefined) {
        if (!this.#scan()) return undefined
      } else if (this.#header === undefined) {
        if (!this.#readHeader()) return undefined
      } else {
        const header = this.#header
        if (!this.#readPayload(header)) return undefined
        const payload = this.#payload
        this.#header = this.#payload = undefined
        const offset = this.#offset - HEADER_BYTES - header.packedLength
        if (this.#recover) this.#last = payload
        if (payload !== undefined) return { header, payload, offset, skipped: this.#skippedBefore }
      }
    }
  }

  /**
   * The input is over. True if bytes are left that may hide a glyph; then call `next()` again, until it gives nothing.
   */
  end(): boolean {
    if (!this.#recover || this.openBytes === 0) return false
    const open = this.#held ?? this.#openGlyph()
    // nothing can begin at its first byte any more
    if (open.length <= HEADER_BYTES) {
      this.#skip(open.length)
      this.#held = undefined
      this.#headerFilled = 0
      return false
    }
    this.#rescan(open.subarray(1), 1)
    return true
  }

  #openGlyph(): Buffer {
    const { openBytes } = this
    const header = this.#headerBytes.subarray(0, Math.min(openBytes, HEADER_BYTES))
    const payload = this.#payload?.subarray(0, this.#payloadFilled) ?? Buffer.alloc(0)
    this.#header = this.#payload = undefined
    this.#headerFilled = 0
    return Buffer.concat([header, payload])
  }

  #readHeader(): boolean {
    const copied = this.#chunk.copy(this.#headerBytes, this.#headerFilled, this.#at)
    this.#headerFilled += copied
    this.#at += copied
    this.#offset += copied
    if (this.#headerFilled < HEADER_BYTES) return false
    const header = readGlyphHeader(this.#headerBytes, 0)
    const start = this.#offset - HEADER_BYTES
    const verdict = header === undefined ? 'refuse' : this.#judge(header, start)
    this.#headerFilled = 0
    if (header === undefined || verdict === 'refuse') {
      this.#onInvalid(this.#headerBytes, start)
      const last = this.#last ?? Buffer.alloc(0)
      this.#last = undefined
      this.#held = Buffer.concat([last, this.#headerBytes])
      this.skipped -= last.length // which are counted already
      return true
    }
    this.#skippedBefore = this.skipped
    this.skipped = 0
    this.#header = header
    this.#payloadFilled = 0
    this.#payload = verdict === 'take' ? this.#take(header.packedLength) : undefined
    return true
  }

  #take(bytes: number): Buffer {
    const payload = Buffer.allocUnsafeSlow(bytes)
    return this.#recover ? payload : ownMemory(payload)
  }

  #readPayload({ packedLength }: GlyphHeader): boolean {
    const length = Math.min(packedLength - this.#payloadFilled, this.#chunk.length - this.#at)
    this.#payload?.set(this.#chunk.subarray(this.#at, this.#at + length), this.#payloadFilled)
    this.#payloadFilled += length
    this.#at += length
    this.#offset += length
    return this.#payloadFilled === packedLength
  }

  /** Looks for a marker with a good header around it. False when it needs more bytes. */
  #scan(): boolean {
    const rest = this.#chunk.subarray(this.#at)
    const bytes = Buffer.concat([this.#held!, rest])
    this.#offset += rest.length
    this.#at = this.#chunk.length
    const before = this.#offset - bytes.length
    // a marker that begins at `from` or later may be new
    let from = MARKER_AT
    for (;;) {
      const found = bytes.indexOf(MARKER, from)
      const start = found - MARKER_AT
      if (found === -1) {
        const kept = Math.min(bytes.length, MARKER_AT + MARKER.length - 1)
        this.#skip(bytes.length - kept)
        this.#held = Buffer.from(bytes.subarray(bytes.length - kept))
        return false
      }
      if (bytes.length - start < HEADER_BYTES) {
        this.#skip(start)
        this.#held = Buffer.from(bytes.subarray(start))
        return false
      }
      const header = readGlyphHeader(bytes, start)
      if (header !== undefined && this.#judge(header, before + start) !== 'refuse') {
        this.#skip(start)
        this.#rescan(bytes.subarray(start), 0)
        return true
      }
      from = found + 1
    }
  }

  /** Goes on as if these bytes came next. */
  #rescan(bytes: Buffer, skipped: number): void {
    this.#skip(skipped)
    const rest = this.#chunk.subarray(this.#at)
    this.#held = undefined
    this.#offset -= bytes.length
    this.#chunk = Buffer.concat([bytes, rest])
    this.#at = 0
  }

  #skip(bytes: number): void {
    this.skipped += bytes
  }
}

/** Whether these are types that this version must understand; others are passed over. */
export function isKnownType(type: number): boolean {
  return Object.values(GLYPH).includes(type as 0x44)
}

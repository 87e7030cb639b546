import type { EncodedBlock, RecordEncoding } from './record-encoder.ts'

/**
 * Blocks of records in, the text or bytes of one body out, with what stands first, between and last. Pure: it holds what was
 * pushed and not yet taken.
 */
export class ChunkJoiner {
  readonly #encoding: RecordEncoding
  #text = ''
  /** Bytes, of a format that is not text; `#text` comes after them. */
  #parts: Uint8Array[] = []
  #partBytes = 0
  #begun = false
  #held = 0
  #total = 0

  constructor(encoding: RecordEncoding) {
    this.#encoding = encoding
  }

  /** Length of what is held: bytes, or UTF-16 units of text. */
  get size(): number {
    return this.#partBytes + this.#text.length
  }

  /** Records pushed so far. */
  get records(): number {
    return this.#total
  }

  push({ data, records }: EncodedBlock): void {
    if (this.#begun) this.#append(this.#encoding.separator ?? '')
    this.#begin()
    this.#append(data)
    this.#held += records
    this.#total += records
  }

  /** There is no more. */
  end(): void {
    this.#begin()
    this.#append(this.#encoding.end?.(this.#total) ?? '')
  }

  /** There is no more, because of an error. */
  fail(error: Error): void {
    if (!this.#encoding.fail) return
    this.#begin()
    this.#append(this.#encoding.fail(error, this.#total))
  }

  /** Gives everything that is held. */
  take(): EncodedBlock {
    const records = this.#held
    this.#held = 0
    const text = this.#text
    this.#text = ''
    if (this.#parts.length === 0) return { data: text, records }
    const parts = text === '' ? this.#parts : [...this.#parts, Buffer.from(text)]
    this.#parts = []
    this.#partBytes = 0
    return { data: parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts), records }
  }

  #begin(): void {
    if (this.#begun) return
    this.#begun = true
    this.#append(this.#encoding.begin?.() ?? '')
  }

  #append(data: string | Uint8Array): void {
    if (typeof data === 'string') {
      this.#text += data
      return
    }
    if (this.#text !== '') {
      const text = Buffer.from(this.#text)
      this.#parts.push(text)
      this.#partBytes += text.length
      this.#text = ''
    }
    this.#parts.push(data)
    this.#partBytes += data.length
  }
}

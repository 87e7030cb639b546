import { StoreError } from '../errors.ts'

const SHORT = 24
/** Keys whose text is remembered by their bytes. */
const MAX_KEYS = 4096

/** Field names are the same in record after record. */
const keys = new Map<number, string>()

/** What is wrong with a message. */
export function corrupt(problem: string): StoreError {
  return new StoreError('ERR_MILLRACE_STORE_CORRUPT', 'receive', `message: ${problem}`)
}

/** Reads the fields of a protobuf message. Every length is checked against the end of what it is in. */
export class ProtoReader {
  readonly #bytes: Buffer
  readonly #view: DataView
  at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get end(): number {
    return this.#bytes.length
  }

  varint(): number {
    const low = this.#bytes[this.at]
    if (low !== undefined && low < 128) {
      this.at++
      return low
    }
    let value = 0
    let unit = 1
    for (let i = 0; i < 10; i++) {
      const byte = this.#bytes[this.at++]
      if (byte === undefined) throw corrupt('expected a number, got the end')
      // bits above 53 are lost: no length and no tag that is right has them
      value += (byte & 127) * unit
      if (byte < 128) return value
      unit *= 128
    }
    throw corrupt(`expected a number of at most 10 bytes, got more at byte ${this.at}`)
  }

  /** The end of a field whose length comes next. */
  lengthEnd(outerEnd: number): number {
    const length = this.varint()
    const end = this.at + length
    if (end > outerEnd)
      throw corrupt(`expected ${length} bytes from byte ${this.at} on, got ${outerEnd - this.at}`)
    return end
  }

  double(outerEnd: number): number {
    if (this.at + 8 > outerEnd)
      throw corrupt(`expected 8 bytes from byte ${this.at} on, got ${outerEnd - this.at}`)
    const value = this.#view.getFloat64(this.at, true)
    this.at += 8
    return value
  }

  string(outerEnd: number): string {
    const start = this.at
    const end = this.lengthEnd(outerEnd)
    const from = this.at
    this.at = end
    const bytes = this.#bytes
    if (end - from <= SHORT) {
      let text = ''
      let i = from
      for (; i < end; i++) {
        const byte = bytes[i]!
        if (byte > 127) break
        text += String.fromCharCode(byte)
      }
      if (i === end) return text
    }
    const text = bytes.toString('utf8', from, end)
    // U+FFFD stands for bytes that are no UTF-8, unless it was there
    if (text.includes('\ufffd') && Buffer.byteLength(text) !== end - from) throw notUtf8(start)
    if (text.includes('\ufffd') && !Buffer.from(text).equals(bytes.subarray(from, end))) throw notUtf8(start)
    return text
  }

  /** A string that is likely to come again. */
  key(outerEnd: number): string {
    const start = this.at
    const end = this.lengthEnd(outerEnd)
    const bytes = this.#bytes
    let hash = end - this.at
    for (let i = this.at; i < end; i++) hash = (Math.imul(hash, 31) + bytes[i]!) | 0
    const known = keys.get(hash)
    if (known !== undefined && isAt(known, bytes, this.at, end)) {
      this.at = end
      return known
    }
    this.at = start
    const text = this.string(outerEnd)
    if (text.length <= 64) {
      if (keys.size >= MAX_KEYS) keys.clear()
      keys.set(hash, text)
    }
    return text
  }

  /** Steps over a field that is not known. */
  skip(tag: number, outerEnd: number): void {
    const kind = tag % 8
    if (tag < 8) throw corrupt(`expected the number of a field, got ${tag >> 3} before byte ${this.at}`)
    if (kind === 0) this.varint()
    else if (kind === 1) this.at += 8
    else if (kind === 2) this.at = this.lengthEnd(outerEnd)
    else if (kind === 5) this.at += 4
    else throw corrupt(`expected a field, got wire type ${kind} before byte ${this.at}`)
    if (this.at > outerEnd) throw corrupt('expected a field, got the end')
  }
}

function isAt(text: string, bytes: Buffer, from: number, end: number): boolean {
  if (text.length !== end - from) return false
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== bytes[from + i]) return false
  return true
}

function notUtf8(at: number): StoreError {
  return corrupt(`expected UTF-8, got other bytes after byte ${at}`)
}

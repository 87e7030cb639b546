import { StoreError } from '../errors.ts'
import { checkWellFormed } from './canonical-json.ts'

const FIRST_SIZE = 4096
/** Characters that are cheaper to write one by one than by a call into Node's C++. */
const SHORT = 32

/**
 * Writes a protobuf message from its end to its beginning: the length that goes in front of a field is then known when it is
 * written, without a second pass. Its memory is used again, and grows up to `maxLength` bytes.
 */
export class ProtoWriter {
  readonly #maxLength: number
  #bytes = Buffer.allocUnsafeSlow(FIRST_SIZE)
  #view = new DataView(this.#bytes.buffer)
  /** What is written begins here. */
  #at = FIRST_SIZE

  constructor(maxLength: number) {
    this.#maxLength = maxLength
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#bytes.length - this.#at
  }

  /** Gives what was written, as a copy, and begins anew. */
  take(): Buffer {
    const copy = Buffer.allocUnsafe(this.length)
    this.#bytes.copy(copy, 0, this.#at)
    this.#at = this.#bytes.length
    return copy
  }

  /** Puts tag and length in front of what was written since `end`, a former {@link length}. */
  prefix(tag: number, end: number): void {
    this.varint(this.length - end)
    this.#room(5)
    this.#at = writeTag(this.#bytes, this.#at, tag)
  }

  varint(value: number): void {
    this.#room(10)
    this.#at = writeVarint(this.#bytes, this.#at, value)
  }

  twoBytes(tag: number, value: number): void {
    this.#room(2)
    this.#bytes[--this.#at] = value
    this.#bytes[--this.#at] = tag
  }

  double(value: number, tag: number): void {
    this.#room(9)
    this.#at -= 8
    this.#view.setFloat64(this.#at, value, true)
    this.#bytes[--this.#at] = tag
  }

  string(text: string, tag: number): void {
    const size = text.length
    if (size < SHORT) {
      this.#room(size + 6)
      const bytes = this.#bytes
      let at = this.#at
      let i = size - 1
      for (; i >= 0; i--) {
        const code = text.charCodeAt(i)
        if (code > 127) break
        bytes[--at] = code
      }
      if (i < 0) {
        bytes[--at] = size
        this.#at = writeTag(bytes, at, tag)
        return
      }
    }
    checkWellFormed(text)
    const length = Buffer.byteLength(text)
    this.#room(length + 10)
    this.#at -= length
    this.#bytes.write(text, this.#at, length, 'utf8')
    this.#at = writeTag(this.#bytes, writeVarint(this.#bytes, this.#at, length), tag)
  }

  #room(size: number): void {
    if (this.#at >= size) return
    const { length } = this
    const needed = length + size
    // checked before memory is taken; a few bytes of tags more do no harm
    if (needed > this.#maxLength + 64) throw tooLong('send', this.#maxLength, needed, ' or more')
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length))
    this.#bytes.copy(larger, larger.length - length, this.#at)
    this.#at = larger.length - length
    this.#bytes = larger
    this.#view = new DataView(larger.buffer)
  }
}

/** A message that may not be sent or received. */
export function tooLong(category: 'send' | 'receive', limit: number, actual: number, more = ''): StoreError {
  return new StoreError(
    'ERR_MILLRACE_STORE_TOO_LARGE',
    category,
    `message: expected at most ${limit} bytes, got ${actual}${more}`,
    { expected: limit, actual },
  )
}

/** Fields up to 15 have a tag of one byte; the extension has one of two. */
function writeTag(bytes: Buffer, at: number, tag: number): number {
  if (tag < 128) {
    bytes[--at] = tag
    return at
  }
  return writeVarint(bytes, at, tag)
}

function writeVarint(bytes: Buffer, at: number, value: number): number {
  if (value < 128) {
    bytes[--at] = value
    return at
  }
  let size = 1
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) size++
  at -= size
  let rest = value
  for (let i = at; i < at + size - 1; i++) {
    bytes[i] = (rest % 128) | 128
    rest = Math.floor(rest / 128)
  }
  bytes[at + size - 1] = rest
  return at
}

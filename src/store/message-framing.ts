// A message of gRPC on the wire: a byte that says whether it is compressed, its length in four bytes, and the message.
import { gunzipSync, gzipSync } from 'node:zlib'
import { asError } from '../errors.ts'
import { STATUS, type CallStatus } from './store-status.ts'

const PREFIX_LENGTH = 5

/** How messages are compressed. */
export type MessageEncoding = 'identity' | 'gzip'

/** Messages in one buffer, so that many of them are one write. */
export function frameMessages(messages: readonly Buffer[], encoding: MessageEncoding = 'identity'): Buffer {
  const isPacked = encoding === 'gzip'
  const bodies = isPacked ? messages.map((message) => gzipSync(message)) : messages
  let length = 0
  for (const body of bodies) length += PREFIX_LENGTH + body.length
  const bytes = Buffer.allocUnsafe(length)
  let at = 0
  for (const body of bodies) {
    bytes[at] = isPacked ? 1 : 0
    bytes.writeUInt32BE(body.length, at + 1)
    at += PREFIX_LENGTH
    bytes.set(body, at)
    at += body.length
  }
  return bytes
}

/** What is wrong with the bytes that came: the messages before it have been given. */
export class FramingError extends Error {
  readonly status: CallStatus

  constructor(code: number, message: string) {
    super(message)
    this.status = { code, message, fromServer: false }
  }
}

/**
 * Chunks in, whole messages out, however the bytes are cut. A message that is longer than allowed is refused when its length is
 * known, before memory is taken for it.
 */
export class MessageReader {
  readonly #maxLength: number
  readonly #encoding: string
  /** The beginning of a message whose end has not come, in pieces: they are joined once, when it has. */
  #pieces: Buffer[] = []
  #held = 0
  /** Bytes that the message has which `#pieces` begin, its prefix included. */
  #needed = PREFIX_LENGTH

  /** `encoding`: what the messages that say so are compressed by. */
  constructor(maxLength: number, encoding = 'identity') {
    this.#maxLength = maxLength
    this.#encoding = encoding
  }

  /** True between two messages. */
  get isEmpty(): boolean {
    return this.#held === 0
  }

  /** Adds the messages that are whole to `messages`. @throws {@link FramingError} behind those that came before it. */
  push(chunk: Buffer, messages: Buffer[]): void {
    let bytes = chunk
    if (this.#held > 0) {
      this.#pieces.push(chunk)
      this.#held += chunk.length
      if (this.#held < this.#needed) return
      bytes = Buffer.concat(this.#pieces, this.#held)
      this.#pieces = []
      this.#held = 0
    }
    let at = 0
    for (;;) {
      const left = bytes.length - at
      this.#needed = PREFIX_LENGTH
      if (left >= PREFIX_LENGTH) {
        this.#needed += this.#lengthAt(bytes, at)
        if (left >= this.#needed) {
          const end = at + this.#needed
          const body = bytes.subarray(at + PREFIX_LENGTH, end)
          messages.push(bytes[at] === 0 ? body : this.#unpack(body))
          at = end
          continue
        }
      }
      if (left > 0) {
        // a copy: what is left over must not keep the whole chunk
        this.#pieces = [at === 0 ? bytes : Buffer.from(bytes.subarray(at))]
        this.#held = left
      }
      return
    }
  }

  #lengthAt(bytes: Buffer, at: number): number {
    const flag = bytes[at]!
    if (flag > 1) {
      throw new FramingError(STATUS.INTERNAL, `message: expected 0 or 1 as its first byte, got ${flag}`)
    }
    const length = bytes.readUInt32BE(at + 1)
    if (length > this.#maxLength) throw this.#tooLong(`${length} bytes`)
    return length
  }

  #unpack(body: Buffer): Buffer {
    if (this.#encoding !== 'gzip') {
      throw new FramingError(
        STATUS.INTERNAL,
        `message: expected none that is compressed, got one by ${this.#encoding}`,
      )
    }
    try {
      return gunzipSync(body, { maxOutputLength: this.#maxLength })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw this.#tooLong('more')
      throw new FramingError(
        STATUS.INTERNAL,
        `message: expected gzip, got other bytes: ${asError(error).message}`,
      )
    }
  }

  #tooLong(actual: string): FramingError {
    return new FramingError(
      STATUS.RESOURCE_EXHAUSTED,
      `received message larger than max: expected at most ${this.#maxLength} bytes, got ${actual}`,
    )
  }
}

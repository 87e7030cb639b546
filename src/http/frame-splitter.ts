import { FrameError } from '../errors.ts'

/** Where the frame at `at` lies in `bytes`; or how many bytes from `at` on it takes at least, if they are not all there. */
export type Splitting = { readonly from: number; readonly to: number } | { readonly needs: number }

/** Finds out where a frame ends. `undefined`: these bytes cannot be one. */
export type FindFrame = (bytes: Uint8Array, at: number) => Splitting | undefined

/**
 * Bytes in, cut anywhere; frames out that say themselves how long they are. Pure. Memory: one frame, of which no more than `maxLength`
 * bytes are awaited.
 */
export class FrameSplitter {
  readonly #find: FindFrame
  readonly #maxLength: number
  #parts: Uint8Array[] = []
  #held = 0
  /** Bytes without which another look is in vain. */
  #needs = 1
  /** Where in the input what is held begins. */
  #offset = 0

  constructor(find: FindFrame, maxLength: number) {
    this.#find = find
    this.#maxLength = maxLength
  }

  /** Gives the frames that are complete with this chunk; views of it where they lie in it. */
  push(chunk: Uint8Array): Uint8Array[] {
    this.#parts.push(chunk)
    this.#held += chunk.length
    if (this.#held < this.#needs) return []
    const bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts)
    const frames: Uint8Array[] = []
    let at = 0
    this.#needs = 1
    while (at < bytes.length) {
      const found = this.#find(bytes, at)
      if (found === undefined) throw this.#error('ERR_MILLRACE_FRAME_INVALID', at, 'a frame', 'none')
      const length = 'needs' in found ? found.needs : found.to - at
      if (length > this.#maxLength) {
        throw this.#error('ERR_MILLRACE_FRAME_TOO_LONG', at, `at most ${this.#maxLength} bytes`, `${length}`)
      }
      if ('needs' in found) {
        this.#needs = found.needs
        break
      }
      frames.push(bytes.subarray(found.from, found.to))
      at = found.to
    }
    this.#parts = at < bytes.length ? [bytes.subarray(at)] : []
    this.#held = bytes.length - at
    this.#offset += at
    return frames
  }

  /** @throws {@link FrameError} `ERR_MILLRACE_FRAME_TRUNCATED` if a frame is not complete. */
  end(): void {
    if (this.#held === 0) return
    const expected = `at least ${this.#needs} bytes`
    throw this.#error('ERR_MILLRACE_FRAME_TRUNCATED', 0, expected, `the end after ${this.#held}`)
  }

  #error(code: string, at: number, expected: string, actual: string): FrameError {
    const offset = this.#offset + at
    return new FrameError(code, `frame at byte ${offset}: expected ${expected}, got ${actual}`, {
      offset,
      expected,
      actual,
    })
  }
}

/** Bytes of the longest length before a message: five hold 35 bits. */
const MAX_LENGTH_BYTES = 5

/**
 * A message with its length before it, as a varint.
 *
 * @see {@link https://protobuf.dev/programming-guides/encoding/#varints | varints}
 */
export function findDelimited(bytes: Uint8Array, at: number): Splitting | undefined {
  let length = 0
  for (let i = 0; i < MAX_LENGTH_BYTES; i++) {
    const byte = bytes[at + i]
    if (byte === undefined) return { needs: i + 1 }
    length += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) {
      const from = at + i + 1
      return from + length <= bytes.length ? { from, to: from + length } : { needs: from - at + length }
    }
  }
  return undefined
}

/** For each first byte from 0xc0 on: bytes of the length that follows, fixed bytes, and values for each unit of the length. */
const SHAPES: readonly (readonly [lengthBytes: number, bytes: number, values: number] | undefined)[] = [
  ...([[0, 0, 0], undefined, [0, 0, 0], [0, 0, 0]] as const),
  ...([
    [1, 0, 0],
    [2, 0, 0],
    [4, 0, 0],
  ] as const), // bin
  ...([
    [1, 1, 0],
    [2, 1, 0],
    [4, 1, 0],
  ] as const), // ext
  ...([
    [0, 4, 0],
    [0, 8, 0],
  ] as const), // float
  ...([
    [0, 1, 0],
    [0, 2, 0],
    [0, 4, 0],
    [0, 8, 0],
  ] as const), // uint
  ...([
    [0, 1, 0],
    [0, 2, 0],
    [0, 4, 0],
    [0, 8, 0],
  ] as const), // int
  ...([
    [0, 2, 0],
    [0, 3, 0],
    [0, 5, 0],
    [0, 9, 0],
    [0, 17, 0],
  ] as const), // fixext
  ...([
    [1, 0, 0],
    [2, 0, 0],
    [4, 0, 0],
  ] as const), // str
  ...([
    [2, 0, 1],
    [4, 0, 1],
  ] as const), // array
  ...([
    [2, 0, 2],
    [4, 0, 2],
  ] as const), // map
]

/**
 * A value of MessagePack: its decoder drops a last value that is cut off without a word.
 *
 * @see {@link https://github.com/msgpack/msgpack/blob/master/spec.md | MessagePack specification}
 */
export function findMessagePack(bytes: Uint8Array, at: number): Splitting | undefined {
  let to = at
  for (let values = 1; values > 0; values--) {
    const first = bytes[to++]
    // every value that is still to come takes a byte
    if (first === undefined) return { needs: to - 1 - at + values }
    if (first < 0x80 || first >= 0xe0) continue
    if (first < 0x90) values += 2 * (first & 0x0f)
    else if (first < 0xa0) values += first & 0x0f
    else if (first < 0xc0) to += first & 0x1f
    else {
      const shape = SHAPES[first - 0xc0]
      if (shape === undefined) return undefined
      const [lengthBytes, fixed, perUnit] = shape
      if (to + lengthBytes > bytes.length) return { needs: to + lengthBytes - at }
      let length = 0
      for (let i = 0; i < lengthBytes; i++) length = length * 256 + (bytes[to + i] as number)
      to += lengthBytes + fixed
      if (perUnit === 0) to += length
      else values += perUnit * length
    }
  }
  return to <= bytes.length ? { from: at, to } : { needs: to - at }
}

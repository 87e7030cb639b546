/** Blocks that one index glyph covers. So the writer of a file of any length holds few entries. */
export const SEGMENT_BLOCKS = 4096
/** Most bytes of its payload: two numbers of at most 5 bytes a block. */
export const MAX_INDEX_BYTES = SEGMENT_BLOCKS * 10
/** Most bytes of the root's payload: four numbers a segment, for 2^32 blocks. */
export const MAX_ROOT_BYTES = 2 ** 20 * 32

/** What the root knows of a segment. */
export interface Segment {
  /** Bytes of its data glyphs in the file. */
  readonly dataBytes: number
  readonly rawBytes: number
  /** Bytes of the index glyph behind them. */
  readonly indexBytes: number
  readonly blocks: number
}

/** Collects what the index glyphs and the root say. The reader does the same, to compare. */
export class IndexBuilder {
  #numbers: number[] = []
  #dataBytes = 0
  #rawBytes = 0
  #blocks = 0
  readonly #root: number[] = []

  /** Blocks that no index glyph covers yet. */
  get open(): number {
    return this.#blocks
  }

  add(glyphBytes: number, rawLength: number): void {
    this.#numbers.push(glyphBytes, rawLength)
    this.#dataBytes += glyphBytes
    this.#rawBytes += rawLength
    this.#blocks++
  }

  /** The payload of the index glyph for the blocks so far; `indexBytes` are those of the whole glyph around it. */
  closeSegment(headerBytes: number): Buffer {
    const payload = packNumbers(this.#numbers)
    this.#root.push(this.#dataBytes, this.#rawBytes, headerBytes + payload.length, this.#blocks)
    this.#numbers = []
    this.#dataBytes = this.#rawBytes = this.#blocks = 0
    return payload
  }

  root(): Buffer {
    return packNumbers(this.#root)
  }
}

/** The numbers of a root, read back; undefined if it does not hold them. */
export function readSegments(payload: Buffer): Segment[] | undefined {
  const numbers = unpackNumbers(payload)
  if (numbers === undefined || numbers.length % 4 !== 0) return undefined
  const segments: Segment[] = []
  for (let i = 0; i < numbers.length; i += 4) {
    const [dataBytes, rawBytes, indexBytes, blocks] = numbers.slice(i, i + 4) as [
      number,
      number,
      number,
      number,
    ]
    segments.push({ dataBytes, rawBytes, indexBytes, blocks })
  }
  return segments
}

/** Whole numbers as LEB128. */
function packNumbers(numbers: readonly number[]): Buffer {
  const bytes: number[] = []
  for (const number of numbers) {
    let rest = number
    for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
    bytes.push(rest)
  }
  return Buffer.from(bytes)
}

/** Whole numbers below 2^53 from LEB128, or undefined where they are none. */
export function unpackNumbers(bytes: Buffer): number[] | undefined {
  const numbers: number[] = []
  for (let at = 0; at < bytes.length;) {
    let value = 0
    let unit = 1
    let byte
    do {
      if (at === bytes.length || unit > 2 ** 49) return undefined
      byte = bytes[at++]!
      value += (byte & 127) * unit
      unit *= 128
    } while (byte > 127)
    if (!Number.isSafeInteger(value)) return undefined
    numbers.push(value)
  }
  return numbers
}

import { ChunkJoiner } from './chunk-joiner.ts'
import { sizeOf, type EncodedBlock, type RecordEncoding } from './record-encoder.ts'

/** How many records the first piece has: their size is not known yet. */
const FIRST_PIECE = 128

/** What was encoded; `fault` if it did not get to the end. */
export interface EncodedPiece {
  readonly data?: EncodedBlock
  readonly fault?: { readonly error: unknown }
}

/** Encodes as many records at a time as probably fill a chunk, so that a large batch makes many chunks and not a large one. */
export class PieceEncoder {
  readonly #encoding: RecordEncoding
  readonly #chunkThreshold: number
  #index: number
  #unitsPerRecord: number

  constructor(encoding: RecordEncoding, chunkThreshold: number, start: number) {
    this.#encoding = encoding
    this.#chunkThreshold = chunkThreshold
    this.#index = start
    this.#unitsPerRecord = chunkThreshold / FIRST_PIECE
  }

  /** How many of `left` records to encode next, where a chunk has `held` units already. */
  count(left: number, held: number): number {
    const room = Math.max(this.#chunkThreshold - held, this.#chunkThreshold / 4)
    if (left * this.#unitsPerRecord <= 2 * room) return left
    return Math.max(1, Math.ceil(room / this.#unitsPerRecord))
  }

  encode(piece: readonly unknown[]): EncodedPiece {
    const index = this.#index
    this.#index += piece.length
    try {
      const data = this.#encoding.encode(piece as readonly never[], index)
      this.#unitsPerRecord = Math.max(1, sizeOf(data) / piece.length)
      return { data: { data, records: piece.length } }
    } catch {
      return this.#encodeOneByOne(piece, index)
    }
  }

  /** For what stands before the record that cannot be written. */
  #encodeOneByOne(piece: readonly unknown[], index: number): EncodedPiece {
    const encoding = this.#encoding
    const joiner = new ChunkJoiner({ separator: encoding.separator ?? '', encode: () => '' })
    for (const [i, record] of piece.entries()) {
      try {
        joiner.push({
          data: encoding.encode([record] as readonly unknown[] as never[], index + i),
          records: 1,
        })
      } catch (error) {
        return joiner.records === 0 ? { fault: { error } } : { data: joiner.take(), fault: { error } }
      }
    }
    return { data: joiner.take() }
  }
}

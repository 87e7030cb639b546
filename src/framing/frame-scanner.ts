/**
 * Finds where frames end. It looks at every byte of the input once, in order, and never holds bytes itself: what it has
 * to remember between two calls (inside quotes or not, nesting depth, bytes of payload still to come) is its own state.
 * The cutter does the rest: blocks, limits, positions, memory.
 *
 * A scanner serves one input. `end` and `frames` tell the result of the last `scan()`.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { FrameCutter, type FrameScanner } from 'millrace'
 *
 * // rows of CSV: a line end inside quotes does not end the row
 * class CsvRows implements FrameScanner {
 *   end = -1
 *   frames = 0
 *   #quoted = false
 *
 *   scan(bytes: Buffer, from: number, to: number, first: boolean): number {
 *     this.end = -1
 *     this.frames = 0
 *     for (let i = from; i < to; i++) {
 *       if (bytes[i] === 0x22) this.#quoted = !this.#quoted
 *       else if (bytes[i] === 0x0a && !this.#quoted) {
 *         this.end = i + 1
 *         this.frames++
 *         if (first) return this.end
 *       }
 *     }
 *     return to
 *   }
 *
 *   finish() {
 *     return this.#quoted ? 'truncated' : 'frame' // a last row may lack its line end
 *   }
 * }
 *
 * const cutter = new FrameCutter(new CsvRows(), { blockSize: 1, maxFrameLength: 1000 })
 * cutter.write(Buffer.from('a,b\n1,"two\nlines"\n3,4'))
 * cutter.end()
 * const rows: string[] = []
 * for (let row = cutter.next(); row; row = cutter.next()) rows.push(row.bytes.toString())
 * assert.deepEqual(rows, ['a,b\n', '1,"two\nlines"\n', '3,4'])
 * ```
 */
export interface FrameScanner {
  /**
   * Index just behind the last frame that ended in what the last `scan()` looked at, or -1. The index counts in the
   * `bytes` of that call; a delimiter belongs to the frame that it ends.
   */
  readonly end: number
  /**
   * Frames that ended in what the last `scan()` looked at. With `end >= 0`, 0 means that the bytes up to `end` belong to
   * no frame (a byte order mark, an opening bracket) and are to be dropped; a scanner returns from such a gap at once.
   */
  readonly frames: number
  /** Bytes at the end of every frame that are its delimiter and are not handed out behind the last frame of a block. */
  readonly trim?: number
  /**
   * For frames with a header that tells their length: the length of the whole open frame in bytes, 0 while its header is
   * not complete. The cutter checks it against the limit before it keeps a byte of the payload.
   */
  readonly openLength?: number
  /**
   * How blocks get their line numbers: `'count'` the line feeds of every block (default), `'frames'` where each frame
   * is a line, `'none'` for binary data (all is line 1).
   */
  readonly lines?: 'count' | 'frames' | 'none'
  /**
   * Looks at `bytes[from, to)`, which follow what the last call looked at, and sets `end` and `frames`.
   *
   * @param first - Stop right behind the first frame that ends; else look at everything and report the last one.
   * @returns Where it stopped looking: `to`, or the `end` it stopped behind.
   * @throws {@link FrameFault} when these bytes cannot be a frame; `end` and `frames` then tell what ended before.
   */
  scan(bytes: Buffer, from: number, to: number, first: boolean): number
  /**
   * The input is over, inside an open frame or right behind one.
   *
   * @param open - Bytes behind the last end.
   * @returns What the open bytes are: a whole frame, a gap that belongs to none, or a frame that was cut off.
   * @throws {@link FrameFault} to say it better.
   */
  finish(open: number): FrameEnding
}

/** What the bytes behind the last frame end are when the input is over. */
export type FrameEnding = 'frame' | 'gap' | 'truncated'

/**
 * What a scanner throws: takes what is wrong and the index of the byte in the `bytes` of that call. The cutter makes a
 * `FrameError` or `JsonError` of it, which knows offset, line, column and the number of the frame.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { FrameCutter, FrameFault, LineScanner } from 'millrace'
 *
 * class AsciiLines extends LineScanner {
 *   override scan(bytes: Buffer, from: number, to: number, first: boolean): number {
 *     const odd = bytes.subarray(from, to).findIndex((byte) => byte > 127)
 *     if (odd === -1) return super.scan(bytes, from, to, first)
 *     const stopped = super.scan(bytes, from, from + odd, first)
 *     if (stopped < from + odd) return stopped
 *     throw new FrameFault('expected ASCII', from + odd)
 *   }
 * }
 *
 * const cutter = new FrameCutter(new AsciiLines(), { blockSize: 100, maxFrameLength: 1000 })
 * cutter.write(Buffer.from('one\ntwö\n'))
 * cutter.end()
 * assert.equal(cutter.next()?.bytes.toString(), 'one\n')
 * assert.throws(() => cutter.next(), { code: 'ERR_MILLRACE_FRAME_INVALID', offset: 6, line: 2, column: 3, index: 1 })
 * ```
 */
export class FrameFault extends Error {
  /** Index of the byte; `undefined` means the end of the input. */
  readonly at: number | undefined
  readonly code: string

  constructor(message: string, at?: number, code = 'ERR_MILLRACE_FRAME_INVALID') {
    super(message)
    this.at = at
    this.code = code
  }
}

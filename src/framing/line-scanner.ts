import { countByte } from './json-kernel.ts'
import type { FrameEnding, FrameScanner } from './frame-scanner.ts'

const LF = 10
/** Below this many bytes a plain loop beats two native calls. */
const SHORT = 64

/**
 * Frames are lines, each with its line end (LF, or CR LF, which stays with the line); the last one may lack it.
 * Constant memory, one pass of native or SIMD search. Blank lines are frames too: frame number + 1 is the line number.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { FrameCutter, LineScanner } from 'millrace'
 *
 * const cutter = new FrameCutter(new LineScanner(), { blockSize: 1, maxFrameLength: 100 })
 * cutter.write(Buffer.from('one\r\n\nlast'))
 * cutter.end()
 * const lines: string[] = []
 * for (let line = cutter.next(); line; line = cutter.next()) lines.push(line.bytes.toString())
 * assert.deepEqual(lines, ['one\r\n', '\n', 'last'])
 * ```
 */
export class LineScanner implements FrameScanner {
  end = -1
  frames = 0
  readonly lines = 'frames'

  scan(bytes: Buffer, from: number, to: number, first: boolean): number {
    this.end = -1
    this.frames = 0
    if (to - from < SHORT) return this.#scanShort(bytes, from, to, first)
    // a view bounds the native search, else a search for what is not there would run through the whole chunk each time
    const range = from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to)
    const found = first ? range.indexOf(LF) : range.lastIndexOf(LF)
    if (found === -1) return to
    this.end = from + found + 1
    this.frames = first ? 1 : countByte(bytes, from, this.end, LF)
    return first ? this.end : to
  }

  #scanShort(bytes: Buffer, from: number, to: number, first: boolean): number {
    for (let i = from; i < to; i++) {
      if (bytes[i] !== LF) continue
      this.end = i + 1
      this.frames++
      if (first) return this.end
    }
    return to
  }

  finish(): FrameEnding {
    return 'frame'
  }
}

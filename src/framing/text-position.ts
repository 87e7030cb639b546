import type { FrameScanner } from './frame-scanner.ts'
import { countByte } from './json-kernel.ts'

const LF = 0x0a

/** Line and column of a byte, from 1, moved on over bytes and counted as a scanner wants it. */
export class TextPosition {
  line = 1
  column = 1
  /** A function, because a scanner may learn only from its input whether frames are lines. */
  readonly #mode: () => NonNullable<FrameScanner['lines']>

  constructor(mode: () => NonNullable<FrameScanner['lines']>) {
    this.#mode = mode
  }

  copy(): TextPosition {
    const copy = new TextPosition(this.#mode)
    copy.line = this.line
    copy.column = this.column
    return copy
  }

  /** Moves on over bytes, which are `frames` whole frames, or something else. */
  pass(bytes: Buffer, frames = 0): void {
    const mode = this.#mode()
    if (mode === 'frames' && frames > 0) {
      this.line += frames
      this.column = 1
      return
    }
    const feeds = mode === 'none' ? 0 : countByte(bytes, 0, bytes.length, LF)
    this.line += feeds
    if (feeds === 0) this.column += bytes.length
    else this.column = bytes.length - bytes.lastIndexOf(LF)
  }
}

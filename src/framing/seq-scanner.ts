import { FrameFault, type FrameEnding, type FrameScanner } from './frame-scanner.ts'

const RECORD_SEPARATOR = 0x1e

/**
 * Frames are texts of a JSON text sequence: a record separator (0x1E), the text, a line feed. A frame ends where the
 * next separator stands; separators in a row are one.
 *
 * @see RFC 7464
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { BoundaryHandler, SeqScanner } from 'millrace'
 *
 * const source = Readable.from([Buffer.from('\x1e{"a":1}\n\x1e[2'), Buffer.from(']\n')])
 * const texts = await source.pipe(new BoundaryHandler(new SeqScanner(), { emit: 'frames' })).map(String).toArray()
 * assert.deepEqual(texts, ['\x1e{"a":1}\n', '\x1e[2]\n'])
 * ```
 */
export class SeqScanner implements FrameScanner {
  end = -1
  frames = 0
  #begun = false
  /** The open frame holds nothing but separators. */
  #bare = true

  scan(bytes: Buffer, from: number, to: number, first: boolean): number {
    this.end = -1
    this.frames = 0
    if (!this.#begun) {
      if (bytes[from] !== RECORD_SEPARATOR) {
        throw new FrameFault('expected a record separator (0x1e)', from, 'ERR_MILLRACE_JSON_SYNTAX')
      }
      this.#begun = true
    }
    let at = this.#next(bytes, from, to)
    while (at !== -1) {
      this.end = at
      this.frames++
      this.#bare = true
      if (first) return at
      at = this.#next(bytes, at, to)
    }
    return to
  }

  /** Index of the separator that ends the open frame, or -1. */
  #next(bytes: Buffer, from: number, to: number): number {
    let at = from
    if (this.#bare) {
      while (at < to && bytes[at] === RECORD_SEPARATOR) at++
      this.#bare = at === to
    }
    const next = at < to ? bytes.indexOf(RECORD_SEPARATOR, at) : -1
    return next < to ? next : -1
  }

  finish(): FrameEnding {
    if (this.#begun && this.#bare) {
      throw new FrameFault(
        'expected a text after the record separator',
        undefined,
        'ERR_MILLRACE_JSON_TRUNCATED',
      )
    }
    return 'frame'
  }
}

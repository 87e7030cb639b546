import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { FileError } from '../errors.ts'
import type { FileRange } from '../framing/file-ranges.ts'

/**
 * Reads parts of files into memory that is used again, in the thread that works on them: the bytes are in this core's
 * cache when the work begins. Synchronous, as the thread has nothing else to do; and with a descriptor a range, which
 * costs 10 µs and leaves nothing open.
 */
export class RangeReader {
  readonly #spare: Buffer[] = []

  /**
   * The bytes, until they are given back.
   *
   * @throws {@link FileError} when the file has become shorter or another one stands in its place, and what the system says.
   */
  read({ path, offset, length, inode }: FileRange): Buffer {
    const fd = openSync(path, 'r')
    try {
      if (inode !== undefined) checkIdentity(path, offset, inode, fstatSync(fd).ino)
      const buffer = this.#memory(length)
      let filled = 0
      while (filled < length) {
        const bytes = readSync(fd, buffer, filled, length - filled, offset + filled)
        if (bytes === 0) break
        filled += bytes
      }
      if (filled < length) {
        const size = offset + filled
        throw new FileError(
          'ERR_MILLRACE_FILE_SHRUNK',
          `${path}: expected bytes up to ${offset + length}, got only ${size}`,
          { offset: size, expected: offset + length, actual: size },
        )
      }
      return buffer
    } finally {
      closeSync(fd)
    }
  }

  /** The bytes are not needed any more. */
  giveBack(bytes: Buffer): void {
    this.#spare.push(Buffer.from(bytes.buffer))
  }

  #memory(length: number): Buffer {
    const spare = this.#spare.pop()
    return spare !== undefined && spare.length >= length
      ? spare.subarray(0, length)
      : Buffer.allocUnsafeSlow(length)
  }
}

function checkIdentity(path: string, offset: number, expected: number, actual: number): void {
  if (expected === actual) return
  throw new FileError(
    'ERR_MILLRACE_FILE_REPLACED',
    `${path}: another file has taken its place (expected inode ${expected}, got ${actual})`,
    { offset, expected, actual },
  )
}

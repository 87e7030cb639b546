import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { crc32 } from 'node:zlib'

/** Kind, digest, offset, length. */
const ENTRY = 41
const HEAD = Buffer.from('millrace index 1\n')
/** CRC of the entries, and the size of the segment that they are of. */
const FIXED = HEAD.length + 12

/** Is told each frame of a segment. */
export type OnFrame = (kind: number, digest: string, offset: number, length: number) => void

/**
 * The frames of the segment that is being written, to be written to a second file once it is complete, so that it opens fast.
 * One list serves all segments, one after another: its memory is used again.
 */
export class FrameList {
  #entries = Buffer.allocUnsafeSlow(64 * ENTRY)
  #length = 0

  /** Frames so far. */
  get count(): number {
    return this.#length / ENTRY
  }

  add(kind: number, digest: string, offset: number, length: number): void {
    if (this.#length === this.#entries.length) {
      const larger = Buffer.allocUnsafeSlow(this.#entries.length * 2)
      this.#entries.copy(larger)
      this.#entries = larger
    }
    const at = this.#length
    this.#entries[at] = kind
    this.#entries.write(digest, at + 1, 'latin1')
    this.#entries.writeUInt32LE(offset, at + 33)
    this.#entries.writeUInt32LE(length, at + 37)
    this.#length = at + ENTRY
  }

  /** Writes the list of a segment of `size` bytes, and begins that of the next. What it lists must be on the disk. */
  write(path: string, size: number): void {
    const entries = this.#entries.subarray(0, this.#length)
    const head = Buffer.alloc(FIXED)
    HEAD.copy(head)
    head.writeDoubleLE(size, HEAD.length + 4)
    head.writeUInt32LE(crc32(entries, crc32(head.subarray(HEAD.length + 4))), HEAD.length)
    writeFileSync(`${path}.partial`, head)
    appendFileSync(`${path}.partial`, entries, { flush: true })
    renameSync(`${path}.partial`, path)
    this.clear()
  }

  clear(): void {
    this.#length = 0
  }

  /** Tells the frames of a list, if there is one that is whole and of a segment of `size` bytes. */
  static read(path: string, size: number, onFrame: OnFrame): boolean {
    let bytes: Buffer
    try {
      bytes = readFileSync(path)
    } catch {
      return false
    }
    const fixed = HEAD.length
    if (bytes.length < FIXED || !bytes.subarray(0, fixed).equals(HEAD)) return false
    if (bytes.readDoubleLE(fixed + 4) !== size || (bytes.length - FIXED) % ENTRY !== 0) return false
    if (crc32(bytes.subarray(fixed + 4)) !== bytes.readUInt32LE(fixed)) return false
    for (let at = FIXED; at < bytes.length; at += ENTRY) {
      onFrame(
        bytes[at]!,
        bytes.toString('latin1', at + 1, at + 33),
        bytes.readUInt32LE(at + 33),
        bytes.readUInt32LE(at + 37),
      )
    }
    return true
  }
}

import {
  appendFileSync,
  closeSync,
  fdatasync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  unlinkSync,
  write,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import { MAX_OVERHEAD, SEGMENT_HEAD, readFrame, type SegmentFrame } from './segment-frame.ts'

const sync = promisify(fdatasync)

/** Longest text that a frame may have, in bytes: what a damaged length must not exceed. */
export const MAX_TEXT_LENGTH = 256 * 1024 * 1024

const READ_SIZE = 1024 * 1024
/** Kind, digest, offset, length. */
const ENTRY = 41
const LIST_HEAD = Buffer.from('millrace index 1\n')
/** CRC of the entries, and the size of the segment that they are of. */
const LIST_FIXED = LIST_HEAD.length + 12

/** A run of bytes in a segment that is no frame. */
export interface Damage {
  /** File name of the segment. */
  readonly segment: string
  readonly offset: number
  readonly bytes: number
}

/** Is told each frame of a segment. */
export type OnFrame = (kind: number, digest: string, offset: number, length: number) => void

/** One append-only file of frames, with a list of them in a second file once it is complete, so that it opens fast. */
export class SegmentFile {
  readonly id: number
  readonly path: string
  readonly #fd: number
  /** Bytes of it that are whole frames. */
  size: number
  /** Frames that no longer count: overwritten, deleted, tombstones, damaged bytes. */
  garbage = 0
  /** The list of frames so far. */
  #list = Buffer.allocUnsafeSlow(64 * ENTRY)
  #listLength = 0

  constructor(path: string, id: number, flags: 'r+' | 'wx+') {
    this.path = path
    this.id = id
    this.#fd = openSync(path, flags)
    this.size = fstatSync(this.#fd).size
    // a new one, or one whose beginning did not reach the disk
    if (this.size < SEGMENT_HEAD.length)
      this.size = writeSync(this.#fd, SEGMENT_HEAD, 0, SEGMENT_HEAD.length, 0)
  }

  get frames(): number {
    return this.#listLength / ENTRY
  }

  get listPath(): string {
    return this.path.replace(/segment$/, 'index')
  }

  note(kind: number, digest: string, offset: number, length: number): void {
    if (this.#listLength === this.#list.length) {
      const larger = Buffer.allocUnsafeSlow(this.#list.length * 2)
      this.#list.copy(larger)
      this.#list = larger
    }
    const at = this.#listLength
    this.#list[at] = kind
    this.#list.write(digest, at + 1, 'latin1')
    this.#list.writeUInt32LE(offset, at + 33)
    this.#list.writeUInt32LE(length, at + 37)
    this.#listLength = at + ENTRY
  }

  /** Writes bytes behind the last whole frame. After a failure, what was written of them is cut off. */
  async append(bytes: Buffer): Promise<void> {
    let written = 0
    try {
      while (written < bytes.length) {
        written += await new Promise<number>((resolve, reject) => {
          write(this.#fd, bytes, written, bytes.length - written, this.size + written, (error, count) =>
            error ? reject(error) : resolve(count),
          )
        })
      }
    } catch (error) {
      /* v8 ignore next -- a file that cannot be cut either is put right at the next open */
      try {
        ftruncateSync(this.#fd, this.size)
      } catch {}
      throw error
    }
    this.size += bytes.length
  }

  /** Reads into the beginning of `bytes`; fewer than `length` only at the end of the file. */
  read(bytes: Buffer, offset: number, length: number): number {
    return readSync(this.#fd, bytes, 0, length, offset)
  }

  sync(): Promise<void> {
    return sync(this.#fd)
  }

  close(): void {
    closeSync(this.#fd)
  }

  remove(): void {
    this.close()
    // the list first: one that is left over alone would be of another segment
    try {
      unlinkSync(this.listPath)
    } catch {}
    unlinkSync(this.path)
  }

  /** Writes the list of frames. What it lists must be on the disk. */
  writeList(): void {
    const entries = this.#list.subarray(0, this.#listLength)
    const head = Buffer.alloc(LIST_FIXED)
    LIST_HEAD.copy(head)
    head.writeDoubleLE(this.size, LIST_HEAD.length + 4)
    head.writeUInt32LE(crc32(entries, crc32(head.subarray(LIST_HEAD.length + 4))), LIST_HEAD.length)
    writeFileSync(`${this.listPath}.partial`, head)
    appendFileSync(`${this.listPath}.partial`, entries, { flush: true })
    renameSync(`${this.listPath}.partial`, this.listPath)
    this.#list = Buffer.allocUnsafeSlow(64 * ENTRY)
    this.#listLength = 0
  }

  /** Tells the frames from the list, if there is one that is of this segment as it is. */
  readList(onFrame: OnFrame): boolean {
    let bytes: Buffer
    try {
      bytes = readFileSync(this.listPath)
    } catch {
      return false
    }
    const fixed = LIST_HEAD.length
    if (bytes.length < LIST_FIXED || !bytes.subarray(0, fixed).equals(LIST_HEAD)) return false
    if (bytes.readDoubleLE(fixed + 4) !== this.size || (bytes.length - LIST_FIXED) % ENTRY !== 0) return false
    if (crc32(bytes.subarray(fixed + 4)) !== bytes.readUInt32LE(fixed)) return false
    for (let at = LIST_FIXED; at < bytes.length; at += ENTRY) {
      onFrame(
        bytes[at]!,
        bytes.toString('latin1', at + 1, at + 33),
        bytes.readUInt32LE(at + 33),
        bytes.readUInt32LE(at + 37),
      )
    }
    return true
  }

  /**
   * Tells the frames by reading all of them. Behind damaged bytes it goes on at the next frame that is whole.
   *
   * @param isLast - Cuts off what follows the last whole frame: it was being written when the power went.
   */
  scan(onFrame: OnFrame, onDamage: (damage: Damage) => void, isLast: boolean): void {
    const segment = this.path.slice(this.path.lastIndexOf('/') + 1)
    const window = new ScanWindow(this)
    const total = this.size
    let at = SEGMENT_HEAD.length
    if (!window.startsWith(SEGMENT_HEAD)) onDamage({ segment, offset: 0, bytes: at })
    while (at < total) {
      const frame = window.frameAt(at)
      if (frame !== undefined) {
        onFrame(frame.kind, frame.digest, at, frame.end)
        at += frame.end
        continue
      }
      let next = at + 1
      while (next < total && window.frameAt(next) === undefined) next = window.nextCandidate(next + 1)
      if (next >= total && isLast) {
        ftruncateSync(this.#fd, at)
        this.size = at
        return
      }
      onDamage({ segment, offset: at, bytes: Math.min(next, total) - at })
      at = next
    }
  }
}

/** A stretch of a file in memory, which moves on. */
class ScanWindow {
  readonly #file: SegmentFile
  #bytes = Buffer.allocUnsafeSlow(READ_SIZE)
  #start = 0
  #length = 0

  constructor(file: SegmentFile) {
    this.#file = file
  }

  startsWith(head: Buffer): boolean {
    this.#fill(0)
    return this.#bytes.subarray(0, Math.min(head.length, this.#length)).equals(head)
  }

  /** The frame at an offset, with `end` as its length; undefined if there is none that is whole. */
  frameAt(offset: number): SegmentFrame | undefined {
    if (offset < this.#start || offset >= this.#start + this.#length) this.#fill(offset)
    for (;;) {
      const at = offset - this.#start
      const frame = readFrame(this.#bytes.subarray(0, this.#length), at, MAX_TEXT_LENGTH)
      if (frame === 'bad') return undefined
      if (frame !== 'short') return { ...frame, end: frame.end - at }
      if (this.#start + this.#length >= this.#file.size) return undefined
      // it may go on behind the window: which moves on, or grows if the frame has all of it
      if (at === 0) this.#grow()
      this.#fill(offset)
    }
  }

  /** The next byte from an offset on that may begin a frame. */
  nextCandidate(offset: number): number {
    for (let at = offset; at < this.#file.size;) {
      if (at < this.#start || at >= this.#start + this.#length) this.#fill(at)
      const end = this.#start + this.#length
      for (; at < end; at++) if (this.#bytes[at - this.#start]! >= 0xfd) return at
    }
    return this.#file.size
  }

  #fill(offset: number): void {
    this.#start = offset
    this.#length = this.#file.read(this.#bytes, offset, this.#bytes.length)
  }

  #grow(): void {
    const left = this.#file.size - this.#start
    this.#bytes = Buffer.allocUnsafeSlow(
      Math.min(left, this.#bytes.length * 2, MAX_TEXT_LENGTH + MAX_OVERHEAD),
    )
  }
}

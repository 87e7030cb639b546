import {
  closeSync,
  fdatasync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs'
import { promisify } from 'node:util'
import type { OnFrame } from './frame-list.ts'
import { MAX_OVERHEAD, SEGMENT_HEAD, readFrame, type SegmentFrame } from './segment-frame.ts'

const sync = promisify(fdatasync)

/** Longest text that a frame may have, in bytes: what a damaged length must not exceed. */
export const MAX_TEXT_LENGTH = 256 * 1024 * 1024

const READ_SIZE = 1024 * 1024

/**
 * A write of up to so many bytes is done at once: the system's cache takes it in some 20 µs, where asking a thread costs 100. When one took
 * longer than so many milliseconds, because the disk does not keep up, the next ones are left to a thread for a while, so that the others
 * who use the event loop do not wait.
 */
const SHORT_WRITE = 256 * 1024
const SLOW_WRITE = 5
const SLOW_PERIOD = 1000
/** A run of bytes in a segment that is no frame. */
export interface Damage {
  /** File name of the segment. */
  readonly segment: string
  readonly offset: number
  readonly bytes: number
}

/** One append-only file of frames. Once it is complete, a list of them stands beside it (`FrameList`). */
export class SegmentFile {
  readonly id: number
  readonly path: string
  readonly #fd: number
  /** Bytes of it that are whole frames. */
  size: number
  /** Frames that no longer count: overwritten, deleted, tombstones, damaged bytes. */
  garbage = 0
  /** Until then, a thread writes. */
  #slowUntil = 0
  constructor(path: string, id: number, flags: 'r+' | 'wx+') {
    this.path = path
    this.id = id
    this.#fd = openSync(path, flags)
    this.size = fstatSync(this.#fd).size
    // a new one, or one whose beginning did not reach the disk
    if (this.size < SEGMENT_HEAD.length)
      this.size = writeSync(this.#fd, SEGMENT_HEAD, 0, SEGMENT_HEAD.length, 0)
  }

  get listPath(): string {
    return this.path.replace(/segment$/, 'index')
  }

  /** Writes bytes behind the last whole frame. After a failure, what was written of them is cut off. */
  async append(bytes: Buffer): Promise<void> {
    try {
      const start = performance.now()
      if (bytes.length > SHORT_WRITE || start < this.#slowUntil) await this.#writeByThread(bytes)
      else {
        for (let at = 0; at < bytes.length;)
          at += writeSync(this.#fd, bytes, at, bytes.length - at, this.size + at)
        const end = performance.now()
        if (end - start > SLOW_WRITE) this.#slowUntil = end + SLOW_PERIOD
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

  async #writeByThread(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      at += await new Promise<number>((resolve, reject) => {
        write(this.#fd, bytes, at, bytes.length - at, this.size + at, (error, count) =>
          error ? reject(error) : resolve(count),
        )
      })
    }
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

import { mkdirSync, openSync, readdirSync, closeSync, fsyncSync } from 'node:fs'
import { join } from 'node:path'
import { StoreError, asError } from '../errors.ts'
import { checkChoice, checkInteger, checkString } from '../options.ts'
import { cidOfDigest } from './cid.ts'
import { DigestIndex, type RecordPlace } from './digest-index.ts'
import { FrameList } from './frame-list.ts'
import { MAX_OVERHEAD, PUT, TOMBSTONE, readFrame, writeFrame, type SegmentFrame } from './segment-frame.ts'
import { MAX_TEXT_LENGTH, SegmentFile, type Damage } from './segment-file.ts'
import { lockFolder } from './store-lock.ts'

/** Bytes after which a segment is complete unless told otherwise: 64 MiB. */
export const DEFAULT_SEGMENT_LENGTH = 64 * 1024 * 1024

/** Frames after which a segment is complete, too: its list is in memory until then, and tombstones are as short as their entries there. */
const MAX_FRAMES = 262_144

/** Pause between two fsyncs of the policy `'interval'` unless told otherwise, in milliseconds. */
export const DEFAULT_SYNC_INTERVAL = 1000

/** When what was written is sure to survive a power cut. */
const SYNC_POLICIES = ['always', 'interval', 'never'] as const

/** Damaged places that are listed; the rest are counted. */
const MAX_DAMAGE = 1000

/** Bytes that a compaction reads before it writes them. */
const RUN_LENGTH = 1024 * 1024

/** Options of a segment store. */
export interface SegmentLogOptions {
  /**
   * What is acknowledged survives the end of the process in any case. A power cut is survived by: `'always'` everything;
   * `'interval'` all but the last `syncInterval` milliseconds; `'never'` what the system happened to have written.
   * @defaultValue `'interval'`
   */
  readonly fsync?: (typeof SYNC_POLICIES)[number]
  /** @defaultValue 1000 */
  readonly syncInterval?: number
  /**
   * Bytes after which a new segment is begun, at most 4 GiB less the longest record.
   * @defaultValue 64 MiB
   */
  readonly segmentLength?: number
}

/** A text, in UTF-8, with its digest. */
export interface LogEntry {
  readonly digest: string
  readonly bytes: Uint8Array
}

const NOTHING = Buffer.alloc(0)

/** What a compaction did. */
export interface CompactionReport {
  readonly segments: number
  readonly bytesBefore: number
  readonly bytesAfter: number
}

/**
 * Texts by their digest in a folder of append-only segments, with an index in memory. Knows nothing of JSON: the storage alone.
 */
export class SegmentLog {
  readonly #folder: string
  readonly #options: Required<SegmentLogOptions>
  readonly #index = new DigestIndex()
  /** By number, the last one being written to. */
  readonly #segments = new Map<number, SegmentFile>()
  readonly #release: () => Promise<void>
  readonly #damage: Damage[] = []
  #damages = 0
  /** What could not be read back, and is to be written again when it comes again. */
  readonly #corrupt = new Set<string>()
  #active: SegmentFile
  /** Of the active segment. */
  readonly #list = new FrameList()
  #out = Buffer.allocUnsafeSlow(256 * 1024)
  #scratch = Buffer.allocUnsafeSlow(64 * 1024)
  /** All that writes, one after another. */
  #line: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  /** After a failed fsync nobody knows what is on the disk, so nothing is acknowledged any more. */
  #fault: Error | undefined

  static async open(
    folder: string,
    {
      fsync = 'interval',
      syncInterval = DEFAULT_SYNC_INTERVAL,
      segmentLength = DEFAULT_SEGMENT_LENGTH,
    }: SegmentLogOptions = {},
  ): Promise<SegmentLog> {
    checkString('folder', folder)
    checkChoice('fsync', fsync, SYNC_POLICIES)
    checkInteger('syncInterval', syncInterval, 1, 2 ** 31 - 1)
    checkInteger('segmentLength', segmentLength, 64, 2 ** 32 - MAX_TEXT_LENGTH - MAX_OVERHEAD)
    mkdirSync(folder, { recursive: true })
    const release = await lockFolder(folder)
    try {
      const log = new SegmentLog(folder, { fsync, syncInterval, segmentLength }, release)
      // what a process that died has written is there, but perhaps not on the disk
      if (fsync !== 'never') await log.#active.sync()
      return log
    } catch (error) {
      await release()
      throw error
    }
  }

  private constructor(folder: string, options: Required<SegmentLogOptions>, release: () => Promise<void>) {
    this.#folder = folder
    this.#options = options
    this.#release = release
    const ids = readdirSync(folder)
      .flatMap((name) => /^(\d{10})\.segment$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b)
    for (const id of ids) this.#load(new SegmentFile(this.#pathOf(id), id, 'r+'), id === ids.at(-1))
    const last = this.#segments.get(ids.at(-1) ?? 0)
    this.#active = last ?? this.#begin(1)
  }

  get size(): number {
    return this.#index.size
  }

  /** Bytes of all segments. */
  get bytes(): number {
    return [...this.#segments.values()].reduce((sum, { size }) => sum + size, 0)
  }

  /** Bytes that a compaction would free, about. */
  get garbageBytes(): number {
    return [...this.#segments.values()].reduce((sum, { garbage }) => sum + garbage, 0)
  }

  /** Damaged places that were found, at most 1000 of `count`. */
  get damage(): { readonly count: number; readonly places: readonly Damage[] } {
    return { count: this.#damages, places: this.#damage }
  }

  has(digest: string): boolean {
    return this.#index.has(digest)
  }

  /**
   * The text of a digest, read from its segment.
   *
   * @throws {@link StoreError} `ERR_MILLRACE_STORE_CORRUPT` if what stands there is damaged.
   */
  get(digest: string): string | undefined {
    const place = this.#index.get(digest)
    if (place === undefined) return undefined
    const { textStart, end } = this.#read(digest, place)
    return this.#scratch.toString('utf8', textStart, end)
  }

  /** Reads a frame to the beginning of `#scratch`. */
  #read(digest: string, { segment, offset, length }: RecordPlace): SegmentFrame {
    if (length > this.#scratch.length) this.#scratch = Buffer.allocUnsafeSlow(length)
    const scratch = this.#scratch
    const count = this.#segments.get(segment)!.read(scratch, offset, length)
    const frame = count === length ? readFrame(scratch, 0, MAX_TEXT_LENGTH) : 'short'
    if (typeof frame === 'string' || frame.end !== length || frame.digest !== digest) {
      this.#corrupt.add(digest)
      throw new StoreError(
        'ERR_MILLRACE_STORE_CORRUPT',
        'receive',
        `${cidOfDigest(digest)}: damaged, at byte ${offset} of ${this.#pathOf(segment)}; pushing it again mends it`,
        { cid: cidOfDigest(digest), offset },
      )
    }
    return frame
  }

  /** Writes what is not there yet. Resolves when it is as safe as the policy says; rejects if none of it is. */
  putAll(entries: readonly LogEntry[]): Promise<void> | void {
    // what is there may not be on the disk yet: with 'always' it is waited for
    const waits = this.#options.fsync === 'always' || this.#fault !== undefined
    if (!waits && entries.every(({ digest }) => this.#isStored(digest))) return
    return this.#exclusive(async () => {
      const seen = new Set<string>()
      await this.#write(
        PUT,
        entries.filter(({ digest }) => {
          if (this.#isStored(digest) || seen.has(digest)) return false
          seen.add(digest)
          return true
        }),
      )
    })
  }

  deleteAll(digests: readonly string[]): Promise<void> {
    return this.#exclusive(() => {
      const known = new Set(digests.filter((digest) => this.#index.has(digest)))
      return this.#write(
        TOMBSTONE,
        [...known].map((digest) => ({ digest, bytes: NOTHING })),
      )
    })
  }

  /**
   * Copies what is still stored out of segments that have garbage, and removes these. Writing waits meanwhile, reading does
   * not. The process or the power may go at any time.
   */
  compact(): Promise<CompactionReport> {
    return this.#exclusive(async () => {
      const bytesBefore = this.bytes
      if (this.#active.garbage > 0) await this.#rotate()
      let segments = 0
      // from the oldest on: when a tombstone is reached, what it buries has gone already
      for (const segment of [...this.#segments.values()].slice(0, -1)) {
        if (segment.garbage === 0) continue
        await this.#copyLive(segment)
        segments++
      }
      return { segments, bytesBefore, bytesAfter: this.bytes }
    })
  }

  async close(): Promise<void> {
    await this.#line
    clearTimeout(this.#timer)
    try {
      if (this.#fault === undefined) {
        await this.#active.sync()
        if (this.#list.count > 0) this.#writeList(this.#active)
      }
    } finally {
      for (const segment of this.#segments.values()) segment.close()
      await this.#release()
    }
  }

  #isStored(digest: string): boolean {
    return this.#index.has(digest) && !this.#corrupt.has(digest)
  }

  async #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#line.then(() => {
      if (this.#fault !== undefined) throw this.#fault
      return work()
    })
    this.#line = turn.catch(() => {})
    return turn
  }

  async #write(kind: number, entries: readonly LogEntry[]): Promise<void> {
    let at = 0
    let from = 0
    const ends: number[] = []
    const flush = async (to: number) => {
      const segment = this.#active
      const base = segment.size
      await segment.append(this.#out.subarray(0, at))
      for (let i = from; i < to; i++) {
        const start = i === from ? 0 : ends[i - 1]!
        this.#note(segment, kind, entries[i]!.digest, base + start, ends[i]! - start)
      }
      from = to
      at = 0
    }
    for (let i = 0; i < entries.length; i++) {
      const { digest, bytes } = entries[i]!
      const most = bytes.length + MAX_OVERHEAD
      if (at > 0 && at + most > this.#out.length) await flush(i)
      if (most > this.#out.length) this.#out = Buffer.allocUnsafeSlow(most)
      const isFull = this.#active.size + at > this.#options.segmentLength
      if (isFull || this.#list.count + i - from >= MAX_FRAMES) {
        if (at > 0) await flush(i)
        await this.#rotate()
      }
      at = writeFrame(this.#out, at, kind, digest, bytes)
      ends[i] = at
    }
    if (at > 0) await flush(entries.length)
    // one long record shall not keep its memory
    if (this.#out.length > 16 * 1024 * 1024) this.#out = Buffer.allocUnsafeSlow(256 * 1024)
    if (entries.length > 0) await this.#secure()
  }

  /** What the policy says about what has just been written. */
  async #secure(): Promise<void> {
    const { fsync, syncInterval } = this.#options
    if (fsync === 'always') await this.#syncActive()
    if (fsync !== 'interval' || this.#timer !== undefined) return
    // its own turn in the line: a segment that is synced must not be closed meanwhile
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      void this.#exclusive(() => this.#syncActive()).catch(() => {})
    }, syncInterval)
    this.#timer.unref()
  }

  async #syncActive(): Promise<void> {
    try {
      await this.#active.sync()
      /* v8 ignore next 4 -- no disk of a test fails here */
    } catch (error) {
      this.#fault = asError(error)
      throw error
    }
  }

  async #rotate(): Promise<void> {
    await this.#syncActive()
    this.#writeList(this.#active)
    this.#active = this.#begin(this.#active.id + 1)
  }

  #writeList(segment: SegmentFile): void {
    this.#list.write(segment.listPath, segment.size)
  }

  #begin(id: number): SegmentFile {
    const segment = new SegmentFile(this.#pathOf(id), id, 'wx+')
    this.#segments.set(id, segment)
    // so that the name is on the disk before anything in it is acknowledged
    const folder = openSync(this.#folder, 'r')
    fsyncSync(folder)
    closeSync(folder)
    return segment
  }

  #load(segment: SegmentFile, isLast: boolean): void {
    this.#segments.set(segment.id, segment)
    const note = (kind: number, digest: string, offset: number, length: number) => {
      // the list of the segment that is written to goes on
      if (isLast) this.#note(segment, kind, digest, offset, length)
      else this.#place(segment, kind, digest, offset, length)
    }
    if (FrameList.read(segment.listPath, segment.size, note)) return
    const before = this.#damages
    segment.scan(
      (kind, digest, offset, length) => this.#note(segment, kind, digest, offset, length),
      (damage) => this.#found(segment, damage),
      isLast,
    )
    if (isLast) return
    // a list would hide what is damaged
    if (this.#damages === before) this.#writeList(segment)
    else this.#list.clear()
  }

  #found(segment: SegmentFile, damage: Damage): void {
    segment.garbage += damage.bytes
    this.#damages++
    if (this.#damage.length < MAX_DAMAGE) this.#damage.push(damage)
  }

  #note(segment: SegmentFile, kind: number, digest: string, offset: number, length: number): void {
    this.#list.add(kind, digest, offset, length)
    this.#place(segment, kind, digest, offset, length)
  }

  /** Takes the newest word on a digest into the index. */
  #place(segment: SegmentFile, kind: number, digest: string, offset: number, length: number): void {
    let before: RecordPlace | undefined
    if (kind === TOMBSTONE) {
      before = this.#index.get(digest)
      segment.garbage += length
      this.#index.delete(digest)
    } else before = this.#index.set(digest, segment.id, offset, length)
    if (before !== undefined) this.#segments.get(before.segment)!.garbage += before.length
    if (this.#corrupt.size > 0) this.#corrupt.delete(digest)
  }

  async #copyLive(segment: SegmentFile): Promise<void> {
    const live: string[] = []
    let isDamaged = false
    segment.scan(
      (kind, digest, offset) => {
        const place = this.#index.get(digest)
        if (kind === PUT && place?.segment === segment.id && place.offset === offset) live.push(digest)
      },
      (damage) => {
        isDamaged = true
        this.#found(segment, damage)
      },
      false,
    )
    let run: LogEntry[] = []
    let size = 0
    for (const digest of live) {
      const { textStart, end } = this.#read(digest, this.#index.get(digest)!)
      // the scratch is read into again
      run.push({ digest, bytes: Buffer.from(this.#scratch.subarray(textStart, end)) })
      size += end - textStart
      if (size < RUN_LENGTH) continue
      await this.#write(PUT, run)
      run = []
      size = 0
    }
    await this.#write(PUT, run)
    await this.#syncActive()
    // what could not be read is gone with its segment
    if (isDamaged) for (const digest of this.#index.digestsIn(segment.id)) this.#index.delete(digest)
    this.#segments.delete(segment.id)
    segment.remove()
  }

  #pathOf(id: number): string {
    return join(this.#folder, `${String(id).padStart(10, '0')}.segment`)
  }
}

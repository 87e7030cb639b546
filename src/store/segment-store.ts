import { checkInteger } from '../options.ts'
import type { CanonicalRecord } from './canonical-record.ts'
import { DEFAULT_MAX_RECORD_LENGTH, EmbeddedStore } from './embedded-store.ts'
import { MAX_TEXT_LENGTH, type Damage } from './segment-file.ts'
import { SegmentLog, type CompactionReport, type SegmentLogOptions } from './segment-log.ts'

/** Options of {@link SegmentStore}. */
export interface SegmentStoreOptions extends SegmentLogOptions {
  /**
   * Longest record, in bytes of its canonical JSON; at most 256 MiB.
   * @defaultValue 4 MiB
   */
  readonly maxRecordLength?: number
}

/**
 * The embedded store: records in a folder of append-only segments, without a server and without native code. The content of a
 * frame is guarded by a CRC-32; a torn tail is cut at open, and damaged bytes are stepped over and listed in {@link damage}.
 *
 * @remarks
 * One process may have the folder open; it holds a lock, which is taken over when it has died. In memory: 56 bytes a record
 * (`INDEX_BYTES_PER_RECORD`), the list of the open segment (41 bytes a frame, 11 MB at most), and a window of records. A put is one append, a get one read, synchronous, a window at a time: the
 * system's cache takes and gives faster than a thread could be asked for it. Appends are left to a thread while the disk is slow. Opening reads the list of each segment that is
 * complete, and the whole of one that was being written when the process died.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { SegmentStore } from 'millrace/store'
 *
 * const store = await SegmentStore.open('./records')
 * const { cid } = await store.push({ name: 'agent' })
 * await store.close()
 *
 * const again = await SegmentStore.open('./records', { fsync: 'always' })
 * assert.deepEqual(await again.pull(cid), { name: 'agent' })
 * await again.close()
 * ```
 */
export class SegmentStore extends EmbeddedStore {
  readonly #log: SegmentLog

  /**
   * Opens a folder, and makes it where it is missing.
   *
   * @throws {@link OptionError} if an option is out of range.
   * @throws {@link StoreError} `ERR_MILLRACE_STORE_LOCKED` if another process has it open.
   */
  static async open(folder: string, options: SegmentStoreOptions = {}): Promise<SegmentStore> {
    const { maxRecordLength = DEFAULT_MAX_RECORD_LENGTH, ...rest } = options
    checkInteger('maxRecordLength', maxRecordLength, 2, MAX_TEXT_LENGTH)
    return new SegmentStore(await SegmentLog.open(folder, rest), maxRecordLength)
  }

  private constructor(log: SegmentLog, maxRecordLength: number) {
    super(maxRecordLength)
    this.#log = log
  }

  /** Records that are stored. */
  get size(): number {
    return this.#log.size
  }

  /** Bytes of all segments. */
  get bytes(): number {
    return this.#log.bytes
  }

  /** Bytes of records that were deleted or written again, and of tombstones: what {@link compact} frees. */
  get garbageBytes(): number {
    return this.#log.garbageBytes
  }

  /** Places in the segments that hold no whole frame; the first 1000 of `count`. */
  get damage(): { readonly count: number; readonly places: readonly Damage[] } {
    return this.#log.damage
  }

  /**
   * Copies what is still stored out of the segments that have garbage, and removes these. Pushes wait meanwhile, pulls do not.
   * The process may be killed at any point of it.
   */
  compact(): Promise<CompactionReport> {
    return this.#log.compact()
  }

  protected override putAll(records: readonly CanonicalRecord[]): Promise<void> | void {
    return this.#log.putAll(records)
  }

  protected override getText(digest: string): string | undefined {
    return this.#log.get(digest)
  }

  protected override deleteAll(digests: readonly string[]): Promise<void> {
    return this.#log.deleteAll(digests)
  }

  protected override end(): Promise<void> {
    return this.#log.close()
  }
}

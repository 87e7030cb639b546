import type { CanonicalRecord } from './canonical-record.ts'
import { DEFAULT_MAX_RECORD_LENGTH, EmbeddedStore } from './embedded-store.ts'

/** Options of {@link MemoryStore}. */
export interface MemoryStoreOptions {
  /**
   * Longest record, in bytes of its canonical JSON.
   * @defaultValue 4 MiB
   */
  readonly maxRecordLength?: number
}

/**
 * A store that lives as long as the process: for tests, and behind a `StoreServer`.
 *
 * @remarks Holds the canonical JSON of every record and 32 bytes of digest, in a Map. Every call costs time in proportion to its
 * record.
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { MemoryStore } from 'millrace/store'
 *
 * const store = new MemoryStore()
 * const { cid } = await store.push({ name: 'agent', version: '1.0.0' })
 * assert.deepEqual(await store.pull(cid), { name: 'agent', version: '1.0.0' })
 * await store.delete(cid)
 * await assert.rejects(store.pull(cid), { code: 'ERR_MILLRACE_STORE_NOT_FOUND', category: 'item' })
 * ```
 */
export class MemoryStore extends EmbeddedStore {
  readonly #texts = new Map<string, string>()

  constructor({ maxRecordLength = DEFAULT_MAX_RECORD_LENGTH }: MemoryStoreOptions = {}) {
    super(maxRecordLength)
  }

  /** Records that are stored. */
  get size(): number {
    return this.#texts.size
  }

  protected override putAll(records: readonly CanonicalRecord[]): void {
    for (const { digest, text } of records) this.#texts.set(digest, text)
  }

  protected override getText(digest: string): string | undefined {
    return this.#texts.get(digest)
  }

  protected override deleteAll(digests: readonly string[]): void {
    for (const digest of digests) this.#texts.delete(digest)
  }

  protected override async end(): Promise<void> {
    this.#texts.clear()
  }
}

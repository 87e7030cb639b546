import { pipeline } from 'node:stream'
import { extname } from 'node:path'
import { MillraceError } from '../errors.ts'
import { RecordBatch } from '../flow/index.ts'
import type { ByteSource } from '../json/index.ts'
import { offload, type OffloadOptions } from '../workers/index.ts'
import { readCanonicalBlock } from './canonical-block.ts'
import type { ItemSource } from './store.ts'

const HANDLER = new URL(`./canonical-block.worker${extname(import.meta.url)}`, import.meta.url)

/** Options of {@link canonicalRecords}, all but `in` as for `offload`. */
export interface CanonicalRecordsOptions extends Pick<
  OffloadOptions,
  'workers' | 'pool' | 'window' | 'blockSize' | 'batchSize' | 'path' | 'maxDepth' | 'maxValueBytes' | 'signal'
> {
  /**
   * What comes in. `'auto'`, `'json'`, `'ndjson'`, `'concat'` and `'seq'`: text, which the workers parse. `'records'`: objects, as
   * single ones or batches; they are copied to the workers, so an object of a class arrives as a plain one, without its `toJSON`.
   * @defaultValue 'auto'
   */
  readonly in?: 'auto' | 'json' | 'ndjson' | 'concat' | 'seq' | 'records'
}

/**
 * Records on their way to an embedded store, their canonical JSON and CIDs made by worker threads: what comes out is for the `pushStream`
 * of any store, whose results are those of the records themselves. A record that cannot be stored is a failed item there.
 *
 * @remarks
 * The event loop stays free for others, and on two cores a push of text with 3600 numbers a record is 1.2 times as fast; one of
 * records of ordinary fields is not faster, and one of objects only where more than two cores are free.
 * Memory: `window` blocks of `blockSize`, as for `offload`.
 * @throws {@link OptionError} if an option is out of range; {@link JsonError} at a bad record, and what the source fails with, both
 * after all that came before.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { MemoryStore, canonicalRecords } from 'millrace/store'
 *
 * const store = new MemoryStore()
 * const lines = [Buffer.from('{"name":"one"}\n{"na'), Buffer.from('me":"two"}\n7\n')]
 * const failed: number[] = []
 * for await (const { index, error } of store.pushStream(canonicalRecords(lines, { workers: 1 }))) {
 *   if (error) failed.push(index)
 * }
 * assert.deepEqual(failed, [2])
 * assert.equal(store.size, 2)
 * ```
 */
export function canonicalRecords(
  source: ByteSource | ItemSource<unknown>,
  options: CanonicalRecordsOptions = {},
): AsyncGenerator<RecordBatch, void, undefined> {
  // not a generator itself: a wrong option is an error of the call, not of the loop
  const stage = offload(HANDLER, { in: 'auto', ...options, out: 'bytes', allowEmpty: true })
  return read()

  async function* read(): AsyncGenerator<RecordBatch, void, undefined> {
    let fault: { readonly error: unknown } | undefined
    async function* untilFault() {
      try {
        yield* source
      } catch (error) {
        fault = { error }
      }
    }
    // its error is the one that the reader of the stage gets
    pipeline(untilFault(), stage, () => {})
    let index = 0
    try {
      for await (const block of stage as AsyncIterable<Buffer>) {
        const records = readCanonicalBlock(block)
        yield new RecordBatch(index, records)
        index += records.length
      }
    } catch (error) {
      // what broke off in a record was broken off by this
      throw fault !== undefined && isTruncation(error) ? fault.error : error
    }
    if (fault !== undefined) throw fault.error
  }
}

function isTruncation(error: unknown): boolean {
  return MillraceError.is(error) && error.code.endsWith('_TRUNCATED')
}

import { StateError, StoreError, asError, describe } from '../errors.ts'
import { checkInteger, checkSignal } from '../options.ts'
import { parseCanonical, type JsonObject } from './canonical-json.ts'
import { canonicalOf, type CanonicalRecord } from './canonical-record.ts'
import { cidOfDigest, digestOfCid } from './cid.ts'
import { itemBatches } from './item-batches.ts'
import { metaOf } from './messages.ts'
import { tooLong } from './proto-writer.ts'
import { StoreStream } from './store-stream.ts'
import {
  DEFAULT_WINDOW,
  type ItemSource,
  type MetaResult,
  type RecordResult,
  type RefLike,
  type RefResult,
  type StoreStreamOptions,
} from './store.ts'
import { StreamStore } from './stream-store.ts'

/** Longest record that an embedded store takes unless told otherwise, in bytes of its canonical JSON: 4 MiB. */
export const DEFAULT_MAX_RECORD_LENGTH = 4 * 1024 * 1024

/**
 * A store in this process. What a subclass has to do is to put, get and delete texts by their digests; batches, windows, results
 * and errors are done here.
 */
export abstract class EmbeddedStore extends StreamStore {
  readonly #maxRecordLength: number
  #closed = false

  constructor(maxRecordLength: number) {
    super()
    this.#maxRecordLength = checkInteger('maxRecordLength', maxRecordLength, 2)
  }

  /** Stores texts that are no longer than allowed. Rejects if none of them is sure to be stored. */
  protected abstract putAll(records: readonly CanonicalRecord[]): Promise<void> | void
  /** The text of a digest; undefined if there is none. */
  protected abstract getText(digest: string): string | undefined
  /** Rejects if none of them is sure to be deleted. */
  protected abstract deleteAll(digests: readonly string[]): Promise<void> | void
  protected abstract end(): Promise<void>

  pushStream(records: ItemSource<unknown>, options: StoreStreamOptions = {}): StoreStream<RefResult> {
    return this.#operation('pushStream', records, options, async (run, index) => {
      const results: RefResult[] = []
      const all: CanonicalRecord[] = []
      for (const [i, record] of run.entries()) {
        try {
          const canonical = canonicalOf(record)
          const { length } = canonical.bytes
          if (length > this.#maxRecordLength) throw tooLong('send', this.#maxRecordLength, length)
          all.push(canonical)
          results.push({ index: index + i, ref: { cid: cidOfDigest(canonical.digest) } })
        } catch (error) {
          results.push({ index: index + i, error: itemError(error, index + i) })
        }
      }
      try {
        const pending = this.putAll(all)
        if (pending !== undefined) await pending
      } catch (error) {
        return results.map((result) =>
          result.error === undefined
            ? { index: result.index, error: writeError(error, result.ref.cid, result.index) }
            : result,
        )
      }
      return results
    })
  }

  pullStream(refs: ItemSource<RefLike>, options: StoreStreamOptions = {}): StoreStream<RecordResult> {
    return this.#operation('pullStream', refs, options, (run, index) =>
      run.map((ref, i) => {
        try {
          return { index: index + i, record: this.#get(ref) }
        } catch (error) {
          return { index: index + i, error: itemError(error, index + i) }
        }
      }),
    )
  }

  lookupStream(refs: ItemSource<RefLike>, options: StoreStreamOptions = {}): StoreStream<MetaResult> {
    return this.#operation('lookupStream', refs, options, (run, index) =>
      run.map((ref, i) => {
        try {
          return { index: index + i, meta: metaOf(cidOfRef(ref), this.#get(ref)) }
        } catch (error) {
          return { index: index + i, error: itemError(error, index + i) }
        }
      }),
    )
  }

  deleteStream(refs: ItemSource<RefLike>, options: StoreStreamOptions = {}): StoreStream<RefResult> {
    return this.#operation('deleteStream', refs, options, async (run, index) => {
      const results: RefResult[] = []
      const digests: string[] = []
      for (const [i, ref] of run.entries()) {
        try {
          const cid = cidOfRef(ref)
          digests.push(digestOfCid(cid))
          results.push({ index: index + i, ref: { cid } })
        } catch (error) {
          results.push({ index: index + i, error: itemError(error, index + i) })
        }
      }
      try {
        await this.deleteAll(digests)
      } catch (error) {
        return results.map((result) =>
          result.error === undefined
            ? { index: result.index, error: writeError(error, result.ref.cid, result.index) }
            : result,
        )
      }
      return results
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.end()
  }

  #get(ref: RefLike): JsonObject {
    const cid = cidOfRef(ref)
    const text = this.getText(digestOfCid(cid))
    if (text !== undefined) return parseCanonical(text)
    throw new StoreError('ERR_MILLRACE_STORE_NOT_FOUND', 'item', `${cid}: expected a record, got none`, {
      cid,
    })
  }

  #operation<I, R extends { readonly error?: unknown }>(
    stage: string,
    source: ItemSource<I>,
    { window = DEFAULT_WINDOW, concurrency = 1, signal, ...hooks }: StoreStreamOptions,
    work: (run: readonly I[], index: number) => Promise<R[]> | R[],
  ): StoreStream<R> {
    checkInteger('window', window, 1)
    checkInteger('concurrency', concurrency, 1)
    checkSignal('signal', signal)
    const isClosed = () => this.#closed
    return new StoreStream<R>({
      stage,
      signal,
      ...hooks,
      async *run(counter, inner) {
        let index = 0
        for await (const run of itemBatches(source, window, inner)) {
          if (isClosed()) throw new StateError('ERR_MILLRACE_STORE_CLOSED', 'store: it is closed')
          counter.received(0, run.length)
          const results = work(run, index)
          yield Array.isArray(results) ? results : await results
          index += run.length
        }
      },
    })
  }
}

/** The CID that a ref names. */
export function cidOfRef(ref: RefLike): string {
  const cid: unknown = typeof ref === 'object' && ref !== null ? ref.cid : ref
  if (typeof cid === 'string') return cid
  throw new StoreError('ERR_MILLRACE_STORE_INVALID', 'item', `ref: expected a CID, got ${describe(ref)}`)
}

/** An error of one item, with its number. */
export function itemError(error: unknown, index: number): StoreError {
  const { code, category, message, ...facts } =
    error instanceof StoreError
      ? error
      : new StoreError('ERR_MILLRACE_STORE_INVALID', 'item', asError(error).message, { cause: error })
  const { cause } = asError(error)
  return new StoreError(code, category, message, { cause, ...facts, index })
}

function writeError(error: unknown, cid: string, index: number): StoreError {
  if (error instanceof StoreError) return itemError(error, index)
  return new StoreError(
    'ERR_MILLRACE_STORE_WRITE',
    'send',
    `${cid}: not written: ${asError(error).message}`,
    {
      cid,
      index,
      cause: error,
    },
  )
}

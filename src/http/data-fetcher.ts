import { RecordBatch } from '../flow/index.ts'
import { checkFunction } from '../options.ts'

/** Anything that can be iterated over: arrays, generators, Readables, cursors of databases. */
export type Items<T> = AsyncIterable<T | RecordBatch<T>> | Iterable<T | RecordBatch<T>>

/** What a fetcher that is a function is asked for. */
export interface FetchRequest {
  /** Number of the first item that is wanted: above 0 only for a response that is `resumable`. */
  readonly start: number
}

/**
 * Where the items of a response come from: something to iterate over, or a function that gives it when it is wanted. It is stopped when
 * the client goes away: its `return()` (the `finally` of a generator) or `destroy()` is called, and the signal of a function is aborted.
 */
export type DataFetcher<T> =
  | Items<T>
  | ((signal: AbortSignal, request: FetchRequest) => Items<T> | PromiseLike<Items<T>>)

/** One page of a paged source. */
export interface Page<T, C> {
  readonly items: readonly T[]
  /** Where the next page is; `undefined` or `null` after the last one. */
  readonly next?: C | null | undefined
}

/**
 * A function from a cursor to a page in, a fetcher of all items of all pages out. The next page is fetched while one is sent.
 *
 * @remarks Memory: two pages. At most one page is fetched in vain when the client goes away.
 * @throws {@link OptionError} if it is no function.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Streamer, fetchPages } from 'millrace/http'
 *
 * const pages = fetchPages(async (cursor: number = 0, signal) => {
 *   signal.throwIfAborted()
 *   return { items: [cursor, cursor + 1], next: cursor < 4 ? cursor + 2 : undefined }
 * })
 * const response = await new Streamer().stream(pages).toResponse()
 * assert.deepEqual(await response.json(), [0, 1, 2, 3, 4, 5])
 * ```
 */
export function fetchPages<T, C = unknown>(
  getPage: (cursor: C | undefined, signal: AbortSignal) => Page<T, C> | PromiseLike<Page<T, C>>,
): (signal: AbortSignal) => AsyncGenerator<RecordBatch<T>, void, undefined> {
  checkFunction('getPage', getPage)
  return async function* pages(signal) {
    let index = 0
    const get = async (cursor: C | undefined) => getPage(cursor, signal)
    for (let page: Promise<Page<T, C>> | undefined = get(undefined); page;) {
      const { items, next }: Page<T, C> = await page
      page = next === undefined || next === null ? undefined : get(next)
      // its error comes when it is awaited, or never if nobody wants it any more
      page?.catch(() => {})
      yield new RecordBatch(index, items)
      index += items.length
    }
  }
}

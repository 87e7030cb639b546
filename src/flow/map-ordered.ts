import { checkSignal } from '../options.ts'
import { OrderedWindow, type Executor, type OrderedWindowOptions, type TaskInfo } from './ordered-window.ts'

/** How many items {@link mapOrdered} works on at the same time unless told otherwise. */
export const DEFAULT_CONCURRENCY = 16

/** Options of {@link mapOrdered}. */
export interface MapOrderedOptions<I> extends Omit<OrderedWindowOptions, 'window' | 'onReady'> {
  /**
   * How many items may be between the source and the reader.
   * @defaultValue `concurrency`
   */
  readonly window?: number
  /**
   * Size of an item in bytes, for `maxBytes`.
   * @defaultValue 0 for every item
   */
  readonly sizeOf?: (item: I) => number
  /** Ends the iteration with the signal's reason. */
  readonly signal?: AbortSignal
}

/**
 * Takes items, gives what `work` makes of each, in the order of the items, with `concurrency` of them in work at once.
 *
 * Holds at most `window` items and results, and one item more when `maxBytes` is set. An error, of the source or of an
 * item, is thrown at its position: all results before it have been given. Leaving the loop aborts what runs and ends the source.
 *
 * @throws {@link OptionError} when an option is out of range.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { promisify } from 'node:util'
 * import { gunzipSync, gzip } from 'node:zlib'
 * import { mapOrdered } from 'millrace'
 *
 * const pages = ['first page', 'second page', 'third page']
 * const packed = []
 * for await (const page of mapOrdered(pages, promisify(gzip), { concurrency: 2 })) packed.push(page)
 * assert.deepEqual(packed.map((page) => gunzipSync(page).toString()), pages)
 * ```
 */
export async function* mapOrdered<I, O>(
  source: AsyncIterable<I> | Iterable<I>,
  work: Executor<I, O> | ((input: I, task: TaskInfo) => O | PromiseLike<O>),
  options: MapOrderedOptions<I> = {},
): AsyncGenerator<O, void, undefined> {
  const {
    concurrency = DEFAULT_CONCURRENCY,
    window: admitted = concurrency,
    sizeOf,
    signal,
    ...rest
  } = options
  checkSignal('signal', signal)
  let wake: () => void = () => {}
  const executor = typeof work === 'function' ? { run: work } : work
  const window = new OrderedWindow(executor, {
    ...rest,
    concurrency,
    window: admitted,
    onReady: () => wake(),
  })
  const items = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  let held: { item: I; size: number } | undefined
  let filling = false
  let ended = false
  let fault: { error: unknown } | undefined

  /** Runs beside the reader, so that the window stays full while the reader thinks. */
  async function fill(): Promise<void> {
    filling = true
    try {
      while (window.hasRoom(held?.size)) {
        if (held === undefined) {
          const step = await items.next()
          ended = step.done === true
          if (step.done) break
          held = { item: step.value, size: sizeOf?.(step.value) ?? 0 }
        } else {
          const { item, size } = held
          held = undefined
          window.submit(item, size)
          wake()
        }
      }
    } catch (error) {
      ended = true
      fault = { error }
    }
    filling = false
    wake()
  }
  const onAbort = () => wake()
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    for (;;) {
      signal?.throwIfAborted()
      if (!filling && !ended) void fill()
      const settled = window.shift()
      if (settled?.failed) throw settled.error
      if (settled) {
        yield settled.output as O
        continue
      }
      if (ended && window.size === 0) break
      await new Promise<void>((resolve) => (wake = resolve))
    }
    if (fault) throw fault.error
  } finally {
    signal?.removeEventListener('abort', onAbort)
    window.abort()
    if (!ended) await end(items, filling)
  }
}

/** A source that still owes an item answers `return` only after it: such a one is told, but not waited for. */
async function end(items: AsyncIterator<unknown> | Iterator<unknown>, owing: boolean): Promise<void> {
  const answer = Promise.resolve(items.return?.())
  if (owing) answer.catch(() => {})
  else await answer
}

import { pipeline, type Readable } from 'node:stream'
import { RecordBatch, mapOrdered } from '../flow/index.ts'
import { offload } from '../workers/index.ts'
import type { Items } from './data-fetcher.ts'
import { itemSource, type ItemSource } from './item-source.ts'
import type { Transformed } from './response-pump.ts'

/** What a transformer learns of its item, or of the first item of its batch. */
export interface TransformContext {
  /** Number of the item, from 0. */
  readonly index: number
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
}

/** Makes a record of an item. `undefined` leaves it out. */
export type Transformer<T, U> = (
  item: T,
  context: TransformContext,
) => U | undefined | PromiseLike<U | undefined>

/** Makes any number of records of a batch of items. */
export type BatchTransformer<T, U> = (
  items: readonly T[],
  context: TransformContext,
) => readonly U[] | PromiseLike<readonly U[]>

type InlineWork<T = unknown, U = unknown> = (
  items: readonly T[],
  index: number,
) => Transformed<U> | Promise<Transformed<U>>

const isThenable = <V>(value: V | PromiseLike<V>): value is PromiseLike<V> =>
  typeof (value as { then?: unknown } | null | undefined)?.then === 'function'

/** Items one after the other, without a promise for what is there at once. */
function eachItem<T, U>(transformer: Transformer<T, U>, signal: AbortSignal): InlineWork<T, U> {
  return (items, first) => {
    const records: U[] = []
    for (let i = 0; i < items.length; i++) {
      try {
        const made = transformer(items[i] as T, { index: first + i, signal })
        if (isThenable(made)) return rest(records, items, i, made, first)
        if (made !== undefined) records.push(made)
      } catch (error) {
        return { records, fault: { error } }
      }
    }
    return { records }
  }

  async function rest(
    records: U[],
    items: readonly T[],
    at: number,
    first: PromiseLike<U | undefined>,
    index: number,
  ): Promise<Transformed<U>> {
    try {
      const made = await first
      if (made !== undefined) records.push(made)
      for (let i = at + 1; i < items.length; i++) {
        const next = await transformer(items[i] as T, { index: index + i, signal })
        if (next !== undefined) records.push(next)
      }
    } catch (error) {
      return { records, fault: { error } }
    }
    return { records }
  }
}

/** A whole batch at once. */
function eachBatch<T, U>(transformer: BatchTransformer<T, U>, signal: AbortSignal): InlineWork<T, U> {
  return (items, index) => {
    const made = transformer(items, { index, signal })
    return isThenable(made) ? Promise.resolve(made).then((records) => ({ records })) : { records: made }
  }
}

/** A function that runs on items, or the module of one, and what it gets. */
export type Work =
  | { readonly each: 'item'; readonly transformer: Transformer<unknown, unknown> | URL | string | undefined }
  | {
      readonly each: 'batch'
      readonly transformer: BatchTransformer<unknown, unknown> | URL | string | undefined
    }

/** What the work is done with. */
export interface WorkSettings {
  readonly batchSize: number
  readonly flushInterval: number
  readonly concurrency: number
  readonly workers: number | undefined
  /** Its signal is made for a transformer only. */
  readonly abort: { readonly signal: AbortSignal }
}

/** The work as it is done in line, one call after the other; none if {@link workSource} does it on the way, several at a time. */
export function workTransform(work: Work, { concurrency, abort }: WorkSettings): InlineWork | undefined {
  if (typeof work.transformer !== 'function' || concurrency > 1) return undefined
  return work.each === 'item'
    ? eachItem(work.transformer, abort.signal)
    : eachBatch(work.transformer, abort.signal)
}

/** The source of the items, or of what is made of them where that is done several at a time. */
export function workSource(
  from: Items<unknown>,
  work: Work,
  settings: WorkSettings,
  onItem: () => void,
): ItemSource<unknown> {
  const arrays = work.each === 'batch'
  const { transformer } = work
  const isInline =
    transformer === undefined || (typeof transformer === 'function' && settings.concurrency === 1)
  if (isInline) return itemSource(from, { arrays, merge: !arrays, onItem })
  let timer: NodeJS.Timeout | undefined
  const base = itemSource<unknown>(from, {
    arrays,
    merge: !arrays,
    // a batch that does not fill up goes on when a record has waited long enough
    onItem: () => {
      if (settings.flushInterval !== Infinity) timer ??= setTimeout(hurry, settings.flushInterval)
    },
  })
  const hurry = () => {
    timer = undefined
    base.early()
  }
  const batches = batchesOf(base, settings.batchSize)
  const made =
    typeof transformer !== 'function'
      ? onWorkers(batches, transformer, settings)
      : work.each === 'item'
        ? manyItems(batches, transformer as Transformer<unknown, unknown>, settings.concurrency)
        : manyBatches(batches, transformer as BatchTransformer<unknown, unknown>, settings.concurrency)
  const outer = itemSource<unknown>(made, { arrays: true, merge: true, onItem })
  return {
    pull: (max) => outer.pull(max),
    early: () => outer.early(),
    // the source first: what stands behind it may be waiting for it
    async stop() {
      clearTimeout(timer)
      await base.stop()
      await outer.stop()
    },
  }
}

async function* batchesOf<T>(source: ItemSource<T>, batchSize: number): AsyncGenerator<readonly T[], void> {
  for (let items = await source.pull(batchSize); items; items = await source.pull(batchSize)) yield items
}

/** Several at the same time, in order. What is `undefined` is left out. */
async function* manyItems<T, U>(
  batches: AsyncIterable<readonly T[]>,
  transformer: Transformer<T, U>,
  concurrency: number,
): AsyncGenerator<readonly U[], void> {
  async function* items() {
    for await (const batch of batches) yield* batch
  }
  for await (const made of mapOrdered(items(), (item, task) => transformer(item, task), { concurrency })) {
    if (made !== undefined) yield [made]
  }
}

/** Several batches at the same time, in order; `index` counts items. */
async function* manyBatches<T, U>(
  batches: AsyncIterable<readonly T[]>,
  transformer: BatchTransformer<T, U>,
  concurrency: number,
): AsyncGenerator<readonly U[], void> {
  async function* numbered() {
    let index = 0
    for await (const items of batches) {
      yield { items, index }
      index += items.length
    }
  }
  const work = (
    { items, index }: { items: readonly T[]; index: number },
    { signal }: { signal: AbortSignal },
  ) => transformer(items, { index, signal })
  yield* mapOrdered(numbered(), work, { concurrency })
}

/** On worker threads: the module gets arrays, as it does from `offload`. Gives RecordBatches. */
function onWorkers(
  batches: AsyncIterable<readonly unknown[]>,
  module: URL | string,
  settings: WorkSettings,
): Readable {
  const stage = offload(module, {
    in: 'records',
    out: 'records',
    batches: true,
    ...(settings.workers !== undefined && { workers: settings.workers }),
  })
  async function* records() {
    let index = 0
    for await (const items of batches) {
      yield new RecordBatch(index, items)
      index += items.length
    }
  }
  // its error is the one that the reader of the stage gets
  pipeline(records(), stage, () => {})
  return stage
}

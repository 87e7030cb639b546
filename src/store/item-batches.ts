import { RecordBatch } from '../flow/index.ts'
import type { ItemSource } from './store.ts'

/** One item after another, whether they came alone or in batches. */
export async function* itemsOf<T>(source: ItemSource<T>): AsyncGenerator<T, void, undefined> {
  for await (const item of source) {
    if (RecordBatch.is(item)) yield* item
    else yield item
  }
}

/**
 * Items in runs of at most `size`: as many as have come while the last run was worked on, and never waiting for more. Reads
 * ahead of its reader by one run. What the source throws comes after all that it gave.
 */
export async function* itemBatches<T>(
  source: ItemSource<T>,
  size: number,
  signal: AbortSignal,
): AsyncGenerator<T[], void, undefined> {
  if (Symbol.iterator in source) {
    yield* syncBatches(source, size, signal)
    return
  }
  const items = itemsOf(source)
  let held: T[] = []
  let wake = () => {}
  let resume = () => {}
  let ended = false
  let fault: { readonly error: unknown } | undefined
  const read = async () => {
    try {
      for await (const item of items) {
        held.push(item)
        if (held.length === 1) wake()
        if (held.length >= size) await new Promise<void>((resolve) => (resume = resolve))
        if (ended) return
      }
    } catch (error) {
      fault = { error }
    }
    ended = true
    wake()
  }
  const onAbort = () => wake()
  signal.addEventListener('abort', onAbort, { once: true })
  const reading = read()
  try {
    for (;;) {
      signal.throwIfAborted()
      if (held.length > 0) {
        const run = held
        held = []
        resume()
        yield run
      } else if (ended) break
      else await new Promise<void>((resolve) => (wake = resolve))
    }
    if (fault !== undefined) throw fault.error
  } finally {
    signal.removeEventListener('abort', onAbort)
    const owing = !ended
    ended = true
    resume()
    // a source that still owes an item answers only after it: it is told, and not waited for
    if (owing) void endSource(source, items, reading)
  }
}

async function endSource<T>(
  source: ItemSource<T>,
  items: AsyncGenerator<T>,
  reading: Promise<void>,
): Promise<void> {
  const { destroy } = source as { destroy?: unknown }
  // a generator that waits cannot be ended; a stream can
  if (typeof destroy === 'function') destroy.call(source)
  await reading
  await items.return(undefined)
}

function* syncBatches<T>(
  source: Iterable<T | RecordBatch<T>>,
  size: number,
  signal: AbortSignal,
): Generator<T[]> {
  let run: T[] = []
  for (const item of source) {
    for (const one of RecordBatch.is(item) ? item.records : [item]) {
      run.push(one)
      if (run.length < size) continue
      signal.throwIfAborted()
      yield run
      run = []
    }
  }
  if (run.length > 0) yield run
}

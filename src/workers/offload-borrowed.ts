import type { StatsHooks } from '../flow/index.ts'
import { OffloadEngine, type Outcome } from './offload-engine.ts'
import { planOffload, type OffloadOptions } from './offload-options.ts'

/** What {@link offloadBorrowed} takes: what has no meaning without a stream is left out. */
export type OffloadBorrowedOptions = Omit<
  OffloadOptions,
  keyof StatsHooks | 'in' | 'batches' | 'batchSize' | 'highWaterMark'
>

/** What became of one block. Its bytes are valid until the next one is asked for. */
export type OffloadBorrowedResult = Pick<Outcome, 'bytes' | 'records' | 'reports'>

/**
 * Runs a handler on blocks of records and lends its results in order: like {@link offload}, but without a stream on either side. Bytes
 * stay in the memory that the worker wrote them to, so whoever passes them on copies them once, or not at all.
 *
 * @remarks Holds at most `window` blocks. Blocks are asked for as there is room.
 * @throws {@link OptionError} when an option is wrong, with the first result that is asked for.
 * @throws what the handler threw, after its `partial` output and all results before; and the reason of `signal`.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { writeFile } from 'node:fs/promises'
 * import { offloadBorrowed } from 'millrace'
 *
 * await writeFile('fill.mjs', `
 *   export default ([n], { target }) => target.subarray(0, 1000).fill(n)
 * `)
 * let sum = 0
 * for await (const { bytes } of offloadBorrowed('fill.mjs', [[1], [2], [3]], { out: 'bytes', workers: 1 }))
 *   for (const byte of bytes) sum += byte
 * assert.equal(sum, 6000)
 * ```
 */
export async function* offloadBorrowed(
  module: string | URL,
  blocks: Iterable<readonly unknown[]>,
  { signal, ...options }: OffloadBorrowedOptions,
): AsyncGenerator<OffloadBorrowedResult, void, undefined> {
  let wake = () => {}
  const engine = new OffloadEngine(planOffload(module, { ...options, in: 'records' }), () => wake())
  const onAbort = () => wake()
  signal?.addEventListener('abort', onAbort)
  const source = blocks[Symbol.iterator]()
  let index = 0
  let isOver = false
  try {
    for (;;) {
      signal?.throwIfAborted()
      while (!isOver && engine.hasRoom()) {
        const { value: records, done = false } = source.next()
        isOver = done
        if (done) break
        engine.submit({ records, count: records.length, at: { index, offset: 0, line: 0, column: 0 } })
        index += records.length
      }
      const outcome = engine.shift()
      if (outcome === undefined) {
        if (engine.size === 0) return
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        continue
      }
      const { bytes, records, reports, error } = outcome
      if (bytes !== undefined || records !== undefined) yield { bytes, records, reports }
      outcome.release()
      if (error !== undefined) throw error
    }
  } finally {
    signal?.removeEventListener('abort', onAbort)
    // whoever sees the end sees no thread left
    await engine.close()
  }
}

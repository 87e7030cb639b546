import { extname } from 'node:path'
import { MillraceError } from '../errors.ts'
import { offloadBorrowed, type OffloadBorrowedOptions } from '../workers/index.ts'
import { BLOCK_RECORDS } from './block-sampler.ts'
import type { Produced } from './produced.ts'
import type { RecordRange } from './render.ts'
import type { SampleSpec } from './sample-task.ts'
import type { Row } from './schema.ts'

/** Records that a worker makes at once: 2.4 MB of the text of 15 columns. Half as many are 5 % slower, a quarter 12 %: handing over costs what it costs. */
export const TASK_RECORDS = 8 * BLOCK_RECORDS
/** Largest slot of shared memory for the text of a task; a longer text is moved. Pages that are not used cost nothing. */
const MAX_TASK_BYTES = 67_108_864

const HANDLER = new URL(`./sample.worker${extname(import.meta.url)}`, import.meta.url)

/**
 * Batches that threads make: text a task at a time, copied once from where its worker wrote it; records in batches of `batchSize`.
 *
 * @param bound - Bytes that the text of a task may take.
 */
export async function* offloadedBatches(
  spec: SampleSpec,
  { from, to }: RecordRange,
  batchSize: number,
  bound: number | undefined,
  options: Pick<OffloadBorrowedOptions, 'workers' | 'pool' | 'signal'>,
): AsyncGenerator<Produced> {
  const results = offloadBorrowed(HANDLER, tasksOf(from, to), {
    ...options,
    out: spec.format === undefined ? 'records' : 'bytes',
    ...(bound !== undefined && { blockSize: Math.min(MAX_TASK_BYTES, bound) }),
    workerData: spec,
  })
  let index = from
  let held: Row[] = []
  try {
    for await (const { bytes, records, reports } of results) {
      if (bytes !== undefined) {
        // one that failed says how far it got
        const end = reports.length > 0 ? index + (reports[0] as number) : Math.min(to, nextTask(index))
        yield { text: Buffer.from(bytes), count: end - index, index }
        index = end
        continue
      }
      held.push(...(records as readonly Row[]))
      for (; held.length >= batchSize; index += batchSize) {
        yield { records: held.slice(0, batchSize), count: batchSize, index }
        held = held.slice(batchSize)
      }
    }
  } catch (error) {
    if (held.length > 0) yield { records: held, count: held.length, index }
    // what sampling threw is what the reader should see, not that a worker threw it
    throw causeOf(error)
  }
  if (held.length > 0) yield { records: held, count: held.length, index }
}

/** Whole blocks, so that none is drawn twice. */
function* tasksOf(from: number, to: number): Generator<readonly RecordRange[]> {
  for (let at = from; at < to; at = nextTask(at)) yield [{ from: at, to: Math.min(to, nextTask(at)) }]
}

const nextTask = (from: number) => (Math.floor(from / TASK_RECORDS) + 1) * TASK_RECORDS

function causeOf(error: unknown): unknown {
  const { code, cause } = (error ?? {}) as { code?: string; cause?: unknown }
  return MillraceError.is(error) && code === 'ERR_MILLRACE_OFFLOAD_HANDLER' && cause instanceof Error
    ? cause
    : error
}

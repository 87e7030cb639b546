import type { Produced } from './produced.ts'
import type { RecordSource } from './record-source.ts'
import type { RecordFormat } from './record-writer.ts'
import type { RecordRange, Renderer } from './render.ts'
import type { Row } from './schema.ts'

/** Records of a range in batches, made in this thread; a source that gives fewer than it is asked for ends them. */
export async function* recordBatches(
  source: RecordSource,
  range: RecordRange,
  batchSize: number,
): AsyncGenerator<Produced> {
  for (const { from, to } of batchesOf(range, batchSize)) {
    let records
    try {
      records = await source.records({ from, to })
    } catch (error) {
      const made = takePartial(error) as readonly Row[] | undefined
      if (made !== undefined && made.length > 0) yield { records: made, count: made.length, index: from }
      throw error
    }
    if (records.length > 0) yield { records, count: records.length, index: from }
    if (records.length < to - from) return
  }
}

/** Text of a range in batches, made in this thread without making records. */
export async function* textBatches(
  renderer: Renderer,
  range: RecordRange,
  batchSize: number,
  format: RecordFormat,
): AsyncGenerator<Produced> {
  for (const batch of batchesOf(range, batchSize)) {
    const index = batch.from
    try {
      yield { text: renderer.text(batch, format), count: batch.to - batch.from, index }
    } catch (error) {
      const text = takePartial(error) as Buffer | undefined
      if (text !== undefined && renderer.made > 0) yield { text, count: renderer.made, index }
      throw error
    }
  }
}

function* batchesOf({ from, to }: RecordRange, batchSize: number): Generator<RecordRange> {
  for (let at = from; at < to; at += batchSize) yield { from: at, to: Math.min(to, at + batchSize) }
}

/** What was made before the error, which the error need not hold once that is delivered. */
function takePartial(error: unknown): unknown {
  const { partial } = error as { partial?: unknown }
  if (partial !== undefined) delete (error as { partial?: unknown }).partial
  return partial
}

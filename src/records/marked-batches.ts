import type { Clock } from '../flow/index.ts'
import type { Produced } from './produced.ts'
import { textOf, type RecordFormat } from './record-writer.ts'
import type { Row, Value } from './schema.ts'

/**
 * Adds to records when they were made, and in which batch, if there is a clock to tell; and makes text of them if that is asked for.
 *
 * @param onNames - Called with the columns before the first batch of text.
 */
export async function* markedBatches(
  batches: AsyncIterable<Produced>,
  format: RecordFormat | undefined,
  clock: Clock | undefined,
  onNames: (names: readonly string[]) => void,
): AsyncGenerator<Produced> {
  let names: readonly string[] | undefined
  let number = 0
  for await (const batch of batches) {
    number++
    let records = batch.records!
    if (clock !== undefined) {
      const mark = {
        _generated_at: new Date(clock.now()).toISOString(),
        _batch_id: `batch-${String(number).padStart(3, '0')}`,
      }
      records = records.map((record) => ({ ...record, ...mark }))
    }
    if (format === undefined) {
      yield { ...batch, records }
      continue
    }
    if (names === undefined) onNames((names = Object.keys(records[0]!)))
    const text = Buffer.from(records.map((record) => lineOf(record, format, names!)).join(''))
    yield { text, count: batch.count, index: batch.index }
  }
}

/** One record as the writer of codes would have it: in an array with its comma before it. */
function lineOf(record: Row, format: RecordFormat, names: readonly string[]): string {
  if (format === 'csv') return `${names.map((name) => textOf('csv', record[name] as Value)).join(',')}\n`
  const text = JSON.stringify(record)
  return format === 'json' ? `,\n${text}` : `${text}\n`
}

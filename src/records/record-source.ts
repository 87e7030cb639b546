import { StateError } from '../errors.ts'
import type { RecordRange } from './render.ts'
import type { Row } from './schema.ts'

/** A value that is there, or will be. */
export type MaybePromise<T> = T | PromiseLike<T>

/** Anything that makes the next `count` records, in place of a model; fewer of them end the stream. */
export interface RecordGenerator {
  generate(count: number): MaybePromise<readonly object[]>
}

/** What a stream takes its records from, in order. */
export interface RecordSource {
  records(range: RecordRange): MaybePromise<readonly Row[]>
}

/** A generator of the user's own, asked in order. */
export function sourceOf(generator: RecordGenerator): RecordSource {
  return {
    records({ from, to }) {
      const made = generator.generate(to - from)
      return isPromise(made) ? made.then(checkRecords) : checkRecords(made)
    },
  }
}

function checkRecords(records: unknown): readonly Row[] {
  if (Array.isArray(records)) return records as Row[]
  throw new StateError('ERR_MILLRACE_GENERATOR', 'generate(): expected an array of records', {
    actual: records,
  })
}

export function isPromise<T>(value: MaybePromise<T>): value is PromiseLike<T> {
  return typeof (value as { then?: unknown } | null)?.then === 'function'
}

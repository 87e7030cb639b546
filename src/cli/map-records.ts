/** What the command line gives each worker. */
export interface MapPlan {
  /** Source text of FN, or … */
  readonly fn?: string
  /** … the URL of a module whose default export it is. */
  readonly module?: string
  /** Source text of `--where`. */
  readonly where?: string
  readonly onError: 'fail' | 'skip' | 'report'
}

/** What a worker tells of one record that failed. */
interface FailedItem {
  readonly index: number
  readonly error: string
}

export interface MapContext {
  readonly workerData: MapPlan
  recordIndex(i: number): number
  report(item: FailedItem): void
}

type RecordFunction = (record: unknown, context: { readonly index: number }) => unknown

interface Functions {
  readonly fn: RecordFunction
  readonly where: RecordFunction | undefined
}

let functions: Functions | undefined

/** FN as written on the command line: an expression that is a function. */
export function compile(source: string, name: string): RecordFunction {
  // oxlint-disable-next-line typescript/no-implied-eval -- running the user's own function is what the verb is for
  const value: unknown = new Function(`"use strict"; return (${source}\n)`)()
  if (typeof value !== 'function') throw new TypeError(`${name} is not a function, but ${typeof value}`)
  return value as RecordFunction
}

/** Loads FN and the filter, once a thread. */
async function load(plan: MapPlan): Promise<Functions> {
  const where = plan.where === undefined ? undefined : compile(plan.where, '--where')
  if (plan.module === undefined) return { fn: compile(plan.fn ?? 'r => r', 'FN'), where }
  const { default: fn } = (await import(plan.module)) as { default?: unknown }
  if (typeof fn !== 'function')
    throw new TypeError(`--module ${plan.module} has no function as its default export`)
  return { fn: fn as RecordFunction, where }
}

/**
 * The handler of `millrace map`: applies FN to the records of a block. Stays synchronous as long as FN does, because an
 * `await` per record would cost more than most functions.
 */
export function mapRecords(records: readonly unknown[], context: MapContext): unknown[] | Promise<unknown[]> {
  if (functions === undefined) {
    return load(context.workerData).then((loaded) => {
      functions = loaded
      return mapRecords(records, context)
    })
  }
  return mapFrom(0, [], records, context, functions)
}

/** What a synchronous run had already called when it met its first promise. */
interface Started {
  readonly kept?: unknown
  readonly result?: unknown
}

function mapFrom(
  start: number,
  out: unknown[],
  records: readonly unknown[],
  context: MapContext,
  functions: Functions,
): unknown[] | Promise<unknown[]> {
  const { fn, where } = functions
  for (let i = start; i < records.length; i++) {
    const at = { index: context.recordIndex(i) }
    try {
      const record = records[i]
      const kept = where === undefined || where(record, at)
      if (isThenable(kept)) return mapAsync(i, out, records, context, functions, { kept })
      if (!kept) continue
      const result = fn(record, at)
      if (result === undefined) continue
      if (isThenable(result) || isAsyncIterator(result)) {
        return mapAsync(i, out, records, context, functions, { kept, result })
      }
      if (isIterator(result)) out.push(...result)
      else out.push(result)
    } catch (error) {
      fail(error, at.index, out, context)
    }
  }
  return out
}

async function mapAsync(
  start: number,
  out: unknown[],
  records: readonly unknown[],
  context: MapContext,
  { fn, where }: Functions,
  started: Started,
): Promise<unknown[]> {
  let { kept, result } = started
  for (let i = start; i < records.length; i++) {
    const at = { index: context.recordIndex(i) }
    try {
      const record = records[i]
      if (i > start) kept = where === undefined || where(record, at)
      if (!(await kept)) continue
      if (i > start || !('result' in started)) result = fn(record, at)
      const value = await result
      if (value === undefined) continue
      if (isAsyncIterator(value) || isIterator(value)) for await (const one of value) out.push(one)
      else out.push(value)
    } catch (error) {
      fail(error, at.index, out, context)
    }
  }
  return out
}

function fail(error: unknown, index: number, out: unknown[], context: MapContext): void {
  if (context.workerData.onError === 'skip') return
  const message = error instanceof Error ? error.message : String(error)
  if (context.workerData.onError === 'report') {
    context.report({ index, error: message })
    return
  }
  const named = new Error(`FN failed at record ${index}: ${message}`, { cause: error })
  throw Object.assign(named, { index, partial: out })
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'

/** A running generator; an array is iterable too, but is a value. */
const isIterator = (value: unknown): value is IterableIterator<unknown> =>
  typeof value === 'object' &&
  value !== null &&
  Symbol.iterator in value &&
  typeof (value as { next?: unknown }).next === 'function'

const isAsyncIterator = (value: unknown): value is AsyncIterableIterator<unknown> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value

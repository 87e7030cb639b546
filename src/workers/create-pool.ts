import { availableParallelism } from 'node:os'
import { extname } from 'node:path'
import { Piscina } from 'piscina'
import { OptionError } from '../errors.ts'
import { checkInteger } from '../options.ts'

/** Blocks that a worker holds at the same time: with two, it need not wait for the main thread between them. */
export const DEFAULT_PER_WORKER = 2

/** The extension differs between sources and what is built from them. */
export const WORKER_FILE = new URL(`./offload.worker${extname(import.meta.url)}`, import.meta.url).href

/** Options of {@link createPool}. */
export interface PoolOptions {
  /**
   * Number of threads.
   * @defaultValue `os.availableParallelism()`
   */
  readonly workers?: number
  /**
   * Blocks that a worker holds at the same time. Async handlers run that many at once.
   * @defaultValue 2
   */
  readonly perWorker?: number
  /** Limits of each worker, as for `new Worker`. Memory of ArrayBuffers is not counted. */
  readonly resourceLimits?: PoolResourceLimits
}

/** Limits of a worker, in MiB, as for `new Worker` of `node:worker_threads`. */
export interface PoolResourceLimits {
  readonly maxOldGenerationSizeMb?: number
  readonly maxYoungGenerationSizeMb?: number
  readonly codeRangeSizeMb?: number
  readonly stackSizeMb?: number
}

/**
 * Starts a Piscina pool of worker threads that several {@link offload} stages can share, in the settings that stages need.
 *
 * Its threads live until `destroy()`; they do not keep the process alive. A stage never ends a pool that was given to it.
 * A worker that fails while it has no block fails the stages that use the pool then.
 *
 * @throws {@link OptionError} when an option is out of range.
 * @see https://github.com/piscinajs/piscina
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { writeFile } from 'node:fs/promises'
 * import { Readable } from 'node:stream'
 * import { createPool, offload } from 'millrace'
 *
 * await writeFile('steps.mjs', `
 *   export const double = (records) => records.map((n) => n * 2)
 *   export const negate = (records) => records.map((n) => -n)
 * `)
 * const pool = createPool({ workers: 1 })
 * const double = offload('steps.mjs', { name: 'double', in: 'records', pool })
 * const negate = offload('steps.mjs', { name: 'negate', in: 'records', pool })
 * assert.deepEqual(await Readable.from([1, 2, 3]).pipe(double).pipe(negate).toArray(), [-2, -4, -6])
 * await pool.destroy()
 * ```
 */
export function createPool(options: PoolOptions = {}): Piscina {
  const { workers = availableParallelism(), perWorker = DEFAULT_PER_WORKER, resourceLimits } = options
  checkInteger('workers', workers, 1)
  checkInteger('perWorker', perWorker, 1)
  const pool = new Piscina({
    filename: WORKER_FILE,
    // with fewer threads than may be, a crash can leave queued tasks without any thread, for ever
    minThreads: workers,
    maxThreads: workers,
    concurrentTasksPerWorker: perWorker,
    recordTiming: false,
    ...(resourceLimits && { resourceLimits }),
  })
  // An answer that arrives while the pool is being destroyed is an 'error' event, which would end the process. Stages
  // listen for themselves, as long as they use the pool.
  pool.on('error', () => {})
  return pool
}

/** Refuses a pool in which tasks could be turned away or wait for ever. */
export function checkPool(pool: Piscina): Piscina {
  const settings = pool?.options
  if (typeof pool?.run !== 'function' || settings === undefined) {
    throw new OptionError('pool', pool, 'a Piscina pool')
  }
  if (settings.minThreads < 1 || settings.maxQueue !== Infinity) {
    const actual = `minThreads ${settings.minThreads}, maxQueue ${settings.maxQueue}`
    throw new OptionError('pool', actual, 'a pool with minThreads of at least 1 and an unlimited maxQueue')
  }
  return pool
}

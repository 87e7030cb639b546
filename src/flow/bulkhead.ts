import { PolicyError } from '../errors.ts'
import { checkInteger, checkLimit } from '../options.ts'

/** Options of {@link Bulkhead}. */
export interface BulkheadOptions {
  /** How many calls may run at the same time. */
  readonly concurrency: number
  /**
   * How many more may wait for their turn.
   * @defaultValue Infinity
   */
  readonly queue?: number
}

/**
 * Lets so many calls to one remote run at the same time, in order of arrival, and so many more wait. A value: give the same
 * one to the {@link Policy} of each stream that talks to that remote. Holds nothing but the waiting calls.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { setTimeout as delay } from 'node:timers/promises'
 * import { Bulkhead, Policy } from 'millrace'
 *
 * const remote = new Policy({ bulkhead: new Bulkhead({ concurrency: 2 }) })
 * let running = 0
 * let most = 0
 * const call = async () => {
 *   most = Math.max(most, ++running)
 *   await delay(1)
 *   running--
 * }
 * await Promise.all(Array.from({ length: 9 }, () => remote.execute(call)))
 * assert.equal(most, 2)
 * ```
 */
export class Bulkhead {
  readonly #concurrency: number
  readonly #queue: number
  // Not cockatiel's: there a newcomer overtakes a call that has left the queue and does not run yet (seen in a third of random
  // schedules), and a call that waits hears of its abort only when its turn has come.
  readonly #line: (() => void)[] = []
  #running = 0

  /** @throws {@link OptionError} when an option is out of range. */
  constructor({ concurrency, queue = Infinity }: BulkheadOptions) {
    this.#concurrency = checkInteger('concurrency', concurrency, 1)
    this.#queue = checkLimit('queue', queue, 0)
  }

  /** Calls that run now. */
  get running(): number {
    return this.#running
  }

  /** Calls that wait for their turn. */
  get waiting(): number {
    return this.#line.length
  }

  /**
   * Runs the work when there is room.
   *
   * @throws {@link PolicyError} `ERR_MILLRACE_BULKHEAD_FULL` when as many calls wait as may; the signal's reason when it is
   * aborted while the call waits.
   */
  execute<T>(work: () => T | PromiseLike<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#running < this.#concurrency) {
      this.#running++
      return this.#run(work)
    }
    if (this.#line.length >= this.#queue) {
      return Promise.reject(
        new PolicyError(
          'ERR_MILLRACE_BULKHEAD_FULL',
          `bulkhead: ${this.#running} calls run and ${this.#line.length} wait, as many as may`,
        ),
      )
    }
    return new Promise((resolve, reject) => {
      const start = () => {
        signal?.removeEventListener('abort', onAbort)
        this.#run(work).then(resolve, reject)
      }
      const onAbort = () => {
        this.#line.splice(this.#line.indexOf(start), 1)
        reject(signal!.reason)
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#line.push(start)
    })
  }

  async #run<T>(work: () => T | PromiseLike<T>): Promise<T> {
    try {
      return await work()
    } finally {
      // the place goes straight to the first in line, so that nobody can come in between
      const next = this.#line.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }
}

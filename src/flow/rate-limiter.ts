import { OptionError } from '../errors.ts'
import { checkChoice, checkMethods, checkNumber } from '../options.ts'
import { systemClock, type Clock } from './clock.ts'

/**
 * How late a caller may be and still keep its place in time, in milliseconds: timers fire late, and a busy event loop
 * later. Without it each late timer would lower the rate for good; with it the long-run rate is exact.
 */
export const RATE_SLACK = 50

/** What a rate is counted in. */
export type RateUnit = 'items' | 'bytes'

/** Options of {@link RateLimiter}. */
export interface RateLimiterOptions {
  /** Units a second, above 0; may be a fraction. */
  readonly rate: number
  /**
   * What a unit is. The limiter itself only adds numbers; stages that are given one read it to know what to count.
   *
   * @defaultValue 'items'
   */
  readonly per?: RateUnit
  /**
   * Units that may pass at once after a pause, at any speed.
   *
   * @defaultValue 0: the rate is exact
   */
  readonly burst?: number
  /**
   * Where time comes from; for tests.
   *
   * @defaultValue the clock of the machine
   */
  readonly clock?: Clock
}

/** Counters of a {@link RateLimiter}. */
export interface RateLimiterStats {
  /** Units let through, those that wait included. */
  readonly passed: number
  /** Calls that had to wait. */
  readonly waits: number
  /** How long they had to wait, all together, in milliseconds. */
  readonly waitedMs: number
}

/**
 * Lets a number of items or bytes a second through, exactly: `take(cost)` answers when that much may pass. One limiter given to
 * several streams is one rate for them all, in the order of their calls.
 *
 * @remarks
 * One number of state and one timer a call that waits (the generic cell rate algorithm, as virtual scheduling). Since the first call, no more
 * than `rate × time + burst` units pass. What is larger than the burst is delayed whole. A caller that comes up to 50 ms late,
 * as timers make it, loses nothing; idle time beyond that and the burst is not made up for.
 * @see {@link https://www.itu.int/rec/T-REC-I.371 | ITU-T I.371}, annex A
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { RateLimiter } from 'millrace'
 *
 * const limiter = new RateLimiter({ rate: 1000 })
 * const startedAt = performance.now()
 * for (let i = 0; i < 100; i++) await limiter.take()
 * assert(performance.now() - startedAt > 98)
 * assert.equal(limiter.stats().passed, 100)
 * ```
 */
export class RateLimiter {
  readonly rate: number
  readonly per: RateUnit
  readonly burst: number
  readonly #clock: Clock
  readonly #perUnit: number
  readonly #tolerance: number
  /** When the first call was. Times are counted from there: those since 1970 are rounded to 0.2 µs, 2 % of an item at 100,000 a second. */
  #startedAt: number | undefined
  /** When all that was let through so far is paid for: the theoretical arrival time. */
  #paid = 0
  #passed = 0
  #waits = 0
  #waitedMs = 0

  constructor({ rate, per = 'items', burst = 0, clock = systemClock }: RateLimiterOptions) {
    if (checkNumber('rate', rate, 0) === 0) throw new OptionError('rate', rate, 'a finite number above 0')
    this.rate = rate
    this.per = checkChoice('per', per, ['items', 'bytes'])
    this.burst = checkNumber('burst', burst, 0)
    this.#clock = checkMethods('clock', clock, ['now', 'sleep'])
    this.#perUnit = 1000 / rate
    this.#tolerance = burst * this.#perUnit
  }

  /**
   * Asks for `cost` units. `undefined`: they may pass now. Otherwise resolves when they may, or rejects with the signal's reason; what was
   * asked for last is given back then.
   *
   * @throws {@link OptionError} if the cost is no number of units.
   */
  take(cost = 1, signal?: AbortSignal): Promise<void> | undefined {
    checkNumber('cost', cost, 0)
    // the burst is there from the start
    if (this.#startedAt === undefined) this.#paid = -this.#tolerance
    this.#startedAt ??= this.#clock.now()
    const now = this.#clock.now() - this.#startedAt
    // nobody was late before the first call
    const slack = Math.min(RATE_SLACK, now)
    const due = Math.max(this.#paid, now - this.#tolerance - slack) + cost * this.#perUnit
    this.#paid = due
    this.#passed += cost
    const wait = due - now
    if (wait <= 0) return undefined
    return this.#wait(wait, due, cost, signal)
  }

  stats(): RateLimiterStats {
    return { passed: this.#passed, waits: this.#waits, waitedMs: this.#waitedMs }
  }

  async #wait(ms: number, due: number, cost: number, signal: AbortSignal | undefined): Promise<void> {
    this.#waits++
    this.#waitedMs += ms
    try {
      await this.#clock.sleep(ms, signal)
    } catch (error) {
      this.#passed -= cost
      // in the middle of others it cannot be given back: their times are fixed
      if (this.#paid === due) this.#paid -= cost * this.#perUnit
      throw signal?.aborted ? signal.reason : error
    }
  }
}

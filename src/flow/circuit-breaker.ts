import {
  BrokenCircuitError,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhen,
  type CircuitBreakerPolicy,
} from 'cockatiel'
import { PolicyError } from '../errors.ts'
import { checkFunction, checkInteger } from '../options.ts'
import { systemClock, type Clock } from './clock.ts'
import { isRetryable } from './is-retryable.ts'

/** Failures in a row after which a {@link CircuitBreaker} opens unless told otherwise. */
export const DEFAULT_BREAKER_FAILURES = 5

/** How long a {@link CircuitBreaker} stays open unless told otherwise, in milliseconds. */
export const DEFAULT_BREAKER_COOLDOWN = 10_000

/** `closed`: calls go through. `open`: none does. `half-open`: one is on its way to find out, the others wait for it. */
export type CircuitBreakerState = 'closed' | 'open' | 'half-open'

/** Options of {@link CircuitBreaker}. */
export interface CircuitBreakerOptions {
  /**
   * How many failures in a row open it.
   * @defaultValue 5
   */
  readonly failures?: number
  /**
   * How long it stays open before one call is let through, in milliseconds.
   * @defaultValue 10000
   */
  readonly cooldown?: number
  /**
   * Whether an error says that the remote is ill. Others pass, and count neither way.
   * @defaultValue {@link isRetryable}
   */
  readonly isFailure?: (error: unknown) => boolean
  /** Called after each change of state. */
  readonly onStateChange?: (state: CircuitBreakerState, lastFailure: unknown) => void
  /** @defaultValue the clock of the machine */
  readonly clock?: Clock
}

/** Marks a failure that came of the caller's own abort and says nothing of the remote. */
class Aborted {
  readonly reason: unknown
  constructor(reason: unknown) {
    this.reason = reason
  }
}

const STATES: Record<CircuitState, CircuitBreakerState> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half-open',
  // only cockatiel's `isolate()`, which is not passed on, leads here
  [CircuitState.Isolated]: 'open',
}

/**
 * Stops calling a remote that has failed `failures` times in a row, and after `cooldown` lets one call try. A value: one
 * breaker stands for one remote, and is given to the {@link Policy} of each stream that talks to it. Constant memory.
 *
 * @see https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { CircuitBreaker, Policy } from 'millrace'
 *
 * const breaker = new CircuitBreaker({ failures: 1, cooldown: 60_000 })
 * const remote = new Policy({ retries: 0, breaker })
 * const down = Object.assign(new Error('down'), { code: 'ECONNREFUSED' })
 * await assert.rejects(remote.execute(() => Promise.reject(down)), down)
 * assert.equal(breaker.state, 'open')
 * await assert.rejects(
 *   remote.execute(() => 'never called'),
 *   { code: 'ERR_MILLRACE_CIRCUIT_OPEN' },
 * )
 * ```
 */
export class CircuitBreaker {
  readonly #policy: CircuitBreakerPolicy
  readonly #clock: Clock
  readonly #cooldown: number
  #closesAt = 0
  #lastFailure: unknown

  /** @throws {@link OptionError} when an option is out of range. */
  constructor({
    failures = DEFAULT_BREAKER_FAILURES,
    cooldown = DEFAULT_BREAKER_COOLDOWN,
    isFailure = isRetryable,
    onStateChange,
    clock = systemClock,
  }: CircuitBreakerOptions = {}) {
    checkInteger('failures', failures, 1)
    this.#cooldown = checkInteger('cooldown', cooldown)
    checkFunction('isFailure', isFailure)
    checkFunction('onStateChange', onStateChange)
    this.#clock = clock
    const duration = () => (this.remainingMs > 0 ? Infinity : -Infinity)
    // cockatiel compares the age of the break, by Date.now(), with this; so the clock that counts is ours
    const remaining = {
      get duration() {
        return duration()
      },
      next: () => remaining,
    }
    this.#policy = circuitBreaker(
      handleWhen((error) => {
        // A test call that was aborted has found out nothing: back to open. cockatiel would take it for a success.
        if ((error as unknown) instanceof Aborted) return this.state === 'half-open'
        if (!isFailure(error)) return false
        this.#lastFailure = error
        return true
      }),
      { halfOpenAfter: { next: () => remaining }, breaker: new ConsecutiveBreaker(failures) },
    )
    this.#policy.onBreak(() => {
      this.#closesAt = this.#clock.now() + this.#cooldown
    })
    if (onStateChange) {
      // in a tick of its own: a hook that throws must not be taken for the remote, and shows up as uncaught
      this.#policy.onStateChange((state) => process.nextTick(onStateChange, STATES[state], this.#lastFailure))
    }
  }

  get state(): CircuitBreakerState {
    return STATES[this.#policy.state]
  }

  /** What the remote last failed with. */
  get lastFailure(): unknown {
    return this.#lastFailure
  }

  /** Time until a call is let through, in milliseconds; 0 unless it is open. */
  get remainingMs(): number {
    return this.state === 'open' ? Math.max(0, this.#closesAt - this.#clock.now()) : 0
  }

  /**
   * Runs the work, unless the breaker is open. While it is half-open, waits for the call that tries.
   *
   * @throws {@link PolicyError} `ERR_MILLRACE_CIRCUIT_OPEN` when it is open; the signal's reason when that is aborted;
   * otherwise what the work throws.
   */
  execute<T>(work: () => T | PromiseLike<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    return new Promise<T>((resolve, reject) => {
      let waits = true
      const leave = () => {
        waits = false
        signal?.removeEventListener('abort', onAbort)
      }
      // a call that waits for the outcome of another one must not wait longer than its caller does
      const onAbort = () => {
        leave()
        reject(signal!.reason)
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      const guarded = async () => {
        if (!waits) throw new Aborted(signal?.reason)
        leave()
        try {
          return await work()
        } catch (error) {
          throw signal?.aborted ? new Aborted(error) : error
        }
      }
      this.#policy.execute(guarded).then(resolve, (error: unknown) => {
        leave()
        if (error instanceof Aborted) reject(error.reason)
        else if (error instanceof BrokenCircuitError) reject(this.#broken())
        else reject(error)
      })
    })
  }

  #broken(): PolicyError {
    const retryAfterMs = this.remainingMs
    return new PolicyError(
      'ERR_MILLRACE_CIRCUIT_OPEN',
      `circuit breaker: open for another ${Math.ceil(retryAfterMs)} ms, since the remote has failed too often`,
      { retryAfterMs, cause: this.#lastFailure },
    )
  }
}

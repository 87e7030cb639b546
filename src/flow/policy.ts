import { TaskCancelledError, TimeoutStrategy, handleWhen, retry, timeout } from 'cockatiel'
import { OptionError, PolicyError, asError } from '../errors.ts'
import { checkFunction, checkInteger, checkLimit } from '../options.ts'
import { Bulkhead } from './bulkhead.ts'
import { CircuitBreaker } from './circuit-breaker.ts'
import { MAX_TIMER, systemClock, type Clock } from './clock.ts'
import { isRetryable, retryAfter } from './is-retryable.ts'

/** How often a {@link Policy} tries again unless told otherwise. */
export const DEFAULT_RETRIES = 3

/** Longest pause before the first retry unless told otherwise, in milliseconds; it doubles with each one. */
export const DEFAULT_MIN_DELAY = 100

/** Longest pause before any retry unless told otherwise, in milliseconds. */
export const DEFAULT_MAX_DELAY = 20_000

/** Longest pause that a remote may ask for unless told otherwise, in milliseconds. */
export const DEFAULT_MAX_RETRY_AFTER = 60_000

/** What the work learns of the attempt that it is. */
export interface PolicyContext {
  /** 1 at the first try. */
  readonly attempt: number
  /** Aborted when the caller's signal is, or when the attempt has taken too long. */
  readonly signal: AbortSignal
}

/**
 * What a stage that talks to a remote needs of a policy. {@link Policy} is one; so is every policy of `cockatiel`.
 */
export interface PolicyLike {
  execute<T>(
    work: (context: { readonly signal: AbortSignal }) => T | PromiseLike<T>,
    signal?: AbortSignal,
  ): Promise<T>
}

/** What {@link PolicyOptions.onRetry} learns. */
export interface RetryInfo {
  /** Number of the attempt that failed, from 1. */
  readonly attempt: number
  /** Pause before the next one, in milliseconds. */
  readonly delayMs: number
  readonly error: unknown
}

/** Options of {@link Policy}. */
export interface PolicyOptions {
  /**
   * How often a failed call is tried again.
   * @defaultValue 3
   */
  readonly retries?: number
  /**
   * Longest pause before the first retry, in milliseconds; before the n-th it is 2^(n-1) times as long.
   * @defaultValue 100
   */
  readonly minDelay?: number
  /**
   * Longest pause before any retry, in milliseconds.
   * @defaultValue 20000
   */
  readonly maxDelay?: number
  /**
   * Longest pause that the remote may ask for (`Retry-After`), in milliseconds. To one who asks for a longer one, the call
   * fails at once.
   * @defaultValue 60000
   */
  readonly maxRetryAfter?: number
  /**
   * Whether another try may help. An abort by the caller is never asked about.
   * @defaultValue {@link isRetryable}
   */
  readonly retryable?: (error: unknown) => boolean
  /**
   * How long one attempt may take, in milliseconds; `Infinity`, or at most 2147483647 (24 days). The time in the queue of the
   * bulkhead does not count. Work that does not stop at its signal is left behind.
   * @defaultValue Infinity
   */
  readonly timeout?: number
  /** The breaker of the remote. Each attempt counts for it. While it is open, an attempt waits as if asked to by the remote. */
  readonly breaker?: CircuitBreaker
  /** The bulkhead of the remote. Each attempt takes a place; pauses do not. */
  readonly bulkhead?: Bulkhead
  /** Called before each pause. What it throws fails the call. */
  readonly onRetry?: (retry: RetryInfo) => void
  /**
   * Source of the jitter, in [0, 1).
   * @defaultValue Math.random
   */
  readonly random?: () => number
  /** @defaultValue the clock of the machine */
  readonly clock?: Clock
}

/**
 * How to call a remote that may fail: takes the work, gives its result. From the outside in: retries with pauses, the circuit
 * breaker, the bulkhead, the timeout of one attempt. A value without state of its own, to be shared between streams; breaker
 * and bulkhead are the shared state of a remote. Costs some microseconds a call: meant for requests, not for records.
 *
 * The pause before retry n is drawn evenly from [0, min(maxDelay, minDelay · 2^(n-1))) ("full jitter"), and no shorter than
 * what the remote asked for. The abort of the signal ends a pause or a wait at once, with the signal's reason, and
 * leaves no timer; work that runs is told by its own signal, and without a `timeout` also waited for.
 *
 * @see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Policy } from 'millrace'
 *
 * const policy = new Policy({ retries: 5, minDelay: 1, timeout: 1000 })
 * const answer = await policy.execute(({ attempt }) => {
 *   if (attempt < 3) throw Object.assign(new Error('busy'), { status: 503 })
 *   return `attempt ${attempt}`
 * })
 * assert.equal(answer, 'attempt 3')
 * ```
 */
export class Policy implements PolicyLike {
  readonly #options: Required<Omit<PolicyOptions, 'breaker' | 'bulkhead' | 'onRetry'>>
  readonly #onRetry: ((retry: RetryInfo) => void) | undefined
  /** The breaker that was given, to look at its state. */
  readonly breaker: CircuitBreaker | undefined
  /** The bulkhead that was given. */
  readonly bulkhead: Bulkhead | undefined

  /** @throws {@link OptionError} when an option is out of range. */
  constructor({
    retries = DEFAULT_RETRIES,
    minDelay = DEFAULT_MIN_DELAY,
    maxDelay = DEFAULT_MAX_DELAY,
    maxRetryAfter = DEFAULT_MAX_RETRY_AFTER,
    retryable = isRetryable,
    timeout = Infinity,
    breaker,
    bulkhead,
    onRetry,
    random = Math.random,
    clock = systemClock,
  }: PolicyOptions = {}) {
    checkInteger('retries', retries)
    checkInteger('minDelay', minDelay)
    checkInteger('maxDelay', maxDelay, minDelay)
    checkLimit('maxRetryAfter', maxRetryAfter, 0)
    checkFunction('retryable', retryable)
    if (timeout !== Infinity) checkInteger('timeout', timeout, 1, MAX_TIMER)
    checkFunction('onRetry', onRetry)
    checkFunction('random', random)
    if (breaker !== undefined && !(breaker instanceof CircuitBreaker)) {
      throw new OptionError('breaker', breaker, 'a CircuitBreaker')
    }
    if (bulkhead !== undefined && !(bulkhead instanceof Bulkhead)) {
      throw new OptionError('bulkhead', bulkhead, 'a Bulkhead')
    }
    this.#options = { retries, minDelay, maxDelay, maxRetryAfter, retryable, timeout, random, clock }
    this.#onRetry = onRetry
    this.breaker = breaker
    this.bulkhead = bulkhead
  }

  /**
   * Runs the work until it succeeds, as often as the policy allows.
   *
   * @throws {@link PolicyError} when the policy ended the call; the signal's reason when that is aborted; otherwise what the
   * work throws.
   */
  async execute<T>(
    work: (context: PolicyContext) => T | PromiseLike<T>,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<T> {
    const { retries, clock } = this.#options
    let failure: unknown
    let attempts = 0
    /** Set when the pause, and not the work, has failed. */
    let stopped = false
    let worth = false
    const rule = handleWhen((error) => {
      failure = error
      worth = !stopped && !signal.aborted && this.#options.retryable(error)
      return worth
    })
    try {
      // cockatiel counts; the pause is ours, since its own does not end when the signal is aborted
      return await retry(rule, { maxAttempts: retries }).execute(async () => {
        signal.throwIfAborted()
        if (attempts > 0) {
          stopped = true
          const delayMs = this.#pause(failure, attempts)
          this.#onRetry?.({ attempt: attempts, delayMs, error: failure })
          await clock.sleep(delayMs, signal)
          stopped = false
        }
        attempts++
        return await this.#attempt(work, attempts, signal)
      }, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (!worth || retries === 0) throw error
      throw new PolicyError(
        'ERR_MILLRACE_RETRIES',
        `gave up after ${attempts} attempts: ${asError(error).message}`,
        {
          attempts,
          cause: error,
        },
      )
    }
  }

  async #attempt<T>(
    work: (context: PolicyContext) => T | PromiseLike<T>,
    attempt: number,
    signal: AbortSignal,
  ): Promise<T> {
    const timed = () => this.#timed(work, attempt, signal)
    const { breaker, bulkhead } = this
    const queued = bulkhead === undefined ? timed : () => bulkhead.execute(timed, signal)
    return breaker === undefined ? queued() : breaker.execute(queued, signal)
  }

  async #timed<T>(
    work: (context: PolicyContext) => T | PromiseLike<T>,
    attempt: number,
    signal: AbortSignal,
  ): Promise<T> {
    const limit = this.#options.timeout
    if (limit === Infinity) return work({ attempt, signal })
    // `abortOnReturn: false`: what the work returns may be a stream that lives on its signal
    const policy = timeout(limit, { strategy: TimeoutStrategy.Aggressive, abortOnReturn: false })
    try {
      return await policy.execute(async (context) => work({ attempt, signal: context.signal }), signal)
    } catch (error) {
      if (!(error instanceof TaskCancelledError) || signal.aborted) throw error
      throw new PolicyError('ERR_MILLRACE_TIMEOUT', `attempt ${attempt} took longer than ${limit} ms`, {
        attempts: attempt,
        expected: limit,
      })
    }
  }

  #pause(failure: unknown, attempts: number): number {
    const { minDelay, maxDelay, maxRetryAfter, random, clock } = this.#options
    const drawn = random() * Math.min(maxDelay, minDelay * 2 ** (attempts - 1))
    const asked = retryAfter(failure, clock.now()) ?? 0
    if (asked <= maxRetryAfter) return Math.max(drawn, asked)
    throw new PolicyError(
      'ERR_MILLRACE_RETRY_AFTER',
      `the remote asks to wait ${asked} ms, and at most ${maxRetryAfter} ms are allowed: ${asError(failure).message}`,
      { attempts, expected: maxRetryAfter, actual: asked, retryAfterMs: asked, cause: failure },
    )
  }
}

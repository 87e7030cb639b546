import { Transform, addAbortSignal, type TransformCallback } from 'node:stream'
import { asError } from '../errors.ts'
import { checkBoolean, checkInteger, checkSignal } from '../options.ts'
import { bytesOf, recordsOf } from './measure-chunk.ts'
import { RateLimiter, type RateLimiterOptions } from './rate-limiter.ts'
import { StatsCounter, type StatsHooks, type StreamStats } from './stream-stats.ts'

/** Options of {@link Throttle}. */
export interface ThrottleOptions extends StatsHooks {
  /** The rate: a limiter to share with other streams, or the options of one of its own. */
  readonly limiter: RateLimiter | RateLimiterOptions
  /**
   * Whether records pass, or bytes.
   *
   * @defaultValue true for a rate of items, false for one of bytes
   */
  readonly objectMode?: boolean
  /** Destroys the stage when it is aborted. */
  readonly signal?: AbortSignal
  /**
   * Bytes (or chunks in object mode) that each side buffers.
   *
   * @defaultValue Node's
   */
  readonly highWaterMark?: number
}

/**
 * Any stream in; the same chunks out, no faster than a {@link RateLimiter} allows.
 *
 * @remarks
 * A chunk passes whole, at the end of the time that it takes at the rate; a batch counts as its records. Nothing is copied. Destroyed
 * while it waits, it leaves no timer.
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { RateLimiter, Throttle } from 'millrace'
 *
 * // both together: 500 items a second
 * const limiter = new RateLimiter({ rate: 500 })
 * const startedAt = performance.now()
 * const [a, b] = await Promise.all([
 *   Readable.from([1, 2, 3, 4, 5]).pipe(new Throttle({ limiter })).toArray(),
 *   Readable.from([6, 7, 8, 9, 10]).pipe(new Throttle({ limiter })).toArray(),
 * ])
 * assert.deepEqual([...a, ...b], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
 * assert(performance.now() - startedAt > 19)
 * ```
 */
export class Throttle extends Transform {
  readonly #limiter: RateLimiter
  readonly #counter: StatsCounter
  readonly #objectMode: boolean
  readonly #abort = new AbortController()

  constructor({ limiter, objectMode, signal, highWaterMark, ...hooks }: ThrottleOptions) {
    const bucket = limiter instanceof RateLimiter ? limiter : new RateLimiter(limiter ?? {})
    const records = checkBoolean('objectMode', objectMode ?? bucket.per === 'items')
    checkSignal('signal', signal)
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
    super({ objectMode: records, ...(highWaterMark !== undefined && { highWaterMark }) })
    this.#limiter = bucket
    this.#objectMode = records
    this.#counter = new StatsCounter('Throttle', hooks)
    // not through super(): an aborted signal would destroy the stage before it has its fields
    if (signal) addAbortSignal(signal, this)
  }

  stats(): StreamStats {
    return this.#counter.snapshot()
  }

  override _transform(chunk: unknown, _encoding: BufferEncoding, done: TransformCallback): void {
    const bytes = bytesOf(chunk)
    const records = this.#objectMode ? recordsOf(chunk) : 0
    this.#counter.received(bytes, records)
    // chunks of bytes have no items to count: each is one
    const cost = this.#limiter.per === 'bytes' ? bytes : records || 1
    const wait = this.#limiter.take(cost, this.#abort.signal)
    if (wait === undefined) return this.#send(chunk, bytes, records, done)
    wait.then(
      () => this.#send(chunk, bytes, records, done),
      (error: unknown) => done(asError(error)),
    )
  }

  override _flush(done: TransformCallback): void {
    try {
      this.#counter.completed()
    } catch (thrown) {
      return done(asError(thrown))
    }
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#abort.abort()
    try {
      if (error) this.#counter.failed(error)
    } catch {
      // onError threw: the stage fails already, and the first error is the one that explains
    }
    done(error)
  }

  #send(chunk: unknown, bytes: number, records: number, done: TransformCallback): void {
    if (this.destroyed) return
    try {
      this.#counter.sent(bytes, records)
    } catch (thrown) {
      return done(asError(thrown))
    }
    done(null, chunk)
  }
}

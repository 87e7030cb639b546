import { OptionError } from '../errors.ts'
import { CircuitBreaker, mapOrdered, systemClock, type Clock, type StatsHooks } from '../flow/index.ts'
import { checkFunction, checkInteger, checkSignal } from '../options.ts'
import { itemError } from './embedded-store.ts'
import { itemsOf } from './item-batches.ts'
import { OperationLane, type LaneRules, type OpenCall } from './operation-lane.ts'
import { StoreStream } from './store-stream.ts'
import { DEFAULT_WINDOW, type ItemResult, type ItemSource } from './store.ts'
import type { CallStatus } from './store-status.ts'

/** How often an item is sent again unless told otherwise. With the pauses between, some ten seconds. */
export const DEFAULT_STORE_RETRIES = 8
/** Longest pause before the first retry unless told otherwise, in milliseconds; it doubles with each one. */
export const DEFAULT_STORE_MIN_DELAY = 100
/** Longest pause before any retry unless told otherwise, in milliseconds. */
export const DEFAULT_STORE_MAX_DELAY = 5000
/** Longest silence of a server that owes an answer unless told otherwise, in milliseconds. */
export const DEFAULT_ANSWER_TIMEOUT = 60_000

/** How a stream of calls gets over failures. */
export interface RetryRules {
  /**
   * How often an item is sent again after a failure that may pass. When that is used up, it gets the failure as its error, and
   * the next one is tried.
   * @defaultValue 8
   */
  readonly retries?: number
  /** @defaultValue 100 */
  readonly minDelay?: number
  /** @defaultValue 5000 */
  readonly maxDelay?: number
  /**
   * How long a server may be silent although it owes an answer, in milliseconds, before the call is given up and begun again.
   * @defaultValue 60000
   */
  readonly answerTimeout?: number
  /** The breaker of the server: each call counts for it, and while it is open, items fail at once. */
  readonly breaker?: CircuitBreaker
  /** Called before each pause, with what ended the call. */
  readonly onRetry?: (status: CallStatus, delayMs: number) => void
  /** Source of the jitter, in [0, 1). @defaultValue Math.random */
  readonly random?: () => number
  /** @defaultValue the clock of the machine */
  readonly clock?: Clock
}

/** Options of {@link operationStream}. */
export interface OperationStreamOptions<I, M, A, O> extends RetryRules, StatsHooks {
  /** Makes a message of an item. What it throws is the item's error. */
  readonly encode: (item: I) => M
  /** Makes an output of an answer. What it throws is the item's error. */
  readonly decode: (answer: A, item: I) => O
  /** Name in the statistics. @defaultValue `'operationStream'` */
  readonly stage?: string
  /** Items under way in one sub-stream. @defaultValue 64 */
  readonly window?: number
  /** Sub-streams at once. @defaultValue 1 */
  readonly concurrency?: number
  readonly signal?: AbortSignal
}

/** @throws {@link OptionError} when one is out of range. */
export function checkRules({
  retries = DEFAULT_STORE_RETRIES,
  minDelay = DEFAULT_STORE_MIN_DELAY,
  maxDelay = DEFAULT_STORE_MAX_DELAY,
  answerTimeout = DEFAULT_ANSWER_TIMEOUT,
  breaker,
  onRetry,
  random = Math.random,
  clock = systemClock,
}: RetryRules): Omit<LaneRules, 'window'> {
  checkInteger('retries', retries)
  checkInteger('minDelay', minDelay)
  checkInteger('maxDelay', maxDelay, minDelay)
  if (answerTimeout !== Infinity) checkInteger('answerTimeout', answerTimeout, 1, 2 ** 31 - 1)
  if (breaker !== undefined && !(breaker instanceof CircuitBreaker)) {
    throw new OptionError('breaker', breaker, 'a CircuitBreaker')
  }
  checkFunction('onRetry', onRetry)
  checkFunction('random', random)
  return { retries, minDelay, maxDelay, answerTimeout, breaker, onRetry, random, clock }
}

/**
 * Items in, one result for each out, through a streaming call that answers its n-th message with its n-th answer and may end at
 * any time: what `GrpcStore` does, for an RPC of your own. Keeps a window of messages under way; when the call ends early, the
 * first item without an answer is blamed if the server's status is about an item, tried again alone if it may be, and otherwise
 * sent again, with all behind it, after a pause. So the operation must be idempotent. `grpcCall` makes an `OpenCall` of a method.
 *
 * @remarks Holds `window × concurrency` items and results.
 * @throws {@link OptionError} when an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { operationStream, type OpenCall } from 'millrace/store'
 *
 * // a server that doubles numbers, refuses odd ones, and ends the call when it does
 * const open: OpenCall<number, number> = ({ onAnswer, onEnd }) => {
 *   let over = false
 *   return {
 *     send(n) {
 *       queueMicrotask(() => {
 *         if (over) return
 *         over = n % 2 === 1
 *         if (over) onEnd({ code: 3, message: `${n} is odd`, fromServer: true })
 *         else onAnswer(n * 2)
 *       })
 *       return true
 *     },
 *     end() {},
 *     cancel() {},
 *   }
 * }
 *
 * const found: unknown[] = []
 * const results = operationStream([2, 3, 4], open, { encode: (n: number) => n, decode: (answer) => answer })
 * for await (const { index, output, error } of results) found.push(error ? `${index}: ${error.message}` : output)
 * assert.deepEqual(found, [4, '1: 3 is odd', 8])
 * ```
 */
export function operationStream<I, M, A, O>(
  source: ItemSource<I>,
  open: OpenCall<M, A>,
  options: OperationStreamOptions<I, M, A, O>,
): StoreStream<ItemResult<{ readonly output: O }>> {
  type Result = ItemResult<{ readonly output: O }>
  return resultsOf<I, M, A, O, Result>(source, open, options, (index, output) => ({ index, output }))
}

/** The same, with results of another form. */
export function resultsOf<I, M, A, O, R extends { readonly error?: unknown }>(
  source: ItemSource<I>,
  open: OpenCall<M, A>,
  {
    encode,
    decode,
    stage = 'operationStream',
    window = DEFAULT_WINDOW,
    concurrency = 1,
    signal,
    ...rest
  }: OperationStreamOptions<I, M, A, O>,
  resultOf: (index: number, output: O) => R,
): StoreStream<R> {
  checkInteger('window', window, 1)
  checkInteger('concurrency', concurrency, 1)
  checkSignal('signal', signal)
  checkFunction('encode', encode)
  checkFunction('decode', decode)
  const rules = { ...checkRules(rest), window }
  const { onChunk, onError, onComplete } = rest
  return new StoreStream<R>({
    stage,
    signal,
    ...(onChunk && { onChunk }),
    ...(onError && { onError }),
    ...(onComplete && { onComplete }),
    async *run(counter, inner) {
      const lanes = Array.from({ length: concurrency }, () => new OperationLane(open, rules))
      const failed = (error: unknown, index: number) =>
        ({ index, error: itemError(error, index) }) as unknown as R
      const items = async function* () {
        for await (const item of itemsOf(source)) {
          counter.received(0, 1)
          yield item
        }
        for (const lane of lanes) lane.finish()
      }
      const work = (item: I, { index }: { readonly index: number }): R | Promise<R> => {
        let message: M
        try {
          message = encode(item)
        } catch (error) {
          return failed(error, index)
        }
        counter.bytesOut += lengthOf(message)
        return new Promise<R>((resolve, reject) => {
          const answer = (received: A) => {
            counter.bytesIn += lengthOf(received)
            try {
              resolve(resultOf(index, decode(received, item)))
            } catch (error) {
              resolve(failed(error, index))
            }
          }
          shortest(lanes).submit({
            index,
            message,
            attempts: 0,
            answer,
            fail: (error) => resolve(failed(error, index)),
            abandon: reject,
          })
        })
      }
      const most = window * concurrency
      try {
        for await (const result of mapOrdered(items(), work, {
          concurrency: most,
          window: most,
          signal: inner,
        })) {
          yield [result]
        }
      } finally {
        for (const lane of lanes) lane.cancel()
      }
    },
  })
}

function shortest<M, A>(lanes: readonly OperationLane<M, A>[]): OperationLane<M, A> {
  let best = lanes[0]!
  for (const lane of lanes) if (lane.length < best.length) best = lane
  return best
}

function lengthOf(message: unknown): number {
  return message instanceof Uint8Array ? message.byteLength : 0
}

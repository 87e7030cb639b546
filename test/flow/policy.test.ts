import { createServer } from 'node:net'
import { getActiveResourcesInfo } from 'node:process'
import * as fc from 'fast-check'
import { ConstantBackoff, handleAll, retry } from 'cockatiel'
import t from 'tap'
import { OptionError, PolicyError } from '../../src/errors.ts'
import {
  Bulkhead,
  CircuitBreaker,
  Policy,
  type PolicyLike,
  type PolicyOptions,
  type RetryInfo,
} from '../../src/flow/index.ts'
import { VirtualClock, down } from './helpers/virtual-clock.ts'

const timers = () => getActiveResourcesInfo().filter((name) => name === 'Timeout').length

t.test(
  'Policy: the work runs until it succeeds, retries + 1 times at most, with the right pauses',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(6),
        fc.nat(8),
        fc.nat(50),
        fc.nat(2000),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        async (retries, failures, minDelay, more, random) => {
          const clock = new VirtualClock()
          const maxDelay = minDelay + more
          const seen: RetryInfo[] = []
          const policy = new Policy({
            retries,
            minDelay,
            maxDelay,
            clock,
            random: () => random,
            onRetry: (retry) => seen.push(retry),
          })
          let calls = 0
          const outcome = await policy
            .execute(({ attempt }) => {
              if (attempt !== ++calls) throw new Error(`attempt ${attempt} is call ${calls}`)
              if (calls <= failures) throw down(`failure ${calls}`)
              return calls
            })
            .catch((error: unknown) => error)
          const attempts = Math.min(failures, retries) + 1
          const pauses = Array.from(
            { length: attempts - 1 },
            (_, n) => random * Math.min(maxDelay, minDelay * 2 ** n),
          )
          if (calls !== attempts) return false
          if (JSON.stringify(clock.pauses) !== JSON.stringify(pauses)) return false
          if (seen.some(({ attempt, delayMs }, n) => attempt !== n + 1 || delayMs !== pauses[n])) return false
          if (failures <= retries) return outcome === attempts
          if (retries === 0) return (outcome as Error).message === 'failure 1'
          const error = outcome as PolicyError
          return (
            error.code === 'ERR_MILLRACE_RETRIES' &&
            error.attempts === attempts &&
            (error.cause as Error).message === `failure ${attempts}`
          )
        },
      ),
      { numRuns: 60 },
    )
  },
)

t.test('Policy: a failure that is not worth another try passes unchanged, at any attempt', async (t) => {
  const wrong = Object.assign(new Error('no such key'), { statusCode: 404 })
  let calls = 0
  await t.rejects(
    new Policy().execute(() => {
      calls++
      throw wrong
    }),
    wrong,
  )
  t.equal(calls, 1)
  const policy = new Policy({ clock: new VirtualClock() })
  const later = policy.execute(({ attempt }) => Promise.reject(attempt === 2 ? wrong : down()))
  t.equal(await later.catch((error: unknown) => error), wrong)
  const predicate = new Policy({
    retries: 1,
    clock: new VirtualClock(),
    retryable: (error) => error === wrong,
  })
  await t.rejects(
    predicate.execute(() => Promise.reject(wrong)),
    { code: 'ERR_MILLRACE_RETRIES', attempts: 2, cause: wrong },
  )
})

t.test('Policy: a remote that asks for a pause gets it, unless it asks for too long a one', async (t) => {
  const clock = new VirtualClock()
  const policy = new Policy({ retries: 2, clock, random: () => 0.5, maxRetryAfter: 5000 })
  const busy = (value: string) =>
    Object.assign(new Error('busy'), { status: 429, headers: { 'Retry-After': value } })
  await t.rejects(
    policy.execute(({ attempt }) => {
      if (attempt === 1) throw busy('5')
      throw busy(new Date(clock.now() + 3000).toUTCString())
    }),
    { code: 'ERR_MILLRACE_RETRIES' },
  )
  t.same(clock.pauses, [5000, 3000])
  await t.rejects(
    policy.execute(() => Promise.reject(busy('6'))),
    { code: 'ERR_MILLRACE_RETRY_AFTER', attempts: 1, actual: 6000, expected: 5000, retryAfterMs: 6000 },
  )
  t.equal(clock.pauses.length, 2)
})

t.test('Policy: an abort ends a pause at once, with its reason, and leaves no timer', async (t) => {
  const before = timers()
  const reason = new Error('enough')
  const abort = new AbortController()
  let calls = 0
  const policy = new Policy({
    minDelay: 1e6,
    maxDelay: 1e6,
    random: () => 0.99,
    onRetry: () => setImmediate(() => abort.abort(reason)),
  })
  const result = policy.execute(() => {
    calls++
    throw down()
  }, abort.signal)
  t.equal(await result.catch((error: unknown) => error), reason)
  t.equal(calls, 1)
  t.equal(timers(), before)
  await t.rejects(
    policy.execute(() => t.fail('called'), abort.signal),
    reason,
  )
})

t.test('Policy: work is told of the abort, and its own failure then does not hide the reason', async (t) => {
  for (const timeout of [Infinity, 60_000]) {
    const before = timers()
    const abort = new AbortController()
    const reason = new Error('enough')
    const result = new Policy({ timeout }).execute(
      ({ signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(down('socket closed')))
          setImmediate(() => abort.abort(reason))
        }),
      abort.signal,
    )
    t.equal(await result.catch((error: unknown) => error), reason)
    t.equal(timers(), before)
  }
})

t.test('Policy: an attempt that takes too long is told, given up and tried again', async (t) => {
  const signals: AbortSignal[] = []
  const policy = new Policy({ retries: 1, timeout: 5, minDelay: 0 })
  await t.rejects(
    policy.execute(({ signal }) => {
      signals.push(signal)
      return new Promise(() => {})
    }),
    { code: 'ERR_MILLRACE_RETRIES', attempts: 2, cause: { code: 'ERR_MILLRACE_TIMEOUT', expected: 5 } },
  )
  t.same(
    signals.map(({ aborted }) => aborted),
    [true, true],
  )
  const before = timers()
  let after: AbortSignal | undefined
  await new Policy({ timeout: 60_000 }).execute(({ signal }) => void (after = signal))
  t.equal(after?.aborted, false, 'what the work returned may live on its signal')
  t.equal(timers(), before)
})

t.test('Policy: an open breaker is waited for, and pauses take no place in the bulkhead', async (t) => {
  const clock = new VirtualClock()
  const breaker = new CircuitBreaker({ failures: 2, cooldown: 7000, clock })
  const bulkhead = new Bulkhead({ concurrency: 1, queue: 0 })
  const policy = new Policy({
    retries: 3,
    clock,
    random: () => 0,
    breaker,
    bulkhead,
    onRetry: () => t.equal(bulkhead.running, 0),
  })
  let calls = 0
  const answer = await policy.execute(() => {
    if (++calls <= 2) throw down()
    return calls
  })
  t.equal(answer, 3, 'the remote was called three times, not four')
  t.same(clock.pauses, [0, 0, 7000])
  t.equal(policy.breaker?.state, 'closed')
})

t.test('Policy: what a hook throws fails the call', async (t) => {
  const fault = new Error('hook')
  const policy = new Policy({
    onRetry: () => {
      throw fault
    },
  })
  await t.rejects(
    policy.execute(() => Promise.reject(down())),
    fault,
  )
})

t.test('Policy: a real connection that is refused counts as worth another try', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  await t.rejects(
    new Policy({ retries: 2, minDelay: 0 }).execute(({ signal }) =>
      fetch(`http://127.0.0.1:${port}`, { signal }),
    ),
    { code: 'ERR_MILLRACE_RETRIES', attempts: 3 },
  )
})

t.test('PolicyLike: a policy of cockatiel is one', async (t) => {
  const policy: PolicyLike = retry(handleAll, { maxAttempts: 2, backoff: new ConstantBackoff(0) })
  let calls = 0
  t.equal(await policy.execute(() => (++calls < 3 ? Promise.reject(down()) : calls)), 3)
})

t.test('Policy: a wrong option is named', async (t) => {
  const wrong: PolicyOptions[] = [
    { retries: -1 },
    { retries: 1.5 },
    { minDelay: -1 },
    { minDelay: 50, maxDelay: 49 },
    { timeout: 0 },
    { timeout: 2 ** 31 },
    { maxRetryAfter: -1 },
    { retryable: 'yes' as never },
    { onRetry: 1 as never },
    { random: 4 as never },
    { breaker: {} as never },
    { bulkhead: {} as never },
  ]
  for (const options of wrong) t.throws(() => new Policy(options), OptionError, JSON.stringify(options))
  t.doesNotThrow(
    () => new Policy({ retries: 0, minDelay: 0, maxDelay: 0, timeout: 2 ** 31 - 1, maxRetryAfter: Infinity }),
  )
})

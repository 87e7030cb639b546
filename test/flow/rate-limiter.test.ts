import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { RATE_SLACK, RateLimiter } from '../../src/flow/rate-limiter.ts'
import { RecordBatch } from '../../src/flow/record-batch.ts'
import { Throttle } from '../../src/flow/throttle.ts'
import { VirtualClock } from './helpers/virtual-clock.ts'

/** Rounding of the clock, in milliseconds since 1970. */
const EPSILON = 1e-3

t.test(
  'RateLimiter: never passes more than rate × time + burst since its first call, nor much more in any window',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 100_000 }),
        fc.nat(50),
        fc.array(fc.record({ cost: fc.nat(40), idle: fc.constantFrom(0, 0, 0, 1, 30, 500) }), {
          maxLength: 40,
        }),
        async (rate, burst, calls) => {
          const clock = new VirtualClock()
          const limiter = new RateLimiter({ rate, burst, clock })
          const passed: { at: number; cost: number }[] = []
          for (const { cost, idle } of calls) {
            if (passed.length > 0) clock.advance(idle)
            await limiter.take(cost)
            passed.push({ at: clock.now(), cost })
          }
          for (const [i, first] of passed.entries()) {
            let sum = 0
            for (const { at, cost } of passed.slice(i)) {
              sum += cost
              const allowed = (rate * (at - first.at)) / 1000 + burst
              // what opens a window was paid for before it; timers may be late by the slack
              const before = i === 0 ? passed[0]!.cost : first.cost + (rate * RATE_SLACK) / 1000
              assert.ok(sum <= allowed + before + (EPSILON * rate) / 1000, `${sum} of ${allowed}`)
            }
          }
          assert.equal(
            limiter.stats().passed,
            calls.reduce((sum, { cost }) => sum + cost, 0),
          )
        },
      ),
    )
  },
)

t.test(
  'RateLimiter: with callers that never stop, the time taken is exact, however late timers are',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(10, 1000, 1_000_000),
        fc.array(fc.nat(RATE_SLACK - 1), { minLength: 1, maxLength: 20 }),
        async (rate, lateness) => {
          const clock = new VirtualClock()
          let sleeps = 0
          const late = {
            now: () => clock.now(),
            async sleep(ms: number, signal: AbortSignal | undefined) {
              await clock.sleep(ms + (lateness[sleeps++ % lateness.length] ?? 0), signal)
            },
          }
          const limiter = new RateLimiter({ rate, clock: late })
          const startedAt = clock.now()
          const COST = rate / 10
          for (let i = 0; i < 50; i++) await limiter.take(COST)
          const elapsed = clock.now() - startedAt
          assert.ok(elapsed >= 5000 - EPSILON && elapsed <= 5000 + RATE_SLACK, `${elapsed}`)
        },
      ),
    )
  },
)

t.test(
  'RateLimiter: a burst passes at once, then the rate holds; idle time is not saved up beyond it',
  async (t) => {
    const clock = new VirtualClock()
    const limiter = new RateLimiter({ rate: 10, burst: 3, clock })
    for (let i = 0; i < 3; i++) t.equal(limiter.take(), undefined)
    await limiter.take()
    t.same(clock.pauses, [100])
    clock.advance(60_000)
    for (let i = 0; i < 3; i++) t.equal(limiter.take(), undefined)
    await limiter.take()
    // less the slack
    t.same(clock.pauses[1], 100 - RATE_SLACK)
  },
)

t.test(
  'RateLimiter: what is larger than the burst is delayed whole, and what costs nothing passes',
  async (t) => {
    const clock = new VirtualClock()
    const limiter = new RateLimiter({ rate: 1000, per: 'bytes', clock })
    t.equal(limiter.take(0), undefined)
    await limiter.take(5000)
    t.same(clock.pauses, [5000])
    t.strictSame(limiter.stats(), { passed: 5000, waits: 1, waitedMs: 5000 })
  },
)

t.test(
  'RateLimiter: a wait that is aborted leaves no timer, and gives back what was asked for last',
  async (t) => {
    const limiter = new RateLimiter({ rate: 1 })
    const controller = new AbortController()
    const first = limiter.take(1000, controller.signal)
    const reason = new Error('enough')
    controller.abort(reason)
    await t.rejects(first as Promise<void>, reason)
    t.equal(limiter.stats().passed, 0)
    // not behind a thousand seconds
    const startedAt = performance.now()
    await limiter.take(0.01)
    t.ok(performance.now() - startedAt < 10_000)
  },
)

t.test('RateLimiter: a clock that fails is an error of the call', async (t) => {
  const fault = new Error('no timer')
  const clock = { now: () => 0, sleep: async () => Promise.reject(fault) }
  await t.rejects(new RateLimiter({ rate: 1, clock }).take() as Promise<void>, fault)
})

t.test('RateLimiter: a wrong option is an error', async (t) => {
  t.throws(() => new RateLimiter({ rate: 0 }), OptionError)
  t.throws(() => new RateLimiter({ rate: Infinity }), OptionError)
  t.throws(() => new RateLimiter({ rate: 1, burst: -1 }), OptionError)
  t.throws(() => new RateLimiter({ rate: 1, per: 'lines' as never }), OptionError)
  t.throws(() => new RateLimiter({ rate: 1, clock: {} as never }), OptionError)
  t.throws(() => new RateLimiter({ rate: 1 }).take(-1), OptionError)
})

t.test(
  'Throttle: passes everything in order, as fast as the limiter allows, batches as their records',
  async (t) => {
    const clock = new VirtualClock()
    const limiter = new RateLimiter({ rate: 100, clock })
    const startedAt = clock.now()
    const chunks = [1, new RateLimiterBatch(), 2]
    const throttle = new Throttle({ limiter })
    const out = await Readable.from(chunks).pipe(throttle).toArray()
    t.same(out, chunks)
    t.equal(Math.round(clock.now() - startedAt), 70)
    t.match(throttle.stats(), { recordsIn: 7, recordsOut: 7, chunks: 3 })
  },
)

/** Five records. */
class RateLimiterBatch extends RecordBatch {
  constructor() {
    super(0, [1, 2, 3, 4, 5])
  }
}

t.test('Throttle: counts bytes, or chunks where there are no items', async (t) => {
  const chunks = [Buffer.from('abcd'), Buffer.from('ef')]
  for (const [per, ms] of [
    ['bytes', 60],
    ['items', 20],
  ] as const) {
    const clock = new VirtualClock()
    const startedAt = clock.now()
    const throttle = new Throttle({
      limiter: { rate: 100, per, clock },
      objectMode: false,
      highWaterMark: 1,
      signal: new AbortController().signal,
    })
    t.equal(String(Buffer.concat(await Readable.from(chunks).pipe(throttle).toArray())), 'abcdef')
    t.equal(Math.round(clock.now() - startedAt), ms)
  }
})

t.test('Throttle: destroyed while it waits, it ends at once', async (t) => {
  const throttle = new Throttle({ limiter: { rate: 0.001 } })
  throttle.write(1)
  const closed = new Promise((resolve) => throttle.on('close', resolve))
  throttle.destroy()
  await closed
  const failing = new Throttle({
    limiter: { rate: 0.001 },
    onError: () => {
      throw new Error('a hook')
    },
  })
  failing.write(1)
  const reason = new Error('stop')
  const failed = new Promise((resolve) => failing.on('error', resolve))
  failing.destroy(reason)
  t.equal(await failed, reason)
  t.equal(failing.stats().errors, 1)
})

t.test('Throttle: destroyed just before its wait is over, it sends nothing', async (t) => {
  const clock = new VirtualClock()
  const throttle: Throttle = new Throttle({
    limiter: { rate: 1, clock: { now: () => clock.now(), sleep: async () => void throttle.destroy() } },
  })
  throttle.on('data', () => t.fail('sent'))
  throttle.write(1)
  await new Promise((resolve) => throttle.on('close', resolve))
  t.equal(throttle.stats().chunks, 0)
})

t.test('Throttle: a hook or a clock that throws fails the stage', async (t) => {
  const hook = new Error('a hook')
  const throws = () => {
    throw hook
  }
  const clock = new VirtualClock()
  for (const hooks of [{ onChunk: throws }, { onComplete: throws }]) {
    await t.rejects(
      pipeline([1], new Throttle({ limiter: { rate: 1, clock }, ...hooks }), async (source) => {
        for await (const chunk of source) void chunk
      }),
      hook,
    )
  }
  const broken = { now: () => 0, sleep: async () => Promise.reject(hook) }
  await t.rejects(
    pipeline([1], new Throttle({ limiter: { rate: 1, clock: broken } }), async (source) => {
      for await (const chunk of source) void chunk
    }),
    hook,
  )
  t.throws(() => new Throttle({ limiter: undefined as never }), OptionError)
  t.throws(() => new Throttle({ limiter: { rate: 1 }, highWaterMark: -1 }), OptionError)
})

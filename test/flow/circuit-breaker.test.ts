import * as fc from 'fast-check'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { CircuitBreaker, Policy, type CircuitBreakerState } from '../../src/flow/index.ts'
import { VirtualClock, down } from './helpers/virtual-clock.ts'

const COOLDOWN = 1000

const OUTCOMES = ['good', 'bad', 'bad', 'foreign', 'aborted'] as const

/** What a breaker must do, as a few lines without promises. */
class Model {
  state: CircuitBreakerState = 'closed'
  row = 0
  openedAt = 0

  /** Whether the call goes through. */
  call(outcome: (typeof OUTCOMES)[number], now: number, failures: number): boolean {
    const trial = this.state === 'open'
    if (trial && now - this.openedAt < COOLDOWN) return false
    if (outcome === 'good') this.row = 0
    if (outcome === 'bad') this.row++
    if (trial) {
      this.state = outcome === 'bad' || outcome === 'aborted' ? 'open' : 'closed'
    } else if (this.row >= failures && outcome === 'bad') this.state = 'open'
    if (this.state === 'open' && (trial || outcome === 'bad')) this.openedAt = now
    return true
  }
}

t.test('CircuitBreaker: behaves as its model for any run of outcomes and pauses', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(
        fc.oneof(
          { weight: 4, arbitrary: fc.constantFrom(...OUTCOMES) },
          fc.integer({ min: 1, max: COOLDOWN }),
        ),
        { maxLength: 40 },
      ),
      async (failures, steps) => {
        const clock = new VirtualClock()
        const breaker = new CircuitBreaker({ failures, cooldown: COOLDOWN, clock })
        const model = new Model()
        for (const step of steps) {
          if (typeof step === 'number') {
            clock.advance(step)
            continue
          }
          const abort = new AbortController()
          let called = false
          const outcome = breaker
            .execute(() => {
              called = true
              if (step === 'aborted') abort.abort()
              if (step === 'bad' || step === 'aborted') throw down()
              if (step === 'foreign') throw new TypeError('mistake of the caller')
            }, abort.signal)
            .catch((error: unknown) => error)
          const error = (await outcome) as { code?: string } | undefined
          const through = model.call(step, clock.now(), failures)
          if (called !== through || breaker.state !== model.state) return false
          if (!through && error?.code !== 'ERR_MILLRACE_CIRCUIT_OPEN') return false
        }
        return true
      },
    ),
    { numRuns: 200 },
  )
})

t.test(
  'CircuitBreaker: opens for all streams of a remote, lets one try, and the others wait for it',
  async (t) => {
    const clock = new VirtualClock()
    const states: string[] = []
    const breaker = new CircuitBreaker({
      failures: 2,
      cooldown: 500,
      clock,
      onStateChange: (state, lastFailure) => states.push(`${state} after ${(lastFailure as Error).message}`),
    })
    const one = new Policy({ retries: 0, breaker })
    const other = new Policy({ retries: 0, breaker })
    await t.rejects(one.execute(() => Promise.reject(down('first'))))
    await t.rejects(other.execute(() => Promise.reject(down('second'))))
    clock.advance(499)
    await t.rejects(
      one.execute(() => t.fail('called')),
      {
        code: 'ERR_MILLRACE_CIRCUIT_OPEN',
        retryAfterMs: 1,
        cause: { message: 'second' },
      },
    )
    t.equal(breaker.remainingMs, 1)
    clock.advance(1)
    const { promise: gate, resolve: open } = withResolvers()
    const trial = one.execute(() => gate.then(() => 'trial'))
    t.equal(breaker.state, 'half-open')
    t.equal(breaker.remainingMs, 0)
    let early = true
    const waiting = other.execute(() => !early)
    const abort = new AbortController()
    const leaving = other.execute(() => t.fail('called'), abort.signal)
    abort.abort(new Error('left'))
    await t.rejects(leaving, { message: 'left' }, 'one that waits can leave before the trial has ended')
    early = false
    open()
    t.equal(await trial, 'trial')
    t.equal(await waiting, true)
    t.equal(breaker.state, 'closed')
    await new Promise(setImmediate)
    t.same(states, ['open after second', 'half-open after second', 'closed after second'])
    t.equal((breaker.lastFailure as Error).message, 'second')
  },
)

t.test(
  'CircuitBreaker: an aborted caller is not let in, and its abort is no failure of the remote',
  async (t) => {
    const breaker = new CircuitBreaker({ failures: 1, isFailure: () => true })
    await t.rejects(
      breaker.execute(() => t.fail('called'), AbortSignal.abort(new Error('gone'))),
      { message: 'gone' },
    )
    t.equal(breaker.state, 'closed')
    const foreign = new CircuitBreaker({ failures: 1, isFailure: (error) => error instanceof RangeError })
    await t.rejects(foreign.execute(() => Promise.reject(down())))
    t.equal(foreign.state, 'closed')
    await t.rejects(
      foreign.execute(() => {
        throw new RangeError('ill')
      }),
      RangeError,
    )
    t.equal(foreign.state, 'open')
  },
)

t.test('CircuitBreaker: a wrong option is named', async (t) => {
  for (const options of [
    { failures: 0 },
    { cooldown: -1 },
    { isFailure: 1 as never },
    { onStateChange: 1 as never },
  ]) {
    t.throws(() => new CircuitBreaker(options), OptionError, JSON.stringify(options))
  }
})

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>((done) => (resolve = done))
  return { promise, resolve }
}

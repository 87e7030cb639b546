import * as fc from 'fast-check'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { Bulkhead } from '../../src/flow/index.ts'

const turns = async (n: number) => {
  for (let i = 0; i < n; i++) await Promise.resolve()
}

t.test('Bulkhead: never more at once than may, in order of arrival, each call once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.record({ length: fc.nat(12), before: fc.nat(6), fails: fc.boolean() }), { maxLength: 30 }),
      async (concurrency, calls) => {
        const bulkhead = new Bulkhead({ concurrency })
        const started: number[] = []
        let running = 0
        let most = 0
        const results: Promise<unknown>[] = []
        for (const [i, { length, before, fails }] of calls.entries()) {
          await turns(before)
          const result = bulkhead.execute(async () => {
            started.push(i)
            most = Math.max(most, ++running)
            if (bulkhead.running < running) throw new Error('wrong count')
            await turns(length)
            running--
            if (fails) throw new Error(`failure ${i}`)
            return i
          })
          results.push(result.catch((error: Error) => error.message))
        }
        const outcomes = await Promise.all(results)
        return (
          most <= concurrency &&
          bulkhead.running === 0 &&
          bulkhead.waiting === 0 &&
          started.every((call, i) => call === i) &&
          outcomes.every((outcome, i) => outcome === (calls[i]?.fails ? `failure ${i}` : i))
        )
      },
    ),
    { numRuns: 100 },
  )
})

t.test('Bulkhead: one more than may wait is refused, and one that leaves makes room', async (t) => {
  const bulkhead = new Bulkhead({ concurrency: 1, queue: 1 })
  let finish = () => {}
  const first = bulkhead.execute(() => new Promise<void>((resolve) => (finish = resolve)))
  const abort = new AbortController()
  const second = bulkhead.execute(() => t.fail('called'), abort.signal)
  t.same([bulkhead.running, bulkhead.waiting], [1, 1])
  await t.rejects(
    bulkhead.execute(() => t.fail('called')),
    { code: 'ERR_MILLRACE_BULKHEAD_FULL' },
  )
  abort.abort(new Error('left'))
  await t.rejects(second, { message: 'left' })
  t.equal(bulkhead.waiting, 0)
  const third = bulkhead.execute(() => 3)
  await t.rejects(
    bulkhead.execute(() => t.fail('called'), abort.signal),
    { message: 'left' },
  )
  finish()
  await first
  t.equal(await third, 3)
  t.same([bulkhead.running, bulkhead.waiting], [0, 0])
  const none = new Bulkhead({ concurrency: 1, queue: 0 })
  t.equal(await none.execute(() => 1), 1)
  t.equal(await none.execute(() => 2), 2)
})

t.test('Bulkhead: a wrong option is named', async (t) => {
  t.throws(() => new Bulkhead({ concurrency: 0 }), OptionError)
  t.throws(() => new Bulkhead({ concurrency: 1, queue: -1 }), OptionError)
})

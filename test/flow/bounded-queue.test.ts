import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import t from 'tap'
import { BufferFullError, OptionError } from '../../src/errors.ts'
import { BUFFER_VERDICTS, BoundedQueue, type BufferVerdict } from '../../src/flow/bounded-queue.ts'

interface Item {
  readonly id: number
  readonly bytes: number
}

/** What the queue should do, as plainly as it can be said. */
class Model {
  held: Item[] = []
  dropped: Item[] = []
  readonly maxChunks: number
  readonly maxBytes: number
  constructor(maxChunks: number, maxBytes: number) {
    this.maxChunks = maxChunks
    this.maxBytes = maxBytes
  }
  get bytes() {
    return this.held.reduce((sum, item) => sum + item.bytes, 0)
  }
  hasRoom(item: Item) {
    return (
      this.held.length === 0 ||
      (this.held.length < this.maxChunks && this.bytes + item.bytes <= this.maxBytes)
    )
  }
  offer(item: Item, verdict: BufferVerdict): string {
    if (!this.hasRoom(item)) {
      if (verdict === 'block') return 'blocked'
      if (verdict === 'error') return 'error'
      if (verdict === 'drop-newest') {
        this.dropped.push(item)
        return 'dropped'
      }
      while (!this.hasRoom(item)) this.dropped.push(this.held.shift()!)
    }
    this.held.push(item)
    return 'held'
  }
}

const limits = fc.record({
  maxChunks: fc.integer({ min: 1, max: 6 }),
  maxBytes: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 30 })),
})
const steps = fc.array(fc.oneof(fc.constant('take' as const), fc.nat(20)), { maxLength: 60 })

for (const strategy of BUFFER_VERDICTS) {
  t.test(`BoundedQueue: ${strategy} does what the model does`, async () => {
    fc.assert(
      fc.property(limits, steps, (limits, steps) => {
        const dropped: Item[] = []
        const queue = new BoundedQueue<Item>({ ...limits, strategy, onDrop: (item) => dropped.push(item) })
        const model = new Model(limits.maxChunks, limits.maxBytes)
        const taken: Item[] = []
        let offered = 0
        let refused = 0
        for (const step of steps) {
          if (step === 'take') {
            const item = queue.take()
            assert.equal(item, model.held.shift())
            if (item) taken.push(item)
          } else {
            const item = { id: offered++, bytes: step }
            let outcome: string
            try {
              outcome = queue.offer(item, item.bytes)
            } catch (error) {
              assert.ok(error instanceof BufferFullError)
              outcome = 'error'
            }
            assert.equal(outcome, model.offer(item, strategy))
            if (outcome === 'blocked' || outcome === 'error') refused++
          }
          assert.equal(queue.length, model.held.length)
          assert.equal(queue.bytes, model.bytes)
          assert.ok(queue.length <= limits.maxChunks)
          assert.ok(queue.bytes <= limits.maxBytes || queue.length === 1)
        }
        assert.deepEqual(dropped, model.dropped)
        assert.equal(
          offered,
          taken.length + dropped.length + queue.length + refused,
          'in = out + dropped + held',
        )
        const ids = taken.map(({ id }) => id)
        assert.deepEqual(
          ids,
          ids.toSorted((a, b) => a - b),
          'order is kept',
        )
      }),
      { numRuns: 60 },
    )
  })
}

t.test(
  'BoundedQueue: a chunk larger than maxBytes passes alone, and one at the limit beside others',
  async (t) => {
    const queue = new BoundedQueue<string>({ maxChunks: 3, maxBytes: 10, strategy: 'block' })
    t.equal(queue.offer('large', 11), 'held')
    t.equal(queue.offer('small', 1), 'blocked')
    t.equal(queue.take(), 'large')
    t.equal(queue.offer('a', 4), 'held')
    t.equal(queue.offer('at the limit', 6), 'held')
    t.equal(queue.offer('empty', 0), 'held')
    t.equal(queue.offer('fourth', 0), 'blocked')
    queue.clear()
    t.equal(queue.take(), undefined)
    t.equal(queue.bytes, 0)
  },
)

t.test('BoundedQueue: the error says which bound is full', async (t) => {
  const queue = new BoundedQueue<string>({ maxChunks: 2, maxBytes: 10, strategy: 'error' })
  queue.offer('a', 8)
  t.throws(() => queue.offer('b', 3), { code: 'ERR_MILLRACE_BUFFER_FULL', expected: 10, actual: 11 })
  queue.offer('b', 2)
  t.throws(() => queue.offer('c', 0), { message: 'buffer: expected at most 2 chunks, got one more' })
})

t.test('BoundedQueue: a strategy of the user is asked when it is full, and told what goes on', async (t) => {
  const sent: number[] = []
  const fills: number[] = []
  const verdicts: BufferVerdict[] = ['block', 'drop-oldest', 'drop-oldest', 'drop-newest']
  const queue = new BoundedQueue<string>({
    maxChunks: 3,
    maxBytes: 10,
    strategy: {
      onFull: ({ bytes, dropped }) => {
        fills.push(bytes, dropped)
        return verdicts.shift()!
      },
      onSent: (bytes) => sent.push(bytes),
    },
  })
  for (const chunk of ['a', 'b', 'c']) queue.offer(chunk, 3)
  t.equal(queue.offer('d', 5), 'blocked')
  t.equal(queue.offer('d', 5), 'held', 'after two were dropped')
  t.equal(queue.offer('e', 9), 'dropped')
  t.equal(queue.take(), 'c')
  t.equal(queue.take(), 'd')
  t.strictSame(sent, [3, 5])
  t.strictSame(fills, [9, 0, 9, 0, 6, 1, 8, 2])
  verdicts.push('nonsense' as never)
  queue.offer('f', 9)
  t.throws(() => queue.offer('g', 9), OptionError)
})

t.test('BoundedQueue: stays in order over many chunks', async (t) => {
  const queue = new BoundedQueue<number>({ maxChunks: 6000, maxBytes: Infinity, strategy: 'block' })
  let next = 0
  for (let i = 0; i < 20_000; i++) {
    queue.offer(i, 1)
    if (i % 4 > 0 && queue.take() !== next++) t.fail(`out of order at ${i}`)
  }
  t.equal(queue.length, 5000)
})

t.test('BoundedQueue: options out of range are refused', async (t) => {
  const good = { maxChunks: 1, maxBytes: 1, strategy: 'block' as const }
  t.doesNotThrow(() => new BoundedQueue(good))
  t.throws(() => new BoundedQueue({ ...good, maxChunks: 0 }), OptionError)
  t.throws(() => new BoundedQueue({ ...good, maxChunks: Infinity }), OptionError)
  t.throws(() => new BoundedQueue({ ...good, maxBytes: 0 }), OptionError)
  t.throws(() => new BoundedQueue({ ...good, strategy: 'drop' as never }), OptionError)
  t.throws(() => new BoundedQueue({ ...good, strategy: {} as never }), OptionError)
})

import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import t from 'tap'
import { OptionError, StateError } from '../../src/errors.ts'
import { BufferPool } from '../../src/flow/buffer-pool.ts'

t.test('BufferPool: any gets and puts keep to its bound, and lend no buffer twice', async () => {
  fc.assert(
    fc.property(
      fc.nat(4),
      fc.boolean(),
      fc.array(fc.oneof(fc.constant('get'), fc.nat(10))),
      (max, check, steps) => {
        const pool = new BufferPool({ size: 16, max, check })
        const lent: Buffer[] = []
        for (const step of steps) {
          if (typeof step === 'string') {
            const buffer = pool.get()
            assert.ok(!lent.includes(buffer))
            assert.equal(buffer.length, 16)
            assert.equal(buffer.byteLength, buffer.buffer.byteLength, 'owns its memory')
            lent.push(buffer)
          } else if (lent.length > 0) {
            pool.put(lent.splice(step % lent.length, 1)[0]!)
          }
          const { allocated, discarded, free, lent: out } = pool.stats
          assert.ok(free <= max)
          assert.equal(out, lent.length)
          assert.equal(allocated, out + free + discarded)
        }
      },
    ),
    { numRuns: 50 },
  )
})

t.test('BufferPool: keeps up to max free buffers, and none beyond', async (t) => {
  const pool = new BufferPool({ size: 8, max: 2 })
  const buffers = [pool.get(), pool.get(), pool.get()]
  for (const buffer of buffers) pool.put(buffer)
  t.same(pool.stats, { allocated: 3, reused: 0, discarded: 1, lent: 0, free: 2 })
  t.equal(pool.get(), buffers[1], 'the one used last, whose memory is still in the cache')
})

t.test('BufferPool: a buffer of another size is refused, with check and without', async (t) => {
  for (const check of [false, true]) {
    const pool = new BufferPool({ size: 8, check })
    const buffer = pool.get()
    t.throws(() => pool.put(buffer.subarray(1)), OptionError)
    t.throws(() => pool.put(Buffer.alloc(9)), OptionError)
    t.match(pool.stats, { lent: 1, free: 0 })
  }
})

t.test('BufferPool: check mode finds double and foreign puts, and poisons what came back', async (t) => {
  const pool = new BufferPool({ size: 8, check: true })
  const buffer = pool.get().fill(1)
  const kept = buffer.subarray(2, 4)
  pool.put(buffer)
  t.strictSame([...kept], [0xdb, 0xdb])
  t.throws(() => pool.put(buffer), StateError)
  t.throws(() => pool.put(Buffer.alloc(8)), { code: 'ERR_MILLRACE_POOL' })
  t.match(pool.stats, { lent: 0, free: 1 })
  t.equal(pool.get(), buffer)
  pool.put(buffer)
})

t.test('BufferPool: options out of range are refused', async (t) => {
  t.throws(() => new BufferPool({ size: 0 }), OptionError)
  t.throws(() => new BufferPool({ size: 1, max: -1 }), OptionError)
  t.throws(() => new BufferPool({ size: 1, check: 'yes' as never }), OptionError)
  t.equal(new BufferPool({ size: 1, max: 0 }).max, 0)
})

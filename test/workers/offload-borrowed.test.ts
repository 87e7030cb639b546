import fc from 'fast-check'
import t from 'tap'
import { createPool, offloadBorrowed, type OffloadBorrowedOptions } from '../../src/workers/index.ts'

const handlers = new URL('fixtures/handlers.mjs', import.meta.url)
const pool = createPool({ workers: 2 })
t.teardown(() => pool.destroy())

const run = (name: string, blocks: Iterable<readonly unknown[]>, options: OffloadBorrowedOptions = {}) =>
  offloadBorrowed(handlers, blocks, { name, pool, ...options })

t.test(
  'offloadBorrowed: what the handler gives for each block, in order, whatever the way of the bytes',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: 255 }), fc.integer({ min: 1, max: 300_000 })), { maxLength: 20 }),
        fc.constantFrom<OffloadBorrowedOptions>({}, { transfer: 'copy' }, { blockSize: 100 }, { window: 1 }),
        async (blocks, options) => {
          let at = 0
          for await (const { bytes, records } of run('fill', blocks, { out: 'bytes', ...options })) {
            const [n, length] = blocks[at++]!
            t.equal(records, undefined)
            t.ok(bytes!.equals(Buffer.alloc(length, n)))
          }
          t.equal(at, blocks.length)
        },
      ),
      { numRuns: 12 },
    )
    const inline = { name: 'fill', out: 'bytes', workers: 0 } as const
    for await (const { bytes } of offloadBorrowed(handlers, [[7, 5]], inline))
      t.ok(bytes!.equals(Buffer.alloc(5, 7)))
  },
)

t.test('offloadBorrowed: bytes stay where the worker wrote them, and objects are objects', async (t) => {
  const memory = new Set<ArrayBufferLike>()
  for await (const { bytes } of run(
    'fill',
    [
      [1, 9],
      [2, 9],
      [3, 9],
    ],
    { out: 'bytes' },
  ))
    memory.add(bytes!.buffer)
  t.equal(memory.size, 1)
  t.ok([...memory][0] instanceof SharedArrayBuffer)
  const results: unknown[] = []
  for await (const { records } of run('double', [[1, 2], [3]])) results.push(...records!)
  t.same(results, [2, 4, 6])
  for await (const _ of run('nothing', [[1], [2]], { out: 'bytes' })) t.fail('nothing is no result')
})

t.test('offloadBorrowed: an error comes after all before it, and its own part', async (t) => {
  const got: unknown[] = []
  const blocks = [[1, 2], [3, 4, 5, 6], [7]]
  await t.rejects(
    async () => {
      for await (const { records } of run('failAt', blocks, { workerData: 5 })) got.push(...records!)
    },
    { code: 'ERR_MILLRACE_OFFLOAD_HANDLER', index: 1, cause: { code: 'ERR_TEAPOT' } },
  )
  t.same(got, [1, 2, 3, 4])
  await t.rejects(run('double', [], { window: 0 }).next(), { code: 'ERR_MILLRACE_OPTION' })
})

t.test('offloadBorrowed: takes as many blocks as the window holds, and no more', async (t) => {
  let asked = 0
  const endless = (function* () {
    for (;;) yield [++asked]
  })()
  for await (const { records } of run('double', endless, { window: 3 })) {
    const [n] = records as [number]
    t.ok(asked <= n / 2 + 3)
    if (n === 40) break
  }
})

t.test('offloadBorrowed: an abort ends the wait for a block that never comes, with its thread', async (t) => {
  const controller = new AbortController()
  const results = offloadBorrowed(handlers, [[1]], { name: 'forever', workers: 1, signal: controller.signal })
  const next = results.next()
  setTimeout(() => controller.abort(new Error('enough')), 300)
  await t.rejects(next, { message: 'enough' })
  const aborted = AbortSignal.abort(new Error('before'))
  await t.rejects(run('double', [[1]], { signal: aborted }).next(), { message: 'before' })
  t.equal((await results.next()).done, true)
})

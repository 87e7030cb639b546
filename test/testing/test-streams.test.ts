import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { TestSink, TestSource, anyFault, anyPace } from '../../src/testing/test-streams.ts'

t.test('TestSource, TestSink: carry everything at any pace, empty chunks of bytes aside', async () => {
  await fc.assert(
    fc.asyncProperty(
      anyPace(),
      anyPace(),
      fc.array(fc.uint8Array({ maxLength: 3 })),
      async (pace, sinkPace, chunks) => {
        const sink = new TestSink({ pace: sinkPace })
        await pipeline(new TestSource(chunks, { pace }), sink)
        return Buffer.concat(sink.chunks as Buffer[]).equals(Buffer.concat(chunks))
      },
    ),
    { numRuns: 50 },
  )
})

t.test('TestSource, TestSink: carry records', async (t) => {
  const sink = new TestSink({ objectMode: true })
  await pipeline(new TestSource([1, '', { a: 1 }], { objectMode: true }), sink)
  t.strictSame(sink.chunks, [1, '', { a: 1 }])
})

t.test('TestSource: fails, closes or aborts before the chunk that was named', async (t) => {
  const read = async (source: Readable, seen: unknown[]) => {
    for await (const chunk of source) seen.push(chunk)
  }
  const cases = [
    ['error', { message: 'a fault for the test' }],
    ['destroy', { code: 'ERR_STREAM_PREMATURE_CLOSE' }],
  ] as const
  for (const at of [0, 2, 3]) {
    for (const [kind, expected] of cases) {
      const seen: unknown[] = []
      const source = new TestSource([1, 2, 3], { objectMode: true, pace: [0, 1], fault: { at, kind } })
      await t.rejects(read(source, seen), expected)
      t.strictSame(seen, [1, 2, 3].slice(0, at))
    }
  }
  const controller = new AbortController()
  const seen: unknown[] = []
  await read(new TestSource([1, 2], { objectMode: true, fault: { at: 1, kind: 'abort', controller } }), seen)
  t.ok(controller.signal.aborted)
  t.strictSame(seen, [1, 2])
  const late = new TestSource([1], { objectMode: true, fault: { at: 2, kind: 'error' } })
  await t.resolves(read(late, []))
})

t.test('TestSink: fails, closes or aborts before the chunk that was named', async (t) => {
  const error = new Error('full')
  for (const [fault, expected] of [
    [{ at: 1, kind: 'error', error }, error],
    [{ at: 1, kind: 'destroy' }, { code: 'ERR_STREAM_PREMATURE_CLOSE' }],
  ] as const) {
    const sink = new TestSink({ fault, pace: [1] })
    await t.rejects(pipeline(Readable.from([Buffer.from('a'), Buffer.from('b')]), sink), expected)
    t.equal(sink.chunks.length, 1)
  }
  const controller = new AbortController()
  const sink = new TestSink({ fault: { at: 0, kind: 'abort', controller } })
  await pipeline(Readable.from([Buffer.from('a')]), sink)
  t.ok(controller.signal.aborted)
})

t.test('TestSink: destroyed while it waits, it takes nothing more', async (t) => {
  const sink = new TestSink({ pace: [2] })
  sink.write('a')
  sink.destroy()
  await new Promise((resolve) => setTimeout(resolve, 10))
  t.strictSame(sink.chunks, [])
})

t.test('anyFault, anyPace: all kinds come up, with a controller of their own', async (t) => {
  const faults = fc.sample(anyFault(3), { numRuns: 100, seed: 1 })
  t.strictSame([...new Set(faults.map(({ kind }) => kind))].toSorted(), ['abort', 'destroy', 'error'])
  t.strictSame(
    [...new Set(faults.map(({ at }) => at))].toSorted((a, b) => a - b),
    [0, 1, 2, 3],
  )
  t.equal(new Set(faults.map(({ controller }) => controller)).size, 100)
  t.ok(fc.sample(anyPace(), { numRuns: 100, seed: 1 }).some((pace) => pace.length === 0))
})

t.test('TestSource, TestSink: options out of range are refused', async (t) => {
  for (const options of [
    { pace: [-1] },
    { highWaterMark: -1 },
    { fault: { at: -1, kind: 'error' as const } },
    { fault: { at: 0, kind: 'explode' as never } },
  ]) {
    t.throws(() => new TestSink(options), OptionError)
    t.throws(() => new TestSource([], options), OptionError)
  }
  t.throws(() => anyFault(-1), OptionError)
})

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Duplex, PassThrough, Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import chain from 'stream-chain'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { Meter, type MeterOptions } from '../../src/flow/meter.ts'
import { RecordBatch } from '../../src/flow/record-batch.ts'
import type { ChunkInfo } from '../../src/flow/stream-stats.ts'
import { anyCut } from '../../src/testing/any-cut.ts'

async function run(chunks: readonly unknown[], options: MeterOptions) {
  const meter = new Meter(options)
  const received: unknown[] = []
  await pipeline(Readable.from(chunks), meter, async (source) => {
    for await (const chunk of source) received.push(chunk)
  })
  return { received, stats: meter.stats() }
}

t.test('Meter: passes the bytes and counts them, however they were cut', async () => {
  const bytes = Buffer.from('a text of 25 bytes, no more'.slice(0, 25))
  await fc.assert(
    fc.asyncProperty(anyCut(bytes), async (cut) => {
      const { received, stats } = await run(cut, {})
      assert.ok(Buffer.concat(received as Buffer[]).equals(bytes))
      assert.deepEqual(
        [stats.bytesIn, stats.bytesOut, stats.recordsOut, stats.chunks],
        [25, 25, 0, cut.length],
      )
    }),
    { numRuns: 30 },
  )
})

t.test('Meter: hands on the chunks themselves', async (t) => {
  const view = new Uint8Array(Buffer.from('xabcx')).subarray(1, 4)
  const { received } = await run([Buffer.from('a'), view], { objectMode: true })
  t.equal(received[1], view)
  t.strictSame((await run(['é', view], {})).stats.bytesOut, 5)
})

t.test('Meter: counts records, those of batches each, and bytes where there are some', async (t) => {
  const chunks = [
    1,
    { a: 1 },
    new RecordBatch(2, [1, null, 3]),
    new RecordBatch(5, []),
    'é',
    Buffer.alloc(4),
    false,
  ]
  const { received, stats } = await run(chunks, { objectMode: true })
  t.strictSame(received, chunks)
  t.match(stats, { recordsIn: 8, recordsOut: 8, chunks: 7, bytesIn: 6, bytesOut: 6 })
})

t.test('Meter: tells its hooks, under its name', async (t) => {
  const seen: ChunkInfo[] = []
  let complete
  await run([Buffer.from('abc'), Buffer.from('d')], {
    name: 'input',
    onChunk: (chunk) => seen.push(chunk),
    onComplete: (stats) => (complete = stats),
  })
  t.match(seen, [
    { stage: 'input', bytes: 3, records: 0, index: 0, latencyMs: Number },
    { stage: 'input', bytes: 1, records: 0, index: 1, latencyMs: Number },
  ])
  t.equal(seen.length, 2)
  t.ok(seen.every(({ latencyMs }) => latencyMs >= 0 && latencyMs < 10_000))
  t.match(complete, { bytesOut: 4, chunks: 2 })
})

t.test('Meter: counts errors, and a hook that throws is one', async (t) => {
  const boom = () => {
    throw new RangeError('boom')
  }
  for (const options of [{ onChunk: boom }, { onComplete: boom }]) {
    await t.rejects(run([Buffer.from('a')], options), { message: 'boom' })
  }
  let told: unknown
  const meter = new Meter({ onError: (error) => (told = error) })
  const broken = new Transform({ transform: (_chunk, _encoding, done) => done(new Error('upstream')) })
  await t.rejects(pipeline(Readable.from(['x']), broken, meter, new PassThrough()))
  t.match(told, { message: 'upstream' })
  t.equal(meter.stats().errors, 1)
  const throwing = new Meter({ onError: boom })
  throwing.destroy(new Error('first'))
  const [error] = (await once(throwing, 'error')) as [Error]
  t.equal(error.message, 'first')
})

t.test('Meter: is ended by its signal, also by one aborted before', async (t) => {
  const controller = new AbortController()
  const meter = new Meter({ signal: controller.signal })
  controller.abort()
  await t.rejects(once(meter, 'finish'), { name: 'AbortError' })
  await t.rejects(once(new Meter({ signal: AbortSignal.abort() }), 'finish'), { name: 'AbortError' })
})

t.test('Meter: options out of range are refused, and the high-water mark is passed on', async (t) => {
  t.throws(() => new Meter({ objectMode: 'yes' as never }), OptionError)
  t.throws(() => new Meter({ name: 1 as never }), OptionError)
  t.throws(() => new Meter({ highWaterMark: -1 }), OptionError)
  t.throws(() => new Meter({ signal: 1 as never }), OptionError)
  const meter = new Meter({ highWaterMark: 7 })
  t.strictSame([meter.readableHighWaterMark, meter.writableHighWaterMark], [7, 7])
})

t.test('Meter: works in a chain and as a web stream', async (t) => {
  const meter = new Meter({ objectMode: true })
  const chained = chain([(x: number) => x + 1, meter, (x: number) => x * 2])
  Readable.from([1, 2, 3]).pipe(chained)
  t.strictSame(await chained.toArray(), [4, 6, 8])
  t.equal(meter.stats().recordsOut, 3)

  const web = Duplex.toWeb(new Meter()) as unknown as ReadableWritablePair<Uint8Array, Uint8Array>
  const source = Readable.toWeb(
    Readable.from([Buffer.from('ab'), Buffer.from('c')]),
  ) as ReadableStream<Uint8Array>
  t.equal(await new Response(source.pipeThrough(web)).text(), 'abc')
})

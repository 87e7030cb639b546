import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Duplex, PassThrough, Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import t from 'tap'
import { BufferFullError, OptionError } from '../../src/errors.ts'
import { failAfterDelivery } from '../../src/flow/fail-after-delivery.ts'
import { RecordBatch } from '../../src/flow/record-batch.ts'
import { StreamBuffer, type StreamBufferOptions } from '../../src/flow/stream-buffer.ts'
import { anyCut } from '../../src/testing/any-cut.ts'

const turn = () => new Promise(setImmediate)

/** A sink that takes a turn of the loop whenever `pauses` says so. */
function slowSink(pauses: readonly boolean[], objectMode: boolean) {
  const chunks: unknown[] = []
  const sink = new Writable({
    objectMode,
    highWaterMark: 1,
    write(chunk, _encoding, done) {
      if (pauses[chunks.push(chunk) % (pauses.length + 1)]) setImmediate(done)
      else done()
    },
  })
  return { sink, chunks }
}

t.test('StreamBuffer: block loses nothing, keeps the order and its bounds, at any pace', async () => {
  const bytes = Buffer.from(Array.from({ length: 200 }, (_, i) => i))
  await fc.assert(
    fc.asyncProperty(
      anyCut(bytes),
      fc.integer({ min: 1, max: 5 }),
      fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 50 })),
      fc.array(fc.boolean(), { maxLength: 5 }),
      fc.array(fc.boolean(), { maxLength: 5 }),
      async (cut, maxChunks, maxBytes, sourcePauses, sinkPauses) => {
        const buffer = new StreamBuffer({ maxChunks, maxBytes })
        async function* source() {
          for (const [i, chunk] of cut.entries()) {
            if (sourcePauses[i % (sourcePauses.length + 1)]) await turn()
            const { held, heldBytes } = buffer.stats()
            assert.ok(held <= maxChunks)
            assert.ok(heldBytes <= maxBytes || held === 1)
            yield chunk
          }
        }
        const { sink, chunks } = slowSink(sinkPauses, false)
        await pipeline(Readable.from(source()), buffer, sink)
        assert.ok(Buffer.concat(chunks as Buffer[]).equals(bytes))
        const { bytesIn, bytesOut, dropped, held, errors } = buffer.stats()
        assert.deepEqual([bytesIn, bytesOut, dropped, held, errors], [200, 200, 0, 0, 0])
      },
    ),
    { numRuns: 60 },
  )
})

t.test('StreamBuffer: with the strategies that drop, in = out + dropped, in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('drop-oldest' as const, 'drop-newest' as const),
      fc.integer({ min: 1, max: 5 }),
      fc.nat(40),
      fc.array(fc.boolean(), { maxLength: 5 }),
      fc.array(fc.boolean(), { maxLength: 5 }),
      async (strategy, maxChunks, total, sourcePauses, sinkPauses) => {
        const buffer = new StreamBuffer({ maxChunks, strategy, objectMode: true })
        async function* source() {
          for (let i = 0; i < total; i++) {
            if (sourcePauses[i % (sourcePauses.length + 1)]) await turn()
            yield i
          }
        }
        const { sink, chunks } = slowSink(sinkPauses, true)
        await pipeline(Readable.from(source()), buffer, sink)
        const numbers = chunks as number[]
        assert.equal(numbers.length + buffer.dropped, total)
        assert.deepEqual(
          numbers,
          [...new Set(numbers)].toSorted((a, b) => a - b),
        )
        const { recordsIn, recordsOut, droppedRecords } = buffer.stats()
        assert.deepEqual([recordsIn, recordsOut, droppedRecords], [total, numbers.length, buffer.dropped])
      },
    ),
    { numRuns: 60 },
  )
})

const write = async (options: StreamBufferOptions, chunks: readonly unknown[]) => {
  const buffer = new StreamBuffer({ objectMode: true, ...options })
  for (const chunk of chunks) buffer.write(chunk)
  buffer.end()
  return { buffer, received: await buffer.toArray() }
}

t.test('StreamBuffer: drop-oldest keeps the latest, drop-newest the first', async (t) => {
  const chunks = [1, 2, 3, 4, 5]
  const oldest = await write({ maxChunks: 2, strategy: 'drop-oldest' }, chunks)
  t.strictSame(oldest.received, [4, 5])
  t.equal(oldest.buffer.dropped, 3)
  const newest = await write({ maxChunks: 2, strategy: 'drop-newest' }, chunks)
  t.strictSame(newest.received, [1, 2])
})

t.test('StreamBuffer: counts bytes and records of what it drops', async (t) => {
  const text = await write({ maxChunks: 1, strategy: 'drop-newest' }, ['a', 'bé', Buffer.from('123')])
  t.match(text.buffer.stats(), { bytesIn: 7, bytesOut: 1, dropped: 2, droppedBytes: 6, droppedRecords: 2 })
  const batches = [new RecordBatch(0, [1, 2]), new RecordBatch(2, [3, null, 5])]
  const { buffer } = await write({ maxChunks: 1, strategy: 'drop-oldest' }, batches)
  t.match(buffer.stats(), { recordsIn: 5, recordsOut: 3, dropped: 1, droppedRecords: 2, chunks: 1 })
})

t.test('StreamBuffer: maxBytes bounds what is held, and one larger chunk passes', async (t) => {
  const options = { maxChunks: 100, maxBytes: 4, strategy: 'drop-newest', objectMode: false } as const
  const { buffer, received } = await write(options, ['12', '34', '5', ''])
  t.equal(Buffer.concat(received as Buffer[]).toString(), '1234')
  t.equal(buffer.dropped, 1)
  t.strictSame((await write(options, ['12345'])).received.map(String), ['12345'])
  const blocking = await write({ ...options, strategy: 'block' }, ['12345', '6789012', '3'])
  t.equal(blocking.received.join(''), '1234567890123')
})

t.test('StreamBuffer: error comes after all that is held', async (t) => {
  const buffer = new StreamBuffer({ maxChunks: 2, strategy: 'error', objectMode: true })
  const received: unknown[] = []
  for (const chunk of [1, 2, 3]) buffer.write(chunk)
  buffer.write(4)
  await t.rejects(
    async () => {
      for await (const chunk of buffer) received.push(chunk)
    },
    { code: 'ERR_MILLRACE_BUFFER_FULL', expected: 2 },
  )
  t.strictSame(received, [1, 2])
  t.equal(buffer.stats().errors, 1)
  t.equal(buffer.stats().held, 0)
})

t.test('StreamBuffer: error does not strike as long as there is room', async (t) => {
  const fast = slowSink([], true)
  async function* source() {
    for (let i = 0; i < 20; i++) {
      yield i
      if (i % 2) await turn()
    }
  }
  await pipeline(
    Readable.from(source(), { highWaterMark: 1 }),
    new StreamBuffer({ strategy: 'error', objectMode: true }),
    fast.sink,
  )
  t.equal(fast.chunks.length, 20)
})

t.test('StreamBuffer: block holds the writer back, and lets it go on when there is room', async (t) => {
  const buffer = new StreamBuffer({ maxChunks: 2, objectMode: true })
  const written: number[] = []
  for (const i of [1, 2, 3]) buffer.write(i, () => written.push(i))
  await turn()
  t.strictSame(written, [1, 2])
  t.equal(buffer.stats().held, 2)
  t.equal(buffer.read(), 1)
  await turn()
  t.strictSame(written, [1, 2, 3])
  t.equal(buffer.stats().held, 2)
  buffer.end()
  t.strictSame(await buffer.toArray(), [2, 3])
})

t.test('StreamBuffer: a writer that never reads sees finish all the same', async (t) => {
  const buffer = new StreamBuffer({ maxChunks: 2 })
  buffer.write('a')
  buffer.end('b')
  await once(buffer, 'finish')
  t.equal(Buffer.concat(await buffer.toArray()).toString(), 'ab')
  const empty = new StreamBuffer()
  empty.end()
  t.strictSame(await empty.toArray(), [])
})

t.test('StreamBuffer: a strategy of the user decides', async (t) => {
  let sent = 0
  const strategy = {
    onFull: ({ dropped }: { dropped: number }) =>
      dropped < 2 ? ('drop-oldest' as const) : ('block' as const),
    onSent: (bytes: number) => (sent += bytes),
  }
  const { buffer, received } = await write({ maxChunks: 1, strategy }, ['a', 'b', 'c', 'd', 'e'])
  t.strictSame(received, ['c', 'd', 'e'])
  t.equal(buffer.dropped, 2)
  t.equal(sent, 3)
})

t.test('StreamBuffer: a hook or a strategy that throws fails it', async (t) => {
  const boom = () => {
    throw new RangeError('boom')
  }
  for (const options of [
    { onChunk: boom },
    { onComplete: boom },
    { maxChunks: 1, strategy: { onFull: boom } },
    { maxChunks: 1, strategy: { onFull: () => 'block' as const, onSent: boom } },
  ]) {
    await t.rejects(
      pipeline(
        Readable.from(['a', 'b', 'c']),
        new StreamBuffer({ objectMode: true, ...options }),
        async (source) => {
          for await (const _ of source) await turn()
        },
      ),
      { message: 'boom' },
    )
  }
  const failing = new StreamBuffer({ onError: boom })
  failing.destroy(new Error('first'))
  const [error] = (await once(failing, 'error')) as [Error]
  t.equal(error.message, 'first')
})

t.test('StreamBuffer: abort and destroy let go of everything', async (t) => {
  const controller = new AbortController()
  const buffer = new StreamBuffer({ maxChunks: 1, signal: controller.signal })
  buffer.write('a')
  buffer.write('b', (error) => t.ok(error))
  controller.abort()
  await t.rejects(buffer.toArray(), { name: 'AbortError' })
  t.equal(buffer.stats().held, 0)
  const aborted = new StreamBuffer({ signal: AbortSignal.abort() })
  await t.rejects(once(aborted, 'finish'), { name: 'AbortError' })
})

t.test('StreamBuffer: options out of range are refused', async (t) => {
  const wrong = [
    { maxChunks: 0 },
    { maxBytes: 0 },
    { strategy: 'dropOldest' as never },
    { objectMode: 1 as never },
    { signal: {} as never },
  ]
  for (const options of wrong) t.throws(() => new StreamBuffer(options), OptionError)
  t.ok(new BufferFullError('ERR_MILLRACE_BUFFER_FULL', '') instanceof Error)
})

t.test('StreamBuffer: works in web streams, with pipe() and with for await', async (t) => {
  const { readable, writable } = Duplex.toWeb(new StreamBuffer())
  const writer = writable.getWriter()
  const text = new Response(readable).text()
  for (const word of ['one ', 'two ', 'three']) await writer.write(Buffer.from(word))
  await writer.close()
  t.equal(await text, 'one two three')

  const piped = Readable.from(['a', 'b', 'c', 'd', 'e'])
    .pipe(new StreamBuffer({ maxChunks: 2 }))
    .pipe(new PassThrough())
  t.equal((await piped.toArray()).join(''), 'abcde')

  let letters = ''
  for await (const chunk of Readable.from(['a', 'b', 'c']).compose(new StreamBuffer({ maxChunks: 1 })))
    letters += chunk
  t.equal(letters, 'abc')
})

t.test('failAfterDelivery: the error comes when all has been read, in every way of reading', async (t) => {
  const failing = () => {
    let pushed = 0
    const stream = new Readable({
      highWaterMark: 100,
      read() {
        if (pushed++ < 3) this.push('x')
        else failAfterDelivery(this, new Error('in the end'))
      },
    })
    return stream
  }
  const ways: Record<string, (stream: Readable, seen: unknown[]) => Promise<unknown>> = {
    'for await': async (stream, seen) => {
      for await (const chunk of stream) seen.push(chunk)
    },
    'slow for await': async (stream, seen) => {
      for await (const chunk of stream) {
        seen.push(chunk)
        await turn()
      }
    },
    pipeline: (stream, seen) =>
      pipeline(
        stream,
        new Writable({ highWaterMark: 1, write: (chunk, _, done) => (seen.push(chunk), setImmediate(done)) }),
      ),
    data: (stream, seen) =>
      once(
        stream.on('data', (chunk) => seen.push(chunk)),
        'end',
      ),
    readable: (stream, seen) => {
      stream.on('readable', () => {
        for (let chunk = stream.read(1); chunk !== null; chunk = stream.read(1)) seen.push(chunk)
      })
      return once(stream, 'end')
    },
  }
  for (const [name, way] of Object.entries(ways)) {
    const seen: unknown[] = []
    await t.rejects(way(failing(), seen), { message: 'in the end' }, name)
    t.equal(seen.join(''), 'xxx', name)
  }
  const empty = new Readable({ read: () => failAfterDelivery(empty, new Error('at once')) })
  await t.rejects(empty.toArray(), { message: 'at once' })
})

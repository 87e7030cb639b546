import t from 'tap'
import * as fc from 'fast-check'
import { once } from 'node:events'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  createReadStream,
  createWriteStream,
  openSync,
  readFileSync,
  readSync,
} from 'node:fs'
import { PassThrough, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { finished, pipeline } from 'node:stream/promises'
import {
  DataGenerator,
  ObjectReader,
  pumpObject,
  pumpToDescriptor,
  verify,
  type ByteRange,
} from '../../src/bytes/index.ts'

const generator = new DataGenerator({ seed: 42 })
const object = generator.beginObject({ size: 1_000_003, dedup: 2.5, compress: 1.7 })
const whole = object.read(0, object.size)
const wrong = (option: string) => ({ code: 'ERR_MILLRACE_OPTION', option })

/** Copies what it is given before it calls back, as a file does. */
function copier(delay = false) {
  const parts: Buffer[] = []
  const writable = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, callback) {
      const take = () => {
        parts.push(Buffer.from(chunk))
        callback()
      }
      if (delay) setImmediate(take)
      else take()
    },
  })
  return { writable, bytes: () => Buffer.concat(parts), parts }
}

t.test('ObjectReader: any range in chunks of any size is the range', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1_000_003),
      fc.nat(200_000),
      fc.integer({ min: 100, max: 300_000 }),
      async (at, length, chunkSize) => {
        const end = Math.min(object.size, at + length)
        const read = await buffer(object.stream({ start: at, end, chunkSize }))
        return read.equals(whole.subarray(at, end))
      },
    ),
    { numRuns: 40 },
  )
})

t.test('ObjectReader: pushes fresh buffers that own their memory, of the size asked', async (t) => {
  const chunks = await object.stream({ chunkSize: 300_000 }).toArray()
  t.same(
    chunks.map((chunk: Buffer) => chunk.length),
    [300_000, 300_000, 300_000, 100_003],
  )
  t.ok(chunks.every((chunk: Buffer) => chunk.buffer.byteLength === chunk.length))
  t.ok(Buffer.concat(chunks).equals(whole), 'none was filled again after it was given away')
})

t.test('ObjectReader: a stream from where another was left off joins to the object', async (t) => {
  const first = object.stream({ chunkSize: 4097 })
  const parts: Buffer[] = []
  for await (const chunk of first) {
    parts.push(chunk as Buffer)
    if (parts.length === 50) break
  }
  t.equal(first.destroyed, true)
  const rest = await buffer(object.stream({ start: 50 * 4097 }))
  t.ok(Buffer.concat([...parts, rest]).equals(whole))
})

t.test('ObjectReader: empty objects and ranges end at once', async (t) => {
  t.equal((await buffer(generator.beginObject({ size: 0 }).stream())).length, 0)
  t.equal((await buffer(object.stream({ start: 500, end: 500 }))).length, 0)
  t.equal((await buffer(object.stream({ start: object.size }))).length, 0)
})

t.test('ObjectReader: counts, tells its hooks, and knows its position', async (t) => {
  const sizes: number[] = []
  let completed = 0
  const reader = new ObjectReader(object, {
    start: 3,
    chunkSize: 250_000,
    onChunk: ({ stage, bytes }) => void sizes.push(stage === 'ObjectReader' ? bytes : -1),
    onComplete: ({ bytesOut }) => void (completed = bytesOut),
  })
  t.same([reader.start, reader.end, reader.position], [3, 1_000_003, 3])
  await buffer(reader)
  t.same([reader.position, completed, reader.stats().bytesOut], [1_000_003, 1_000_000, 1_000_000])
  t.same(sizes, [250_000, 250_000, 250_000, 250_000])
  t.equal(reader.stats().chunks, 4)
})

t.test('ObjectReader: an endless object ends with its signal, and the hook learns of it', async (t) => {
  const controller = new AbortController()
  const errors: unknown[] = []
  const reader = generator.beginObject({ size: 2 ** 53 - 1 }).stream({
    signal: controller.signal,
    onError: (error) => void errors.push(error),
  })
  await once(reader, 'readable')
  const end = finished(reader)
  controller.abort()
  await t.rejects(end, { name: 'AbortError' })
  t.equal(errors.length, 1)
})

t.test('ObjectReader: a range outside the object or a wrong chunk size is an option error', async (t) => {
  t.throws(() => object.stream({ start: -1 }), wrong('start'))
  t.throws(() => object.stream({ start: 1_000_004 }), wrong('start'))
  t.throws(() => object.stream({ end: 1_000_004 }), wrong('end'))
  t.throws(() => object.stream({ start: 5, end: 4 }), wrong('start'))
  t.throws(() => object.stream({ start: 0.5 }), wrong('start'))
  for (const chunkSize of [0, -1, 1.5, 2 ** 26 + 1])
    t.throws(() => object.stream({ chunkSize }), wrong('chunkSize'))
  t.throws(() => object.stream({ signal: {} as AbortSignal }), wrong('signal'))
  t.throws(() => object.stream({ highWaterMark: -1 }), wrong('highWaterMark'))
  t.equal(
    (await buffer(object.stream({ start: 1_000_003, end: 1_000_003 }))).length,
    0,
    'the end is in the object',
  )
})

t.test('ObjectReader: memory ahead of a slow reader is bounded by highWaterMark', async (t) => {
  const reader = object.stream({ chunkSize: 10_000, highWaterMark: 30_000 })
  await once(reader, 'readable')
  await new Promise(setImmediate)
  t.ok(reader.readableLength <= 30_000, `${reader.readableLength} bytes ahead`)
  reader.destroy()
})

t.test('pumpObject: writes any range in chunks of any size, by any number of buffers', async () => {
  const sizes = fc.integer({ min: 100, max: 200_000 })
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1_000_003),
      fc.nat(400_000),
      sizes,
      fc.integer({ min: 1, max: 9 }),
      fc.boolean(),
      async (start, length, chunkSize, buffers, delay) => {
        const end = Math.min(object.size, start + length)
        const sink = copier(delay)
        const { bytesOut } = await pumpObject(object, sink.writable, { start, end, chunkSize, buffers })
        return (
          sink.writable.writableFinished &&
          bytesOut === end - start &&
          sink.bytes().equals(whole.subarray(start, end))
        )
      },
    ),
    { numRuns: 40 },
  )
})

t.test('pumpObject: never fills a chunk again before the writable has called back for it', async (t) => {
  const held: { chunk: Buffer; copy: Buffer; callback: () => void }[] = []
  let intact = true
  let most = 0
  const writable = new Writable({
    writev(chunks, callback) {
      for (const { chunk } of chunks) held.push({ chunk, copy: Buffer.from(chunk), callback: () => {} })
      most = Math.max(most, held.length)
      setImmediate(() => {
        intact &&= held.every(({ chunk, copy }) => copy.equals(chunk))
        held.length = 0
        callback()
      })
    },
  })
  await pumpObject(object, writable, { chunkSize: 50_000, buffers: 3 })
  t.ok(intact)
  t.ok(most > 1 && most <= 3, `${most} chunks on their way`)
})

t.test('pumpObject: a file holds the object', async (t) => {
  const file = `${t.testdir({})}/object.bin`
  const stats = await pumpObject(object, createWriteStream(file), { chunkSize: 99_991 })
  t.equal(stats.bytesOut, object.size)
  t.equal((await verify(createReadStream(file), object)).ok, true)
})

t.test('pumpObject: leaves the writable open if asked', async (t) => {
  const sink = copier()
  await pumpObject(object, sink.writable, { end: 10, endWritable: false })
  await pumpObject(object, sink.writable, { start: 10, end: 10, endWritable: false })
  await pumpObject(object, sink.writable, { start: 10 })
  t.ok(sink.bytes().equals(whole))
})

t.test('pumpObject: rejects with what the writable fails with, or with the signal’s reason', async (t) => {
  const errors: unknown[] = []
  const onError = (error: unknown) => void errors.push(error)
  let writes = 0
  const full = new Writable({
    write(_chunk, _encoding, callback) {
      callback(++writes === 3 ? new Error('no space left') : null)
    },
  })
  await t.rejects(pumpObject(object, full, { onError }), { message: 'no space left' })
  t.equal(full.destroyed, true)

  const stuck = new Writable({ write: () => {} })
  const controller = new AbortController()
  const pump = pumpObject(object, stuck, { signal: controller.signal, onError })
  controller.abort(new Error('enough'))
  await t.rejects(pump, { message: 'enough' })
  t.equal(stuck.destroyed, true)

  const early = copier()
  await t.rejects(pumpObject(object, early.writable, { signal: AbortSignal.abort(new Error('before')) }), {
    message: 'before',
  })
  t.equal(early.parts.length, 0)

  const closing = new Writable({ write: () => closing.destroy() })
  await t.rejects(pumpObject(object, closing, { onError }), { code: 'ERR_STREAM_PREMATURE_CLOSE' })
  t.equal(errors.length, 3)
})

t.test('pumpObject: refuses a stage that passes its chunks on, and wrong options', async (t) => {
  await t.rejects(pumpObject(object, new PassThrough()), wrong('writable'))
  const { writable } = copier()
  await t.rejects(pumpObject(object, writable, { end: 2_000_000 }), wrong('end'))
  await t.rejects(pumpObject(object, writable, { chunkSize: 0 }), wrong('chunkSize'))
  await t.rejects(pumpObject(object, writable, { buffers: 65 }), wrong('buffers'))
  t.equal(writable.destroyed, false)
})

t.test('pumpToDescriptor: a file holds the object, or any range of it', async (t) => {
  const file = `${t.testdir({})}/object.bin`
  for (const options of [
    {},
    { chunkSize: 99_991 },
    { start: 12_345, end: 800_001, chunkSize: 7777 },
    { start: 9, end: 9 },
  ]) {
    const fd = openSync(file, 'w')
    const { start = 0, end = object.size } = options as ByteRange
    t.match(await pumpToDescriptor(object, fd, options), { bytesOut: end - start })
    closeSync(fd)
    t.ok(readFileSync(file).equals(whole.subarray(start, end)))
  }
})

t.test('pumpToDescriptor: waits for a pipe that is full and does not block', async (t) => {
  const fifo = `${t.testdir({})}/fifo`
  execFileSync('mkfifo', [fifo])
  const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)
  const parts: Buffer[] = []
  const reader = setInterval(() => {
    const chunk = Buffer.alloc(1_000_003)
    parts.push(chunk.subarray(0, readSync(fd, chunk)))
    // so slow that the writer gives up waiting at full speed
  }, 10)
  await pumpToDescriptor(object, fd)
  clearInterval(reader)
  const rest = Buffer.alloc(1_000_003)
  const missing = object.size - Buffer.concat(parts).length
  if (missing > 0) parts.push(rest.subarray(0, readSync(fd, rest)))
  closeSync(fd)
  t.ok(Buffer.concat(parts).equals(whole))
})

t.test(
  'pumpToDescriptor: rejects with the error of the write, the signal’s reason, or an option error',
  async (t) => {
    const errors: unknown[] = []
    const onError = (error: unknown) => void errors.push(error)
    const fd = openSync('/dev/full', 'w')
    await t.rejects(pumpToDescriptor(object, fd, { onError }), { code: 'ENOSPC' })
    await t.rejects(
      pumpToDescriptor(object, fd, { signal: AbortSignal.abort(new Error('enough')), onError }),
      { message: 'enough' },
    )
    closeSync(fd)
    t.equal(errors.length, 2)
    const controller = new AbortController()
    const endless = generator.beginObject({ size: 2 ** 53 - 1 })
    const nowhere = openSync('/dev/null', 'w')
    setTimeout(() => controller.abort(new Error('now')), 1)
    await t.rejects(
      pumpToDescriptor(endless, nowhere, { signal: controller.signal }),
      { message: 'now' },
      'timers run',
    )
    closeSync(nowhere)
    await t.rejects(pumpToDescriptor(object, -1), wrong('fd'))
    await t.rejects(pumpToDescriptor(object, 1, { end: 2_000_000 }), wrong('end'))
    await t.rejects(pumpToDescriptor(object, 1, { chunkSize: 0 }), wrong('chunkSize'))
  },
)

t.test('ObjectReader: runs in a pipeline', async (t) => {
  const sink = copier()
  await pipeline(object.stream(), sink.writable)
  t.ok(sink.bytes().equals(whole))
})

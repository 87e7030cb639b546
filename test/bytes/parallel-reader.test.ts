import t from 'tap'
import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { finished } from 'node:stream/promises'
import { DataGenerator, ParallelReader } from '../../src/bytes/index.ts'
import { createPool } from '../../src/workers/index.ts'

const MIB = 2 ** 20
const object = new DataGenerator({ seed: 42 }).beginObject({
  key: 'p',
  size: 9 * MIB + 77,
  dedup: 2.5,
  compress: 1.7,
})
const whole = object.read(0, object.size)
const wrong = (option: string) => ({ code: 'ERR_MILLRACE_OPTION', option })
const threads = () =>
  process.getActiveResourcesInfo().filter((name) => name === 'MessagePort' || name === 'Worker')

const pool = createPool({ workers: 2 })
t.teardown(() => pool.destroy())

t.test('ParallelReader: the bytes and their order do not depend on the number of workers', async (t) => {
  for (const threads of [{ workers: 0 }, { pool }, { pool, chunkSize: 99_991 }]) {
    const chunks = (await new ParallelReader(object, { ...threads, partSize: MIB }).toArray()) as Buffer[]
    t.ok(Buffer.concat(chunks).equals(whole))
    t.ok(
      chunks.every(
        ({ buffer: memory, length }) => memory instanceof ArrayBuffer && memory.byteLength === length,
      ),
      'no shared memory leaves',
    )
  }
})

t.test('ParallelReader: a range, parts of any size, a seed that is a bigint or a string', async (t) => {
  for (const seed of [2n ** 64n - 1n, 'text']) {
    const other = new DataGenerator({ seed }).beginObject({ size: 5 * MIB })
    const range = { start: 12_345, end: 4 * MIB + 1 }
    const bytes = await buffer(new ParallelReader(other, { ...range, pool, partSize: MIB + 4097 }))
    t.ok(bytes.equals(other.read(range.start, range.end - range.start)))
  }
  t.equal((await buffer(new ParallelReader(object, { start: 5, end: 5, pool }))).length, 0)
})

t.test('ParallelReader: one pool makes several objects at the same time', async (t) => {
  const others = [1, 2, 3].map((seed) =>
    new DataGenerator({ seed }).beginObject({ size: 4 * MIB, compress: seed }),
  )
  const read = await Promise.all(
    others.map((other) => buffer(new ParallelReader(other, { pool, partSize: MIB }))),
  )
  t.ok(read.every((bytes, i) => bytes.equals(others[i]!.read(0, 4 * MIB))))
})

t.test('ParallelReader: borrowed parts are valid until the next one', async (t) => {
  const reader = new ParallelReader(object, { pool, partSize: MIB })
  let at = 0
  for await (const part of reader.borrowed()) {
    t.ok(part.buffer instanceof SharedArrayBuffer)
    t.ok(part.equals(whole.subarray(at, at + part.length)))
    at += part.length
  }
  t.equal(at, object.size)
  t.match(reader.stats(), { bytesOut: object.size, chunks: 10 })
  await t.rejects(reader.borrowed().next(), wrong('reader'))
})

t.test('ParallelReader: leaves no thread when its reader stops, or its signal says so', async (t) => {
  const before = threads().length
  const endless = new DataGenerator({ seed: 1 }).beginObject({ size: 2 ** 50 })
  const stopped = new ParallelReader(endless, { workers: 1, partSize: MIB })
  for await (const chunk of stopped) if ((chunk as Buffer).length > 0) break
  t.equal(stopped.destroyed, true)

  const borrowed = new ParallelReader(endless, { pool, partSize: MIB })
  for await (const part of borrowed.borrowed()) if (part.length > 0) break

  const controller = new AbortController()
  const errors: unknown[] = []
  const reader = new ParallelReader(endless, {
    pool,
    signal: controller.signal,
    onError: (error) => void errors.push(error),
  })
  await once(reader, 'readable')
  const end = finished(reader)
  controller.abort()
  await t.rejects(end, { name: 'AbortError' })
  t.equal(errors.length, 1)

  const unread = new ParallelReader(endless)
  unread.destroy()
  await once(unread, 'close')
  for (let i = 0; i < 100 && threads().length > before; i++)
    await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal(threads().length, before)
})

t.test('ParallelReader: wrong options are option errors', async (t) => {
  t.throws(() => new ParallelReader(object, { end: 10 * MIB }), wrong('end'))
  t.throws(() => new ParallelReader(object, { partSize: MIB - 1 }), wrong('partSize'))
  t.throws(() => new ParallelReader(object, { partSize: 64 * MIB + 1 }), wrong('partSize'))
  t.throws(() => new ParallelReader(object, { workers: -1 }), wrong('workers'))
  t.throws(() => new ParallelReader(object, { chunkSize: 0 }), wrong('chunkSize'))
})

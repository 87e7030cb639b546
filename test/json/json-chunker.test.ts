import { Readable, Writable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import { chain, many, none } from 'stream-chain'
import t from 'tap'
import type { JsonError } from '../../src/errors.ts'
import { RecordBatch } from '../../src/flow/index.ts'
import { JsonChunker, type JsonChunkerOptions } from '../../src/json/json-chunker.ts'
import { anyJson } from './fixtures/vectors.ts'

const write = (chunks: Iterable<unknown>, options?: JsonChunkerOptions) =>
  text(Readable.from(chunks).pipe(new JsonChunker(options)))

/** All text up to the error, and the error. */
async function writeUntilError(chunks: Iterable<unknown>, options?: JsonChunkerOptions) {
  let written = ''
  try {
    for await (const chunk of Readable.from(chunks).pipe(new JsonChunker(options))) written += String(chunk)
  } catch (error) {
    return { written, error: error as JsonError }
  }
  return { written }
}

/** The records as batches and single records in any mixture (null only in batches). */
const mixed = (records: readonly unknown[]) =>
  fc.array(fc.nat(9), { minLength: 1 }).map((sizes) => {
    const chunks: unknown[] = []
    for (let at = 0, i = 0; at < records.length; i++) {
      const size = sizes[i % sizes.length]!
      if (size === 1 && records[at] !== null) chunks.push(records[at])
      else chunks.push(new RecordBatch(at, records.slice(at, at + Math.max(1, size))))
      at += Math.max(1, size)
    }
    return chunks
  })

t.test('JsonChunker: writes the same text for single records, batches and any threshold', async (t) => {
  const input = fc
    .array(anyJson, { maxLength: 30 })
    .chain((records) => fc.tuple(fc.constant(records), mixed(records)))
  await fc.assert(
    fc.asyncProperty(input, fc.integer({ min: 1, max: 200 }), async ([records, chunks], threshold) => {
      t.equal(await write(chunks, { threshold }), JSON.stringify(records))
      const lines = records.map((record) => `${JSON.stringify(record)}\n`)
      t.equal(await write(chunks, { threshold, format: 'ndjson' }), lines.join(''))
      t.equal(
        await write(chunks, { threshold, format: 'seq' }),
        lines.map((line) => `\u001e${line}`).join(''),
      )
    }),
  )
})

t.test('JsonChunker: no records are an empty array, or nothing', async (t) => {
  t.equal(await write([]), '[]')
  t.equal(await write([new RecordBatch(0, [])]), '[]')
  t.equal(await write([], { format: 'ndjson' }), '')
  t.equal(await write([], { format: 'seq' }), '')
  t.equal(
    await write([undefined as unknown], { onInvalid: 'skip' }).catch(() => 'undefined ends Readable.from'),
    '[]',
  )
})

t.test('JsonChunker: chunks are of the size of the threshold, however the records come', async (t) => {
  const record = { id: 1, text: 'x'.repeat(180) }
  const length = JSON.stringify(record).length + 1
  for (const batch of [1, 10, 1000, 100_000]) {
    const records = Array.from({ length: 100_000 }, () => record)
    const batches = Array.from({ length: 100_000 / batch }, (_, i) =>
      batch === 1 ? record : new RecordBatch(i * batch, records.slice(i * batch, (i + 1) * batch)),
    )
    const sizes: number[] = []
    await pipeline(
      Readable.from(batches),
      new JsonChunker({ onChunk: ({ bytes }) => sizes.push(bytes) }),
      new Writable({ write: (_chunk, _encoding, callback) => callback() }),
    )
    sizes.pop()
    t.ok(sizes.length > 100, String(batch))
    t.ok(Math.min(...sizes) >= 32 * 1024, `at least 32 KiB of ${batch}`)
    t.ok(Math.max(...sizes) <= 64 * 1024 + length, `at most twice that of ${batch}`)
  }
})

t.test('JsonChunker: a large batch waits for its reader', async (t) => {
  const chunker = new JsonChunker({ threshold: 1000, highWaterMark: 2000 })
  const records = Array.from({ length: 10_000 }, (_, i) => ({ i, text: 'x'.repeat(90) }))
  chunker.end(new RecordBatch(0, records))
  t.ok(chunker.readableLength < 4000, 'the queue holds what highWaterMark allows')
  t.equal(await text(chunker), JSON.stringify(records))
})

t.test('JsonChunker: a record is the writer’s again when its write is done', async (t) => {
  const chunker = new JsonChunker()
  const record = { n: 0 }
  for (; record.n < 3; record.n++) chunker.write(record)
  chunker.end()
  t.equal(await text(chunker), '[{"n":0},{"n":1},{"n":2}]')
})

t.test('JsonChunker: a record that JSON cannot hold is an error at its position', async (t) => {
  for (const format of ['array', 'ndjson', 'seq'] as const) {
    for (const bad of [1n, () => 1, Symbol('s')]) {
      const records = [{ a: 1 }, 2, bad, 3]
      const head = (await write([{ a: 1 }, 2], { format })).replace(/\]$/, '')
      for (const chunks of [
        records,
        [new RecordBatch(0, records)],
        [new RecordBatch(0, records.slice(0, 2)), bad],
      ]) {
        const { written, error } = await writeUntilError(chunks, { format })
        t.match(error, { code: 'ERR_MILLRACE_JSON_VALUE', index: 2 })
        t.equal(written, head)
      }
      t.equal(
        await write([...records, new RecordBatch(4, records)], { format, onInvalid: 'skip' }),
        await write([{ a: 1 }, 2, 3, { a: 1 }, 2, 3], { format }),
      )
    }
  }
  const onInvalid = (error: JsonError, record: unknown) => `${String(record)} at ${error.index}`
  t.equal(await write([1, 2n, new RecordBatch(2, [3n])], { onInvalid }), '[1,"2 at 1","3 at 2"]')
  const { error } = await writeUntilError([1n], {
    onInvalid: () => {
      throw new RangeError('mine')
    },
  })
  t.match(error, { name: 'RangeError', message: 'mine' })
})

t.test('JsonChunker: stringify makes the text of each record', async (t) => {
  const stringify = (record: unknown) => JSON.stringify({ is: record })
  t.equal(await write([1, new RecordBatch(1, [null])], { stringify }), '[{"is":1},{"is":null}]')
})

t.test('JsonChunker: counts, and tells hooks', async (t) => {
  const done: unknown[] = []
  const chunker = new JsonChunker({ threshold: 10, onComplete: (stats) => done.push(stats) })
  chunker.write({ a: 'long enough' })
  chunker.end(new RecordBatch(1, [1, 2]))
  const length = (await buffer(chunker)).length
  t.match(chunker.stats(), { recordsIn: 3, recordsOut: 3, bytesOut: length, chunks: 2, errors: 0 })
  t.match(done, [{ recordsIn: 3 }])
  const errors: unknown[] = []
  await writeUntilError([1n], { onError: (error) => errors.push(error) })
  t.match(errors, [{ index: 0 }])
  const late = new Error('late')
  t.equal(
    (
      await writeUntilError([1], {
        onComplete: () => {
          throw late
        },
      })
    ).error,
    late,
  )
  t.equal(
    (
      await writeUntilError([1n], {
        onError: () => {
          throw late
        },
      })
    ).error,
    late,
  )
})

t.test('JsonChunker: ends on abort, and stands in a chain', async (t) => {
  const controller = new AbortController()
  const chunker = new JsonChunker({ signal: controller.signal })
  controller.abort()
  await t.rejects(text(chunker), { name: 'AbortError' })
  const stages = chain([
    Readable.from([1, 2, 3]),
    (n: number) => (n === 2 ? none : many([n, n])),
    new JsonChunker(),
  ] as never)
  t.equal(await text(stages as unknown as Readable), '[1,1,3,3]')
})

t.test('JsonChunker: refuses options that are out of range', async (t) => {
  for (const [option, value] of Object.entries({
    format: 'json',
    threshold: 0,
    stringify: 1,
    onInvalid: 'drop',
    signal: 1,
    highWaterMark: -1,
  })) {
    t.throws(() => new JsonChunker({ [option]: value }), { code: 'ERR_MILLRACE_OPTION', option })
  }
})

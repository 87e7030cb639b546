import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import { Piscina } from 'piscina'
import chain, { many, none } from 'stream-chain'
import t from 'tap'
import {
  OptionError,
  RecordBatch,
  createPool,
  offload,
  positionOf,
  withPosition,
  type OffloadOptions,
} from '../../src/index.ts'
import { ChunkedReader } from '../../src/framing/index.ts'

const handlers = new URL('fixtures/handlers.mjs', import.meta.url)
const pool = createPool({ workers: 2 })
t.teardown(() => pool.destroy())
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

const stage = (name: string, options: OffloadOptions = {}) => offload(handlers, { name, pool, ...options })
const inline = (name: string, options: OffloadOptions = {}) =>
  offload(handlers, { name, workers: 0, ...options })
const items = (count: number) => Array.from({ length: count }, (_, i) => i)

/** All that comes out, and what it ended with. */
async function drain(stream: Readable) {
  const out: unknown[] = []
  try {
    for await (const chunk of stream) out.push(chunk)
  } catch (error) {
    return { out, error: error as Error }
  }
  return { out, error: undefined }
}

/** Splits bytes at any places. */
function cutUp(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const edges = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return edges.map((edge, i) => bytes.subarray(edges[i - 1] ?? 0, edge))
}

t.test(
  'offload: equals the handler itself, for any cut, window, pool, order and way of the bytes',
  async (t) => {
    const sizes = fc.array(fc.integer({ min: 0, max: 3000 }), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(
        sizes,
        fc.constantFrom('default', 'inScratch', 'overwriteInput'),
        fc.constantFrom('auto', 'copy', 'inline'),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 2000 }),
        async (lengths, name, way, window, blockSize) => {
          const chunks = lengths.map((length, i) => Buffer.alloc(length, i + 1))
          const options: OffloadOptions = {
            window,
            blockSize,
            ...(way !== 'inline' && { transfer: way }),
          }
          const make = way === 'inline' ? inline : stage
          const out = await buffer(Readable.from(chunks).pipe(make(name, options)))
          assert.equal(Buffer.compare(out, Buffer.concat(chunks)), 0)
        },
      ),
      { numRuns: 40 },
    )
    t.pass('held')
  },
)

t.test('offload: JSON text in and out does not depend on cuts, block size or workers', async (t) => {
  const record = fc.record({ id: fc.nat(), text: fc.string({ unit: 'grapheme', maxLength: 20 }) })
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { minLength: 1, maxLength: 30 }),
      fc.constantFrom('json', 'ndjson', 'concat', 'seq', 'auto'),
      fc.constantFrom('json', 'ndjson', 'seq'),
      fc.array(fc.nat(), { maxLength: 8 }),
      fc.integer({ min: 1, max: 300 }),
      fc.boolean(),
      async (records, input, out, cuts, blockSize, isInline) => {
        const format = {
          json: (list: string[], pretty = false) => `[${list.join(pretty ? ' ,\n' : ',')}]`,
          auto: (list: string[]) => `[${list.join(',')}]`,
          ndjson: (list: string[]) => list.map((one) => `${one}\n`).join(''),
          concat: (list: string[]) => list.join(''),
          seq: (list: string[]) => list.map((one) => `\u001e${one}\n`).join(''),
        }
        const text = Buffer.from(
          format[input as 'json'](
            records.map((one) => JSON.stringify(one)),
            true,
          ),
        )
        const expected = format[out as 'json'](records.map(({ id }) => JSON.stringify({ id })))
        const options = { in: input, out, blockSize } as OffloadOptions
        const through = (isInline ? inline : stage)('ids', options)
        const got = await buffer(Readable.from(cutUp(text, cuts)).pipe(through))
        assert.equal(got.toString(), expected)
        const { recordsIn, recordsOut, bytesIn, bytesOut } = through.stats()
        assert.deepEqual(
          { recordsIn, recordsOut, bytesIn, bytesOut },
          {
            recordsIn: records.length,
            recordsOut: records.length,
            bytesIn: text.length,
            bytesOut: got.length,
          },
        )
      },
    ),
    { numRuns: 40 },
  )
  t.equal(
    (await buffer(Readable.from([]).pipe(stage('same', { in: 'ndjson', out: 'json' })))).toString(),
    '[]',
  )
  const nested = Buffer.from('{"a":{"b":[1,2,3]},"c":[9]}')
  for (const make of [stage, inline]) {
    const path = await buffer(Readable.from([nested]).pipe(make('double', { in: 'json', path: ['a', 'b'] })))
    t.equal(path.toString(), '[2,4,6]')
  }
  t.throws(() => stage('same', { in: 'json', path: 'a.b' as never }), { name: 'OptionError', option: 'path' })
})

t.test(
  'offload: records come in order, exactly once, single or in batches; unordered they all come',
  async (t) => {
    const input = items(500)
    const doubled = input.map((n) => n * 2)
    const jitter = (options: OffloadOptions) =>
      Readable.from(input).pipe(stage('jitter', { in: 'records', ...options }))
    t.strictSame(await jitter({ batchSize: 3 }).toArray(), doubled)
    const unordered = (await jitter({ batchSize: 1, ordered: false, window: 8 }).toArray()) as number[]
    t.not(unordered.join(), doubled.join())
    t.strictSame(
      unordered.sort((a, b) => a - b),
      doubled,
    )
    const batches = (await jitter({ batches: true, batchSize: 200 }).toArray()) as RecordBatch<number>[]
    t.strictSame(
      batches.map(({ index, length }) => [index, length]),
      [
        [0, 200],
        [200, 200],
        [400, 100],
      ],
    )
    t.strictSame(
      batches.flatMap((batch) => [...batch]),
      doubled,
    )
  },
)

t.test(
  'offload: batches go through as they are, among single records, and keep their positions',
  async (t) => {
    const at = { index: 70, offset: 700, line: 71, column: 1, source: { partition: 3 } }
    const mixed = [
      1,
      2,
      new RecordBatch(2, [3, 4, 5]),
      6,
      withPosition(new RecordBatch(6, [7]), at),
      new RecordBatch(7, []),
    ]
    for (const make of [stage, inline]) {
      const out = await Readable.from(mixed)
        .pipe(make('positions', { in: 'records' }))
        .toArray()
      t.match(out, [{ index: 0 }, { index: 2 }, { index: 5 }, { index: 70, position: at }])
      const passed = Readable.from(mixed).pipe(make('same', { in: 'records', batches: true }))
      const last = (await passed.toArray()).at(-1) as RecordBatch
      t.strictSame(positionOf(last), at)
      t.equal(passed.stats().recordsIn, 7)
      t.equal(passed.stats().recordsOut, 7)
    }
  },
)

t.test(
  'offload: a handler learns where its block is in the input, and the output carries it on',
  async (t) => {
    const text = Buffer.from('{"a":1}\n{"a":2}\n{"a":3}\n')
    const options: OffloadOptions = { in: 'ndjson', out: 'ndjson', blockSize: 16 }
    const at = [
      { index: 0, offset: 0, line: 1, column: 1 },
      { index: 2, offset: 16, line: 3, column: 1 },
    ]
    for (const make of [stage, inline]) {
      const through = make('positions', options)
      const chunks: Buffer[] = []
      through.on('data', (chunk: Buffer) => chunks.push(chunk))
      through.end(text)
      await once(through, 'end')
      t.strictSame(
        chunks.map((chunk) => JSON.parse(chunk.toString())),
        at.map((position) => ({ index: position.index, position })),
      )
      t.strictSame(chunks.map(positionOf), at)
    }
    const bytes = await Readable.from([Buffer.from('ab'), Buffer.from('c')])
      .pipe(stage('positions', { out: 'records' }))
      .toArray()
    t.match(bytes, [
      { index: 0, position: { offset: 0, line: 0 } },
      { index: 1, position: { offset: 2, line: 0 } },
    ])
  },
)

t.test(
  'offload: values keep their types on the way through a worker, and lose the same without one',
  async (t) => {
    class Point {
      x = 1
    }
    const values = [
      new Map([[1, new Set(['a'])]]),
      5n,
      new Uint16Array([1, 2]),
      new Date(0),
      /x/g,
      { deep: [NaN, -0] },
      new Point(),
    ]
    const expected = [...values.slice(0, -1), { x: 1 }]
    for (const make of [stage, inline]) {
      t.strictSame(
        await Readable.from(values)
          .pipe(make('same', { in: 'records' }))
          .toArray(),
        expected,
      )
    }
    const moved = await Readable.from([0])
      .pipe(stage('moveRecords', { in: 'records' }))
      .toArray()
    t.strictSame(moved, [new Uint8Array([1, 2, 3])])
    const view = await buffer(Readable.from([Buffer.from('x')]).pipe(stage('moveView')))
    t.equal(view.toString(), 'mmmmmmmm')
  },
)

t.test(
  'offload: handlers may be generators, drop and multiply, and report beside the output, in order',
  async (t) => {
    for (const make of [stage, inline]) {
      const odd = Readable.from(items(9)).pipe(make('keepOdd', { in: 'records' }))
      t.strictSame(await odd.toArray(), [1, 3, 5, 7])
      const twice = Readable.from(items(3)).pipe(make('twice', { in: 'records', batchSize: 1 }))
      t.strictSame(await twice.toArray(), [0, 0, 1, 1, 2, 2])
      const none = Readable.from(items(3)).pipe(make('nothing', { in: 'records' }))
      t.strictSame(await none.toArray(), [])
      const seen: unknown[] = []
      const onReport: OffloadOptions['onReport'] = (data, { index, position }) =>
        seen.push([data, index, position.index])
      await Readable.from(items(10))
        .pipe(make('report', { in: 'records', batchSize: 4, onReport }))
        .toArray()
      t.strictSame(seen, [
        [{ index: 0, r: 0 }, 0, 0],
        [{ index: 0, r: 3 }, 0, 0],
        [{ index: 4, r: 6 }, 1, 4],
        [{ index: 8, r: 9 }, 2, 8],
      ])
    }
  },
)

t.test(
  'offload: an output larger than its slot arrives whole, and nothing that was pushed changes later',
  async (t) => {
    const chunks = items(20).map((i) => Buffer.alloc(1000 + i, i + 1))
    const through = stage('repeat', { workerData: 90, blockSize: 1024 })
    const out: Buffer[] = []
    const copies: Buffer[] = []
    through.on('data', (chunk: Buffer) => {
      out.push(chunk)
      copies.push(Buffer.from(chunk))
    })
    for (const chunk of chunks) through.write(chunk)
    through.end()
    await once(through, 'end')
    t.same(
      out.map((chunk) => chunk.length),
      chunks.map((chunk) => chunk.length * 90),
    )
    t.ok(out.every((chunk, i) => chunk.equals(copies[i]!)))
    t.ok(out.every((chunk) => chunk.buffer instanceof ArrayBuffer))
  },
)

t.test('offload: reads a file straight into its slots, and into buffers that are used again', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-'))
  const file = join(folder, 'in')
  const bytes = Buffer.concat(items(40).map((i) => Buffer.alloc(5000, i + 1)))
  writeFileSync(file, bytes)
  for (const chunkSize of [4096, 100_000]) {
    const through = stage('default', { blockSize: 4096, window: 2 })
    const reader = new ChunkedReader(file, { chunkSize, into: through })
    t.same(await buffer(reader.pipe(through)), bytes)
  }
  const lines = join(folder, 'lines')
  writeFileSync(
    lines,
    items(3000)
      .map((id) => `{"id":${id},"more":"${'x'.repeat(id % 50)}"}\n`)
      .join(''),
  )
  const map = stage('same', { in: 'ndjson', blockSize: 1000 })
  const text = await buffer(new ChunkedReader(lines, { chunkSize: 7000, into: map }).pipe(map))
  t.same(text, readFileSync(lines))
  const one = inline('default')
  t.same(await buffer(new ChunkedReader(file, { chunkSize: 8192, into: one }).pipe(one)), bytes)
})

t.test('offload: memory for readers is bounded, waits for room, and is given back', async (t) => {
  const through = stage('default', { blockSize: 64, window: 1 })
  const first = await through.alloc(1000)
  t.equal(first.length, 64)
  t.ok(first.buffer instanceof SharedArrayBuffer)
  const second = await through.alloc(10)
  t.equal(second.length, 10)
  const third = await through.alloc(10)
  t.ok(third.buffer instanceof SharedArrayBuffer)
  // all are lent, and nothing in the stage could free one: plain memory, not a wait without end
  const plain = await through.alloc(1000)
  t.ok(plain.buffer instanceof ArrayBuffer)
  t.equal(plain.length, 64)
  through.release(third)
  through.release(third)
  t.equal((await through.alloc(10)).byteOffset, third.byteOffset)
  // while one is in work, waiting ends
  first.fill('f')
  through.write(first)
  let given: Buffer | undefined
  const wait = Promise.resolve(through.alloc(64)).then((buffer) => (given = buffer))
  await turn()
  t.notOk(given)
  const [out] = (await once(through, 'data')) as [Buffer]
  t.equal(out.toString(), 'f'.repeat(64))
  await wait
  t.ok(given!.buffer instanceof SharedArrayBuffer)
  through.write(second)
  const last = through.alloc(64)
  through.destroy()
  await once(through, 'close')
  t.ok((await last).buffer instanceof ArrayBuffer)
  t.ok((await through.alloc(5)).buffer instanceof ArrayBuffer)
  const json = stage('same', { in: 'json' })
  const spare = await json.alloc(100)
  json.release(spare)
  t.equal((await json.alloc(50)).buffer, spare.buffer)
  json.destroy()
})

t.test('offload: with a slow sink, never more than the window and one block is on the way', async (t) => {
  for (const make of [stage, inline]) {
    let given = 0
    let taken = 0
    let most = 0
    const source = new Readable({
      highWaterMark: 1,
      read() {
        most = Math.max(most, given - taken)
        this.push(given < 60 ? Buffer.alloc(100, given++) : null)
      },
    })
    const sink = new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _encoding, callback) {
        taken += chunk.length / 100
        setTimeout(callback, 2)
      },
    })
    await pipeline(source, make('default', { window: 3, highWaterMark: 1 }), sink)
    t.equal(taken, 60)
    // and what the two streams around hold themselves: one chunk each on either side
    t.ok(most <= 3 + 4, `${most} on the way`)
  }
})

t.test('offload: transfer moves what owns its memory, copies the rest, and answers the same', async (t) => {
  const own = createPool({ workers: 1, perWorker: 1 })
  const moved = new Uint8Array(new ArrayBuffer(100)).fill(1)
  const parent = Buffer.from(new ArrayBuffer(100)).fill(2)
  const part = parent.subarray(0, 50)
  const pooled = Buffer.from('pooled')
  const through = offload(handlers, { pool: own, transfer: 'transfer' })
  const out = buffer(through)
  for (const chunk of [moved, part, pooled]) through.write(chunk)
  through.end()
  t.same(await out, Buffer.concat([Buffer.alloc(100, 1), Buffer.alloc(50, 2), Buffer.from('pooled')]))
  t.equal(moved.byteLength, 0)
  t.equal(parent.length, 100)
  t.equal(pooled.toString(), 'pooled')
  await own.destroy()
})

t.test('offload: works in chain(), beside none and many, and as a web stream', async (t) => {
  const stages = chain([
    (n: number) => (n === 3 ? none : n),
    stage('double', { in: 'records' }),
    (n: number) => many([n, n + 1]),
  ])
  t.strictSame(
    await Readable.from(items(5))
      .pipe(stages as unknown as Duplex)
      .toArray(),
    [0, 1, 2, 3, 4, 5, 8, 9],
  )
  const web = Duplex.toWeb(stage('double', { in: 'records' }))
  const got = []
  for await (const n of Readable.toWeb(Readable.from(items(3))).pipeThrough(web as never)) got.push(n)
  t.strictSame(got, [0, 2, 4])
})

t.test('offload: hooks are told, and one that throws fails the stage', async (t) => {
  const told: unknown[] = []
  const hooks: OffloadOptions = {
    onChunk: ({ stage: name, bytes }) => told.push([name, bytes]),
    onComplete: ({ chunks }) => told.push(chunks),
  }
  await buffer(Readable.from([Buffer.from('abc')]).pipe(stage('default', hooks)))
  t.strictSame(told, [['Offload', 3], 1])
  for (const hook of ['onChunk', 'onComplete', 'onError', 'onReport'] as const) {
    const options = {
      in: 'records',
      [hook]: () => {
        throw new Error(`from ${hook}`)
      },
    } as OffloadOptions
    const name = hook === 'onError' ? 'throwValue' : 'report'
    const { error } = await drain(Readable.from([3]).pipe(stage(name, options)))
    t.match(error, { message: `from ${hook}` })
  }
})

t.test('offload: refuses wrong options by name, before it starts a thread', (t) => {
  const small = new Piscina({ minThreads: 0, maxThreads: 1 })
  const full = new Piscina({ minThreads: 1, maxThreads: 1, maxQueue: 4 })
  const cases: [string, OffloadOptions][] = [
    ['workers', { workers: -1 }],
    ['perWorker', { perWorker: 0 }],
    ['window', { window: 0 }],
    ['blockSize', { blockSize: 0 }],
    ['batchSize', { batchSize: 1.5 }],
    ['batches', { batches: 1 as never }],
    ['ordered', { ordered: 'no' as never }],
    ['retries', { retries: -1 }],
    ['timeout', { timeout: 0 }],
    ['timeout', { timeout: 5, workers: 0 }],
    ['resourceLimits', { resourceLimits: {}, workers: 0 }],
    ['name', { name: 5 as never }],
    ['in', { in: 'xml' as never }],
    ['out', { out: 'concat' as never }],
    ['transfer', { transfer: 'move' as never }],
    ['perWorker', { transfer: 'transfer', perWorker: 2 }],
    ['perWorker', { transfer: 'transfer', pool }],
    ['retries', { transfer: 'transfer', retries: 1 }],
    ['onInvalid', { onInvalid: (() => {}) as never }],
    ['maxDepth', { maxDepth: 0 }],
    ['maxValueBytes', { maxValueBytes: 0 }],
    ['allowEmpty', { allowEmpty: 1 as never }],
    ['onReport', { onReport: 'log' as never }],
    ['workerData', { workerData: () => {} }],
    ['signal', { signal: {} as never }],
    ['highWaterMark', { highWaterMark: -1 }],
    ['workers', { workers: 2, pool }],
    ['pool', { pool: {} as never }],
    ['pool', { pool: small }],
    ['pool', { pool: full }],
  ]
  for (const [option, options] of cases) {
    t.throws(
      () => offload(handlers, options),
      { name: 'OptionError', option },
      JSON.stringify(Object.keys(options)),
    )
  }
  t.throws(() => offload(5 as never), OptionError)
  t.throws(() => createPool({ workers: 0 }), OptionError)
  t.throws(() => createPool({ perWorker: 0 }), OptionError)
  void small.destroy()
  void full.destroy()
  t.end()
})

t.test('offload: a module may be a path, a URL, or text in a data: URL', async (t) => {
  const code = 'data:text/javascript,export default (records) => records.map((n) => n + 1)'
  t.strictSame(
    await Readable.from([1])
      .pipe(offload(code, { in: 'records', pool }))
      .toArray(),
    [2],
  )
  const path = join('test', 'workers', 'fixtures', 'handlers.mjs')
  t.strictSame(
    await Readable.from([1])
      .pipe(offload(path, { in: 'records', pool }))
      .toArray(),
    [1],
  )
})

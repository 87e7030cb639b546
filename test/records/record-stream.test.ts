import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import fc from 'fast-check'
import t from 'tap'
import { RecordBatch, type Clock } from '../../src/flow/index.ts'
import {
  BatchIterator,
  BatchQueue,
  DataStreamProcessor,
  RecordStream,
  StreamingGenerator,
  Table,
  fit,
  generateToQueue,
  type RecordFormat,
  type RecordGenerator,
  type RecordStreamOptions,
  type Row,
} from '../../src/records/index.ts'
import { BlockRandom } from '../../src/records/random.ts'
import { sampleTask } from '../../src/records/sample-task.ts'
import { createPool } from '../../src/workers/index.ts'
import { people } from './helpers.ts'

const model = await fit(people(1500))
const COUNT = 9000
const whole = model.generate(COUNT, { seed: 7 })
const pool = createPool({ workers: 2 })
t.teardown(() => pool.destroy())

const option = (name: string) => ({ code: 'ERR_MILLRACE_OPTION', option: name })
const collect = (options: RecordStreamOptions) =>
  model.stream({ count: COUNT, seed: 7, ...options }).toArray()
const counting = (): RecordGenerator & { asked: number[] } => {
  let next = 0
  const asked: number[] = []
  return {
    asked,
    generate(count) {
      asked.push(count)
      return Array.from({ length: count }, () => ({ n: next++ }))
    },
  }
}
/** A clock that passes only while somebody sleeps. */
const fakeClock = (): Clock & { slept: number[] } => {
  let now = Date.UTC(2026, 0, 1)
  const slept: number[] = []
  return {
    slept,
    now: () => now,
    async sleep(ms, signal) {
      signal?.throwIfAborted()
      slept.push(ms)
      now += ms
    },
  }
}

t.test(
  'RecordStream: records do not depend on batch size, workers, format, or how far the reader is',
  async (t) => {
    t.strictSame(await collect({}), whole)
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5000 }),
        fc.boolean(),
        fc.nat({ max: COUNT - 1 }),
        fc.integer({ min: 1, max: 20 }),
        async (batchSize, batches, skip, highWaterMark) => {
          const made = (await collect({ batchSize, batches, skip, count: COUNT - skip, highWaterMark })) as (
            | Row
            | RecordBatch<Row>
          )[]
          const records = made.flatMap<unknown>((one) => (RecordBatch.is(one) ? one.records : [one]))
          t.strictSame(records, whole.slice(skip))
          for (const one of made.slice(0, -1)) if (RecordBatch.is(one)) t.equal(one.length, batchSize)
        },
      ),
      { numRuns: 12 },
    )
    for (const format of ['ndjson', 'json', 'csv'] as RecordFormat[]) {
      for (const range of [{}, { skip: 1500, count: 4000 }, { skip: 4096, count: 1 }, { count: 0 }]) {
        const alone = await text(model.stream({ count: COUNT, seed: 7, format, ...range }))
        t.equal(await text(model.stream({ count: COUNT, seed: 7, format, batchSize: 777, ...range })), alone)
        t.equal(
          await text(model.stream({ count: COUNT, seed: 7, format, pool, ...range })),
          alone,
          `${format}, workers`,
        )
        if (range.count === 0) continue
        const { skip = 0, count = COUNT } = range
        const expected = whole.slice(skip, skip + count)
        if (format === 'csv') {
          t.strictSame(
            [...(await Table.read(Readable.from([alone]), { schema: Table.from(whole).schema })).records()],
            expected,
          )
        } else if (format === 'json') t.strictSame(JSON.parse(alone), expected)
        else t.equal(alone, expected.map((row) => `${JSON.stringify(row)}\n`).join(''))
      }
    }
    t.strictSame(await collect({ pool, batchSize: 1000 }), whole, 'objects from workers')
    const batches = (await collect({ pool, batchSize: 1000, batches: true })) as RecordBatch[]
    t.strictSame(
      batches.map(({ index, length }) => [index, length]),
      Array.from({ length: 9 }, (_, i) => [i * 1000, 1000]),
    )
    t.strictSame(await text(model.stream({ count: 0, format: 'json' })), '[]\n')
  },
)

t.test(
  'RecordStream: a model in place of a generator of your own is the model, and does not begin anew',
  async (t) => {
    const rows = model.generate(2500)
    t.strictSame(await new RecordStream(model, { count: 2500, batchSize: 100 }).toArray(), rows)
    const generator = new StreamingGenerator({ generator: model, batchSize: 100, maxBatches: 25 })
    t.strictSame([...(await generator.generate(50)), ...(await generator.generate(50))], rows.slice(0, 100))
    t.strictSame(await generator.stream().toArray(), rows)
  },
)

t.test('RecordStream: counts what it gives, by threads too', async (t) => {
  const chunks: number[] = []
  const stream = model.stream({
    count: 5000,
    batchSize: 1000,
    batches: true,
    onChunk: ({ records }) => chunks.push(records),
  })
  await stream.toArray()
  t.match(stream.stats(), { recordsOut: 5000, batchesOut: 5, errors: 0, chunks: 5 })
  t.strictSame(chunks, [1000, 1000, 1000, 1000, 1000])
  const threaded = model.stream({ count: COUNT, pool, format: 'csv' })
  const bytes = (await text(threaded)).length
  t.match(threaded.stats(), { recordsOut: COUNT })
  t.ok(threaded.stats().bytesOut >= bytes && threaded.stats().recordsPerSecond > 0)
})

t.test('RecordStream: maxBatches 0 is nothing, and without a limit there is no end', async (t) => {
  t.strictSame(await collect({ maxBatches: 0 }), [])
  t.strictSame(await collect({ maxBatches: 2, batchSize: 10 }), whole.slice(0, 20))
  let seen = 0
  const endless = model.stream({ batches: true })
  for await (const batch of endless as AsyncIterable<RecordBatch>) if ((seen += batch.length) > 50_000) break
  t.ok(endless.destroyed)
})

t.test(
  'RecordStream: conditions, with workers too; what is too rare is told after all before it',
  async (t) => {
    const conditions = { age: { gte: 40 }, isMember: true }
    const alone = await collect({ conditions, format: 'ndjson' })
    t.ok(
      Buffer.concat(alone as Buffer[]).equals(
        Buffer.concat((await collect({ conditions, format: 'ndjson', pool })) as Buffer[]),
      ),
    )
    t.throws(() => model.stream({ conditions: { nobody: 1 } }), option('conditions'))
    t.throws(() => model.stream({ conditions: { age: { gt: 999 } } }), {
      code: 'ERR_MILLRACE_CONDITION_IMPOSSIBLE',
    })
    const rare = { conditions: { age: 18, children: { isNull: true as const } }, minAcceptance: 0.9 }
    await t.rejects(collect({ ...rare, format: 'ndjson', pool }), { code: 'ERR_MILLRACE_CONDITION_RARE' })
    const errors: unknown[] = []
    await t.rejects(collect({ ...rare, onError: (error) => errors.push(error) }), {
      code: 'ERR_MILLRACE_CONDITION_RARE',
    })
    t.equal(errors.length, 1)
    await t.rejects(
      collect({
        ...rare,
        onError: () => {
          throw new Error('the hook')
        },
      }),
      /the hook/,
    )
  },
)

t.test('RecordStream: pauses and rates go by the clock, and end at once with the stream', async (t) => {
  const clock = fakeClock()
  await collect({ count: 50, batchSize: 10, delayBetweenBatches: 250, clock })
  t.strictSame(clock.slept, [250, 250, 250, 250])
  const paced = fakeClock()
  const start = paced.now()
  await collect({ count: 1000, rate: 100, clock: paced })
  const elapsed = paced.now() - start
  t.ok(elapsed > 9900 && elapsed <= 10_000, `${elapsed} ms for 1000 records at 100 a second`)
  t.ok(Math.max(...paced.slept) <= 51, 'not in lumps')
  const slow = model.stream({ delayBetweenBatches: 1e9, batches: true })
  await once(slow, 'readable')
  slow.read()
  const closed = once(slow, 'close')
  slow.destroy()
  await closed
  const controller = new AbortController()
  const aborted = model.stream({ signal: controller.signal, rate: 1 })
  const end = aborted.toArray()
  controller.abort()
  await t.rejects(end, { name: 'AbortError' })
  const failing = { now: () => 0, sleep: () => Promise.reject(new Error('no clock')) }
  await t.rejects(collect({ delayBetweenBatches: 1, clock: failing, batchSize: 10 }), /no clock/)
})

t.test('RecordStream: stop() ends it after what is there, whole', async (t) => {
  const stream = model.stream({ format: 'json', rate: 5000 })
  let body = ''
  for await (const chunk of stream) {
    body += chunk
    if (body.length > 20_000) stream.stop()
  }
  const records = JSON.parse(body) as Row[]
  t.strictSame(records, model.generate(records.length))
})

t.test('RecordStream: metadata says when and which batch', async (t) => {
  const clock = fakeClock()
  const records = (await collect({ count: 25, batchSize: 10, includeMetadata: true, clock })) as Row[]
  t.strictSame(records[24], {
    ...whole[24],
    _generated_at: '2026-01-01T00:00:00.000Z',
    _batch_id: 'batch-003',
  })
  const options = { count: 25, batchSize: 10, includeMetadata: true, clock, seed: 7 }
  for (const threads of [{}, { pool }]) {
    t.equal(
      await text(model.stream({ ...options, ...threads, format: 'ndjson' })),
      records.map((row) => `${JSON.stringify(row)}\n`).join(''),
    )
  }
  t.strictSame(JSON.parse(await text(model.stream({ ...options, format: 'json' }))), records)
  const [head] = (await text(model.stream({ ...options, format: 'csv' }))).split('\n')
  t.match(head, /unit,_generated_at,_batch_id$/)
})

t.test('RecordStream: wrong options are option errors', async (t) => {
  for (const options of [
    { count: -1 },
    { count: 1.5 },
    { skip: -1 },
    { batchSize: 0 },
    { batchSize: 1e7 },
    { maxBatches: -1 },
    { rate: 0 },
    { delayBetweenBatches: -1 },
    { workers: -1 },
    { format: 'xml' },
    { batches: 1 },
    { includeMetadata: 'yes' },
    { highWaterMark: -1 },
    { signal: 5 },
    { clock: {} },
    { seed: -1 },
    { minAcceptance: 2 },
    { onChunk: 5 },
  ]) {
    t.throws(
      () => model.stream(options as RecordStreamOptions),
      option(Object.keys(options)[0]!),
      JSON.stringify(options),
    )
  }
  t.throws(() => model.stream({ batches: true, format: 'csv' }), option('batches'))
  t.throws(() => new RecordStream(counting(), { conditions: { n: 1 } }), option('conditions'))
  t.throws(() => new RecordStream(counting(), { workers: 2 }), option('workers'))
})

t.test('RecordStream: a generator of the user’s own', async (t) => {
  const own = counting()
  t.strictSame(
    await new RecordStream(own, { count: 25, batchSize: 10 }).toArray(),
    Array.from({ length: 25 }, (_, n) => ({ n })),
  )
  t.strictSame(own.asked, [10, 10, 5])
  const texts = await Promise.all(
    (['ndjson', 'json', 'csv'] as const).map((format) =>
      text(new RecordStream(counting(), { count: 2, batchSize: 1, format })),
    ),
  )
  t.strictSame(texts, ['{"n":0}\n{"n":1}\n', '[\n{"n":0},\n{"n":1}\n]\n', 'n\n0\n1\n'])
  let left = 3
  const short = {
    generate: async (count: number) =>
      left-- > 0 ? Array.from({ length: Math.min(count, 4) }, () => ({})) : [],
  }
  t.equal(
    (await new RecordStream(short, { batchSize: 4 }).toArray()).length,
    12,
    'fewer than asked for is the end',
  )
  const failing = {
    generate: (count: number) => {
      if (--left < -3) throw new Error('out of ideas')
      return Array.from({ length: count }, () => ({}))
    },
  }
  const got: unknown[] = []
  await t.rejects(async () => {
    for await (const record of new RecordStream(failing, { batchSize: 2 })) got.push(record)
  }, /out of ideas/)
  t.equal(got.length % 2, 0)
  await t.rejects(new RecordStream({ generate: () => 'x' as never }, { count: 1 }).toArray(), {
    code: 'ERR_MILLRACE_GENERATOR',
  })
  const never = new RecordStream({ generate: () => new Promise<never>(() => {}) })
  never.resume()
  never.destroy()
  await once(never, 'close')
})

t.test('RecordStream: waits for a slow reader', async (t) => {
  const own = counting()
  const sink = new Writable({
    objectMode: true,
    highWaterMark: 1,
    write: (_record, _encoding, done) => void setImmediate(done),
  })
  await pipeline(
    new RecordStream(own, { count: 500, batchSize: 10, highWaterMark: 4 }),
    async function* (source) {
      let read = 0
      for await (const record of source) {
        read++
        t.ok(own.asked.length * 10 <= read + 30, 'no more than the buffer and a batch ahead')
        yield record
      }
    },
    sink,
  )
})

t.test('sampleTask: makes what it is asked for, of the model that it was given', async (t) => {
  const reports: unknown[] = []
  const context = { target: undefined, report: (made: unknown) => void reports.push(made) }
  const spec = { data: model.toJSON(), draw: { seed: 7 }, format: undefined }
  t.strictSame(sampleTask([{ from: 3, to: 5 }], { ...context, workerData: spec }), whole.slice(3, 5))
  const workerData = { ...spec, format: 'ndjson' as const }
  const range = { from: 1000, to: 1050 }
  const expected = Buffer.from(
    whole
      .slice(1000, 1050)
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(''),
  )
  t.same(sampleTask([range], { ...context, workerData }), expected)
  // to shared memory, if it is certain to be long enough
  for (const [length, isLent] of [
    [100_000, true],
    [100, false],
  ] as const) {
    const target = Buffer.from(new SharedArrayBuffer(length))
    const lines = sampleTask([range], { ...context, target, workerData }) as Buffer
    t.ok(lines.equals(expected))
    t.equal(lines.buffer === target.buffer, isLent)
  }
  t.same(reports, [])
  // where it fails, how far it got is told: all of the first blocks, since a condition is judged a block at a time
  const draw = { seed: 7, conditions: { age: 18, children: { isNull: true as const } }, minAcceptance: 0.9 }
  t.throws(() => sampleTask([{ from: 0, to: 3000 }], { ...context, workerData: { ...workerData, draw } }), {
    name: 'ConditionError',
  })
  t.equal(reports.length, 1)
  t.ok((reports[0] as number) < 3000, 'not to its end')
})

t.test('StreamingGenerator: fit, load, generate on, and count it all', async (t) => {
  const generator = new StreamingGenerator({ seed: 7, batchSize: 100, maxBatches: 3 })
  t.throws(() => generator.generate(1), { code: 'ERR_MILLRACE_NOT_FITTED' })
  t.throws(() => generator.stream(), { code: 'ERR_MILLRACE_NOT_FITTED' })
  await generator.fit(people(1500))
  t.strictSame(generator.generate(50), whole.slice(0, 50))
  const batches: RecordBatch<Row>[] = []
  for await (const batch of generator.generateStream()) batches.push(batch)
  t.strictSame(
    batches.flatMap(({ records }) => records),
    whole.slice(50, 350),
  )
  t.strictSame(generator.generate(10), whole.slice(350, 360), 'goes on where it was')
  t.match(generator.stats(), { recordsOut: 360, batchesOut: 5, errors: 0, updates: 0 })
  generator.reset()
  t.strictSame(generator.generate(5), whole.slice(0, 5))
  t.equal((await generator.stream().toArray()).length, 300)
  const chunks: number[] = []
  await generator
    .stream({ onChunk: ({ records }) => chunks.push(records), batchSize: 150, maxBatches: 2 })
    .toArray()
  t.strictSame(chunks, [150, 150])
  for await (const batch of generator.generateStream({ conditions: { isMember: true } }))
    t.ok(batch.records.every(({ isMember }) => isMember))
  await model.save(`${t.testdir()}/m.json`)
  for (const source of [model, model.toJSON(), `${t.testdirName}/m.json`]) {
    t.strictSame((await new StreamingGenerator({ seed: 7 }).load(source)).generate(10), whole.slice(0, 10))
  }
  generator.partialFit(people(200, 5))
  t.equal(generator.stats().updates, 1)
  t.equal(generator.model?.rows, 1700)
  t.throws(() => new StreamingGenerator({ batchSize: 0 }), option('batchSize'))
  const errors: unknown[] = []
  const rare = generator.stream({
    conditions: { age: 18, children: 1 },
    minAcceptance: 1,
    onError: (error) => errors.push(error),
  })
  await t.rejects(rare.toArray(), { code: 'ERR_MILLRACE_CONDITION_RARE' })
  t.equal(errors.length, 1)
  t.equal(generator.stats().errors, 1)
})

t.test('StreamingGenerator: a generator of the user’s own in place of a model', async (t) => {
  const generator = new StreamingGenerator({ generator: counting(), batchSize: 2, maxBatches: 2 })
  t.strictSame(generator.generate(1), [{ n: 0 }])
  const batches: unknown[] = []
  for await (const { records } of generator.generateStream()) batches.push(records)
  t.strictSame(batches, [
    [{ n: 1 }, { n: 2 }],
    [{ n: 3 }, { n: 4 }],
  ])
  await t.rejects(generator.load(model), option('generator'))
  t.throws(() => new StreamingGenerator({ generator: {} as RecordGenerator }), option('generator'))
  const later = new StreamingGenerator({ generator: { generate: async () => [{ a: 1 }] } })
  t.strictSame(await later.generate(1), [{ a: 1 }])
})

t.test('BatchIterator: a known number of batches, their sum the total', async (t) => {
  fc.assert(
    fc.property(fc.nat({ max: 3000 }), fc.integer({ min: 1, max: 700 }), (totalRecords, batchSize) => {
      const batches = new BatchIterator(counting(), { totalRecords, batchSize })
      const all = [...batches]
      return (
        all.length === batches.length && all.reduce((sum, { length }) => sum + length, 0) === totalRecords
      )
    }),
    { numRuns: 40 },
  )
  const records: unknown[] = []
  for await (const batch of new BatchIterator(model, { totalRecords: 2500 })) records.push(...batch.records)
  t.strictSame(records, model.generate(2500))
  const later = new BatchIterator({ generate: async () => [] }, { totalRecords: 1 })
  t.throws(() => [...later], { code: 'ERR_MILLRACE_GENERATOR' })
  t.throws(() => new BatchIterator(counting(), { totalRecords: -1 }), option('totalRecords'))
})

t.test('generateToQueue: bounded, with an end that always comes', async (t) => {
  const own = counting()
  const queue = new BatchQueue({ maxBatches: 2 })
  const filling = generateToQueue(own, queue, { totalRecords: 50, batchSize: 10 })
  await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal(queue.length, 2, 'who puts waits')
  t.equal(own.asked.length, 3)
  const sizes: number[] = []
  for await (const batch of queue) sizes.push(batch.length)
  t.strictSame(sizes, [10, 10, 10, 10, 10])
  t.equal(await queue.take(), null, 'the end stays the end')
  await filling
  let calls = 0
  const failing = {
    generate: () => {
      if (calls++ > 0) throw new Error('out of ideas')
      return [{ n: 1 }]
    },
  }
  const other = new BatchQueue()
  const waiting = Promise.all([other.take(), other.take().catch((error: Error) => error.message)])
  await t.rejects(generateToQueue(failing, other, { totalRecords: 9, batchSize: 1 }), /out of ideas/)
  t.match(await waiting, [{ length: 1 }, 'out of ideas'])
  calls = 0
  const put: unknown[] = []
  await t.rejects(
    generateToQueue(failing, { put: (batch) => put.push(batch) }, { totalRecords: 9, batchSize: 1 }),
    /out of ideas/,
  )
  t.equal(put.at(-1), null, 'a queue that cannot fail ends')
  t.throws(() => new BatchQueue({ maxBatches: 0 }), option('maxBatches'))
  await t.rejects(generateToQueue(counting(), {} as BatchQueue, { totalRecords: 1 }), option('queue'))
})

t.test(
  'DataStreamProcessor: steps change and filter batches, in order, until the total is generated',
  async (t) => {
    const own = counting()
    const processor = new DataStreamProcessor(own, {
      transformers: [
        (records) => records.filter(({ n }) => (n as number) % 3 === 0),
        { map: async (row) => ({ ...row, twice: (row['n'] as number) * 2 }) },
        { filter: async ({ n }) => (n as number) >= 12 },
        async (records) => records,
      ],
      batchSize: 10,
    })
    const batches: RecordBatch<Row>[] = []
    for await (const batch of processor.process(35)) batches.push(batch)
    t.strictSame(
      batches.flatMap(({ records }) => records),
      [12, 15, 18, 21, 24, 27, 30, 33].map((n) => ({ n, twice: 2 * n })),
    )
    t.strictSame(
      batches.map(({ index }) => index),
      [0, 3, 6],
      'empty batches are left out',
    )
    t.strictSame(own.asked, [10, 10, 10, 5])
    const none: unknown[] = []
    for await (const batch of new DataStreamProcessor(counting()).process(3)) none.push(...batch.records)
    t.equal(none.length, 3)
    const run = async (transformers: never[], generator = counting() as RecordGenerator) => {
      for await (const batch of new DataStreamProcessor(generator, { transformers }).process(5)) t.ok(batch)
    }
    await t.rejects(
      run([
        () => {
          throw new Error('a bad step')
        },
      ] as never[]),
      /a bad step/,
    )
    await t.rejects(run([() => 5] as never[]), option('transformers'))
    await t.rejects(
      run([], {
        generate: () => {
          throw new Error('out of ideas')
        },
      }),
      /out of ideas/,
    )
    for (const wrong of [[5], [{}], [null], 5]) {
      t.throws(
        () => new DataStreamProcessor(counting(), { transformers: wrong as never }),
        option('transformers'),
      )
    }
    t.throws(
      () => new DataStreamProcessor(counting(), { transformers: [{ map: 5 as never }] }),
      option('transformers'),
    )
  },
)

t.test('a block that is read in pieces is drawn once', async (t) => {
  // every word that is drawn is counted
  const draw = BlockRandom.prototype.fillWords
  let words = 0
  t.teardown(() => {
    BlockRandom.prototype.fillWords = draw
  })
  BlockRandom.prototype.fillWords = function (to, count) {
    words += count
    draw.call(this, to, count)
  }
  for (const conditions of [{}, { age: { gte: 60 }, isMember: true }]) {
    const made = async (batchSize: number) => {
      words = 0
      const rows = await model.stream({ count: 2048, seed: 7, batchSize, conditions }).toArray()
      return { rows, words }
    }
    t.same(await made(10), await made(1024))
  }
  const iterated = async (batchSize: number) => {
    words = 0
    const rows = [...new BatchIterator(model, { totalRecords: 2048, batchSize })].flatMap(
      (batch) => batch.records,
    )
    return { rows, words }
  }
  t.same(await iterated(10), await iterated(1024))
})

t.test('records before a block that cannot be made come out of a task of several blocks', async (t) => {
  const made = async (seed: number, more: RecordStreamOptions) => {
    const rows: unknown[] = []
    const stream = model.stream({
      count: 4096,
      seed,
      conditions: { age: { lte: 20 } },
      minAcceptance: share,
      ...more,
    })
    try {
      for await (const row of stream) rows.push(row)
      return { rows, code: undefined }
    } catch (error) {
      return { rows, code: (error as { code?: string }).code }
    }
  }
  // as many as are there on the average, so that it is up to chance which block has too few
  const sample = model.generate(20_000, { seed: 1 })
  const share = (0.998 * sample.filter(({ age }) => Number(age) <= 20).length) / sample.length
  let seed = 0
  let alone = await made(seed, {})
  while (seed < 50 && (alone.code === undefined || alone.rows.length === 0)) alone = await made(++seed, {})
  t.equal(alone.code, 'ERR_MILLRACE_CONDITION_RARE')
  t.ok(alone.rows.length > 0)
  t.same(await made(seed, { pool }), alone)
  // whole blocks, whatever a batch is
  for (const batchSize of [2048, 4096]) t.same(await made(seed, { batchSize }), alone)
  t.same(await made(seed, { pool, batchSize: 1000 }), alone)
  for (const more of [{ pool }, { batchSize: 4096 }, { batchSize: 4096, includeMetadata: true }]) {
    const stream = model.stream({
      count: 4096,
      seed,
      conditions: { age: { lte: 20 } },
      minAcceptance: share,
      format: 'ndjson',
      ...more,
    })
    let lines = ''
    await t.rejects(
      async () => {
        for await (const chunk of stream) lines += String(chunk)
      },
      { code: 'ERR_MILLRACE_CONDITION_RARE', partial: undefined },
    )
    t.equal(lines.split('\n').length - 1, alone.rows.length)
    t.equal(stream.stats().recordsOut, alone.rows.length)
  }
})

t.test('RecordStream: a hook that throws at the end fails the stream, after all records', async (t) => {
  const fault = new Error('hook')
  const onComplete = () => {
    throw fault
  }
  const rows: unknown[] = []
  await t.rejects(async () => {
    for await (const row of model.stream({ count: 3, onComplete })) rows.push(row)
  }, fault)
  t.equal(rows.length, 3)
})

t.test('RecordStream: text with a DEL character is written as it is', async (t) => {
  const odd = await fit(
    Array.from({ length: 100 }, (_, i) => ({ word: ['a\u007fb', 'plain'][i % 2]!, n: i % 7 })),
  )
  const lines = (await text(odd.stream({ count: 200, seed: 2, format: 'ndjson' }))).trim().split('\n')
  t.same(
    lines.map((line) => JSON.parse(line) as unknown),
    odd.generate(200, { seed: 2 }),
  )
  t.ok(lines.some((line) => line.includes('\u007f')))
})

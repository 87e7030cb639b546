import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type Duplex, PassThrough, Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Worker } from 'node:worker_threads'
import { Piscina } from 'piscina'
import t from 'tap'
import { JsonError, OffloadError, createPool, offload, type OffloadOptions } from '../../src/index.ts'

const handlers = new URL('fixtures/handlers.mjs', import.meta.url)
const fixture = (name: string) => new URL(`fixtures/${name}`, import.meta.url)
// two workers that hold two blocks each: a dead one always had a neighbour
const pool = createPool({ workers: 2 })
t.teardown(() => pool.destroy())

const stage = (name: string, options: OffloadOptions = {}) =>
  offload(handlers, { name, pool, in: 'records', batchSize: 1, ...options })
const inline = (name: string, options: OffloadOptions = {}) =>
  offload(handlers, { name, workers: 0, in: 'records', batchSize: 1, ...options })
const items = (count: number) => Array.from({ length: count }, (_, i) => i)
const runCounts = () => new SharedArrayBuffer(4 * 100)

async function drain(stream: Readable) {
  const out: unknown[] = []
  try {
    for await (const chunk of stream) out.push(chunk)
  } catch (error) {
    return { out, error: error as OffloadError }
  }
  return { out, error: undefined }
}

/** Living threads beside those of the shared pool; some Nodes have one of their own for loaders. An ended one has the id -1. */
const threads: Worker[] = []
process.on('worker', (worker) => threads.push(worker))
const left = () => threads.filter((worker) => worker.threadId !== -1 && !pool.threads.includes(worker)).length

t.test(
  'a block that kills its worker is run again as often as retries says; its neighbours never count',
  async (t) => {
    const counts = runCounts()
    const poison = { 3: 2 }
    const through = stage('crash', { retries: 2, workerData: { poison, counts } })
    const { out, error } = await drain(Readable.from(items(20)).pipe(through))
    t.equal(error, undefined)
    t.strictSame(out, items(20))
    const runs = new Int32Array(counts)
    t.equal(runs[3], 3)
  },
)

t.test(
  'a block that always kills its worker is the error, at its position, with the number of attempts',
  async (t) => {
    for (const [how, retries] of [
      ['exit', 1],
      ['throw', 0],
    ] as const) {
      const counts = runCounts()
      const through = stage('crash', { retries, workerData: { poison: { 5: 9 }, counts, how } })
      const { out, error } = await drain(Readable.from(items(20)).pipe(through))
      t.strictSame(out, items(5))
      t.match(error, {
        name: 'OffloadError',
        code: 'ERR_MILLRACE_OFFLOAD_CRASH',
        index: 5,
        attempts: retries + 1,
      })
      t.match(error!.cause, { message: { exit: /code: 7/, throw: 'uncaught', reject: 'unhandled' }[how] })
      // once more where it had company that had begun as well
      t.ok([retries + 1, retries + 2].includes(new Int32Array(counts)[5]!))
    }
  },
)

t.test(
  'when async handlers share a dead worker, each suspect runs alone, and only the culprit fails',
  async (t) => {
    const counts = runCounts()
    const options = { workerData: { poison: { 6: 9 }, counts, wait: 20 } }
    const { out, error } = await drain(Readable.from(items(12)).pipe(stage('crash', options)))
    t.strictSame(out, items(6))
    t.match(error, { code: 'ERR_MILLRACE_OFFLOAD_CRASH', index: 6, attempts: 1 })
    t.ok(new Int32Array(counts)[6]! <= 2, 'once among others at most, and once alone')
  },
)

t.test('stages that share a pool: the death of a worker hurts only the stage that caused it', async (t) => {
  const good = stage('crash', { workerData: { poison: {}, counts: runCounts(), wait: 10 } })
  const bad = stage('crash', { workerData: { poison: { 4: 9 }, counts: runCounts(), wait: 10 } })
  const [one, other] = await Promise.all([
    drain(Readable.from(items(12)).pipe(good)),
    drain(Readable.from(items(12)).pipe(bad)),
  ])
  t.strictSame(one, { out: items(12), error: undefined })
  t.strictSame(other.out, items(4))
  t.match(other.error, { code: 'ERR_MILLRACE_OFFLOAD_CRASH', index: 4 })
  t.equal(pool.listenerCount('workerDestroy'), 0)
})

t.test('bytes in slots survive the death of the worker that read them', async (t) => {
  const counts = runCounts()
  const chunks = items(8).map((i) => Buffer.alloc(1000, i))
  const through = stage('crash', { in: 'bytes', retries: 1, workerData: { poison: { 2: 1 }, counts } })
  const { out, error } = await drain(Readable.from(chunks).pipe(through))
  t.equal(error, undefined)
  t.same(Buffer.concat(out as Buffer[]), Buffer.concat(chunks))
})

t.test(
  'a handler that takes too long: its worker is ended, the error is at its position, neighbours are run again',
  async (t) => {
    for (const how of ['sync', 'async'] as const) {
      const counts = runCounts()
      const options: OffloadOptions = { timeout: 500, retries: 3, workerData: { at: 4, how, counts } }
      const { out, error } = await drain(Readable.from(items(8)).pipe(stage('hang', options)))
      t.strictSame(out, items(4))
      t.match(error, { code: 'ERR_MILLRACE_OFFLOAD_TIMEOUT', index: 4, expected: 500, message: /500 ms/ })
      // an async handler may have had company, and is judged alone
      t.ok(new Int32Array(counts)[4]! <= (how === 'sync' ? 1 : 2))
    }
    t.equal((await drain(Readable.from(items(30)).pipe(stage('jitter', { timeout: 5000 })))).out.length, 30)
  },
)

t.test('a module that never loads ends with timeout, one that kills its worker at once', async (t) => {
  const never = offload(fixture('never-loads.mjs'), { pool, timeout: 300 })
  t.match((await drain(Readable.from([Buffer.from('a')]).pipe(never))).error, {
    code: 'ERR_MILLRACE_OFFLOAD_WORKER',
    message: /loading .*never-loads.mjs took longer than 5000 ms/,
  })
  const exits = offload(fixture('exits.mjs'), { pool, retries: 2, in: 'records', batchSize: 1 })
  t.match((await drain(Readable.from(items(5)).pipe(exits))).error, {
    code: 'ERR_MILLRACE_OFFLOAD_WORKER',
    index: 0,
    message: /loading .*exits.mjs killed the worker/,
  })
})

t.test('a module or an export that is not there is an error of block 0, again and again', async (t) => {
  for (let i = 0; i < 2; i++) {
    for (const make of [stage, inline]) {
      const missing = await drain(Readable.from(items(9)).pipe(make('missing')))
      t.match(missing, { out: [], error: { code: 'ERR_MILLRACE_OFFLOAD_WORKER', index: 0 } })
    }
    const none = await drain(
      Readable.from(items(9)).pipe(offload(fixture('none.mjs'), { pool, in: 'records' })),
    )
    t.match(none.error, {
      code: 'ERR_MILLRACE_OFFLOAD_WORKER',
      index: 0,
      cause: { message: /Cannot find module/ },
    })
    const broken = await drain(
      Readable.from(items(9)).pipe(offload(fixture('throws.mjs'), { pool, in: 'records' })),
    )
    t.match(broken.error, { index: 0, cause: { code: 'ERR_BROKEN' } })
  }
  t.strictSame(await drain(Readable.from([]).pipe(stage('missing'))), { out: [], error: undefined })
})

t.test(
  'a handler that throws is never run again; its error keeps its facts, what came before is delivered',
  async (t) => {
    for (const make of [stage, inline]) {
      const through = make('failAt', { retries: 5, workerData: 13, batchSize: 5 })
      const { out, error } = await drain(Readable.from(items(30)).pipe(through))
      t.strictSame(out, items(13))
      t.match(error, { code: 'ERR_MILLRACE_OFFLOAD_HANDLER', index: 2, message: /short and stout/ })
      t.match(error!.cause, { code: 'ERR_TEAPOT', status: 418, cause: { name: 'RangeError', cause: 'fire' } })
      t.ok(error!.cause instanceof TypeError)
      t.equal(through.stats().errors, 1)
      const bytes = make('failBytes', { in: 'bytes' })
      const chunks = ['one ', 'two ', 'x', 'three'].map((text) => Buffer.from(text))
      const partial = await drain(Readable.from(chunks).pipe(bytes))
      t.equal(Buffer.concat(partial.out as Buffer[]).toString(), 'one two before x')
      t.match(partial.error, { index: 2, offset: 8 })
      for (const thrown of ['text', 0, undefined, { code: 5 }]) {
        const odd = await drain(Readable.from([1]).pipe(make('throwValue', { workerData: thrown })))
        t.strictSame(odd.error!.cause, thrown)
      }
    }
  },
)

t.test('what cannot be sent: records in, records out, values for JSON, nulls alone', async (t) => {
  const around = (bad: unknown) => [1, 2, bad, 4]
  for (const make of [stage, inline]) {
    const input = await drain(Readable.from(around(() => {})).pipe(make('same')))
    t.match(input, { out: [1, 2], error: { code: 'ERR_MILLRACE_OFFLOAD_INPUT', index: 2 } })
    const result = await drain(Readable.from([3, 4, 5, 6]).pipe(make('unsendable', { retries: 2 })))
    t.match(result, { out: [3, 4], error: { code: 'ERR_MILLRACE_OFFLOAD_RESULT', index: 2 } })
    const json = await drain(
      Readable.from([3, 4, 5, 6]).pipe(make('notJson', { out: 'ndjson', batchSize: 4 })),
    )
    t.equal(Buffer.concat(json.out as Buffer[]).toString(), '3\n4\n')
    t.match(json.error, {
      code: 'ERR_MILLRACE_OFFLOAD_RESULT',
      cause: { code: 'ERR_MILLRACE_JSON_VALUE', index: 2 },
    })
    const later = await drain(Readable.from([3, 4]).pipe(make('rejectLater')))
    t.match(later, {
      out: [3, 4],
      error: { code: 'ERR_MILLRACE_OFFLOAD_HANDLER', cause: { message: 'later' } },
    })
    const wrong = await drain(Readable.from([1]).pipe(make('notBytes', { out: 'bytes' })))
    t.match(wrong.error, { code: 'ERR_MILLRACE_OFFLOAD_RESULT', message: /got 42/ })
    const text = Buffer.from('1\nnull\n3\n')
    const nulls = await drain(Readable.from([text]).pipe(make('same', { in: 'ndjson', out: 'records' })))
    t.match(nulls, {
      out: [1],
      error: { code: 'ERR_MILLRACE_OFFLOAD_RESULT', index: 1, message: /null.*batches/ },
    })
    const batches = await drain(
      Readable.from([text]).pipe(make('same', { in: 'ndjson', out: 'records', batches: true })),
    )
    t.match(batches, { out: [{ records: [1, null, 3] }], error: undefined })
  }
})

t.test('bad JSON is an error with its absolute place, all records before it are delivered', async (t) => {
  const lines = items(40).map((i) => `{"id":${i}}\n`)
  const at = lines.slice(0, 33).join('').length
  lines[33] = '{"id":oops}\n'
  const text = Buffer.from(lines.join(''))
  const expected = { index: 33, offset: at + 6, line: 34, column: 7, code: 'ERR_MILLRACE_JSON_SYNTAX' }
  for (const make of [stage, inline]) {
    const through = make('same', { in: 'ndjson', blockSize: 100 })
    const { out, error } = await drain(Readable.from([text]).pipe(through))
    t.equal(Buffer.concat(out as Buffer[]).toString(), lines.slice(0, 33).join(''))
    t.ok(error instanceof JsonError)
    t.match(error, expected)
    const cut = make('same', { in: 'json', blockSize: 5 })
    const truncated = await drain(Readable.from([Buffer.from('[1,22,333,{"a"')]).pipe(cut))
    t.equal(Buffer.concat(truncated.out as Buffer[]).toString(), '[1,22,333')
    t.match(truncated.error, { name: 'JsonError', code: 'ERR_MILLRACE_JSON_TRUNCATED' })
    const long = make('same', { in: 'ndjson', maxValueBytes: 10 })
    const tooLong = await drain(Readable.from([Buffer.from(`1\n${'2'.repeat(11)}\n`)]).pipe(long))
    t.equal(Buffer.concat(tooLong.out as Buffer[]).toString(), '1\n')
    t.match(tooLong.error, { code: 'ERR_MILLRACE_JSON_TOO_LONG', index: 1 })
  }
})

t.test('a signal ends it at once, though handlers never return, and no thread is left', async (t) => {
  const before = left()
  const controller = new AbortController()
  const through = offload(handlers, { name: 'forever', workers: 1, signal: controller.signal })
  through.write('x')
  setTimeout(() => controller.abort(), 50)
  const [error] = (await once(through, 'error')) as [Error]
  t.equal(error.name, 'AbortError')
  if (!through.closed) await once(through, 'close')
  t.equal(left(), before)
  const early = offload(handlers, { workers: 1, signal: AbortSignal.abort() })
  await once(early, 'close').catch(() => {})
  t.ok(early.destroyed)
})

t.test('leaving the loop, a sink that fails, the end: no thread is left of a pool of its own', async (t) => {
  const before = left()
  const stages: Duplex[] = []
  const own = () => {
    const through = offload(handlers, { name: 'same', in: 'records', workers: 1, batchSize: 2 })
    stages.push(through)
    return through
  }
  const closed = async () => {
    for (const through of stages) {
      if (!through.closed) await new Promise((resolve) => through.once('close', resolve))
    }
  }
  for await (const n of Readable.from(items(1000)).pipe(own())) if (n === 5) break
  const sink = new Writable({
    objectMode: true,
    write: (n, _encoding, callback) => callback(n === 7 ? new Error('disk full') : null),
  })
  await t.rejects(pipeline(Readable.from(items(1000)), own(), sink), { message: 'disk full' })
  await closed()
  t.equal(left(), before)
  const out = []
  const through = own()
  through.on('data', (n: number) => out.push(n))
  for (const n of items(5)) through.write(n)
  through.end()
  await once(through, 'end')
  t.equal(out.length, 5)
  t.equal(left(), before, 'when the output ends the threads are gone')
  await closed()
  t.ok(threads.length >= 3)
})

t.test(
  'a stage that is destroyed lets the tasks on a shared pool run to their end and drops their results',
  async (t) => {
    const through = stage('busy')
    for (const n of items(3)) through.write(n)
    await new Promise((resolve) => setImmediate(resolve))
    through.destroy()
    await once(through, 'close')
    t.equal(pool.threads.length, 2)
    t.strictSame(await Readable.from([1]).pipe(stage('same')).toArray(), [1])
  },
)

t.test('a shared pool that is destroyed under a stage is an error, and no thread comes back', async (t) => {
  const shared = createPool({ workers: 1 })
  const through = offload(handlers, { name: 'forever', pool: shared })
  const ended = drain(through)
  for (const text of ['a', 'b', 'c']) through.write(text)
  await new Promise((resolve) => setTimeout(resolve, 50))
  await shared.destroy()
  t.match((await ended).error, { code: 'ERR_MILLRACE_OFFLOAD_WORKER', message: /the pool was destroyed/ })
  t.equal(shared.threads.length, 0)
})

t.test('a worker out of memory, and workers that cannot start, are errors and no hang', async (t) => {
  const memory = offload(handlers, {
    name: 'crash',
    in: 'records',
    workers: 1,
    batchSize: 1,
    resourceLimits: { maxOldGenerationSizeMb: 64 },
    workerData: { poison: { 2: 9 }, counts: runCounts(), how: 'memory' },
  })
  t.match(await drain(Readable.from(items(6)).pipe(memory)), {
    out: [0, 1],
    error: { code: 'ERR_MILLRACE_OFFLOAD_CRASH', index: 2, cause: { code: 'ERR_WORKER_OUT_OF_MEMORY' } },
  })
  for (const [code, message] of [
    ['process.exit(1)', /workers cannot be started/],
    ['throw new Error()', /a worker failed between blocks/],
  ] as const) {
    const dead = new Piscina({
      minThreads: 1,
      maxThreads: 1,
      execArgv: ['--import', `data:text/javascript,${code}`],
    })
    const { error } = await drain(Readable.from(items(6)).pipe(stage('same', { pool: dead })))
    t.match(error, { code: 'ERR_MILLRACE_OFFLOAD_WORKER', message })
    await dead.destroy()
  }
})

t.test('a pool of another make serves too, and its stray errors reach the stage', async (t) => {
  const other = new Piscina({ minThreads: 1, maxThreads: 1, atomics: 'disabled' })
  t.strictSame(
    await Readable.from(items(9))
      .pipe(stage('double', { pool: other }))
      .toArray(),
    items(9).map((n) => n * 2),
  )
  const through = stage('same', { pool: other })
  const ended = drain(through)
  other.emit('error', new Error('stray'))
  through.write(1)
  t.match((await ended).error, { code: 'ERR_MILLRACE_OFFLOAD_WORKER', cause: { message: 'stray' } })
  await other.destroy()
})

t.test('the input may fail: the stage ends with it and leaves nothing', async (t) => {
  const source = new PassThrough()
  const through = stage('same', { in: 'bytes' })
  const done = pipeline(source, through, new Writable({ write: (_chunk, _encoding, callback) => callback() }))
  source.write('a')
  source.destroy(new Error('source broke'))
  await t.rejects(done, { message: 'source broke' })
  t.ok(through.destroyed)
})

t.test('a process with a stage that was ended, or never used, exits by itself', (t) => {
  const code = `
    import { Readable } from 'node:stream'
    import { offload } from ${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)}
    const handlers = ${JSON.stringify(handlers.href)}
    offload(handlers, { workers: 1 })
    const left = offload(handlers, { workers: 1, in: 'records', name: 'jitter', timeout: 60000 })
    for await (const n of Readable.from([1, 2, 3]).pipe(left)) break
    process.stdout.write('done')
  `
  const { stdout, status, stderr } = spawnSync(process.execPath, [...process.execArgv, '-e', code], {
    encoding: 'utf8',
    timeout: 30_000,
  })
  t.match({ stdout, status }, { stdout: 'done', status: 0 }, stderr)
  t.end()
})

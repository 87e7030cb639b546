import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import t from 'tap'
import {
  DEFAULT_CONCURRENCY,
  OrderedWindow,
  TaskLost,
  mapOrdered,
  type Executor,
  type TaskInfo,
} from '../../src/flow/index.ts'
import { BufferFullError, OptionError } from '../../src/index.ts'

interface Run {
  readonly input: number
  readonly task: TaskInfo
  readonly worker: number
  readonly resolve: (output: string) => void
  readonly reject: (error: unknown) => void
}

/**
 * Workers under the hand of the test: each holds up to `perWorker` runs; one whose input is in `poison` kills its worker, and all
 * runs there are lost. Only the oldest of a worker has begun when `sync`, all have otherwise.
 */
class Workers implements Executor<number, string> {
  readonly runs: Run[] = []
  readonly ran = new Map<number, number>()
  readonly counted = new Map<number, number>()
  mostAtOnce = 0
  readonly #workers: number
  readonly #perWorker: number

  constructor(workers: number, perWorker: number) {
    this.#workers = workers
    this.#perWorker = perWorker
  }

  run(input: number, task: TaskInfo): Promise<string> {
    this.ran.set(input, (this.ran.get(input) ?? 0) + 1)
    const worker = Array.from({ length: this.#workers }, (_, i) => i).find(
      (i) => this.runs.filter((run) => run.worker === i).length < this.#perWorker,
    )
    if (worker === undefined) throw new Error('more runs than the workers hold')
    if (task.solo && this.runs.length > 0) throw new Error('a solo run has company')
    if (this.runs.some((run) => run.task.solo)) throw new Error('a run beside a solo run')
    return new Promise((resolve, reject) => {
      this.runs.push({ input, task, worker, resolve, reject })
      this.mostAtOnce = Math.max(this.mostAtOnce, this.runs.length)
    })
  }

  finish(at: number): void {
    const [run] = this.runs.splice(at, 1)
    run?.resolve(`out ${run.input}`)
  }

  fail(at: number): void {
    const [run] = this.runs.splice(at, 1)
    run?.reject(new Error(`bad ${run.input}`))
  }

  crash(at: number, sync: boolean): void {
    const { worker, input } = this.runs[at]!
    const cause = new Error(`killed by ${input}`)
    const lost = this.runs.filter((run) => run.worker === worker)
    for (const run of lost) this.runs.splice(this.runs.indexOf(run), 1)
    for (const run of lost) {
      const blame = sync
        ? run.input === input
          ? 'culprit'
          : 'innocent'
        : lost.length === 1
          ? 'culprit'
          : 'suspect'
      run.reject(new TaskLost(blame, cause))
    }
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

const scenario = fc.record({
  count: fc.integer({ min: 0, max: 40 }),
  workers: fc.integer({ min: 1, max: 4 }),
  perWorker: fc.integer({ min: 1, max: 3 }),
  slack: fc.integer({ min: 0, max: 5 }),
  retries: fc.integer({ min: 0, max: 2 }),
  ordered: fc.boolean(),
  sync: fc.boolean(),
  /** Inputs that kill their worker, and how many times they do. */
  poison: fc.dictionary(fc.integer({ min: 0, max: 39 }).map(String), fc.integer({ min: 1, max: 4 }), {
    maxKeys: 4,
  }),
  bad: fc.uniqueArray(fc.integer({ min: 0, max: 39 }), { maxLength: 3 }),
  picks: fc.infiniteStream(fc.nat(1000)),
  takes: fc.infiniteStream(fc.integer({ min: 0, max: 3 })),
})

t.test(
  'OrderedWindow: each item once, in order, its error in its place, whatever the order of completion',
  async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (s) => {
        const workers = new Workers(s.workers, s.perWorker)
        const concurrency = s.workers * s.perWorker
        const size = concurrency + s.slack
        const window = new OrderedWindow(workers, {
          window: size,
          concurrency,
          ordered: s.ordered,
          retries: s.retries,
        })
        const kills = new Map(Object.entries(s.poison).map(([input, times]) => [Number(input), times]))
        const bad = new Set(s.bad)
        const got: { index: number; text: string; attempts: number }[] = []
        let next = 0
        while (got.length < s.count) {
          while (next < s.count && window.hasRoom()) window.submit(next++)
          assert.ok(window.size <= size)
          if (workers.runs.length > 0) {
            const at = s.picks.next().value % workers.runs.length
            const { input } = workers.runs[at]!
            const left = kills.get(input) ?? 0
            if (left > 0) {
              kills.set(input, left - 1)
              workers.crash(at, s.sync)
            } else if (bad.has(input)) workers.fail(at)
            else workers.finish(at)
          }
          await turn()
          for (let takes: number = s.takes.next().value; takes > 0; takes--) {
            const settled = window.shift()
            if (!settled) break
            const text = settled.failed ? (settled.error as Error) : (settled.output as string)
            got.push({
              index: settled.index,
              attempts: settled.attempts,
              text: text instanceof TaskLost ? 'lost' : text instanceof Error ? text.message : text,
            })
          }
        }
        assert.equal(window.size, 0)
        assert.equal(window.running, 0)
        assert.ok(workers.mostAtOnce <= concurrency)
        if (!s.ordered) got.sort((a, b) => a.index - b.index)
        for (let i = 0; i < s.count; i++) {
          const times = s.poison[i] ?? 0
          // a neighbour of the dead is never counted, so its attempts show only what it did itself; a suspect's first
          // death beside others does not count either
          const { text, index } = got[i]!
          assert.equal(index, i)
          const after = s.bad.includes(i) ? `bad ${i}` : `out ${i}`
          if (times === 0) {
            assert.equal(text, after)
            assert.equal(got[i]!.attempts, 1)
          } else if (s.sync) {
            assert.equal(text, times > s.retries ? 'lost' : after)
            assert.equal(got[i]!.attempts, Math.min(times, s.retries) + 1)
          } else if (times <= s.retries) assert.equal(text, after)
          else if (times > s.retries + 1) assert.equal(text, 'lost')
        }
      }),
      { numRuns: 150 },
    )
  },
)

t.test('OrderedWindow: never holds more than maxBytes, except one item alone', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 30 }),
      fc.integer({ min: 1, max: 20 }),
      async (sizes, maxBytes) => {
        const window = new OrderedWindow({ run: (n: number) => Promise.resolve(n) }, { window: 6, maxBytes })
        const out: number[] = []
        let next = 0
        while (out.length < sizes.length) {
          while (next < sizes.length && window.hasRoom(sizes[next])) window.submit(next, sizes[next++])
          assert.ok(window.bytes <= maxBytes || window.size === 1)
          await turn()
          out.push(window.shift()?.output as number)
        }
        assert.deepEqual(
          out,
          sizes.map((_, i) => i),
        )
      },
    ),
    { numRuns: 50 },
  )
})

t.test('OrderedWindow: at the limit there is room, one past it there is none', async (t) => {
  const window = new OrderedWindow({ run: (n: number) => n }, { window: 3, maxBytes: 10 })
  t.equal(window.submit(1, 4), 0)
  t.ok(window.hasRoom(6))
  t.notOk(window.hasRoom(7))
  t.throws(() => window.submit(1, 7), BufferFullError)
  window.submit(2, 6)
  t.throws(() => window.submit(3, 1), { code: 'ERR_MILLRACE_BUFFER_FULL' })
  window.submit(3, 0)
  t.equal(window.nextIndex, 3)
  t.notOk(window.hasRoom(0))
  for (const option of [
    { window: 0 },
    { window: 1, concurrency: 0 },
    { window: 1, maxBytes: 0 },
    { window: 1, retries: -1 },
    { window: 1, ordered: 1 as unknown as boolean },
  ]) {
    t.throws(() => new OrderedWindow({ run: (n: number) => n }, option), OptionError)
  }
})

t.test(
  'OrderedWindow: a synchronous executor answers within submit, and its throw is the error of the item',
  async (t) => {
    let ready = 0
    const window = new OrderedWindow(
      {
        run(n: number) {
          if (n === 1) throw new Error('no ones')
          return n
        },
      },
      { window: 4, onReady: () => ready++ },
    )
    window.submit(0)
    window.submit(1)
    t.match(window.shift(), { index: 0, failed: false, output: 0, attempts: 1 })
    t.match(window.shift(), { index: 1, failed: true, error: { message: 'no ones' }, input: 1 })
    t.equal(window.shift(), undefined)
    t.equal(ready, 0)
  },
)

t.test('OrderedWindow: onReady tells when the head can be taken, and only then', async (t) => {
  const workers = new Workers(3, 1)
  let ready = 0
  const window = new OrderedWindow(workers, { window: 3, onReady: () => ready++ })
  for (const n of [0, 1, 2]) window.submit(n)
  workers.finish(1)
  await turn()
  t.equal(ready, 0)
  workers.finish(0)
  await turn()
  t.equal(ready, 1)
  t.equal(window.shift()?.output, 'out 0')
  t.equal(window.shift()?.output, 'out 1')
  t.equal(window.shift(), undefined)
})

t.test(
  'OrderedWindow: abort drops what is there, signals what runs, and starts nothing any more',
  async (t) => {
    const workers = new Workers(2, 1)
    let ready = 0
    const window = new OrderedWindow(workers, { window: 4, concurrency: 2, onReady: () => ready++ })
    for (const n of [0, 1, 2]) window.submit(n)
    const { signal } = workers.runs[0]!.task
    window.abort('enough')
    window.abort('again')
    t.equal(signal.reason, 'enough')
    t.equal(window.size, 0)
    t.notOk(window.hasRoom())
    t.throws(() => window.submit(9), { message: /aborted/ })
    let idle = false
    const settled = window.idle().then(() => (idle = true))
    workers.finish(0)
    await turn()
    t.notOk(idle)
    workers.fail(0)
    await settled
    t.equal(workers.ran.size, 2)
    t.equal(window.shift(), undefined)
    t.equal(ready, 0)
    await window.idle()
  },
)

t.test('mapOrdered: equals map, for any concurrency and any source', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(3)),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 0, max: 3 }),
      fc.boolean(),
      fc.boolean(),
      async (delays, concurrency, slack, async, ordered) => {
        let running = 0
        const source = delays.entries()
        async function* slowly() {
          for (const entry of source) {
            if (entry[1] === 0) await turn()
            yield entry
          }
        }
        const out: number[] = []
        const work = async ([index, delay]: [number, number]) => {
          assert.ok(++running <= concurrency)
          for (let i = 0; i < delay; i++) await turn()
          running--
          return index
        }
        const options = { concurrency, window: concurrency + slack, ordered }
        for await (const n of mapOrdered(async ? slowly() : source, work, options)) out.push(n)
        if (!ordered) out.sort((a, b) => a - b)
        assert.deepEqual(
          out,
          delays.map((_, i) => i),
        )
      },
    ),
    { numRuns: 60 },
  )
})

t.test('mapOrdered: errors surface at their position', async (t) => {
  const collect = async (iterable: AsyncIterable<number>) => {
    const out: number[] = []
    try {
      for await (const n of iterable) out.push(n)
    } catch (error) {
      return { out, message: (error as Error).message }
    }
    return { out }
  }
  function* three() {
    yield* [0, 1, 2]
    throw new Error('source broke')
  }
  const slowFirst = async (n: number) => {
    if (n === 0) await turn()
    return n
  }
  t.strictSame(await collect(mapOrdered(three(), slowFirst)), { out: [0, 1, 2], message: 'source broke' })
  const bad = async (n: number) => {
    if (n < 2) await turn()
    else throw new Error(`bad ${n}`)
    return n
  }
  t.strictSame(await collect(mapOrdered([0, 1, 2, 3], bad, { concurrency: 4 })), {
    out: [0, 1],
    message: 'bad 2',
  })
  t.strictSame(await collect(mapOrdered([], bad)), { out: [] })
  t.equal(DEFAULT_CONCURRENCY, 16)
})

t.test('mapOrdered: never holds more than maxBytes and one item', async () => {
  let bytes = 0
  let most = 0
  function* items() {
    for (let i = 0; i < 50; i++) {
      bytes += 10
      most = Math.max(most, bytes)
      yield i
    }
  }
  let seen = 0
  for await (const n of mapOrdered(items(), (n) => n, { maxBytes: 30, sizeOf: () => 10 })) {
    assert.equal(n, seen++)
    await turn()
    bytes -= 10
  }
  assert.equal(seen, 50)
  assert.ok(most <= 50, `held ${most}`)
})

t.test('mapOrdered: leaving the loop aborts the tasks and ends the source', async (t) => {
  let ended = false
  let aborted = 0
  async function* source() {
    try {
      for (let i = 0; ; i++) yield i
    } finally {
      ended = true
    }
  }
  const work = (n: number, { signal }: TaskInfo) => {
    signal.addEventListener('abort', () => aborted++)
    return n === 0 ? n : new Promise<number>(() => {})
  }
  for await (const n of mapOrdered(source(), work, { concurrency: 3 })) {
    t.equal(n, 0)
    break
  }
  t.ok(ended)
  t.ok(aborted >= 2)
})

t.test('mapOrdered: a signal ends it even while the source owes an item', async (t) => {
  const controller = new AbortController()
  let returned = false
  const silent: AsyncIterable<number> = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise(() => {}),
      return: () => {
        returned = true
        return Promise.reject(new Error('nobody hears this'))
      },
    }),
  }
  const step = mapOrdered(silent, (n) => n, { signal: controller.signal }).next()
  controller.abort(new Error('stop'))
  await t.rejects(step, { message: 'stop' })
  t.ok(returned)
  await t.rejects(mapOrdered([1], (n) => n, { signal: controller.signal }).next(), { message: 'stop' })
  await t.rejects(mapOrdered([1], (n) => n, { signal: 'no' as unknown as AbortSignal }).next(), OptionError)
})

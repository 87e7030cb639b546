import type { Piscina } from 'piscina'
import t from 'tap'
import { OffloadError, TaskLost, type TaskInfo } from '../../src/index.ts'
import { PoolExecutor, type PoolTask } from '../../src/workers/pool-executor.ts'
import { PoolWatch } from '../../src/workers/pool-watch.ts'
import type { TaskMessage, TaskSpec } from '../../src/workers/task-protocol.ts'
import { TASK_STATE, TaskTable, type TaskState } from '../../src/workers/task-table.ts'

interface Run {
  readonly message: TaskMessage
  readonly signal: AbortSignal | undefined
  readonly resolve: (reply: unknown) => void
  readonly reject: (error: unknown) => void
}

/** A pool without threads: the test plays the workers, through the table and the answers. */
class FakePool {
  readonly options = { maxThreads: 1, concurrentTasksPerWorker: 2 }
  readonly runs: Run[] = []
  readonly ended: number[] = []
  readonly listeners = new Map<string, (error?: unknown) => void>()
  threads = [1, 2].map((threadId) => ({ threadId, terminate: () => this.ended.push(threadId) }))
  run(message: TaskMessage, { signal }: { signal?: AbortSignal }) {
    return new Promise((resolve, reject) => this.runs.push({ message, signal, resolve, reject }))
  }
  on(event: string, listener: () => void) {
    this.listeners.set(event, listener)
  }
  off(event: string) {
    this.listeners.delete(event)
  }
}

const task: PoolTask = {
  at: { index: 0, offset: 0, line: 1, column: 1 },
  frames: undefined,
  layout: undefined,
  inSlot: -1,
  length: 0,
  outSlot: -1,
  records: [1],
}
const info = { index: 0, attempt: 1, solo: false, signal: new AbortController().signal } satisfies TaskInfo
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

function setUp({ rows = 4, timeout = Infinity, pool = new FakePool() } = {}) {
  const table = TaskTable.ofRows(rows)
  const spec = { id: 7, module: 'file:///m.js', transfer: false } as TaskSpec
  const executor = new PoolExecutor(pool as unknown as Piscina, spec, table, timeout)
  const start = (solo = false) => {
    const result = executor.run(task, { ...info, solo }).then(
      (reply) => ({ reply }),
      (error: unknown) => ({ error }),
    )
    const [run] = pool.runs.slice(-1) as [Run]
    const mark = (state: TaskState, thread = 1) => table.set(run.message.row, state, thread)
    return { run, result, mark }
  }
  return { pool, executor, start }
}

const { loading, running, done } = TASK_STATE
const answer = { length: 0, recordsIn: 0, recordsOut: 0 }
const dead = new Error('worker exited with code: 1')

/** The verdicts over tasks in these states, all on one worker that dies with `cause`. */
async function verdicts(states: TaskState[], cause: unknown = dead) {
  const { start, executor } = setUp()
  const tasks = states.map((state) => {
    const one = start()
    if (state !== TASK_STATE.waiting) one.mark(state)
    return one
  })
  const other = start()
  other.mark(running, 2)
  for (const { run } of tasks) run.reject(cause)
  const errors = []
  for (const { result } of tasks) errors.push(((await result) as { error: unknown }).error)
  other.run.resolve(answer)
  t.strictSame(await other.result, { reply: answer })
  executor.close()
  return errors.map((error) => (error instanceof TaskLost ? error.blame : (error as OffloadError).code))
}

t.test(
  'PoolExecutor: who waited is innocent, who was alone is the culprit, several are suspects',
  async (t) => {
    const { waiting } = TASK_STATE
    t.strictSame(await verdicts([running, waiting]), ['culprit', 'innocent'])
    t.strictSame(await verdicts([waiting, running, waiting]), ['innocent', 'culprit', 'innocent'])
    t.strictSame(await verdicts([running, running, waiting]), ['suspect', 'suspect', 'innocent'])
    t.strictSame(await verdicts([done, running]), ['suspect', 'suspect'])
    t.strictSame(await verdicts([done]), ['culprit'])
    t.strictSame(await verdicts([loading]), ['ERR_MILLRACE_OFFLOAD_WORKER'])
    t.strictSame(await verdicts([loading, loading]), ['suspect', 'suspect'])
  },
)

t.test(
  'PoolExecutor: a task that cannot be sent fails itself; one lost with a worker of such an error does not',
  async (t) => {
    const cause = new DOMException('no', 'DataCloneError')
    t.strictSame(await verdicts([TASK_STATE.waiting], cause), ['innocent'])
    const { pool, executor } = setUp()
    const result = executor.run({ ...task, records: [1, () => {}] }, info)
    pool.runs[0]!.reject(cause)
    await t.rejects(result, { code: 'ERR_MILLRACE_OFFLOAD_INPUT', message: /record 1 / })
  },
)

t.test(
  'PoolExecutor: the death that one stage caused is no mystery to another on the same pool',
  async (t) => {
    const pool = new FakePool()
    const [one, two] = [setUp({ pool }), setUp({ pool })]
    const [a, b] = [one.start(), two.start()]
    a.mark(running)
    b.mark(running)
    a.run.reject(dead)
    t.match(await a.result, { error: { blame: 'suspect' } })
    b.run.reject(dead)
    t.match(await b.result, { error: { blame: 'suspect' } })
    const again = two.start(true)
    t.ok(again.run.signal, 'alone on its worker')
    t.notOk(a.run.signal)
    again.mark(running, 2)
    again.run.reject(dead)
    t.match(await again.result, { error: { blame: 'culprit' } })
    one.executor.close()
    t.equal(pool.listeners.size, 2)
    two.executor.close()
    two.executor.close()
    t.equal(pool.listeners.size, 0)
  },
)

t.test('PoolExecutor: sends the stage to a worker that asks, with the input that came back', async (t) => {
  const { start, executor, pool } = setUp()
  const { run, result } = start()
  t.equal(run.message.spec, undefined)
  const bytes = new Uint8Array(1)
  run.resolve({ unknown: true, bytes })
  await turn()
  t.match(pool.runs[1]!.message, { specId: 7, spec: { id: 7 }, bytes, row: run.message.row })
  pool.runs[1]!.resolve(answer)
  t.strictSame(await result, { reply: answer })
  executor.close()
})

t.test('PoolExecutor: ends the worker of a task that is overdue, and only that', async (t) => {
  const { start, executor, pool } = setUp({ timeout: 20 })
  const [slow, queued, fine] = [start(), start(), start()]
  slow.mark(running, 1)
  fine.mark(done, 2)
  while (pool.ended.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.strictSame(pool.ended, [1])
  fine.run.resolve(answer)
  slow.run.reject(dead)
  queued.run.reject(dead)
  t.match(await slow.result, { error: { code: 'ERR_MILLRACE_OFFLOAD_TIMEOUT', expected: 20 } })
  t.match(await queued.result, { error: { blame: 'innocent' } })
  const [first, second, neighbour] = [start(), start(), start()]
  first.mark(running, 2)
  second.mark(running, 2)
  neighbour.mark(done, 2)
  while (pool.ended.length === 1) await new Promise((resolve) => setTimeout(resolve, 5))
  for (const { run } of [first, second, neighbour]) run.reject(dead)
  t.match(await first.result, { error: { blame: 'suspect' } })
  t.match(await second.result, { error: { blame: 'suspect' } })
  t.match(await neighbour.result, { error: { blame: 'innocent' } })
  t.strictSame(pool.ended, [1, 2], 'once')
  executor.close()
})

t.test('PoolExecutor: gives up on a pool that is gone, or whose workers never take a task', async (t) => {
  const gone = setUp()
  for (const cause of [new Error('Terminating worker thread'), new DOMException('closed', 'AbortError')]) {
    const { run, result } = gone.start()
    run.reject(cause)
    t.match(await result, { error: { code: 'ERR_MILLRACE_OFFLOAD_WORKER', message: /destroyed/, cause } })
  }
  const { start } = setUp()
  for (let lost = 0; lost < 16; lost++) {
    const { run, result } = start()
    run.reject(dead)
    t.match(await result, { error: { blame: 'innocent' } })
  }
  const last = start()
  last.run.reject(dead)
  t.match(await last.result, { error: { code: 'ERR_MILLRACE_OFFLOAD_WORKER', message: /before they take/ } })
  const alive = start()
  alive.run.resolve(answer)
  await alive.result
  const after = start()
  after.run.reject(dead)
  t.match(await after.result, { error: { blame: 'innocent' } })
})

t.test('PoolExecutor: a pool without threads would never answer, so its tasks fail at once', async (t) => {
  const { start, pool, executor } = setUp()
  const { run, result } = start()
  pool.listeners.get('workerDestroy')!()
  await turn()
  pool.threads = []
  pool.listeners.get('workerDestroy')!()
  const expected = { error: { code: 'ERR_MILLRACE_OFFLOAD_WORKER', message: /cannot be started/ } }
  t.match(await result, expected)
  run.reject(dead)
  run.resolve(answer)
  await t.rejects(executor.run(task, info), expected.error)
  t.equal(PoolWatch.of(pool as unknown as Piscina), PoolWatch.of(pool as unknown as Piscina))
})

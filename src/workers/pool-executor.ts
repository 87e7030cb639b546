import type { Piscina } from 'piscina'
import { OffloadError } from '../errors.ts'
import { TaskLost, type Executor, type TaskInfo } from '../flow/index.ts'
import { WORKER_FILE } from './create-pool.ts'
import { PoolWatch } from './pool-watch.ts'
import type { TaskMessage, TaskReply, TaskSpec, UnknownSpec } from './task-protocol.ts'
import { TASK_STATE, type TaskState, type TaskTable } from './task-table.ts'

/** A task, but for its row, which it gets when it is run. */
export type PoolTask = Omit<TaskMessage, 'row' | 'specId' | 'spec'>

/** The least time that a module has to load, in milliseconds: how long the handler may take says nothing about that. */
const LOADING_TIMEOUT = 5000

/** What Piscina says when it is destroyed under a task. */
const POOL_DESTROYED = 'Terminating worker thread'

/**
 * Runs tasks on a Piscina pool and finds out who was to blame when a worker died. The pool only hands messages to
 * threads; order, retries and backpressure are the window's.
 */
export class PoolExecutor implements Executor<PoolTask, TaskReply> {
  readonly #pool: Piscina
  readonly #spec: TaskSpec
  readonly #table: TaskTable
  readonly #watch: PoolWatch
  readonly #timeout: number
  readonly #rows: number[]
  /** Rows in use, and how to fail them. */
  readonly #running = new Map<number, (error: unknown) => void>()
  readonly #overdue = new Set<number>()
  #timer: NodeJS.Timeout | undefined
  #broken: OffloadError | undefined
  #closed = false

  /** @param timeout - Milliseconds, or Infinity. */
  constructor(pool: Piscina, spec: TaskSpec, table: TaskTable, timeout: number) {
    this.#pool = pool
    this.#spec = spec
    this.#table = table
    this.#timeout = timeout
    this.#rows = Array.from({ length: table.rows }, (_, row) => row)
    this.#watch = PoolWatch.of(pool)
    this.#watch.enter(table, (message, cause) => this.#onBroken(message, cause))
  }

  run(task: PoolTask, { solo }: TaskInfo): Promise<TaskReply> {
    if (this.#broken) return Promise.reject(this.#broken)
    const row = this.#rows.pop()!
    this.#table.set(row, TASK_STATE.waiting)
    return new Promise<TaskReply>((resolve, reject) => {
      this.#running.set(row, reject)
      if (this.#timeout !== Infinity) this.#timer ??= setTimeout(this.#onTimer, this.#timeout)
      this.#send({ ...task, row, specId: this.#spec.id }, solo).then(
        (reply) => {
          if (this.#running.get(row) !== reject) return
          this.#watch.alive()
          this.#release(row)
          resolve(reply)
        },
        (cause: unknown) => {
          if (this.#running.get(row) !== reject) return
          const error = this.#judge(row, task, cause)
          this.#release(row)
          reject(error)
        },
      )
    })
  }

  /** No task is sent any more. Tasks that run are not waited for. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    this.#watch.leave(this.#table)
  }

  async #send(message: TaskMessage, solo: boolean): Promise<TaskReply> {
    const reply = await this.#dispatch(message, solo)
    if (!('unknown' in reply)) return reply
    return (await this.#dispatch({ ...message, bytes: reply.bytes, spec: this.#spec }, solo)) as TaskReply
  }

  #dispatch(message: TaskMessage, solo: boolean): Promise<TaskReply | UnknownSpec> {
    return this.#pool.run(message, {
      filename: WORKER_FILE,
      name: 'default',
      ...(this.#spec.transfer && message.bytes && { transferList: [message.bytes.buffer as ArrayBuffer] }),
      // A task with a signal gets a worker for itself. Never otherwise: it would switch `perWorker` off.
      ...(solo && { signal: new AbortController().signal }),
    })
  }

  #release(row: number): void {
    this.#running.delete(row)
    this.#overdue.delete(row)
    this.#table.set(row, TASK_STATE.waiting)
    this.#rows.push(row)
    if (this.#running.size > 0) return
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** The worker does not reject by itself, so this task was lost: by whose doing? */
  #judge(row: number, task: PoolTask, cause: unknown): unknown {
    const state = this.#table.state(row)
    if (isPoolGone(cause)) return failure('the pool was destroyed', cause)
    if (state === TASK_STATE.waiting) {
      const unsendable = cannotClone(task.records, cause)
      if (unsendable) return unsendable
      if (this.#watch.lostUnseen()) return failure('workers die before they take a block', cause)
      return new TaskLost('innocent', cause)
    }
    const death = this.#watch.death(this.#table.thread(row))
    if (this.#overdue.has(row)) {
      // it may only have waited for a neighbour that kept the thread busy
      if (death.running > 1) return new TaskLost('suspect', cause)
      const what = `took longer than ${this.#limit(state)} ms`
      if (state === TASK_STATE.loading) return failure(`loading ${this.#spec.module} ${what}`, cause)
      return new OffloadError('ERR_MILLRACE_OFFLOAD_TIMEOUT', `the handler ${what}`, {
        expected: this.#timeout,
        cause,
      })
    }
    if (death.timedOut) return new TaskLost('innocent', cause)
    if (death.taken > 1) return new TaskLost('suspect', cause)
    if (state === TASK_STATE.loading) return failure(`loading ${this.#spec.module} killed the worker`, cause)
    return new TaskLost('culprit', cause)
  }

  #limit(state: TaskState): number {
    return state === TASK_STATE.loading ? Math.max(this.#timeout, LOADING_TIMEOUT) : this.#timeout
  }

  readonly #onTimer = (): void => {
    let next = this.#timeout
    for (const row of this.#running.keys()) {
      const state = this.#table.state(row)
      if (state !== TASK_STATE.running && state !== TASK_STATE.loading) continue
      const left = this.#limit(state) - this.#table.age(row)
      if (left <= 0) {
        this.#overdue.add(row)
        this.#watch.terminate(this.#table.thread(row))
      } else next = Math.min(next, left)
    }
    this.#timer = setTimeout(this.#onTimer, Math.ceil(next))
  }

  #onBroken(message: string, cause: unknown): void {
    this.#broken = failure(message, cause)
    for (const [row, reject] of this.#running) {
      this.#release(row)
      reject(this.#broken)
    }
  }
}

const failure = (message: string, cause: unknown) =>
  new OffloadError('ERR_MILLRACE_OFFLOAD_WORKER', message, { cause })

function isPoolGone(cause: unknown): boolean {
  return cause instanceof Error && (cause.message === POOL_DESTROYED || cause.name === 'AbortError')
}

/** Whether the task was lost because it could not be sent at all. */
function cannotClone(records: readonly unknown[] | undefined, cause: unknown): OffloadError | undefined {
  if (records === undefined || !(cause instanceof DOMException)) return undefined
  for (const [at, record] of records.entries()) {
    try {
      structuredClone(record)
    } catch (error) {
      const message = `record ${at} of the block cannot be sent to a worker`
      return new OffloadError('ERR_MILLRACE_OFFLOAD_INPUT', message, { cause: error })
    }
  }
  return undefined
}

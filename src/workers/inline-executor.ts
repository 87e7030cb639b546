import { OffloadError } from '../errors.ts'
import type { Executor } from '../flow/index.ts'
import type { PoolTask } from './pool-executor.ts'
import type { TaskReply, TaskSpec } from './task-protocol.ts'
import { TaskRunner } from './task-runner.ts'
import { TASK_STATE, TaskTable } from './task-table.ts'

/**
 * Runs tasks in this thread, through the same code and with the same copies as a worker, so that nothing a handler does to
 * its input or keeps of its output can make a difference.
 */
export class InlineExecutor implements Executor<PoolTask, TaskReply> {
  readonly #spec: TaskSpec
  readonly #runner = new TaskRunner(0)
  readonly #rows: number[]

  constructor(spec: TaskSpec, table: TaskTable) {
    this.#spec = { ...spec, workerData: structuredClone(spec.workerData) }
    this.#rows = Array.from({ length: table.rows }, (_, row) => row)
    for (const row of this.#rows) table.set(row, TASK_STATE.waiting)
  }

  async run(task: PoolTask): Promise<TaskReply> {
    const row = this.#rows.pop()!
    try {
      const { reply } = await this.#runner.run({
        ...task,
        records: task.records && cloneInput(task.records),
        row,
        specId: this.#spec.id,
        spec: this.#spec,
      })
      return reply as TaskReply
    } finally {
      this.#rows.push(row)
    }
  }
}

function cloneInput(records: readonly unknown[]): unknown[] {
  return records.map((record, at) => {
    try {
      return structuredClone(record)
    } catch (cause) {
      const message = `record ${at} of the block cannot be sent to a worker`
      throw new OffloadError('ERR_MILLRACE_OFFLOAD_INPUT', message, { cause })
    }
  })
}

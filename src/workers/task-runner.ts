import { describe } from '../errors.ts'
import { packError } from './error-transport.ts'
import { HandlerRun, loadCodec, type AnyHandler, type Codec, type Reply } from './handler-run.ts'
import { RangeReader } from './range-reader.ts'
import type { TaskFault, TaskMessage, TaskSpec } from './task-protocol.ts'
import { TASK_STATE, TaskTable } from './task-table.ts'

/** Stages that a worker of a shared pool remembers. One that was forgotten is asked for again. */
const MAX_SPECS = 16

interface Stage {
  readonly spec: TaskSpec
  readonly table: TaskTable
  handler: AnyHandler | undefined
  codec: Codec | undefined
  loading: Promise<TaskFault | undefined> | undefined
}

/** The side of {@link offload} that runs handlers: in each worker, or in the main thread when there are none. */
export class TaskRunner {
  readonly #thread: number
  readonly #stages = new Map<number, Stage>()
  readonly #reader = new RangeReader()

  /** @param thread - Id under which the task table knows this thread. */
  constructor(thread: number) {
    this.#thread = thread
  }

  /** Runs the handler on one block. Whatever goes wrong is in the answer: it rejects never, so a rejection is the worker's death. */
  async run(message: TaskMessage): Promise<Reply> {
    const stage = this.#stage(message)
    if (stage === undefined) {
      const { bytes } = message
      return { reply: { unknown: true, bytes }, move: bytes ? [bytes.buffer as ArrayBuffer] : [] }
    }
    const { table } = stage
    if (stage.handler === undefined) {
      table.set(message.row, TASK_STATE.loading, this.#thread)
      const fault = await (stage.loading ??= load(stage))
      if (fault) {
        table.set(message.row, TASK_STATE.done, this.#thread)
        return { reply: { length: 0, recordsIn: 0, recordsOut: 0, fault }, move: [] }
      }
    }
    table.set(message.row, TASK_STATE.running, this.#thread)
    const done = () => table.set(message.row, TASK_STATE.done, this.#thread)
    return new HandlerRun(stage.spec, stage.codec, message, this.#reader, done).run(stage.handler!)
  }

  #stage({ specId, spec }: TaskMessage): Stage | undefined {
    const known = this.#stages.get(specId)
    if (known) return known
    if (spec === undefined) return undefined
    const stage = {
      spec,
      table: new TaskTable(spec.table),
      handler: undefined,
      codec: undefined,
      loading: undefined,
    }
    this.#stages.set(specId, stage)
    if (this.#stages.size > MAX_SPECS) this.#stages.delete(this.#stages.keys().next().value!)
    return stage
  }
}

async function load(stage: Stage): Promise<TaskFault | undefined> {
  const { module, name, input, output } = stage.spec
  try {
    const exports = (await import(module)) as Record<string, unknown>
    const handler = exports[name]
    if (input === 'text' || !(output === 'bytes' || output === 'records')) stage.codec = await loadCodec()
    if (typeof handler !== 'function') {
      throw new TypeError(`${module} has no function as its export '${name}', but ${describe(handler)}`)
    }
    stage.handler = handler as AnyHandler
    return undefined
  } catch (error) {
    return { kind: 'worker', error: packError(error) }
  }
}

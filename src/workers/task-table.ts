/** What a task is doing. Nothing is known of one that waits, except that it cannot have harmed anybody. */
export const TASK_STATE = {
  /** Its worker has not looked at it. */
  waiting: 0,
  /** Its worker is loading the module of the handler. */
  loading: 1,
  /** Its handler runs. */
  running: 2,
  /** Its handler has answered, and the answer is on its way. */
  done: 3,
} as const

export type TaskState = (typeof TASK_STATE)[keyof typeof TASK_STATE]

const ROW_BYTES = 16

/**
 * What each task in flight is doing, in memory that the workers write and the main thread reads: the only witness when
 * a worker dies, since a dead one sends no messages.
 *
 * @remarks 16 bytes a row; a row belongs to one task at a time.
 */
export class TaskTable {
  readonly memory: SharedArrayBuffer
  /** Pairs of state and thread. */
  readonly #marks: Int32Array
  /** When the state began. */
  readonly #since: Float64Array

  constructor(memory: SharedArrayBuffer) {
    const rows = memory.byteLength / ROW_BYTES
    this.memory = memory
    this.#since = new Float64Array(memory, 0, rows)
    this.#marks = new Int32Array(memory, rows * 8, rows * 2)
  }

  static ofRows(rows: number): TaskTable {
    return new TaskTable(new SharedArrayBuffer(rows * ROW_BYTES))
  }

  get rows(): number {
    return this.#since.length
  }

  set(row: number, state: TaskState, thread = 0): void {
    this.#since[row] = monotonicMs()
    Atomics.store(this.#marks, row * 2 + 1, thread)
    // last, so that whoever sees the state sees the rest
    Atomics.store(this.#marks, row * 2, state)
  }

  state(row: number): TaskState {
    return Atomics.load(this.#marks, row * 2) as TaskState
  }

  /** Id of the thread that has taken the task; 0 while it waits. */
  thread(row: number): number {
    return Atomics.load(this.#marks, row * 2 + 1)
  }

  /** Milliseconds since the state began. */
  age(row: number): number {
    return monotonicMs() - this.#since[row]!
  }
}

/** The same clock in every thread of the process; `performance.now()` starts anew in each. */
function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}

import type { Piscina } from 'piscina'
import { TASK_STATE, type TaskTable } from './task-table.ts'

/** How a worker ended. */
interface Death {
  /** Tasks that it had taken and not yet answered. */
  readonly taken: number
  /** Those of them whose handlers had not come to an end. */
  readonly running: number
  /** It was ended because a task took too long. */
  readonly timedOut: boolean
}

const watches = new WeakMap<Piscina, PoolWatch>()

/**
 * What all stages on one pool know together: whose tasks are on which worker, and how workers have died. A worker may
 * hold tasks of several stages, so no stage alone could tell who killed it.
 */
export class PoolWatch {
  readonly #pool: Piscina
  readonly #tables = new Set<TaskTable>()
  readonly #broken = new Map<TaskTable, (message: string, cause: unknown) => void>()
  readonly #deaths = new Map<number, Death>()
  /** Tasks that were lost before any worker took them, since last a worker took one. */
  #lostInARow = 0

  static of(pool: Piscina): PoolWatch {
    let watch = watches.get(pool)
    if (watch === undefined) watches.set(pool, (watch = new PoolWatch(pool)))
    return watch
  }

  private constructor(pool: Piscina) {
    this.#pool = pool
  }

  /** @param onBroken - Called when the pool is of no use any more. Without threads it would never answer. */
  enter(table: TaskTable, onBroken: (message: string, cause: unknown) => void): void {
    if (this.#tables.size === 0) {
      this.#pool.on('error', this.#onError)
      this.#pool.on('workerDestroy', this.#onWorkerDestroy)
    }
    this.#tables.add(table)
    this.#broken.set(table, onBroken)
  }

  leave(table: TaskTable): void {
    this.#tables.delete(table)
    this.#broken.delete(table)
    if (this.#tables.size > 0) return
    this.#pool.off('error', this.#onError)
    this.#pool.off('workerDestroy', this.#onWorkerDestroy)
    this.#deaths.clear()
  }

  /** A worker has answered, so workers do start. */
  alive(): void {
    this.#lostInARow = 0
  }

  /** Counts a task that nobody had taken when its worker died. True when that happens too often to be a neighbour's doing. */
  lostUnseen(): boolean {
    const { maxThreads, concurrentTasksPerWorker } = this.#pool.options
    return ++this.#lostInARow > 8 * maxThreads * concurrentTasksPerWorker
  }

  /** How the worker died, as seen when the first of its tasks was lost: before any row is used again. */
  death(thread: number): Death {
    this.alive()
    let death = this.#deaths.get(thread)
    if (death === undefined) {
      death = { ...this.#count(thread), timedOut: false }
      this.#deaths.set(thread, death)
    }
    return death
  }

  /** Ends one worker, and no other. */
  terminate(thread: number): void {
    const worker = this.#pool.threads.find(({ threadId }) => threadId === thread)
    if (worker === undefined || this.#deaths.has(thread)) return
    this.#deaths.set(thread, { ...this.#count(thread), timedOut: true })
    void worker.terminate()
  }

  #count(thread: number): { taken: number; running: number } {
    let taken = 0
    let running = 0
    for (const table of this.#tables) {
      for (let row = 0; row < table.rows; row++) {
        const state = table.state(row)
        if (state === TASK_STATE.waiting || table.thread(row) !== thread) continue
        taken++
        if (state !== TASK_STATE.done) running++
      }
    }
    return { taken, running }
  }

  /** A worker died without a task: while it started, or of something that a handler had left behind. */
  readonly #onError = (error: unknown): void => {
    for (const onBroken of this.#broken.values()) onBroken('a worker failed between blocks', error)
  }

  readonly #onWorkerDestroy = (): void => {
    // the pool puts a new worker in its place in the same turn, or never
    setImmediate(() => {
      if (this.#pool.threads.length > 0) return
      for (const onBroken of this.#broken.values()) onBroken('workers cannot be started', undefined)
    })
  }
}

import { BufferFullError } from '../errors.ts'
import { checkBoolean, checkInteger, checkLimit } from '../options.ts'

/** What an executor learns of the task that it is to run. */
export interface TaskInfo {
  /** Number of the item, in the order of admission, from 0. */
  readonly index: number
  /** 1 at the first try. A re-run that was no fault of the task keeps the number. */
  readonly attempt: number
  /** True when nothing else of this window runs at the same time: the task is suspected of killing its worker. */
  readonly solo: boolean
  /** Aborted when the window is. */
  readonly signal: AbortSignal
}

/**
 * Runs one item. It may answer at once or later. What it throws or rejects with is the item's error, unless that is a
 * {@link TaskLost}: then the window runs the item again, by the rules of blame.
 */
export interface Executor<I, O> {
  run(input: I, task: TaskInfo): O | PromiseLike<O>
}

/**
 * How far a task is to blame for the death of the worker that held it. `innocent`: it had not begun. `culprit`: it is the
 * only one that can have done it. `suspect`: it is one of several.
 */
export type Blame = 'innocent' | 'suspect' | 'culprit'

/**
 * What an executor rejects with when the worker died and the task did not fail by itself. The task is run again: an
 * innocent one at once and without counting, a suspect alone and without counting, a culprit alone and as often as
 * `retries` allows. When that is used up, the item's error is this object.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { TaskLost, mapOrdered } from 'millrace'
 *
 * let deaths = 1
 * const work = (n: number) => {
 *   if (n === 2 && deaths-- > 0) throw new TaskLost('culprit', new Error('the worker died'))
 *   return n * 10
 * }
 * const results = []
 * for await (const result of mapOrdered([1, 2, 3], work, { retries: 1 })) results.push(result)
 * assert.deepEqual(results, [10, 20, 30])
 * ```
 */
export class TaskLost extends Error {
  readonly blame: Blame

  constructor(blame: Blame, cause?: unknown) {
    super('the worker was lost', { cause })
    this.blame = blame
  }

  static {
    TaskLost.prototype.name = 'TaskLost'
  }
}

/** Options of {@link OrderedWindow}. */
export interface OrderedWindowOptions {
  /** How many items may be admitted and not yet taken; the bound of memory. */
  readonly window: number
  /**
   * How many items may run at the same time. Less than `window` leaves slack behind a slow head.
   * @defaultValue `window`
   */
  readonly concurrency?: number
  /**
   * Sum of the sizes of all items that are admitted and not yet taken, in bytes. An item that is larger is admitted alone.
   * @defaultValue Infinity
   */
  readonly maxBytes?: number
  /**
   * Results leave in the order of admission; otherwise in the order of completion.
   * @defaultValue true
   */
  readonly ordered?: boolean
  /**
   * How often an item is run again after it has killed its worker.
   * @defaultValue 0
   */
  readonly retries?: number
  /** Called when a result has become available after {@link OrderedWindow.shift} found none. Never from within `submit`. */
  readonly onReady?: () => void
}

/** The fate of one item: either `output`, or `error` (then `failed` is true). */
export interface Settled<I, O> {
  readonly index: number
  readonly input: I
  /** How many runs counted. */
  readonly attempts: number
  readonly failed: boolean
  readonly output: O | undefined
  readonly error: unknown
}

interface Ticket<I, O> {
  readonly index: number
  readonly input: I
  readonly size: number
  attempts: number
  settled: boolean
  failed: boolean
  output: O | undefined
  error: unknown
}

/**
 * The window through which all parallel work of the package goes: items in, their results out, each exactly once, in order,
 * an error at the position of its item.
 *
 * It holds at most `window` items (and `maxBytes`) between {@link OrderedWindow.submit} and {@link OrderedWindow.shift};
 * every step costs constant time. It knows nothing of threads: an {@link Executor} does the work, in the same thread, in a
 * pool, or across a network. A failed item is a result like any other; its owner decides whether to go on.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { OrderedWindow } from 'millrace'
 *
 * const window = new OrderedWindow({ run: (n: number) => n * n }, { window: 2 })
 * window.submit(3)
 * window.submit(4)
 * assert.equal(window.hasRoom(), false)
 * assert.equal(window.shift()?.output, 9)
 * assert.equal(window.shift()?.output, 16)
 * ```
 */
export class OrderedWindow<I, O> {
  readonly #executor: Executor<I, O>
  readonly #window: number
  readonly #concurrency: number
  readonly #maxBytes: number
  readonly #ordered: boolean
  readonly #retries: number
  readonly #onReady: (() => void) | undefined
  readonly #abort = new AbortController()
  /** Ordered: all that is admitted, by index. Unordered: what has settled, in that order. */
  #line: Ticket<I, O>[] = []
  #waiting: Ticket<I, O>[] = []
  /** To be run again, alone. */
  #suspects: Ticket<I, O>[] = []
  #next = 0
  #admitted = 0
  #bytes = 0
  #running = 0
  #soloRuns = false
  #submitting = false
  #idle: (() => void)[] = []

  /** @throws {@link OptionError} when an option is out of range. */
  constructor(executor: Executor<I, O>, options: OrderedWindowOptions) {
    const {
      window,
      concurrency = window,
      maxBytes = Infinity,
      ordered = true,
      retries = 0,
      onReady,
    } = options
    this.#executor = executor
    this.#window = checkInteger('window', window, 1)
    this.#concurrency = checkInteger('concurrency', concurrency, 1)
    this.#maxBytes = checkLimit('maxBytes', maxBytes)
    this.#ordered = checkBoolean('ordered', ordered)
    this.#retries = checkInteger('retries', retries)
    this.#onReady = onReady
  }

  /** Items that are admitted and not yet taken. */
  get size(): number {
    return this.#admitted
  }

  /** Sum of their sizes. */
  get bytes(): number {
    return this.#bytes
  }

  /** Items that an executor holds now. */
  get running(): number {
    return this.#running
  }

  /** Index that the next item will get. */
  get nextIndex(): number {
    return this.#next
  }

  get aborted(): boolean {
    return this.#abort.signal.aborted
  }

  /** Whether an item of this size may be admitted now. */
  hasRoom(size = 0): boolean {
    if (this.aborted || this.#admitted >= this.#window) return false
    return this.#admitted === 0 || this.#bytes + size <= this.#maxBytes
  }

  /**
   * Admits one item and returns its index. It is run as soon as `concurrency` allows.
   *
   * @throws {@link BufferFullError} when {@link OrderedWindow.hasRoom} is false for it.
   */
  submit(input: I, size = 0): number {
    if (!this.hasRoom(size)) {
      throw new BufferFullError(
        'ERR_MILLRACE_BUFFER_FULL',
        this.aborted ? 'ordered window: aborted' : `ordered window: no room beside ${this.#admitted} items`,
      )
    }
    const index = this.#next++
    const ticket: Ticket<I, O> = {
      index,
      input,
      size,
      attempts: 0,
      settled: false,
      failed: false,
      output: undefined,
      error: undefined,
    }
    this.#admitted++
    this.#bytes += size
    if (this.#ordered) this.#line.push(ticket)
    this.#waiting.push(ticket)
    this.#submitting = true
    this.#dispatch()
    this.#submitting = false
    return index
  }

  /** Takes the next result, if there is one, and so makes room. */
  shift(): Settled<I, O> | undefined {
    const head = this.#line[0]
    if (head === undefined || !head.settled) return undefined
    this.#line.shift()
    this.#admitted--
    this.#bytes -= head.size
    const { index, input, attempts, failed, output, error } = head
    return { index, input, attempts, failed, output, error }
  }

  /** Ends the window: the signal of all tasks is aborted, nothing is started any more, results are dropped. */
  abort(reason?: unknown): void {
    if (this.aborted) return
    this.#abort.abort(reason)
    this.#line = []
    this.#waiting = []
    this.#suspects = []
    this.#admitted = 0
    this.#bytes = 0
  }

  /** Resolves when nothing runs any more, in particular after an abort. */
  idle(): Promise<void> {
    if (this.#running === 0) return Promise.resolve()
    return new Promise((resolve) => this.#idle.push(resolve))
  }

  #dispatch(): void {
    while (!this.aborted && !this.#soloRuns) {
      const solo = this.#suspects.length > 0
      // A suspect waits until all others have left: were it to die beside one, nobody could tell which of them did it.
      if (this.#running >= (solo ? 1 : this.#concurrency)) return
      const ticket = (solo ? this.#suspects : this.#waiting).shift()
      if (ticket === undefined) return
      this.#start(ticket, solo)
    }
  }

  #start(ticket: Ticket<I, O>, solo: boolean): void {
    this.#running++
    this.#soloRuns = solo
    let answer
    try {
      const task = { index: ticket.index, attempt: ticket.attempts + 1, solo, signal: this.#abort.signal }
      answer = this.#executor.run(ticket.input, task)
    } catch (error) {
      this.#stopped(solo)
      this.#failed(ticket, error)
      return
    }
    if (!isPromise(answer)) {
      this.#stopped(solo)
      this.#succeeded(ticket, answer)
      return
    }
    answer.then(
      (output) => {
        this.#stopped(solo)
        this.#succeeded(ticket, output)
        this.#dispatch()
      },
      (error: unknown) => {
        this.#stopped(solo)
        this.#failed(ticket, error)
        this.#dispatch()
      },
    )
  }

  #stopped(solo: boolean): void {
    this.#running--
    if (solo) this.#soloRuns = false
    if (this.#running > 0) return
    const waiting = this.#idle
    this.#idle = []
    for (const resolve of waiting) resolve()
  }

  #succeeded(ticket: Ticket<I, O>, output: O): void {
    ticket.attempts++
    ticket.output = output
    this.#settle(ticket)
  }

  #failed(ticket: Ticket<I, O>, error: unknown): void {
    if (this.aborted) return
    if (error instanceof TaskLost) {
      if (error.blame === 'innocent') return insert(this.#waiting, ticket)
      if (error.blame === 'suspect') return insert(this.#suspects, ticket)
      if (ticket.attempts++ < this.#retries) return insert(this.#suspects, ticket)
    } else ticket.attempts++
    ticket.failed = true
    ticket.error = error
    this.#settle(ticket)
  }

  #settle(ticket: Ticket<I, O>): void {
    if (this.aborted) return
    ticket.settled = true
    if (!this.#ordered) this.#line.push(ticket)
    if (!this.#submitting && this.#line[0] === ticket) this.#onReady?.()
  }
}

/** By index, so that what the head waits for runs first. */
function insert<T extends { readonly index: number }>(line: T[], ticket: T): void {
  const at = line.findIndex((other) => other.index > ticket.index)
  line.splice(at < 0 ? line.length : at, 0, ticket)
}

function isPromise<O>(value: O | PromiseLike<O>): value is PromiseLike<O> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  )
}

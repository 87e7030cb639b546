import { PolicyError, StoreError, asError } from '../errors.ts'
import type { CircuitBreaker, Clock } from '../flow/index.ts'
import { STATUS, errorOfStatus, verdictOf, type CallStatus } from './store-status.ts'

/** What a call tells while it lasts. */
export interface CallEvents<A> {
  /** The next answer: the n-th one answers the n-th message. */
  readonly onAnswer: (answer: A) => void
  /** It can be sent to again. */
  readonly onDrain: () => void
  /** It is over. Told once, and nothing after it. */
  readonly onEnd: (status: CallStatus) => void
}

/** One call under way: messages in. */
export interface OperationCall<M> {
  /** Sends; false means to wait for `onDrain`. */
  send(message: M): boolean
  /** There is no more to send. */
  end(): void
  /** Gives up. */
  cancel(): void
}

/** Begins a call. What it throws ends the whole stream: it is for what no other try would mend. */
export type OpenCall<M, A> = (events: CallEvents<A>) => OperationCall<M> | Promise<OperationCall<M>>

/** An item on its way. */
export interface LaneItem<M, A> {
  readonly index: number
  readonly message: M
  attempts: number
  answer(answer: A): void
  fail(error: StoreError): void
  /** Ends the stream. */
  abandon(error: unknown): void
}

export interface LaneRules {
  readonly window: number
  readonly retries: number
  readonly minDelay: number
  readonly maxDelay: number
  /** Longest silence of a server that owes an answer, in milliseconds. */
  readonly answerTimeout: number
  readonly breaker: CircuitBreaker | undefined
  readonly random: () => number
  readonly clock: Clock
  readonly onRetry?: ((status: CallStatus, delayMs: number) => void) | undefined
}

/** What the breaker is told of a call that brought nothing. */
class CallFailed extends Error {}

/**
 * One sub-stream of an operation, over as many calls as it takes. It relies on one thing only: that the n-th answer of a call
 * answers its n-th message. So when a call ends early, the first item without an answer is the one that the status is about,
 * if it is about one; and all from there on can be sent again.
 */
export class OperationLane<M, A> {
  readonly #open: OpenCall<M, A>
  readonly #rules: LaneRules
  /** Without an answer: first those that were sent, then those that were not. */
  #items: LaneItem<M, A>[] = []
  #sent = 0
  #call: OperationCall<M> | undefined
  #opening = false
  #blocked = false
  #finished = false
  #ended = false
  #answers = 0
  #failures = 0
  /** The first item travels alone. */
  #solo = false
  /** What may be under way: the window, and less of it where many items fail, since each of these wastes what follows it. */
  #limit: number
  #generation = 0
  #report: { resolve(): void; reject(error: Error): void } | undefined
  #timer: NodeJS.Timeout | undefined
  #lastAnswer = 0
  readonly #abort = new AbortController()

  constructor(open: OpenCall<M, A>, rules: LaneRules) {
    this.#open = open
    this.#rules = rules
    this.#limit = rules.window
  }

  get length(): number {
    return this.#items.length
  }

  submit(item: LaneItem<M, A>): void {
    this.#items.push(item)
    this.#pump()
  }

  /** There are no more items. */
  finish(): void {
    this.#finished = true
    this.#pump()
  }

  /** Ends everything; nothing is told any more. */
  cancel(): void {
    this.#abort.abort()
    this.#items = []
    // a breaker that waits for what becomes of the call must not wait for ever
    this.#report?.reject(new CallFailed('cancelled'))
    this.#drop()
  }

  #pump(): void {
    if (this.#abort.signal.aborted) return
    const call = this.#call
    if (call === undefined) {
      if (!this.#opening && this.#items.length > 0) void this.#begin()
      return
    }
    const most = this.#solo ? 1 : Math.min(this.#items.length, this.#limit)
    if (this.#ended) return
    while (!this.#blocked && this.#sent < most) {
      const { message } = this.#items[this.#sent++]!
      // a server that was idle gets its whole time for the first answer
      if (this.#sent === 1) this.#lastAnswer = performance.now()
      this.#blocked = !call.send(message)
    }
    const isAll = this.#sent === this.#items.length && this.#finished
    if (isAll || (this.#solo && this.#sent === 1)) {
      this.#ended = true
      call.end()
    }
  }

  async #begin(): Promise<void> {
    this.#opening = true
    const generation = ++this.#generation
    const begin = () =>
      new Promise<void>((resolve, reject) => {
        this.#report = { resolve, reject }
        void this.#start(generation)
      })
    try {
      const { breaker } = this.#rules
      await (breaker === undefined ? begin() : breaker.execute(begin, this.#abort.signal))
    } catch (error) {
      if (this.#abort.signal.aborted || error instanceof CallFailed) return
      this.#opening = false
      if (!(error instanceof PolicyError)) return this.#abandon(error)
      // the breaker is open: what waits fails now, and the server is left alone
      this.#failAll(
        (index) =>
          new StoreError('ERR_MILLRACE_STORE_UNAVAILABLE', 'connection', error.message, {
            index,
            cause: error,
          }),
      )
    }
  }

  async #start(generation: number): Promise<void> {
    this.#sent = 0
    this.#answers = 0
    this.#blocked = false
    this.#ended = false
    try {
      const opened = this.#open({
        onAnswer: (answer) => generation === this.#generation && this.#answered(answer),
        onDrain: () => {
          if (generation !== this.#generation) return
          this.#blocked = false
          this.#pump()
        },
        onEnd: (status) => generation === this.#generation && this.#over(status),
      })
      const call = opened instanceof Promise ? await opened : opened
      if (generation !== this.#generation || this.#abort.signal.aborted) return call.cancel()
      this.#call = call
      this.#opening = false
      this.#watch()
      this.#pump()
    } catch (error) {
      this.#report?.reject(asError(error))
    }
  }

  #answered(answer: A): void {
    if (this.#sent === 0) {
      this.#over({
        code: STATUS.INTERNAL,
        message: 'expected an answer for each message, got one more',
        fromServer: false,
      })
      return
    }
    this.#sent--
    this.#answers++
    this.#failures = 0
    this.#solo = false
    this.#lastAnswer = performance.now()
    if (this.#limit < this.#rules.window) this.#limit++
    this.#succeed()
    this.#items.shift()!.answer(answer)
    // a call for one item alone has done its part
    if (this.#ended && this.#sent === 0 && this.#items.length > 0) this.#drop()
    this.#pump()
  }

  #over(status: CallStatus): void {
    const { retries } = this.#rules
    const answers = this.#answers
    const [head] = this.#items
    const isDone = head === undefined || (this.#sent === 0 && status.code === STATUS.OK)
    const verdict = verdictOf(status, answers)
    if (isDone || verdict === 'item' || verdict === 'all') this.#succeed()
    else this.#report?.reject(new CallFailed(status.message))
    const wasSolo = this.#solo
    this.#drop()
    if (isDone) return this.#pump()
    head.attempts++
    if (verdict === 'all') return this.#failAll((index) => errorOfStatus(status, index, head.attempts))
    const isBlamed = verdict === 'item' || (verdict === 'suspect' && wasSolo && answers === 0)
    if (isBlamed || head.attempts > retries) {
      this.#solo = false
      this.#items.shift()
      this.#limit = Math.max(Math.min(4, this.#rules.window), this.#limit >> 1)
      if (isBlamed) this.#failures = 0
      head.fail(errorOfStatus(status, head.index, isBlamed ? 1 : head.attempts))
      if (isBlamed) return this.#pump()
    } else this.#solo = verdict === 'suspect'
    void this.#pause(status, answers > 0)
  }

  async #pause(status: CallStatus, hadAnswers: boolean): Promise<void> {
    const { minDelay, maxDelay, random, clock, onRetry } = this.#rules
    this.#failures++
    // a call that brought something was ended, by age for example; one that brought nothing is a reason to wait
    const delay = hadAnswers ? 0 : random() * Math.min(maxDelay, minDelay * 2 ** (this.#failures - 1))
    onRetry?.(status, delay)
    this.#opening = true
    try {
      await clock.sleep(delay, this.#abort.signal)
    } catch {
      return
    }
    this.#opening = false
    this.#pump()
  }

  #succeed(): void {
    this.#report?.resolve()
    this.#report = undefined
  }

  /** Lets go of the call, whatever becomes of it. */
  #drop(): void {
    clearTimeout(this.#timer)
    this.#generation++
    const call = this.#call
    this.#call = undefined
    this.#opening = false
    this.#report = undefined
    this.#sent = 0
    call?.cancel()
  }

  #failAll(errorFor: (index: number) => StoreError): void {
    const items = this.#items
    this.#items = []
    this.#solo = false
    for (const item of items) item.fail(errorFor(item.index))
  }

  #abandon(error: unknown): void {
    const items = this.#items
    this.#items = []
    for (const item of items) item.abandon(error)
  }

  /** Ends a call whose server is silent although it owes an answer: its connection may be gone without a sign. */
  #watch(): void {
    const { answerTimeout } = this.#rules
    if (answerTimeout === Infinity) return
    this.#timer = setTimeout(() => {
      const silence = performance.now() - this.#lastAnswer
      if (this.#sent > 0 && silence >= answerTimeout) {
        const message = `expected an answer within ${answerTimeout} ms, got none`
        this.#over({ code: STATUS.DEADLINE_EXCEEDED, message, fromServer: false })
      } else this.#watch()
    }, answerTimeout)
  }
}

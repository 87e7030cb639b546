/** Lets a number of calls run at the same time, and the others wait, in order. */
export class Gate {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(calls: number) {
    this.#free = calls
  }

  async run<T>(call: () => T | PromiseLike<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#free--
    try {
      return await call()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}

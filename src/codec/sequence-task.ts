import type { BlockTask } from './block-stage.ts'

/** What a step of a decoder that cannot work in parallel gave, and what went wrong after it. */
export interface Step {
  readonly output: Buffer[]
  readonly error?: unknown
}

/** Runs steps one after the other as tasks, so that the input is read and the output written while they work. */
export class SequenceRunner {
  #last: Promise<unknown> = Promise.resolve()
  #failed = false
  /** Tasks that are given out and not joined. */
  running = 0

  task(step: () => Promise<Step>): BlockTask {
    this.running++
    const isJoined = () => void this.running--
    const task: BlockTask<Step> = {
      run: () => {
        const result = this.#last.then(() => (this.#failed ? { output: [] } : step()))
        this.#last = result.then(
          ({ error }) => void (this.#failed ||= error !== undefined),
          () => void (this.#failed = true),
        )
        return result
      },
      *join({ output, error }) {
        isJoined()
        yield* output
        if (error !== undefined) throw error
      },
    }
    return task
  }
}

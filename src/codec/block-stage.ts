import { Duplex, addAbortSignal } from 'node:stream'
import { asError } from '../errors.ts'
// not the index of the room, which would load its policies, too
import { failAfterDelivery } from '../flow/fail-after-delivery.ts'
import { OrderedWindow } from '../flow/ordered-window.ts'
import type { StatsCounter, StreamStats } from '../flow/stream-stats.ts'
import { freeMemory } from './own-memory.ts'

/** A piece of work between the cutting and the joining. */
export interface BlockTask<R = unknown> {
  /** Works on the block, beside others. */
  run(): R | PromiseLike<R>
  /** Makes output of what came of it, in the order of the tasks. May throw, after what it has given. */
  join(result: R): Iterable<Buffer>
}

/** The work of a stage that cuts bytes into blocks, works on several at once, and joins what comes of them. No stream in it. */
export interface BlockCore {
  /** Takes the next chunk, which is lent until `next()` returns `undefined`. */
  write(chunk: Buffer): void
  /** There is no more. Does not throw. */
  end(): void
  /**
   * The next task, or `undefined` when it needs more in, or after the end has no more. `'wait'`: it depends on a task that is not
   * joined yet.
   *
   * @throws what ends the stage, after the output of all tasks before.
   */
  next(): BlockTask | 'wait' | undefined
  /** Tasks that may be between `next()` and their end, where that follows from the input; else the stage's own option. */
  readonly window?: number
  /** What stands behind the output of the last task. */
  finish?(): Iterable<Buffer>
  /** Lets go of what it holds; called once. */
  close?(): void | Promise<void>
}

export interface BlockStageOptions {
  /** Blocks in work at the same time. */
  readonly concurrency: number
  /** Blocks that are cut and not yet joined. */
  readonly window: number
  readonly signal?: AbortSignal | undefined
  readonly highWaterMark?: number | undefined
}

/** The stream around a {@link BlockCore}: the ordered window, backpressure, and errors at their position. */
export abstract class BlockStage extends Duplex {
  readonly #core: BlockCore
  readonly #counter: StatsCounter
  readonly #window: OrderedWindow<BlockTask, unknown>
  /** Of the write that is not used up yet. */
  #written: (() => void) | undefined
  #ending: (() => void) | undefined
  #wanted = false
  #working = false
  #woken = false
  #failed = false
  #inputFault: { readonly error: unknown } | undefined
  /** Output of a task that has not all been read. */
  #output: Iterator<Buffer> | undefined
  #finishing = false
  #closed: Promise<void> | undefined

  constructor(core: BlockCore, counter: StatsCounter, options: BlockStageOptions) {
    const { concurrency, window, signal, highWaterMark } = options
    super(
      highWaterMark === undefined
        ? {}
        : { readableHighWaterMark: highWaterMark, writableHighWaterMark: highWaterMark },
    )
    this.#core = core
    this.#counter = counter
    this.#window = new OrderedWindow<BlockTask, unknown>(
      { run: (task) => task.run() },
      { window, concurrency, onReady: () => this.#work() },
    )
    // not as an option: a signal that is aborted already would destroy the stage before its fields are there
    if (signal) addAbortSignal(signal, this)
  }

  /** Counters so far; see {@link StreamStats}. */
  stats(): StreamStats {
    return this.#counter.snapshot()
  }

  /**
   * Frees the memory of a chunk that was read and that nobody uses any more, at once instead of when garbage is collected: for who
   * has written it away, say. The chunk is empty then. Does nothing for a chunk that shares its memory with others, and before
   * Node 22.
   *
   * @example
   * import assert from 'node:assert/strict'
   * import { StreamingDecoder, StreamingEncoder } from 'millrace'
   *
   * const encoder = new StreamingEncoder({ codec: 'deflate' })
   * const decoder = encoder.pipe(new StreamingDecoder())
   * encoder.end('what a file of many gigabytes holds')
   * let bytes = 0
   * for await (const chunk of decoder) {
   *   bytes += chunk.length // written away, sent, hashed …
   *   decoder.free(chunk)
   * }
   * assert.equal(bytes, 35)
   */
  free(chunk: Buffer): void {
    freeMemory(chunk)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    this.#counter.received(chunk.byteLength)
    this.#core.write(chunk)
    this.#written = callback
    this.#work()
  }

  override _final(callback: () => void): void {
    this.#core.end()
    this.#ending = callback
    this.#work()
  }

  override _read(): void {
    this.#wanted = true
    this.#work()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    try {
      if (error !== null) this.#counter.failed(error)
    } catch {
      // onError threw: the stage fails already, and the first error is the one that explains
    }
    this.#window.abort()
    this.#close().then(
      () => callback(error),
      (thrown: unknown) => callback(error ?? asError(thrown)),
    )
  }

  /** Moves all that can be moved: blocks into the window, output out of it. */
  #work(): void {
    this.#woken = true
    if (this.#working) return
    this.#working = true
    try {
      while (this.#woken && !this.destroyed && !this.#failed) {
        this.#woken = false
        if (this.#feed()) this.#woken = true
        while (this.#wanted && !this.#failed && this.#emit()) this.#woken = true
        if (!this.#woken && this.#window.size === 0 && this.#output === undefined) this.#settle()
      }
    } catch (error) {
      this.#fail(error)
    }
    this.#working = false
  }

  /** Fills the window. True when something was put in. */
  #feed(): boolean {
    if (this.#inputFault) return false
    let fed = false
    while (this.#window.hasRoom() && this.#window.size < (this.#core.window ?? Infinity)) {
      let task
      try {
        task = this.#core.next()
      } catch (error) {
        this.#inputFault = { error }
        return fed
      }
      if (task === 'wait') return fed
      if (task === undefined) {
        const written = this.#written
        this.#written = undefined
        written?.()
        return fed
      }
      this.#window.submit(task)
      fed = true
    }
    return fed
  }

  /** Sends the next piece of output on. False when there is none. */
  #emit(): boolean {
    if (this.#output === undefined) {
      const settled = this.#window.shift()
      if (settled === undefined) return false
      if (settled.failed) throw settled.error
      this.#output = settled.input.join(settled.output)[Symbol.iterator]()
    }
    const step = this.#output.next()
    if (step.done) this.#output = undefined
    else if (step.value.length > 0) {
      this.#counter.sent(step.value.length)
      // push() may ask for more before it returns
      this.#wanted = false
      if (this.push(step.value)) this.#wanted = true
    }
    return true
  }

  /** All output is out: is this the end, good or bad? */
  #settle(): void {
    if (this.#inputFault) this.#fail(this.#inputFault.error)
    else if (this.#ending !== undefined && this.#finishing) void this.#complete(this.#ending)
    else if (this.#ending !== undefined) {
      this.#finishing = true
      this.#output = (this.#core.finish?.() ?? [])[Symbol.iterator]()
      this.#woken = true
    }
  }

  async #complete(callback: () => void): Promise<void> {
    this.#failed = true // nothing is to be done any more
    try {
      // first, so that whoever sees the end sees no thread left
      await this.#close()
      if (this.destroyed) return
      this.#counter.completed()
      this.push(null)
      callback()
    } catch (error) {
      this.destroy(asError(error))
    }
  }

  #fail(error: unknown): void {
    this.#failed = true
    this.#window.abort()
    failAfterDelivery(this, asError(error))
  }

  #close(): Promise<void> {
    return (this.#closed ??= Promise.resolve(this.#core.close?.()))
  }
}

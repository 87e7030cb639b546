import { Readable } from 'node:stream'
import { RecordBatch } from '../flow/index.ts'

/**
 * Where a response gets its items from, several at once: no stream and no generator of our own between, which would cost
 * more than the items.
 */
export interface ItemSource<T> {
  /** Gives at least one item, and about `max`; `undefined` at the end. An error comes after all items before it. */
  pull(max: number): readonly T[] | undefined | Promise<readonly T[] | undefined>
  /** Has a `pull` that waits for more give what it has. */
  early(): void
  /** Ends the source, whether it has given all or not. */
  stop(): Promise<void>
}

/** How {@link itemSource} looks at what it is given. */
export interface ItemSourceOptions {
  /** Whether arrays are batches of items, and not items. */
  readonly arrays: boolean
  /** Whether batches that are small are put together; otherwise each stays what it is. */
  readonly merge: boolean
  /** Told when items have come while a `pull` waits for more of them. */
  readonly onItem: () => void
}

/** Anything that can be iterated over in, a source of its items out. Batches are taken apart. */
export function itemSource<T>(
  from: AsyncIterable<unknown> | Iterable<unknown>,
  { arrays, merge, onItem }: ItemSourceOptions,
): ItemSource<T> {
  const gather = new Gatherer<T>(arrays, merge)
  if (Array.isArray(from) && !from.some((item) => gather.isBatch(item))) return new ArraySource<T>(from)
  if (from instanceof Readable) return new ReadableSource<T>(from, gather, onItem)
  if (Symbol.asyncIterator in from) return new AsyncSource<T>(from[Symbol.asyncIterator](), gather, onItem)
  return new SyncSource<T>(from[Symbol.iterator](), gather)
}

/** Puts items together, and takes batches apart. */
class Gatherer<T> {
  readonly #arrays: boolean
  #items: T[] = []
  /** A batch that came while nothing was held: given on as it is. */
  #batch: readonly T[] | undefined

  readonly #merge: boolean

  constructor(arrays: boolean, merge: boolean) {
    this.#arrays = arrays
    this.#merge = merge
  }

  /** Whether it is enough. */
  isFull(max: number): boolean {
    return this.length >= max || (!this.#merge && this.#batch !== undefined)
  }

  get length(): number {
    return this.#batch?.length ?? this.#items.length
  }

  isBatch(value: unknown): boolean {
    return RecordBatch.is(value) || (this.#arrays && Array.isArray(value))
  }

  add(value: unknown): void {
    const isBatch = this.isBatch(value)
    if (isBatch && this.length === 0) {
      this.#batch = RecordBatch.is(value) ? (value as RecordBatch<T>).records : (value as readonly T[])
      return
    }
    if (this.#batch) {
      this.#items = [...this.#batch]
      this.#batch = undefined
    }
    if (!isBatch) this.#items.push(value as T)
    // not push(...): a batch may have more items than a call can have arguments
    else for (const item of value as Iterable<T>) this.#items.push(item)
  }

  take(): readonly T[] {
    if (this.#batch) {
      const batch = this.#batch
      this.#batch = undefined
      return batch
    }
    const items = this.#items
    this.#items = []
    return items
  }
}

class ArraySource<T> implements ItemSource<T> {
  readonly #items: readonly T[]
  #next = 0

  constructor(items: readonly T[]) {
    this.#items = items
  }

  pull(max: number): readonly T[] | undefined {
    const from = this.#next
    const left = this.#items.length - from
    if (left === 0) return undefined
    this.#next += Math.min(left, max)
    return from === 0 && left <= max ? this.#items : this.#items.slice(from, this.#next)
  }

  early(): void {}

  async stop(): Promise<void> {}
}

class SyncSource<T> implements ItemSource<T> {
  readonly #iterator: Iterator<unknown>
  readonly #gather: Gatherer<T>
  #ended = false
  #fault: { readonly error: unknown } | undefined

  constructor(iterator: Iterator<unknown>, gather: Gatherer<T>) {
    this.#iterator = iterator
    this.#gather = gather
  }

  pull(max: number): readonly T[] | undefined {
    try {
      while (!this.#ended && !this.#gather.isFull(max)) {
        const step = this.#iterator.next()
        if (step.done) this.#ended = true
        else this.#gather.add(step.value)
      }
    } catch (error) {
      this.#ended = true
      this.#fault = { error }
    }
    if (this.#gather.length > 0) return this.#gather.take()
    if (this.#fault) throw this.#fault.error
    return undefined
  }

  early(): void {}

  async stop(): Promise<void> {
    if (!this.#ended) this.#iterator.return?.()
    this.#ended = true
  }
}

/** What both kinds of asynchronous sources have in common: a `pull` that waits until enough has come, or is told to hurry. */
abstract class WaitingSource<T> implements ItemSource<T> {
  protected readonly gather: Gatherer<T>
  protected max = 0
  protected ended = false
  protected fault: { readonly error: unknown } | undefined
  readonly #onItem: () => void
  #waiting: { resolve(items: readonly T[] | undefined): void; reject(error: unknown): void } | undefined

  constructor(gather: Gatherer<T>, onItem: () => void) {
    this.gather = gather
    this.#onItem = onItem
  }

  pull(max: number): readonly T[] | undefined | Promise<readonly T[] | undefined> {
    this.max = max
    this.more()
    if (this.isReady()) return this.#give()
    if (this.gather.length > 0) this.#onItem()
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }))
  }

  early(): void {
    if (this.gather.length > 0) this.#settle()
  }

  abstract stop(): Promise<void>

  /** Goes on reading up to `max` items, if it does not already. */
  protected abstract more(): void

  protected isReady(): boolean {
    return this.ended || this.gather.isFull(this.max)
  }

  protected add(item: unknown): void {
    this.gather.add(item)
    if (this.#waiting && this.gather.length === 1) this.#onItem()
  }

  /** Something has come, or the end. */
  protected came(): void {
    if (this.isReady()) this.#settle()
  }

  #settle(): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    try {
      if (waiting) waiting.resolve(this.#give())
    } catch (error) {
      waiting?.reject(error)
    }
  }

  #give(): readonly T[] | undefined {
    if (this.gather.length > 0) return this.gather.take()
    if (this.fault) throw this.fault.error
    return undefined
  }
}

class AsyncSource<T> extends WaitingSource<T> {
  readonly #iterator: AsyncIterator<unknown>
  #reading = false
  #owing = false

  constructor(iterator: AsyncIterator<unknown>, gather: Gatherer<T>, onItem: () => void) {
    super(gather, onItem)
    this.#iterator = iterator
  }

  /** A source that still owes an item answers `return` only after it: such a one is told, but not waited for. */
  async stop(): Promise<void> {
    if (this.ended) return
    this.ended = true
    this.came()
    const answer = Promise.resolve(this.#iterator.return?.())
    if (this.#owing) answer.catch(() => {})
    else await answer
  }

  protected more(): void {
    if (!this.#reading && !this.isReady()) void this.#read()
  }

  /** Runs beside the response: while that waits for the client, up to `max` items are read ahead. */
  async #read(): Promise<void> {
    this.#reading = true
    try {
      while (!this.isReady()) {
        this.#owing = true
        const step = await this.#iterator.next()
        this.#owing = false
        // stopped in the meantime: nobody wants it any more
        if (this.ended) break
        if (step.done) this.ended = true
        else this.add(step.value)
      }
    } catch (error) {
      this.ended = true
      this.fault = { error }
    }
    this.#reading = false
    this.came()
  }
}

class ReadableSource<T> extends WaitingSource<T> {
  readonly #stream: Readable
  readonly #onReadable = () => {
    this.more()
    this.came()
  }
  readonly #onError = (error: Error) => {
    this.fault ??= { error }
    this.#onClose()
  }
  readonly #onClose = () => {
    if (!this.#stream.readableEnded && !this.ended) {
      this.fault ??= { error: this.#stream.errored ?? new Error('the source was destroyed before its end') }
    }
    this.ended = true
    this.came()
  }

  constructor(stream: Readable, gather: Gatherer<T>, onItem: () => void) {
    super(gather, onItem)
    this.#stream = stream
    stream.on('readable', this.#onReadable).on('end', this.#onClose)
    stream.on('error', this.#onError).on('close', this.#onClose)
    if (stream.destroyed || stream.readableEnded) this.#onClose()
  }

  async stop(): Promise<void> {
    this.ended = true
    this.came()
    this.#stream.off('readable', this.#onReadable)
    // the error listener stays: what the stream fails with while it is destroyed is nobody's concern
    if (!this.#stream.destroyed) this.#stream.destroy()
  }

  protected more(): void {
    while (!this.isReady()) {
      const item: unknown = this.#stream.read()
      if (item === null) break
      this.add(item)
    }
  }
}

/** A source that is there only after a while: a fetcher that is a function, called at the first `pull`. */
export class LateSource<T> implements ItemSource<T> {
  readonly #open: () => Promise<ItemSource<T>>
  #opening: Promise<ItemSource<T>> | undefined
  #source: ItemSource<T> | undefined
  #stopped = false

  constructor(open: () => Promise<ItemSource<T>>) {
    this.#open = open
  }

  pull(max: number): readonly T[] | undefined | Promise<readonly T[] | undefined> {
    if (this.#source) return this.#source.pull(max)
    this.#opening ??= this.#open()
    return this.#opening.then((source) => {
      this.#source = source
      return this.#stopped ? undefined : source.pull(max)
    })
  }

  early(): void {
    this.#source?.early()
  }

  /** One that is still being opened is stopped when it is there, but not waited for. */
  async stop(): Promise<void> {
    this.#stopped = true
    if (this.#source) await this.#source.stop()
    else this.#opening?.then((source) => source.stop()).catch(() => {})
  }
}

import { Transform, type Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { OptionError } from '../errors.ts'
import { StatsCounter, type StatsHooks, type StreamStats } from '../flow/index.ts'
import { checkBoolean, checkInteger, checkSignal } from '../options.ts'
import { openKernel } from './byte-kernel.ts'
import { PAGE_SIZE } from './object-format.ts'
import type { ObjectGen } from './object-gen.ts'
import { checkRange, MAX_CHUNK_SIZE, type ByteRange } from './object-reader.ts'

/** Options of {@link pumpObject}. */
export interface PumpOptions extends ByteRange, StatsHooks {
  /** Bytes a write, 1 to 64 MiB. @defaultValue 64 KiB, what a pipe takes at once and a file is written fast with */
  readonly chunkSize?: number
  /** Chunks that may be on their way at the same time, 1 to 64. @defaultValue 4 */
  readonly buffers?: number
  /** Whether the writable is ended after the last byte; `process.stdout` and `stderr` never are. @defaultValue true */
  readonly endWritable?: boolean
  /** Destroys the writable and rejects with its reason. */
  readonly signal?: AbortSignal
}

/** Bytes a write unless told otherwise: what a pipe takes at once, and a file is written fast with. */
export const DEFAULT_PUMP_CHUNK_SIZE = 65_536
/** Chunks that may be on their way at the same time unless told otherwise. */
export const DEFAULT_PUMP_BUFFERS = 4

/**
 * Writes an object, or a range of it, to a Writable without a copy, and gives the stage's stats when all of it is written.
 *
 * @remarks The bytes are generated where the Writable takes them from, in a ring of `buffers` chunks. Each is filled anew
 * after the Writable has called back for it, so the Writable must be done with a chunk by then: files, sockets, pipes and
 * `process.stdout` are. One that keeps its chunks, as a Transform or a collector does, gets `object.stream()` in its
 * place. Memory: `chunkSize * buffers`.
 *
 * @throws {@link OptionError} for a range outside the object, or a Transform; otherwise what the Writable fails with.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { createReadStream, createWriteStream } from 'node:fs'
 * import { DataGenerator, pumpObject, verify } from 'millrace'
 *
 * const object = new DataGenerator({ seed: 42 }).beginObject({ size: 10_000_000 })
 * const { bytesOut } = await pumpObject(object, createWriteStream('object.bin'))
 * assert.equal(bytesOut, 10_000_000)
 * await verify(createReadStream('object.bin'), object)
 * ```
 */
export async function pumpObject(
  object: ObjectGen,
  writable: Writable,
  options: PumpOptions = {},
): Promise<StreamStats> {
  const { chunkSize = DEFAULT_PUMP_CHUNK_SIZE, buffers = DEFAULT_PUMP_BUFFERS, endWritable = true } = options
  const { start, end } = checkRange(object.size, options)
  checkInteger('chunkSize', chunkSize, 1, MAX_CHUNK_SIZE)
  checkInteger('buffers', buffers, 1, 64)
  checkBoolean('endWritable', endWritable)
  const signal = checkSignal('signal', options.signal)
  if (writable instanceof Transform) {
    throw new OptionError(
      'writable',
      writable,
      'a Writable that does not pass its chunks on; use object.stream()',
    )
  }
  const counter = new StatsCounter('pumpObject', options)
  const ring = new ChunkRing(object, chunkSize, buffers)
  const abort = () => writable.destroy(signal!.reason as Error)
  // listens from the start, so that a Writable which fails between two writes is noticed
  const done = finished(writable, { readable: false }).then(
    () => ring.close(undefined),
    (error: Error) => ring.close(error),
  )
  try {
    if (signal?.aborted === true) abort()
    signal?.addEventListener('abort', abort, { once: true })
    let position = start
    while (position < end) {
      const free = await ring.take()
      const chunk = ring.fill(free, position, Math.min(chunkSize, end - position))
      position += chunk.length
      writable.write(chunk, (error) => {
        if (error == null) ring.give(free)
      })
      counter.sent(chunk.length)
    }
    await ring.drained()
    if (endWritable && writable !== process.stdout && writable !== process.stderr) {
      writable.end()
      await done
    }
    ring.check()
    counter.completed()
    return counter.snapshot()
  } catch (error) {
    writable.destroy()
    counter.failed(error)
    throw error
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}

/** Pieces of a kernel's memory, which are lent to the Writable and come back by number. */
class ChunkRing {
  readonly #object: ObjectGen
  readonly #stride: number
  readonly #kernel
  readonly #free: number[]
  readonly #slots: number
  #wake: (() => void) | undefined
  #closed = false
  #error: Error | undefined

  constructor(object: ObjectGen, chunkSize: number, slots: number) {
    this.#object = object
    // a chunk may begin inside a page, and the kernel writes the page from its beginning and up to 63 bytes too far
    this.#stride = Math.ceil(chunkSize / PAGE_SIZE) * PAGE_SIZE + 2 * PAGE_SIZE
    this.#kernel = openKernel(this.#stride * slots)
    this.#free = Array.from({ length: slots }, (_, slot) => slot)
    this.#slots = slots
  }

  async take(): Promise<number> {
    await this.#until(() => this.#free.length > 0)
    return this.#free.shift()!
  }

  async drained(): Promise<void> {
    await this.#until(() => this.#free.length === this.#slots)
  }

  fill(slot: number, offset: number, length: number): Buffer {
    const from = this.#object.fillKernel(this.#kernel, slot * this.#stride, offset, length)
    return this.#kernel.memory.subarray(from, from + length)
  }

  give(slot: number): void {
    this.#free.push(slot)
    this.#wake?.()
  }

  /** The Writable has ended; before its time, unless all was written. */
  close(error: Error | undefined): void {
    this.#closed = true
    this.#error = error
    this.#wake?.()
  }

  /** @throws what the Writable failed with. */
  check(): void {
    if (this.#error !== undefined) throw this.#error
  }

  async #until(isTrue: () => boolean): Promise<void> {
    while (!isTrue() || this.#closed) {
      this.check()
      if (this.#closed) throw new Error('the Writable was closed before all was written')
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = undefined
    }
  }
}

import { Readable, Writable } from 'node:stream'
import * as fc from 'fast-check'
import { checkChoice, checkInteger } from '../options.ts'

/** How many turns of the event loop to wait before each chunk; from its end it starts over. Empty: never. */
export type Pace = readonly number[]

/** What goes wrong in a {@link TestSource} or {@link TestSink}. */
export interface Fault {
  /** Before which chunk, from 0. At the number of chunks or above: at the end, or not at all in a sink. */
  readonly at: number
  /** Whether the stream fails with `error`, is destroyed without an error, or aborts `controller` and goes on. */
  readonly kind: 'error' | 'destroy' | 'abort'
  /** What it fails with. */
  readonly error?: Error
  /** What is aborted. */
  readonly controller?: AbortController
}

/** Options of {@link TestSource} and {@link TestSink}. */
export interface TestStreamOptions {
  /** @defaultValue [] */
  readonly pace?: Pace
  readonly fault?: Fault
  /**
   * Whether chunks are records.
   *
   * @defaultValue false
   */
  readonly objectMode?: boolean
  /**
   * Bytes, or chunks in object mode, to buffer.
   *
   * @defaultValue 1
   */
  readonly highWaterMark?: number
}

/**
 * An arbitrary of paces: fast, slow, and in fits and starts.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import fc from 'fast-check'
 * import { TestSource, anyPace } from 'millrace/testing'
 *
 * await fc.assert(
 *   fc.asyncProperty(anyPace(), async (pace) => {
 *     const source = new TestSource([Buffer.from('a'), Buffer.from('b')], { pace })
 *     assert.equal((await source.toArray()).join(''), 'ab')
 *   }),
 * )
 * ```
 */
export function anyPace(): fc.Arbitrary<Pace> {
  return fc.array(fc.nat(3), { maxLength: 4 })
}

/**
 * An arbitrary of faults before the chunks 0 to `maxAt`.
 *
 * @throws {@link OptionError} if `maxAt` is not a number of chunks.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import fc from 'fast-check'
 * import { anyFault } from 'millrace/testing'
 *
 * fc.assert(fc.property(anyFault(3), ({ at }) => at >= 0 && at <= 3))
 * assert.throws(() => anyFault(-1), { code: 'ERR_MILLRACE_OPTION' })
 * ```
 */
export function anyFault(maxAt = 10): fc.Arbitrary<Fault> {
  return fc.record({
    at: fc.nat(checkInteger('maxAt', maxAt)),
    kind: fc.constantFrom('error' as const, 'destroy' as const, 'abort' as const),
    error: fc.constant('a fault for the test').map((message) => new Error(message)),
    controller: fc.constant(null).map(() => new AbortController()),
  })
}

/**
 * Chunks in; a readable of them that is slow, fails, closes or aborts as it is told.
 *
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { TestSource } from 'millrace/testing'
 *
 * const error = new Error('unplugged')
 * const source = new TestSource(['a', 'b', 'c'], { objectMode: true, fault: { at: 2, kind: 'error', error } })
 * const seen = []
 * await assert.rejects(async () => {
 *   for await (const chunk of source) seen.push(chunk)
 * }, error)
 * assert.deepEqual(seen, ['a', 'b'])
 * ```
 */
export class TestSource extends Readable {
  readonly #chunks: readonly unknown[]
  readonly #gate: Gate
  #next = 0

  constructor(chunks: Iterable<unknown>, options: TestStreamOptions = {}) {
    super({ ...streamOptions(options) })
    this.#chunks = [...chunks]
    this.#gate = new Gate(options)
  }

  override _read(): void {
    this.#gate.pass(this.#next, this, () => {
      const index = this.#next++
      this.push(index < this.#chunks.length ? this.#chunks[index] : null)
      // Node ignores an empty chunk of bytes, and does not ask again
      const chunk = this.#chunks[index]
      if (chunk instanceof Uint8Array && chunk.byteLength === 0 && !this.readableObjectMode) this._read()
    })
  }
}

/**
 * A writable that keeps what it gets in `chunks`, and is slow, fails, closes or aborts as it is told.
 *
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { pipeline } from 'node:stream/promises'
 * import { TestSink } from 'millrace/testing'
 *
 * const full = new Error('disk full')
 * const sink = new TestSink({ pace: [2], fault: { at: 1, kind: 'error', error: full } })
 * await assert.rejects(pipeline(Readable.from([Buffer.from('a'), Buffer.from('b')]), sink), full)
 * assert.deepEqual(sink.chunks.map(String), ['a'])
 * ```
 */
export class TestSink extends Writable {
  /** What has come so far. */
  readonly chunks: unknown[] = []
  readonly #gate: Gate

  constructor(options: TestStreamOptions = {}) {
    super({ ...streamOptions(options) })
    this.#gate = new Gate(options)
  }

  override _write(chunk: unknown, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#gate.pass(this.chunks.length, this, () => {
      this.chunks.push(chunk)
      done()
    })
  }
}

/** What each chunk of a test stream has to pass. */
class Gate {
  readonly #pace: Pace
  readonly #fault: Fault | undefined

  constructor({ pace = [], fault }: TestStreamOptions) {
    for (const [i, turns] of pace.entries()) checkInteger(`pace[${i}]`, turns)
    if (fault) {
      checkInteger('fault.at', fault.at)
      checkChoice('fault.kind', fault.kind, ['error', 'destroy', 'abort'])
    }
    this.#pace = pace
    this.#fault = fault
  }

  pass(index: number, stream: Readable | Writable, go: () => void): void {
    const turns = this.#pace[index % this.#pace.length] ?? 0
    if (turns === 0) this.#open(index, stream, go)
    else waitTurns(turns, () => !stream.destroyed && this.#open(index, stream, go))
  }

  #open(index: number, stream: Readable | Writable, go: () => void): void {
    const fault = this.#fault?.at === index ? this.#fault : undefined
    if (fault?.kind === 'abort') fault.controller?.abort()
    if (fault?.kind === 'error') stream.destroy(fault.error ?? new Error('a fault for the test'))
    if (fault?.kind === 'destroy') stream.destroy()
    if (!stream.destroyed) go()
  }
}

function waitTurns(turns: number, go: () => void): void {
  setImmediate(() => (turns > 1 ? waitTurns(turns - 1, go) : go()))
}

function streamOptions({ objectMode = false, highWaterMark = 1 }: TestStreamOptions) {
  return { objectMode, highWaterMark: checkInteger('highWaterMark', highWaterMark) }
}

import { Transform, addAbortSignal, type TransformCallback } from 'node:stream'
import { checkBoolean, checkInteger, checkSignal, checkString } from '../options.ts'
import { bytesOf, recordsOf } from './measure-chunk.ts'
import { StatsCounter, type StatsHooks, type StreamStats } from './stream-stats.ts'

/** Options of {@link Meter}. */
export interface MeterOptions extends StatsHooks {
  /**
   * Whether records pass, or bytes.
   *
   * @defaultValue false
   */
  readonly objectMode?: boolean
  /**
   * What the hooks and the diagnostics channels call this meter.
   *
   * @defaultValue `'Meter'`
   */
  readonly name?: string
  /** Destroys the meter when it is aborted. */
  readonly signal?: AbortSignal
  /**
   * Bytes (or chunks in object mode) that each side buffers.
   *
   * @defaultValue Node's
   */
  readonly highWaterMark?: number
}

/**
 * Any stream in; the same chunks out, counted: bytes, records, chunks and the time they took.
 *
 * @remarks
 * In object mode a `RecordBatch` counts as its records and anything else as one; bytes are counted for buffers and strings.
 * Nothing is copied or held. A chunk costs some 50 ns, a hook a few more.
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { pipeline } from 'node:stream/promises'
 * import { Meter } from 'millrace'
 *
 * const sizes = []
 * const meter = new Meter({ onChunk: ({ bytes }) => sizes.push(bytes) })
 * await pipeline(Readable.from([Buffer.from('abc'), Buffer.from('de')]), meter, async (source) => {
 *   for await (const chunk of source) void chunk
 * })
 * assert.deepEqual(sizes, [3, 2])
 * assert.equal(meter.stats().bytesOut, 5)
 * ```
 */
export class Meter extends Transform {
  readonly #counter: StatsCounter
  readonly #objectMode: boolean

  constructor({ objectMode = false, name = 'Meter', signal, highWaterMark, ...hooks }: MeterOptions = {}) {
    checkBoolean('objectMode', objectMode)
    checkString('name', name)
    checkSignal('signal', signal)
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
    super({ objectMode, ...(highWaterMark !== undefined && { highWaterMark }) })
    this.#objectMode = objectMode
    this.#counter = new StatsCounter(name, hooks)
    // not through super(): an aborted signal would destroy the stage before it has its fields
    if (signal) addAbortSignal(signal, this)
  }

  stats(): StreamStats {
    return this.#counter.snapshot()
  }

  override _transform(chunk: unknown, _encoding: BufferEncoding, done: TransformCallback): void {
    const bytes = bytesOf(chunk)
    const records = this.#objectMode ? recordsOf(chunk) : 0
    try {
      this.#counter.received(bytes, records)
      this.#counter.sent(bytes, records)
    } catch (thrown) {
      // a hook threw
      return done(thrown as Error)
    }
    done(null, chunk)
  }

  override _flush(done: TransformCallback): void {
    try {
      this.#counter.completed()
    } catch (thrown) {
      return done(thrown as Error)
    }
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    try {
      if (error) this.#counter.failed(error)
    } catch {
      // onError threw: the stage fails already, and the first error is the one that explains
    }
    done(error)
  }
}

import { Readable, addAbortSignal } from 'node:stream'
import { OptionError, asError } from '../errors.ts'
import { StatsCounter, failAfterDelivery, type StatsHooks, type StreamStats } from '../flow/index.ts'
import { checkInteger, checkSignal } from '../options.ts'
import { addressOf, formatS3Url, type ObjectAddress } from './parse-s3-url.ts'
import { checkConnection, connect, defaultS3Policy, type S3ConnectionOptions } from './s3-client.ts'
import { ObjectRange, type ObjectRangePlan } from './object-range.ts'

/** How long an {@link ObjectSource} waits for more bytes unless told otherwise, in milliseconds. */
export const DEFAULT_IDLE_TIMEOUT = 60_000

/** How often in a row an {@link ObjectSource} resumes without getting far, unless told otherwise. */
export const DEFAULT_MAX_RESUMES = 8

/** Options of {@link ObjectSource}. */
export interface ObjectSourceOptions extends S3ConnectionOptions, StatsHooks {
  /**
   * First byte of the range.
   * @defaultValue 0
   */
  readonly start?: number
  /**
   * End of the range: the first byte that is not read.
   * @defaultValue the size of the object
   */
  readonly end?: number
  /**
   * How long to wait for more bytes before the connection is taken for broken, in milliseconds. The time that the reader takes does
   * not count.
   * @defaultValue 60000
   */
  readonly idleTimeout?: number
  /**
   * How many connections in a row may break with less than 1 MiB each.
   * @defaultValue 8
   */
  readonly maxResumes?: number
  readonly signal?: AbortSignal
  /**
   * Bytes that are read ahead.
   * @defaultValue 64 KiB (16 KiB before Node 22)
   */
  readonly highWaterMark?: number
}

/**
 * An S3 object, or a range of it, as a stream of bytes. When the connection breaks, it goes on from the very byte with another
 * one; an object that has been replaced meanwhile is an error and never a mixture. Reads ahead no more than `highWaterMark` and what the
 * connection holds.
 *
 * @throws {@link OptionError} from the constructor; as `error` events {@link S3Error}, whose `offset` is the first byte that was not
 * delivered, and {@link MissingPeerError} without `@aws-sdk/client-s3`.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { text } from 'node:stream/consumers'
 * import { ObjectSource } from 'millrace/s3'
 *
 * // a store of one object, in place of a server
 * const client = {
 *   async send({ input: { Range } }) {
 *     const [from, to] = Range.match(/\d+/g).map(Number)
 *     const bytes = Buffer.from('hello world').subarray(from, to + 1)
 *     return { Body: Readable.from([bytes]), ContentRange: `bytes ${from}-${to}/11`, ETag: '"1"' }
 *   },
 * }
 * const source = new ObjectSource('s3://bench/hello', { client, start: 6, end: 11 })
 * assert.equal(await text(source), 'world')
 * assert.equal(source.size, 11)
 * ```
 */
export class ObjectSource extends Readable {
  /** The object, as `s3://bucket/key`. */
  readonly url: string
  readonly #plan: ObjectRangePlan
  readonly #options: S3ConnectionOptions
  readonly #stats: StatsCounter
  #range: ObjectRange | undefined
  #reading = false

  constructor(target: string | ObjectAddress, options: ObjectSourceOptions = {}) {
    const { start = 0, end, signal, highWaterMark, policy = defaultS3Policy() } = options
    const { idleTimeout = DEFAULT_IDLE_TIMEOUT, maxResumes = DEFAULT_MAX_RESUMES } = options
    checkInteger('start', start)
    if (end !== undefined && checkInteger('end', end) < start) {
      throw new OptionError('end', end, `an integer of at least start (${start})`)
    }
    checkInteger('idleTimeout', idleTimeout, 1, 2 ** 31 - 1)
    checkInteger('maxResumes', maxResumes)
    checkSignal('signal', signal)
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
    checkConnection(options)
    const address = addressOf('target', target)
    const stats = new StatsCounter('ObjectSource', options)
    super(highWaterMark === undefined ? {} : { highWaterMark })
    this.url = formatS3Url(address)
    this.#options = options
    this.#stats = stats
    this.#plan = { url: this.url, address, start, end, policy, idleTimeout, maxResumes }
    // not an option of super(): a signal that is aborted already would destroy what is not yet made
    if (signal) addAbortSignal(signal, this)
  }

  /** Size of the whole object in bytes, once the first bytes have come. */
  get size(): number | undefined {
    return this.#range?.size
  }

  /** ETag of the object, once the first bytes have come. */
  get etag(): string | undefined {
    return this.#range?.etag
  }

  stats(): StreamStats {
    return this.#stats.snapshot()
  }

  override _construct(callback: (error?: Error | null) => void): void {
    connect(this.#options).then(
      (connection) => {
        this.#range = new ObjectRange(connection, this.#plan)
        callback()
      },
      (error: unknown) => callback(asError(error)),
    )
  }

  override _read(): void {
    if (this.#reading) return
    this.#reading = true
    this.#pump().then(
      () => (this.#reading = false),
      (error: unknown) => {
        // what was read before the fault is delivered before the error
        if (!this.destroyed) failAfterDelivery(this, asError(error))
      },
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#range?.close(error ?? undefined)
    try {
      if (error !== null) this.#stats.failed(error)
      callback(error)
    } catch (fault) {
      callback(asError(fault))
    }
  }

  /** Pushes until the reader has enough. */
  async #pump(): Promise<void> {
    for (;;) {
      const chunk = await this.#range!.next()
      if (this.destroyed) return
      if (chunk === undefined) {
        this.#stats.completed()
        this.push(null)
        return
      }
      this.#stats.received(chunk.byteLength)
      this.#stats.sent(chunk.byteLength)
      if (!this.push(chunk)) return
    }
  }
}

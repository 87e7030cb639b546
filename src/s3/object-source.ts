import { Readable, addAbortSignal } from 'node:stream'
import { OptionError, PolicyError, S3Error, asError } from '../errors.ts'
import {
  StatsCounter,
  failAfterDelivery,
  type PolicyLike,
  type StatsHooks,
  type StreamStats,
} from '../flow/index.ts'
import { checkInteger, checkSignal } from '../options.ts'
import { addressOf, formatS3Url, type ObjectAddress } from './parse-s3-url.ts'
import {
  checkConnection,
  connect,
  defaultS3Policy,
  isRetryableS3,
  type Connection,
  type S3ConnectionOptions,
} from './s3-client.ts'

/** How long an {@link ObjectSource} waits for more bytes unless told otherwise, in milliseconds. */
export const DEFAULT_IDLE_TIMEOUT = 60_000

/** How often in a row an {@link ObjectSource} resumes without getting far, unless told otherwise. */
export const DEFAULT_MAX_RESUMES = 8

/** A connection that has brought so many bytes before it broke does not count for `maxResumes`. */
const RESUME_PROGRESS = 2 ** 20

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

/** What is used of the answer to `GetObject`. */
interface ObjectAnswer {
  readonly Body?: AsyncIterable<Uint8Array> & {
    destroy?(error?: Error): void
    on?(event: string, listener: () => void): void
  }
  readonly ETag?: string
  readonly ContentLength?: number
  readonly ContentRange?: string
}

/** An open connection, from which the first bytes have come. */
interface Opened {
  readonly body: NonNullable<ObjectAnswer['Body']>
  readonly chunks: AsyncIterator<Uint8Array>
  readonly first: Uint8Array | undefined
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
  readonly #address: ObjectAddress
  readonly #options: ObjectSourceOptions
  readonly #policy: PolicyLike
  readonly #stats: StatsCounter
  readonly #idleTimeout: number
  readonly #maxResumes: number
  readonly #start: number
  readonly #abort = new AbortController()
  #connection: Connection | undefined
  #opened: Opened | undefined
  /** The next byte that is to be delivered. */
  #offset: number
  /** Where the range ends; unknown until the first answer if it ends with the object. */
  #end: number | undefined
  #etag: string | undefined
  #size: number | undefined
  #resumes = 0
  #openedAt = 0
  #reading = false

  constructor(target: string | ObjectAddress, options: ObjectSourceOptions = {}) {
    const { start = 0, end, signal, highWaterMark, policy } = options
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
    this.#address = address
    this.#options = options
    this.#policy = policy ?? defaultS3Policy()
    this.#stats = stats
    this.#idleTimeout = idleTimeout
    this.#maxResumes = maxResumes
    this.#start = start
    this.#offset = start
    this.#end = end
    this.url = formatS3Url(address)
    // not an option of super(): a signal that is aborted already would destroy what is not yet made
    if (signal) addAbortSignal(signal, this)
  }

  /** Size of the whole object in bytes, once the first bytes have come. */
  get size(): number | undefined {
    return this.#size
  }

  /** ETag of the object, once the first bytes have come. */
  get etag(): string | undefined {
    return this.#etag
  }

  stats(): StreamStats {
    return this.#stats.snapshot()
  }

  override _construct(callback: (error?: Error | null) => void): void {
    connect(this.#options).then(
      (connection) => {
        this.#connection = connection
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
        if (!this.destroyed) failAfterDelivery(this, this.#failed(error))
      },
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#abort.abort(error ?? undefined)
    this.#drop()
    this.#connection?.close()
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
      const chunk = await this.#next()
      if (this.destroyed) return
      if (chunk === undefined) {
        this.#stats.completed()
        this.push(null)
        return
      }
      if (chunk.byteLength > this.#end! - this.#offset) {
        throw this.#error('READ', `more bytes than asked for, from byte ${this.#end} on`)
      }
      this.#offset += chunk.byteLength
      this.#stats.received(chunk.byteLength)
      this.#stats.sent(chunk.byteLength)
      if (!this.push(chunk)) return
    }
  }

  /** The next bytes, over as many connections as it takes; undefined at the end of the range. */
  async #next(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#opened === undefined) {
        if (this.#offset === this.#end && this.#size !== undefined) return undefined
        this.#opened = await this.#open()
        this.#openedAt = this.#offset
        if (this.#opened.first !== undefined) return this.#opened.first
      }
      let fault: unknown
      try {
        const step = await this.#step(this.#opened)
        if (!step.done) return step.value
        if (this.#offset === this.#end) {
          this.#drop()
          return undefined
        }
        fault = new Error(`the answer ended ${this.#end! - this.#offset} bytes early`)
      } catch (error) {
        if (this.destroyed || error instanceof S3Error || !isBroken(error)) throw error
        fault = error
      }
      this.#drop()
      this.#resumes = this.#offset - this.#openedAt < RESUME_PROGRESS ? this.#resumes + 1 : 1
      if (this.#resumes > this.#maxResumes) throw fault
    }
  }

  /** Asks for the rest of the range, and waits for its first bytes: a connection that brings none counts as failed. */
  async #open(): Promise<Opened> {
    if (this.#start === this.#end) return this.#openNothing()
    const { bucket: Bucket, key: Key } = this.#address
    const end = this.#end
    const from = this.#offset
    const range =
      end === undefined && from === 0 ? undefined : `bytes=${from}-${end === undefined ? '' : end - 1}`
    const command = new this.#connection!.sdk.GetObjectCommand({
      Bucket,
      Key,
      ...(range !== undefined && { Range: range }),
      ...(this.#etag !== undefined && { IfMatch: this.#etag }),
    })
    try {
      return await this.#policy.execute(({ signal }) => this.#ask(command, signal), this.#abort.signal)
    } catch (error) {
      const { name } = (unwrap(error) ?? {}) as { name?: string }
      if (name === 'InvalidRange' && this.#size === undefined) return this.#openNothing()
      if (name === 'PreconditionFailed') throw this.#changed(undefined, error)
      throw error
    }
  }

  /** One request, up to its first bytes. */
  async #ask(
    command: { readonly input: { readonly Range?: string | undefined } },
    signal: AbortSignal,
  ): Promise<Opened> {
    // The signal of an attempt may be aborted when the attempt is over, and the body must outlive it.
    const request = new AbortController()
    const forward = () => request.abort(signal.reason)
    signal.addEventListener('abort', forward, { once: true })
    let body: ObjectAnswer['Body']
    try {
      const { client } = this.#connection!
      const answer: ObjectAnswer = await client.send(command, { abortSignal: request.signal })
      body = answer.Body
      if (body === undefined) throw this.#error('READ', 'an answer without a body')
      // a body that fails while nobody waits for it must not be an uncaught error
      body.on?.('error', () => {})
      this.#check(answer, command.input.Range !== undefined)
      const opened = { body, chunks: body[Symbol.asyncIterator](), first: undefined }
      const step = await this.#step(opened, signal)
      if (!step.done) return { ...opened, first: step.value }
      if (this.#end === this.#offset) return opened
      throw Object.assign(new Error('the answer ended before its first byte'), { code: 'ECONNRESET' })
    } catch (error) {
      body?.destroy?.()
      throw error
    } finally {
      signal.removeEventListener('abort', forward)
    }
  }

  /** A range of no bytes is nothing that S3 knows: only whether it lies inside of the object is asked. */
  async #openNothing(): Promise<Opened> {
    const { bucket: Bucket, key: Key } = this.#address
    const command = new this.#connection!.sdk.HeadObjectCommand({ Bucket, Key })
    const answer = await this.#policy.execute<ObjectAnswer>(
      ({ signal }) => this.#connection!.client.send(command, { abortSignal: signal }),
      this.#abort.signal,
    )
    const size = answer.ContentLength ?? 0
    this.#size = size
    this.#etag ??= answer.ETag
    this.#within(this.#end ?? this.#offset, size)
    this.#end = this.#offset
    const body = Readable.from([])
    return { body, chunks: body[Symbol.asyncIterator](), first: undefined }
  }

  /** The answer must be of the same object, and begin where we are. */
  #check({ ETag, ContentRange, ContentLength }: ObjectAnswer, ranged: boolean): void {
    if (this.#etag !== undefined && ETag !== this.#etag) throw this.#changed(ETag)
    this.#etag = ETag
    const [, from, , total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(ContentRange ?? '') ?? []
    if (ranged && Number(from) !== this.#offset) {
      throw this.#error('READ', `asked for bytes from ${this.#offset} on, got ${ContentRange ?? 'no range'}`)
    }
    const size = total === undefined ? ContentLength : Number(total)
    if (size === undefined) throw this.#error('READ', 'an answer without a length')
    // for a store without ETags, all that shows
    if (this.#size !== undefined && size !== this.#size) throw this.#changed(ETag)
    this.#size = size
    this.#end ??= size
    this.#within(this.#end, size)
  }

  #within(end: number, size: number): void {
    if (end <= size) return
    const range = `${this.#start}-${this.#options.end ?? ''}`
    throw this.#error('RANGE', `range ${range} lies outside of the object of ${size} bytes`, {
      expected: size,
      actual: end,
    })
  }

  /** The next bytes of this connection. Ends it when they take too long, or when the signal is aborted. */
  async #step(
    { body, chunks }: Omit<Opened, 'first'>,
    signal?: AbortSignal,
  ): Promise<IteratorResult<Uint8Array, unknown>> {
    const idle = Object.assign(new Error(`no bytes for ${this.#idleTimeout} ms`), { code: 'ETIMEDOUT' })
    const timer = setTimeout(() => body.destroy?.(idle), this.#idleTimeout)
    const onAbort = () => body.destroy?.(asError(signal!.reason))
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      for (;;) {
        const step = await chunks.next()
        if (step.done || step.value.byteLength > 0) return step
      }
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
  }

  #drop(): void {
    const opened = this.#opened
    this.#opened = undefined
    opened?.body.destroy?.()
  }

  #failed(error: unknown): Error {
    if (error instanceof S3Error) return error
    return this.#error('READ', `reading failed at byte ${this.#offset}: ${asError(error).message}`, {
      cause: error,
      ...(error instanceof PolicyError && error.attempts !== undefined && { attempts: error.attempts }),
    })
  }

  #changed(actual: string | undefined, cause?: unknown): S3Error {
    return this.#error('CHANGED', `the object was replaced while it was read, before byte ${this.#offset}`, {
      expected: this.#etag,
      actual,
      ...(cause !== undefined && { cause }),
    })
  }

  #error(code: string, message: string, facts: ConstructorParameters<typeof S3Error>[3] = {}): S3Error {
    return new S3Error(`ERR_MILLRACE_S3_${code}`, this.url, message, { offset: this.#offset, ...facts })
  }
}

/** Bytes were on their way: the connection broke, however Node or the SDK call it. A wrong checksum is something else. */
function isBroken(error: unknown): boolean {
  const { message, code } = error as NodeJS.ErrnoException
  return (
    isRetryableS3(error) ||
    code === 'ERR_STREAM_PREMATURE_CLOSE' ||
    message === 'aborted' ||
    message.startsWith('Connection lost')
  )
}

/** What the store answered, beneath what a policy made of it. */
function unwrap(error: unknown): unknown {
  return error instanceof PolicyError ? error.cause : error
}

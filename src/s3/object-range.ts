import { Readable } from 'node:stream'
import { PolicyError, S3Error, asError } from '../errors.ts'
import type { PolicyLike } from '../flow/index.ts'
import type { ObjectAddress } from './parse-s3-url.ts'
import { isRetryableS3, type Connection } from './s3-client.ts'

/** A connection that has brought so many bytes before it broke does not count for `maxResumes`. */
const RESUME_PROGRESS = 2 ** 20

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

/** What an {@link ObjectRange} reads, and with what patience. */
export interface ObjectRangePlan {
  /** The object, as `s3://bucket/key`. */
  readonly url: string
  readonly address: ObjectAddress
  readonly start: number
  /** The first byte that is not read; undefined for the end of the object. */
  readonly end: number | undefined
  readonly policy: PolicyLike
  /** In milliseconds. */
  readonly idleTimeout: number
  readonly maxResumes: number
}

/**
 * The bytes of an object or a range, one chunk after the other, over as many connections as it takes. It knows where it
 * is, so that each connection goes on at the very byte, and which object it has begun with.
 */
export class ObjectRange {
  readonly #plan: ObjectRangePlan
  readonly #connection: Connection
  readonly #abort = new AbortController()
  #opened: Opened | undefined
  /** The next byte that is to be given. */
  #offset: number
  /** Where the range ends; unknown until the first answer if it ends with the object. */
  #end: number | undefined
  #etag: string | undefined
  #size: number | undefined
  #resumes = 0
  #openedAt = 0

  constructor(connection: Connection, plan: ObjectRangePlan) {
    this.#connection = connection
    this.#plan = plan
    this.#offset = plan.start
    this.#end = plan.end
  }

  /** Size of the whole object in bytes, once the first bytes have come. */
  get size(): number | undefined {
    return this.#size
  }

  get etag(): string | undefined {
    return this.#etag
  }

  /** The next bytes, or undefined at the end. @throws {@link S3Error} with the offset of the first byte that was not given. */
  async next(): Promise<Uint8Array | undefined> {
    try {
      const chunk = await this.#next()
      if (chunk === undefined) return undefined
      if (chunk.byteLength > this.#end! - this.#offset) {
        throw this.#error('READ', `more bytes than asked for, from byte ${this.#end} on`)
      }
      this.#offset += chunk.byteLength
      return chunk
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /** Ends what is under way. */
  close(reason?: Error): void {
    this.#abort.abort(reason)
    this.#drop()
    this.#connection.close()
  }

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
        if (this.#abort.signal.aborted || error instanceof S3Error || !isBroken(error)) throw error
        fault = error
      }
      this.#drop()
      this.#resumes = this.#offset - this.#openedAt < RESUME_PROGRESS ? this.#resumes + 1 : 1
      if (this.#resumes > this.#plan.maxResumes) throw fault
    }
  }

  /** Asks for the rest of the range, and waits for its first bytes: a connection that brings none counts as failed. */
  async #open(): Promise<Opened> {
    if (this.#plan.start === this.#end) return this.#openNothing()
    const { bucket: Bucket, key: Key } = this.#plan.address
    const end = this.#end
    const from = this.#offset
    const range =
      end === undefined && from === 0 ? undefined : `bytes=${from}-${end === undefined ? '' : end - 1}`
    const command = new this.#connection.sdk.GetObjectCommand({
      Bucket,
      Key,
      ...(range !== undefined && { Range: range }),
      ...(this.#etag !== undefined && { IfMatch: this.#etag }),
    })
    try {
      return await this.#plan.policy.execute(({ signal }) => this.#ask(command, signal), this.#abort.signal)
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
      const { client } = this.#connection
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
    const { bucket: Bucket, key: Key } = this.#plan.address
    const command = new this.#connection.sdk.HeadObjectCommand({ Bucket, Key })
    const answer = await this.#plan.policy.execute<ObjectAnswer>(
      ({ signal }) => this.#connection.client.send(command, { abortSignal: signal }),
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
    const range = `${this.#plan.start}-${this.#plan.end ?? ''}`
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
    const idle = Object.assign(new Error(`no bytes for ${this.#plan.idleTimeout} ms`), { code: 'ETIMEDOUT' })
    const timer = setTimeout(() => body.destroy?.(idle), this.#plan.idleTimeout)
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
    return new S3Error(`ERR_MILLRACE_S3_${code}`, this.#plan.url, message, { offset: this.#offset, ...facts })
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

import { Readable, Writable, addAbortSignal } from 'node:stream'
import { crc32 } from 'node:zlib'
import type { PutObjectCommandInput } from '@aws-sdk/client-s3'
import { MillraceError, PolicyError, S3Error, asError } from '../errors.ts'
import { StatsCounter, type PolicyLike, type StatsHooks, type StreamStats } from '../flow/index.ts'
import { loadPeer } from '../load-peer.ts'
import { checkBoolean, checkInteger, checkSignal } from '../options.ts'
import { addressOf, formatS3Url, type ObjectAddress } from './parse-s3-url.ts'
import { MAX_PARTS, planPartSize } from './part-size.ts'
import {
  checkConnection,
  connect,
  defaultS3Policy,
  type Connection,
  type S3ConnectionOptions,
} from './s3-client.ts'
import { UploadGate, type UploadAnswer, type UploadFailure } from './upload-gate.ts'

/** How many parts an {@link ObjectWriter} sends at the same time unless told otherwise. */
export const DEFAULT_PART_CONCURRENCY = 4

/** Chunks are gathered in blocks of this size, in bytes, so that many small ones take no more memory than a few large ones. */
const BLOCK_SIZE = 2 ** 20

/** Options of {@link ObjectWriter}. */
export interface ObjectWriterOptions extends S3ConnectionOptions, StatsHooks {
  /** How many bytes will come, if that is known. More or fewer are an error, and nothing is stored. */
  readonly size?: number
  /** About how many bytes will come, if only that is known. It may become twice as many. */
  readonly expectedSize?: number
  /**
   * Size of a part, in bytes: 5 MiB to 5 GiB.
   * @defaultValue from `size` or `expectedSize`: 8 MiB, or more to stay within 10 000 parts; 32 MiB without them (up to 312.5 GiB)
   */
  readonly partSize?: number
  /**
   * How many parts are sent at the same time.
   * @defaultValue 4
   */
  readonly concurrency?: number
  /**
   * Whether the size of the stored object is asked for in the end, with a HEAD request (which needs the right to read it).
   * @defaultValue true
   */
  readonly verify?: boolean
  /** What else the object gets: `ContentType`, `Metadata`, `StorageClass`, … as `PutObject` knows them. */
  readonly params?: Readonly<
    Partial<
      Omit<
        PutObjectCommandInput,
        'Bucket' | 'Key' | 'Body' | 'ContentLength' | 'ContentMD5' | 'ChecksumCRC32'
      >
    >
  >
  readonly signal?: AbortSignal
  /**
   * Bytes that may wait in the stream itself, before they are gathered into parts.
   * @defaultValue 64 KiB (16 KiB before Node 22)
   */
  readonly highWaterMark?: number
}

/**
 * Bytes in, an S3 object out: one `PutObject` if they fit into one part, otherwise a multipart upload. `finish` means that the
 * object is stored, with exactly these bytes; before that it does not exist.
 *
 * Chunks are copied, so that they may be used again after the callback. Holds at most (`concurrency` + 2) × (`partSize` + 1 MiB), and no more
 * than a small object needs. Every part, and a small object as a whole, travels with its CRC-32, which the store checks. A destroyed
 * or aborted writer ends its requests, removes the parts that were stored, and only then closes. (A multipart upload whose very id was
 * lost on the way cannot be removed; a lifecycle rule of the bucket can.)
 *
 * @throws {@link OptionError} from the constructor; as `error` events {@link S3Error}, and {@link MissingPeerError} without
 * `@aws-sdk/client-s3` and `@aws-sdk/lib-storage`.
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { pipeline } from 'node:stream/promises'
 * import { ObjectWriter } from 'millrace/s3'
 *
 * // a store of three lines, in place of a server
 * const objects = new Map()
 * const client = {
 *   async send({ input: { Key, Body } }) {
 *     if (Body) objects.set(Key, Buffer.from(Body))
 *     return { ETag: '"1"', ContentLength: objects.get(Key).byteLength }
 *   },
 * }
 * const writer = new ObjectWriter('s3://bench/hello', { client })
 * await pipeline([Buffer.from('hello '), Buffer.from('world')], writer)
 * assert.equal(objects.get('hello').toString(), 'hello world')
 * assert.equal(writer.bytesWritten, 11)
 * ```
 */
export class ObjectWriter extends Writable {
  /** The object, as `s3://bucket/key`. */
  readonly url: string
  /** Bytes of all parts but the last. */
  readonly partSize: number
  readonly #address: ObjectAddress
  readonly #options: ObjectWriterOptions
  readonly #policy: PolicyLike
  readonly #stats: StatsCounter
  readonly #abort = new AbortController()
  #connection: Connection | undefined
  #gate: UploadGate | undefined
  #feed: Readable | undefined
  #upload: Promise<UploadAnswer> | undefined
  #answer: UploadAnswer | undefined
  #block: Buffer | undefined
  #filled = 0
  #bytes = 0
  #crc = 0
  /** Goes on with the write that waits for the upload to take more. */
  #resume: (() => void) | undefined

  constructor(target: string | ObjectAddress, options: ObjectWriterOptions = {}) {
    const { size, expectedSize, partSize, concurrency, verify, signal, highWaterMark, policy } = options
    checkSignal('signal', signal)
    if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
    if (concurrency !== undefined) checkInteger('concurrency', concurrency, 1)
    if (verify !== undefined) checkBoolean('verify', verify)
    checkConnection(options)
    const address = addressOf('target', target)
    const planned = planPartSize(size, expectedSize, partSize)
    const stats = new StatsCounter('ObjectWriter', options)
    super(highWaterMark === undefined ? {} : { highWaterMark })
    this.#address = address
    this.#options = options
    this.#policy = policy ?? defaultS3Policy()
    this.#stats = stats
    this.url = formatS3Url(address)
    this.partSize = planned
    // not an option of super(): a signal that is aborted already would destroy what is not yet made
    if (signal) addAbortSignal(signal, this)
  }

  /** Bytes taken so far. */
  get bytesWritten(): number {
    return this.#bytes
  }

  /** CRC-32 of all bytes taken so far, as S3 writes it: base64, high byte first. */
  get checksum(): string {
    const bytes = Buffer.allocUnsafe(4)
    bytes.writeUInt32BE(
      this.#filled > 0 ? crc32(this.#block!.subarray(0, this.#filled), this.#crc) : this.#crc,
    )
    return bytes.toString('base64')
  }

  /** ETag of the stored object, once `finish` has come. */
  get etag(): string | undefined {
    return this.#answer?.ETag
  }

  /** Version of the stored object, in a bucket with versions, once `finish` has come. */
  get versionId(): string | undefined {
    return this.#answer?.VersionId
  }

  /** `bytesOut` and `chunks` count what the store has acknowledged. */
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

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    const fault = this.#tooMany(chunk.byteLength)
    if (fault) return callback(fault)
    this.#stats.received(chunk.byteLength)
    this.#bytes += chunk.byteLength
    this.#take(chunk, 0, callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#finish().then(
      () => callback(),
      (error: unknown) => callback(asError(error)),
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#end(error).then(callback, (fault: unknown) => callback(asError(fault)))
  }

  #tooMany(more: number): S3Error | undefined {
    const { size } = this.#options
    const total = this.#bytes + more
    if (size !== undefined && total > size) {
      return this.#error('SIZE', `more bytes than the ${size} of option size`, {
        expected: size,
        actual: total,
      })
    }
    const most = this.partSize * MAX_PARTS
    if (total <= most) return undefined
    return this.#error(
      'SIZE',
      `more than ${MAX_PARTS} parts of ${this.partSize} bytes: give expectedSize, or a larger partSize`,
      { expected: most, actual: total },
    )
  }

  /** Copies the chunk into blocks and hands on the full ones; calls back when all of it is taken. */
  #take(chunk: Buffer, from: number, callback: () => void): void {
    let at = from
    while (at < chunk.byteLength) {
      const block = (this.#block ??= Buffer.allocUnsafeSlow(
        Math.min(BLOCK_SIZE, this.#options.size ?? BLOCK_SIZE),
      ))
      const taken = chunk.copy(block, this.#filled, at)
      at += taken
      this.#filled += taken
      if (this.#filled === block.byteLength && !this.#push()) {
        this.#resume = () => this.#take(chunk, at, callback)
        return
      }
    }
    callback()
  }

  /** Hands the block to the upload; false when that has enough for now. */
  #push(): boolean {
    const bytes = this.#block!.subarray(0, this.#filled)
    this.#crc = crc32(bytes, this.#crc)
    this.#block = undefined
    this.#filled = 0
    return this.#start().push(bytes)
  }

  /** Begins the upload with the first block: an object that fails before has asked for nothing. */
  #start(): Readable {
    if (this.#feed !== undefined) return this.#feed
    const feed = new Readable({
      // blocks as objects: otherwise the reader is given several of them copied into one
      objectMode: true,
      highWaterMark: 1,
      read: () => {
        const resume = this.#resume
        this.#resume = undefined
        resume?.()
      },
    })
    feed.on('error', () => {})
    this.#feed = feed
    this.#gate = new UploadGate(
      this.#connection!,
      this.#policy,
      this.#abort.signal,
      (bytes) => this.#stats.sent(bytes),
      (failure) => this.destroy(this.#failed(failure)),
    )
    this.#upload = this.#run(feed, this.#gate)
    this.#upload.catch((error: unknown) => this.destroy(this.#failed({ error, part: undefined })))
    return feed
  }

  async #run(feed: Readable, gate: UploadGate): Promise<UploadAnswer> {
    const { Upload } = await loadPeer(
      's3://',
      ['@aws-sdk/lib-storage', '@aws-sdk/client-s3'],
      () => import('@aws-sdk/lib-storage'),
    )
    const { params, concurrency = DEFAULT_PART_CONCURRENCY } = this.#options
    const upload = new Upload({
      // it sends, and reads two fields of the configuration: the gate is all of a client that it needs
      client: gate as never,
      params: { ...params, Bucket: this.#address.bucket, Key: this.#address.key, Body: feed },
      partSize: this.partSize,
      queueSize: concurrency,
    })
    return (await upload.done()) as UploadAnswer
  }

  async #finish(): Promise<void> {
    const { size, verify = true } = this.#options
    if (size !== undefined && this.#bytes < size) {
      throw this.#error('SIZE', `${this.#bytes} bytes, and not the ${size} of option size`, {
        expected: size,
        actual: this.#bytes,
      })
    }
    if (this.#filled > 0) this.#push()
    this.#start().push(null)
    const answer = await this.#upload!
    if (answer.ChecksumType === 'FULL_OBJECT' && answer.ChecksumCRC32 !== undefined) {
      this.#same('CHECKSUM', 'CRC-32', this.checksum, answer.ChecksumCRC32)
    }
    if (verify) await this.#verify(answer)
    this.#answer = answer
    this.#stats.completed()
  }

  async #verify({ VersionId }: UploadAnswer): Promise<void> {
    const { bucket: Bucket, key: Key } = this.#address
    const { HeadObjectCommand } = this.#connection!.sdk
    const command = new HeadObjectCommand({ Bucket, Key, ...(VersionId !== undefined && { VersionId }) })
    let stored: { readonly ContentLength?: number }
    try {
      stored = await this.#gate!.request(command)
    } catch (error) {
      throw this.#failed({ error, part: undefined }, 'stored, but its size cannot be asked for')
    }
    this.#same('SIZE', 'bytes', this.#bytes, stored.ContentLength)
  }

  #same(code: string, what: string, expected: unknown, actual: unknown): void {
    if (expected === actual) return
    throw this.#error(
      code,
      `written with ${what} ${String(expected)}, stored with ${what} ${String(actual)}`,
      {
        expected,
        actual,
      },
    )
  }

  async #end(error: Error | null): Promise<Error | null> {
    this.#resume = undefined
    let outcome = error
    if (this.#upload !== undefined && !this.writableFinished) {
      this.#abort.abort(error)
      this.#feed!.destroy(error ?? undefined)
      // rejects when all requests have ended and the parts are removed
      await this.#upload.catch(() => {})
      const { leftBehind } = this.#gate!
      if (leftBehind !== undefined) outcome = this.#leftBehind(error, leftBehind)
    }
    this.#block = undefined
    this.#connection?.close()
    if (outcome !== null) this.#stats.failed(outcome)
    return outcome
  }

  #leftBehind(error: Error | null, uploadId: string): S3Error {
    const why = error === null ? 'destroyed' : error.message.replace(`${this.url}: `, '')
    return this.#error('WRITE', `${why}; the parts of upload ${uploadId} could not be removed`, {
      acknowledgedBytes: this.#gate!.acknowledgedBytes,
      uploadId,
      cause: error?.cause ?? error,
    })
  }

  #failed({ error, part }: UploadFailure, what = 'upload failed'): Error {
    if (error instanceof S3Error || (MillraceError.is(error) && error.code === 'ERR_MILLRACE_MISSING_PEER'))
      return error
    const where = part === undefined ? '' : ` at part ${part}`
    const acknowledged = this.#gate!.acknowledgedBytes
    return this.#error(
      'WRITE',
      `${what}${where}: ${asError(error).message} (${acknowledged} of ${this.#bytes} bytes had been acknowledged)`,
      {
        acknowledgedBytes: acknowledged,
        cause: error,
        ...(error instanceof PolicyError && error.attempts !== undefined && { attempts: error.attempts }),
      },
    )
  }

  #error(code: string, message: string, facts: ConstructorParameters<typeof S3Error>[3]): S3Error {
    return new S3Error(`ERR_MILLRACE_S3_${code}`, this.url, message, facts)
  }
}

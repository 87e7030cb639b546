import { createHash } from 'node:crypto'
import type { PolicyLike } from '../flow/index.ts'
import type { Connection, S3ClientLike } from './s3-client.ts'

/** How long the removal of a failed upload may take, in milliseconds, before it is reported as left behind. */
const CLEANUP_TIMEOUT = 30_000

/** How often an upload is aborted whose parts were still on their way when it was aborted before. */
const MAX_ABORTS = 3

interface Part {
  readonly PartNumber?: number
  readonly ETag?: string
}

/** The inputs of all commands that lib-storage sends, seen as one. */
interface UploadInput {
  readonly Bucket: string
  readonly Key: string
  readonly UploadId?: string
  readonly PartNumber?: number
  readonly Body?: Uint8Array
  readonly MultipartUpload?: { readonly Parts?: readonly Part[] }
}

/** The answers to them, seen as one. */
export interface UploadAnswer {
  readonly UploadId?: string
  readonly ETag?: string
  readonly VersionId?: string
  readonly ChecksumCRC32?: string
  readonly ChecksumType?: string
}

/** What failed first. */
export interface UploadFailure {
  readonly error: unknown
  /** Number of the part, from 1; undefined for the request before or after all parts. */
  readonly part: number | undefined
}

/**
 * Stands between lib-storage and the client. What lib-storage leaves open is decided here: each request goes through the policy
 * and ends with the signal; what was acknowledged is counted; a failure is told at once (lib-storage, waiting for the next
 * bytes, may notice it much later); and the removal of a failed upload is repeated until nothing is left.
 */
export class UploadGate implements S3ClientLike {
  readonly #client: S3ClientLike
  readonly #sdk: Connection['sdk']
  readonly #policy: PolicyLike
  readonly #signal: AbortSignal
  readonly #onFailure: (failure: UploadFailure) => void
  readonly #onPart: (bytes: number) => void
  /** What lib-storage looks up. */
  readonly config: object
  /** Bytes in parts, or in the whole object, that the store has acknowledged. */
  acknowledgedBytes = 0
  /** A multipart upload that could not be removed. */
  leftBehind: string | undefined
  #cutOff = false

  constructor(
    { client, sdk }: Connection,
    policy: PolicyLike,
    signal: AbortSignal,
    onPart: (bytes: number) => void,
    onFailure: (failure: UploadFailure) => void,
  ) {
    this.#client = client
    this.#sdk = sdk
    this.#policy = policy
    this.#signal = signal
    this.#onPart = onPart
    this.#onFailure = onFailure
    const { requestChecksumCalculation = () => Promise.resolve('WHEN_SUPPORTED') } = (client.config ??
      {}) as {
      requestChecksumCalculation?: () => Promise<string>
    }
    this.config = {
      requestChecksumCalculation,
      // only the `Location` of its result is made of this, which nobody reads
      endpoint: () => Promise.resolve({ protocol: 'https:', hostname: 's3', path: '/' }),
    }
  }

  async send(command: { readonly input: UploadInput }): Promise<UploadAnswer> {
    const { UploadId, PartNumber, MultipartUpload, Body } = command.input
    if (UploadId !== undefined && PartNumber === undefined && MultipartUpload === undefined) {
      await this.#remove(command, UploadId)
      return {}
    }
    try {
      const answer = await this.#answer(command)
      if (Body !== undefined) {
        this.acknowledgedBytes += Body.byteLength
        this.#onPart(Body.byteLength)
      }
      return answer
    } catch (error) {
      if (PartNumber !== undefined) this.#cutOff = true
      this.#onFailure({ error, part: PartNumber })
      throw error
    }
  }

  #answer(command: { readonly input: UploadInput }): Promise<UploadAnswer> {
    const { Body, MultipartUpload } = command.input
    if (MultipartUpload !== undefined) return this.#complete(command, MultipartUpload.Parts ?? [])
    return Body === undefined ? this.#create(command) : this.request(command)
  }

  /** A request for an upload that is on its way is waited for even after an abort: nobody could remove what it makes without its id. */
  async #create(command: object): Promise<UploadAnswer> {
    const stop = new AbortController()
    let onItsWay = false
    let timer: NodeJS.Timeout | undefined
    const end = () => stop.abort(this.#signal.reason)
    const onAbort = () => {
      if (onItsWay) timer = setTimeout(end, CLEANUP_TIMEOUT)
      else end()
    }
    this.#signal.addEventListener('abort', onAbort, { once: true })
    try {
      return await this.#policy.execute<UploadAnswer>(async ({ signal: abortSignal }) => {
        onItsWay = true
        try {
          return await this.#client.send(command, { abortSignal })
        } finally {
          onItsWay = false
          if (this.#signal.aborted) end()
        }
      }, stop.signal)
    } finally {
      clearTimeout(timer)
      this.#signal.removeEventListener('abort', onAbort)
    }
  }

  /** One request, as often as the policy allows. */
  request<T>(command: object, signal = this.#signal): Promise<T> {
    return this.#policy.execute<T>(
      ({ signal }) => this.#client.send(command, { abortSignal: signal }) as Promise<T>,
      signal,
    )
  }

  /**
   * The answer to a completion may be lost, and the repeated request then finds no upload any more. Whether it was completed
   * shows in the ETag of the object, which S3 makes of those of the parts.
   */
  async #complete(command: { readonly input: UploadInput }, parts: readonly Part[]): Promise<UploadAnswer> {
    let attempts = 0
    return await this.#policy.execute<UploadAnswer>(async ({ signal: abortSignal }) => {
      try {
        attempts++
        return await this.#client.send(command, { abortSignal })
      } catch (error) {
        if (attempts === 1 || !isNoSuchUpload(error)) throw error
        const { Bucket, Key } = command.input
        const stored = await this.#client.send(new this.#sdk.HeadObjectCommand({ Bucket, Key }), {
          abortSignal,
        })
        if (stored.ETag !== compositeTag(parts)) throw error
        return { ETag: stored.ETag, ...(stored.VersionId !== undefined && { VersionId: stored.VersionId }) }
      }
    }, this.#signal)
  }

  /** Never throws: what brought us here is the better error. A removal must not end with the caller's signal. */
  async #remove(command: { readonly input: UploadInput }, uploadId: string): Promise<void> {
    const { Bucket, Key } = command.input
    const signal = AbortSignal.timeout(CLEANUP_TIMEOUT)
    try {
      for (let attempt = 1; attempt <= MAX_ABORTS; attempt++) {
        await this.request(command, signal)
        // a part that was on its way may have been stored after the removal
        if (!this.#cutOff) return
        await this.request(new this.#sdk.ListPartsCommand({ Bucket, Key, UploadId: uploadId }), signal)
      }
      this.leftBehind = uploadId
    } catch (error) {
      if (!isNoSuchUpload(error)) this.leftBehind = uploadId
    }
  }
}

function isNoSuchUpload(error: unknown): boolean {
  return (error as Error | null)?.name === 'NoSuchUpload'
}

/** MD5 of the MD5s of the parts, and their number; undefined where encryption makes the ETags something else. */
function compositeTag(parts: readonly Part[]): string | undefined {
  const hash = createHash('md5')
  for (const { ETag = '' } of parts) {
    const [, digest] = /^"?([0-9a-f]{32})"?$/.exec(ETag) ?? []
    if (digest === undefined) return undefined
    hash.update(digest, 'hex')
  }
  return `"${hash.digest('hex')}-${parts.length}"`
}

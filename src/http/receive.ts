import { IncomingMessage } from 'node:http'
import { addAbortSignal, pipeline, type Transform } from 'node:stream'
import zlib from 'node:zlib'
import { setTimeout as delay } from 'node:timers/promises'
import { HttpError, MillraceError, NodeVersionError, asError } from '../errors.ts'
import { RecordBatch, isRetryable, type PolicyLike } from '../flow/index.ts'
import { checkBoolean, checkInteger, checkLimit, checkMethods, checkSignal } from '../options.ts'
import { checkType, type ProtobufType } from './protobuf-encoder.ts'
import { DEFAULT_MAX_RECORD_BYTES, decoderFor, truncated, type RecordDecoder } from './record-decoder.ts'

/** How often in a row a response is resumed without a new record, unless `resumes` says otherwise. */
export const DEFAULT_RESUMES = 3

/** Bytes of the body of an error response that are kept. */
const MAX_ERROR_BODY = 16 * 1024

/** Pause before the first resumption, in milliseconds; it doubles. */
const FIRST_PAUSE = 100

/** What is used of a response of `fetch`. */
export interface FetchResponseLike {
  readonly status: number
  readonly headers: { get(name: string): string | null }
  readonly body: ReadableStream<Uint8Array> | null
}

/** A response as the client gets it, of `fetch` or of `node:http`. */
export type ReceivedResponse = FetchResponseLike | IncomingMessage

/** What a function that makes requests is asked for. */
export interface ResumeRequest {
  /** Number of the first record that is wanted. */
  readonly index: number
  /** Headers to send: none at first, then those that ask for the rest. */
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal | undefined
}

/** Options of {@link receive}. */
export interface ReceiveOptions {
  /** The message type, for protobuf. */
  readonly type?: ProtobufType
  /** Decoders for other content types, by media type in lower case. They come before those of the package. */
  readonly decoders?: Readonly<Record<string, RecordDecoder>>
  /**
   * Longest record, in bytes.
   *
   * @defaultValue 64 MiB
   */
  readonly maxRecordBytes?: number
  /**
   * Whether to give {@link RecordBatch}es and not single records.
   *
   * @defaultValue false
   */
  readonly batches?: boolean
  /**
   * How often in a row to ask for the rest when a response breaks off without a new record; for a function only.
   *
   * @defaultValue 3
   */
  readonly resumes?: number
  /** How the function that makes requests is called: retries, timeout, breaker. */
  readonly policy?: PolicyLike
  /** Ends the iteration with its reason. Give it to the request too. */
  readonly signal?: AbortSignal
}

type Source =
  | ReceivedResponse
  | PromiseLike<ReceivedResponse>
  | ((request: ResumeRequest) => ReceivedResponse | PromiseLike<ReceivedResponse>)

/**
 * A response of `fetch` or `node:http` in, its records out; an error unless all of them came. Given a function that makes the request, it
 * asks for the rest when the connection breaks, if the server can do that (`resumable` of a Streamer).
 *
 * The decoder follows from the content type: JSON array, NDJSON (where the server announces a terminator, it is checked and not given), JSON
 * text sequence, CSV, MessagePack, delimited protobuf. Content encodings are undone. Leaving the loop cancels the response.
 *
 * @remarks Memory: a block of records of the decoder, 256 KiB of JSON.
 * @throws {@link HttpError} when the status is none of success, the response ends early, or nothing decodes it; {@link JsonError} and the
 * like when it is not what it says.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { receive } from 'millrace'
 *
 * const headers = { 'content-type': 'application/x-ndjson; terminator=true' }
 * const records: unknown[] = []
 * await assert.rejects(async () => {
 *   for await (const record of receive(new Response('{"a":1}\n{"a":2}\n', { headers }))) records.push(record)
 * }, { code: 'ERR_MILLRACE_HTTP_TRUNCATED', index: 2 })
 * assert.deepEqual(records, [{ a: 1 }, { a: 2 }])
 * ```
 */
export function receive<T = unknown>(
  source: Source,
  options: ReceiveOptions & { readonly batches: true },
): AsyncGenerator<RecordBatch<T>, void, undefined>
export function receive<T = unknown>(
  source: Source,
  options?: ReceiveOptions,
): AsyncGenerator<T, void, undefined>
export function receive<T>(
  source: Source,
  options: ReceiveOptions = {},
): AsyncGenerator<T | RecordBatch<T>, void, undefined> {
  // not a generator itself: a wrong option is an error of the call, not of the loop
  const { batches = false, resumes = DEFAULT_RESUMES, maxRecordBytes = DEFAULT_MAX_RECORD_BYTES } = options
  checkBoolean('batches', batches)
  checkInteger('resumes', resumes)
  checkLimit('maxRecordBytes', maxRecordBytes)
  checkSignal('signal', options.signal)
  if (options.type !== undefined) checkType(options.type)
  if (options.policy !== undefined) checkMethods('policy', options.policy, ['execute'])
  // what fails before anybody reads is an error of the loop, not of the process
  if (typeof source === 'object' && 'then' in source) source.then(undefined, () => {})
  return generate(source, { ...options, batches, resumes, maxRecordBytes })
}

type Settings = ReceiveOptions & Required<Pick<ReceiveOptions, 'batches' | 'resumes' | 'maxRecordBytes'>>

async function* generate<T>(
  source: Source,
  settings: Settings,
): AsyncGenerator<T | RecordBatch<T>, void, undefined> {
  const { batches, resumes, signal, policy, type, maxRecordBytes, decoders = {} } = settings
  let index = 0
  let failures = 0
  let canResume = false
  let etag: string | undefined
  const ask = async () => {
    if (typeof source !== 'function') return source
    const headers =
      index === 0 ? {} : { range: `items=${index}-`, ...(etag !== undefined && { 'if-range': etag }) }
    const call = async () => source({ index, headers, signal })
    return policy ? policy.execute(call) : call()
  }
  for (;;) {
    try {
      signal?.throwIfAborted()
      const response = factsOf(await ask())
      await checkStatus(response, index)
      etag ??= response.header('etag')
      canResume = typeof source === 'function' && response.header('accept-ranges') === 'items'
      const contentType = response.header('content-type') ?? ''
      const decode = decoderFor(contentType, { type, maxRecordBytes, decoders })
      for await (const records of decode(bytesOf(response, signal), contentType)) {
        failures = 0
        if (batches) {
          const batch = new RecordBatch(index, records as readonly T[])
          index += records.length
          yield batch
        } else {
          for (const record of records as readonly T[]) {
            index++
            yield record
          }
        }
      }
      return
    } catch (error) {
      signal?.throwIfAborted()
      const fault = atRecord(error, index)
      if (!canResume || !isWorthResuming(fault) || ++failures > resumes) throw fault
      await delay(FIRST_PAUSE * 2 ** (failures - 1), undefined, { ...(signal && { signal }) })
    }
  }
}

interface ResponseFacts {
  readonly status: number
  readonly header: (name: string) => string | undefined
  readonly response: ReceivedResponse
}

function factsOf(response: ReceivedResponse): ResponseFacts {
  if (response instanceof IncomingMessage) {
    const header = (name: string) => {
      const value = response.headers[name]
      return Array.isArray(value) ? value.join(', ') : value
    }
    return { status: response.statusCode ?? 0, header, response }
  }
  return { status: response.status, header: (name) => response.headers.get(name) ?? undefined, response }
}

async function checkStatus(facts: ResponseFacts, index: number): Promise<void> {
  const { status, header } = facts
  const whole = status >= 200 && status < 300 && status !== 206
  if (index === 0 ? whole || status === 206 : status === 206 && rangeStart(header('content-range')) === index)
    return
  const body = await startOfBody(facts)
  if (index > 0 && (status < 400 || status === 412 || status === 416)) {
    throw new HttpError(
      'ERR_MILLRACE_HTTP_CHANGED',
      `cannot go on at record ${index}: expected status 206 from there, got ${status}`,
      { status, body, index, expected: 206, actual: status },
    )
  }
  throw new HttpError(
    'ERR_MILLRACE_HTTP_STATUS',
    `expected a status of success, got ${status}: ${body.slice(0, 200)}`,
    {
      status,
      body,
      actual: status,
    },
  )
}

function rangeStart(header: string | undefined): number | undefined {
  const range = /^items (\d+)-/.exec(header ?? '')
  return range ? Number(range[1]) : undefined
}

/** What an error response says, as far as that can be read. */
async function startOfBody(facts: ResponseFacts): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of bytesOf(facts, undefined)) {
      parts.push(chunk)
      bytes += chunk.length
      if (bytes >= MAX_ERROR_BODY) break
    }
  } catch {
    // the status says enough
  }
  return Buffer.concat(parts).subarray(0, MAX_ERROR_BODY).toString()
}

/** The body, content encoding undone. What breaks off is `ERR_MILLRACE_HTTP_TRUNCATED`. */
async function* bytesOf({ response, header }: ResponseFacts, signal: AbortSignal | undefined) {
  try {
    if (response instanceof IncomingMessage) {
      if (signal) addAbortSignal(signal, response)
      yield* decoded(response, header('content-encoding'))
      if (!response.complete) throw truncated('the connection was closed')
    } else if (response.body) yield* chunksOf(response.body, signal)
  } catch (error) {
    if (MillraceError.is(error)) throw error
    throw truncated(causeOf(error), error)
  }
}

async function* chunksOf(body: ReadableStream<Uint8Array>, signal: AbortSignal | undefined) {
  const reader = body.getReader()
  const cancel = () => void reader.cancel(signal?.reason).catch(() => {})
  signal?.addEventListener('abort', cancel, { once: true })
  let isDone = false
  try {
    for (;;) {
      const { done, value } = await reader.read()
      signal?.throwIfAborted()
      isDone = done
      if (done) return
      yield value
    }
  } finally {
    signal?.removeEventListener('abort', cancel)
    if (!isDone) cancel()
  }
}

/** `fetch` does this by itself; `node:http` does not. */
function decoded(message: IncomingMessage, encoding: string | undefined): AsyncIterable<Uint8Array> {
  if (encoding === undefined || encoding === 'identity') return message
  const decoder = decompressor(encoding)
  // its error is the one that the reader of the decoder gets
  pipeline(message, decoder, () => {})
  return decoder
}

function decompressor(encoding: string): Transform {
  if (encoding === 'gzip' || encoding === 'x-gzip') return zlib.createGunzip()
  if (encoding === 'deflate') return zlib.createInflate()
  if (encoding === 'br') return zlib.createBrotliDecompress()
  if (encoding === 'zstd') {
    const { createZstdDecompress } = zlib as typeof zlib & { createZstdDecompress?: () => Transform }
    /* v8 ignore next -- coverage is measured on a Node that has no zstd; the tests run on one that has, too */
    if (createZstdDecompress) return createZstdDecompress()
    throw new NodeVersionError('ERR_MILLRACE_NODE_VERSION', 'zstd needs Node 22.15 or later', {
      expected: '22.15.0',
    })
  }
  throw new HttpError('ERR_MILLRACE_HTTP_TYPE', `no decoder for content encoding ${encoding}`, {
    actual: encoding,
  })
}

/** `fetch` hides what happened behind "terminated". */
function causeOf(error: unknown): string {
  const { message, cause } = asError(error)
  return cause instanceof Error ? `${message} (${cause.message})` : message
}

/** The error with the number of the record that is missing. What ends in the middle of a record is truncated too. */
function atRecord(error: unknown, index: number): unknown {
  const code = (error as { code?: string }).code ?? ''
  const isCut = /^ERR_MILLRACE_(JSON|FRAME)_(TRUNCATED|EMPTY)$|^CSV_QUOTE_NOT_CLOSED$/.test(code)
  const isOurs =
    error instanceof HttpError && ['ERR_MILLRACE_HTTP_TRUNCATED', 'ERR_MILLRACE_HTTP_FAILED'].includes(code)
  if (!isCut && !isOurs) return error
  const { message, cause } = error as Error
  const text = isOurs ? message.replace(/^the response is not complete: /, '') : message
  const { actual } = error as HttpError
  if (code === 'ERR_MILLRACE_HTTP_FAILED') return new HttpError(code, message, { index, actual })
  return new HttpError(
    'ERR_MILLRACE_HTTP_TRUNCATED',
    `the response is not complete, at record ${index}: ${text}`,
    {
      index,
      cause: isOurs ? cause : error,
    },
  )
}

const isWorthResuming = (error: unknown): boolean =>
  (error as { code?: string }).code === 'ERR_MILLRACE_HTTP_TRUNCATED' || isRetryable(error)

import { HttpError } from '../errors.ts'
import type { ContentCoding } from './compress-sink.ts'
import { chooseCoding, chooseEncoder, mediaTypeOf } from './negotiate.ts'
import type { RecordEncoder } from './record-encoder.ts'
import type { PumpOutcome } from './response-pump.ts'
import type { ResponseHeaders, ResponseSink } from './response-sink.ts'
import type { ResponseOptions } from './stream-response.ts'
import type { ErrorBody, StreamerConfig } from './streamer-config.ts'

/** What a response needs to know of its request. */
export interface RequestFacts {
  /** @defaultValue 'GET' */
  readonly method?: string | undefined
  /** Gives a header by its name in lower case. */
  readonly header?: (name: string) => string | undefined
}

/** A response without records. */
export interface BareResponse {
  readonly status: number
  readonly headers: ResponseHeaders
  /** Undefined: a head only, as for HEAD and 304. */
  readonly body?: string
  readonly error?: Error
}

/** What the headers of the request lead to. */
export interface ResponsePlan {
  readonly encoder: RecordEncoder
  readonly coding: ContentCoding | undefined
  /** Number of the first item. */
  readonly start: number
  readonly status: number
  readonly headers: ResponseHeaders
  /** Instead of all that. */
  readonly bare?: BareResponse
}

/** Decides format, compression, part and headers. */
export function planResponse(
  { config, options }: { readonly config: StreamerConfig; readonly options: ResponseOptions },
  { method = 'GET', header = () => undefined }: RequestFacts,
  status: number,
): ResponsePlan {
  const encoder = chooseEncoder(header('accept'), config.encoders)
  const coding = config.compression
    ? chooseCoding(header('accept-encoding'), config.compression.codings)
    : undefined
  const start = options.resumable ? startOf(header, options.etag) : 0
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[name.toLowerCase()] = value
  const vary = [
    headers['vary'],
    config.encoders.length > 1 ? 'Accept' : undefined,
    config.compression ? 'Accept-Encoding' : undefined,
  ].filter((name) => name !== undefined)
  if (vary.length > 0) headers['vary'] = vary.join(', ')
  if (options.etag !== undefined) headers['etag'] = options.etag
  if (encoder === undefined) {
    const types = config.encoders.map(({ contentType }) => mediaTypeOf(contentType))
    const error = new HttpError(
      'ERR_MILLRACE_HTTP_NOT_ACCEPTABLE',
      `no format that is accepted: expected one of ${types.join(', ')}, got ${header('accept')}`,
      { status: 406, expected: types, actual: header('accept') },
    )
    return {
      encoder: config.encoders[0] as RecordEncoder,
      coding,
      start,
      status,
      headers,
      bare: { ...errorResponse(error, config.errorBody), error },
    }
  }
  headers['content-type'] ??= encoder.contentType
  if (options.resumable) headers['accept-ranges'] = 'items'
  if (start > 0) headers['content-range'] = `items ${start}-/*`
  const plan = { encoder, coding, start, status: start > 0 ? 206 : status, headers }
  if (options.etag !== undefined && matches(header('if-none-match'), options.etag)) {
    const { 'content-type': _, ...rest } = headers
    return { ...plan, bare: { status: 304, headers: rest } }
  }
  return method === 'HEAD' ? { ...plan, bare: { status: plan.status, headers } } : plan
}

/** Sends a response without records. */
export async function sendBare(
  to: ResponseSink,
  { status, headers, body, error }: BareResponse,
): Promise<PumpOutcome> {
  const firstByteAt = performance.now()
  const complete = await new Promise<boolean>((resolve) => {
    let closed = false
    to.listen({
      onDrain() {},
      onClose: (whole) => {
        closed = true
        resolve(whole)
      },
    })
    if (closed) return
    if (body !== undefined) to.whole(status, headers, body)
    else {
      to.head(status, headers)
      to.end('')
    }
  })
  const outcome = !complete ? 'disconnected' : error ? 'failed' : 'complete'
  return { outcome, status, error, dropped: 0, firstByteAt }
}

/** The status that an error asks for, or 500, with a body in JSON. */
export function errorResponse(
  error: Error,
  errorBody: ErrorBody,
): { status: number; headers: ResponseHeaders; body: string } {
  const { status, statusCode } = error as { status?: unknown; statusCode?: unknown }
  const asked = Number(status ?? statusCode)
  const code = Number.isInteger(asked) && asked >= 400 && asked <= 599 ? asked : 500
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' }
  return { status: code, headers, body: JSON.stringify(errorBody(error, code)) }
}

/** `Range: items=1234-`; anything else asks for all, as the specification has it for units that are not understood. */
function startOf(header: (name: string) => string | undefined, etag: string | undefined): number {
  const range = /^items=(\d{1,15})-$/.exec(header('range') ?? '')
  const condition = header('if-range')
  if (!range || (condition !== undefined && condition !== etag)) return 0
  return Number(range[1])
}

/** Weak comparison, as for If-None-Match. */
function matches(header: string | undefined, etag: string): boolean {
  const plain = (tag: string) => tag.trim().replace(/^W\//, '')
  return (
    header !== undefined && header.split(',').some((tag) => tag.trim() === '*' || plain(tag) === plain(etag))
  )
}

import { PolicyError } from '../errors.ts'

/** How deep a chain of causes is looked at. `fetch` needs one step, clients around it two or three. */
const MAX_CAUSES = 5

/** Nobody refused: the connection was lost, or not made in time. A host that does not exist (ENOTFOUND) is no such case. */
const NETWORK_CODES = new Set([
  'EAI_AGAIN',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETRESET',
  'ENETUNREACH',
  'EPIPE',
  'ETIMEDOUT',
  'ERR_HTTP2_GOAWAY_SESSION',
  'ERR_HTTP2_SESSION_ERROR',
  'ERR_HTTP2_STREAM_CANCEL',
  'ERR_MILLRACE_CIRCUIT_OPEN',
  'ERR_MILLRACE_TIMEOUT',
  'ERR_SOCKET_CONNECTION_TIMEOUT',
  'ERR_STREAM_PREMATURE_CLOSE',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_SOCKET',
])

/** "Not now": request timeout, too early, too many requests. */
const RETRYABLE_CLIENT_ERRORS = new Set([408, 425, 429])

/** "Never": not implemented, HTTP version not supported, and what has been decided by a proxy or a quota. */
const FINAL_SERVER_ERRORS = new Set([501, 505, 507, 508, 510, 511])

/**
 * A failure in, whether the same call may succeed later out: true for lost connections, timeouts, and the HTTP statuses
 * 408, 425, 429 and 5xx (but not 501, 505, 507, 508, 510, 511), wherever the common clients put them: `code`, `status`, `statusCode`,
 * `response.status`, `$metadata.httpStatusCode`, or one of these on a `cause`. False for everything else, an abort above all.
 * Looks at five causes at most.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#name-status-codes
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { isRetryable } from 'millrace'
 *
 * assert.equal(isRetryable(Object.assign(new Error('reset'), { code: 'ECONNRESET' })), true)
 * assert.equal(isRetryable(Object.assign(new Error('no such bucket'), { statusCode: 404 })), false)
 * assert.equal(isRetryable(new TypeError('fetch failed', { cause: { code: 'ECONNREFUSED' } })), true)
 * ```
 */
export function isRetryable(error: unknown): boolean {
  let at: unknown = error
  for (let depth = 0; depth <= MAX_CAUSES && typeof at === 'object' && at !== null; depth++) {
    const { name, code, cause } = at as { name?: unknown; code?: unknown; cause?: unknown }
    const status = statusOf(at)
    if (status !== undefined) {
      return RETRYABLE_CLIENT_ERRORS.has(status) || (status >= 500 && !FINAL_SERVER_ERRORS.has(status))
    }
    if (typeof code === 'string' && NETWORK_CODES.has(code)) return true
    if (name === 'AbortError') return false
    if (name === 'TimeoutError') return true
    at = cause
  }
  return false
}

/**
 * A failure in, the pause that the remote asked for out, in milliseconds from `now`, if it did: a `Retry-After` header in
 * seconds or as a date, on `headers`, `response.headers` or `$response.headers` of the error or of one of its causes.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { retryAfter } from 'millrace'
 *
 * const error = Object.assign(new Error('slow down'), { response: new Response(null, { headers: { 'retry-after': '3' } }) })
 * assert.equal(retryAfter(error, Date.now()), 3000)
 * ```
 */
export function retryAfter(error: unknown, now: number): number | undefined {
  let at: unknown = error
  for (let depth = 0; depth <= MAX_CAUSES && typeof at === 'object' && at !== null; depth++) {
    if (at instanceof PolicyError && at.retryAfterMs !== undefined) return at.retryAfterMs
    const { headers, response, $response, cause } = at as Record<string, unknown>
    for (const source of [headers, headersOf(response), headersOf($response)]) {
      const value = headerOf(source, 'retry-after')
      const pause = value === undefined ? undefined : pauseOf(value, now)
      if (pause !== undefined) return pause
    }
    at = cause
  }
  return undefined
}

function statusOf(error: object): number | undefined {
  const { status, statusCode, response, $metadata } = error as {
    status?: unknown
    statusCode?: unknown
    response?: { status?: unknown } | null
    $metadata?: { httpStatusCode?: unknown } | null
  }
  return [status, statusCode, response?.status, $metadata?.httpStatusCode].find(
    (value): value is number =>
      typeof value === 'number' && Number.isInteger(value) && value >= 100 && value <= 599,
  )
}

function headersOf(response: unknown): unknown {
  return typeof response === 'object' && response !== null
    ? (response as { headers?: unknown }).headers
    : undefined
}

/** From a `Headers`, or from a plain object with names in any case. */
function headerOf(headers: unknown, name: string): string | undefined {
  if (typeof headers !== 'object' || headers === null) return undefined
  const { get } = headers as { get?: unknown }
  const value: unknown =
    typeof get === 'function'
      ? get.call(headers, name)
      : Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1]
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
}

function pauseOf(value: string, now: number): number | undefined {
  if (/^\s*\d+(\.\d+)?\s*$/.test(value)) return Number(value) * 1000
  // Date.parse alone takes '-1' for a year
  const date = /^[A-Z][a-z]+,? .*\d\d:\d\d:\d\d/.test(value) ? Date.parse(value) : NaN
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

import t from 'tap'
import { PolicyError } from '../../src/errors.ts'
import { isRetryable, retryAfter } from '../../src/flow/index.ts'

const error = (facts: object, message = 'x') => Object.assign(new Error(message), facts)

t.test(
  'isRetryable: lost connections, timeouts and the statuses that mean later are worth another try',
  async (t) => {
    for (const code of [
      'ECONNRESET',
      'EPIPE',
      'EAI_AGAIN',
      'UND_ERR_SOCKET',
      'ERR_MILLRACE_TIMEOUT',
      'ERR_MILLRACE_CIRCUIT_OPEN',
    ]) {
      t.equal(isRetryable(error({ code })), true, code)
    }
    for (const status of [408, 425, 429, 500, 502, 503, 504, 520, 599]) {
      t.equal(isRetryable(error({ status })), true, `${status}`)
      t.equal(isRetryable(error({ statusCode: status })), true)
      t.equal(isRetryable(error({ response: { status } })), true)
      t.equal(isRetryable(error({ $metadata: { httpStatusCode: status } })), true)
    }
    for (const status of [200, 304, 400, 401, 403, 404, 409, 412, 499, 501, 505, 507, 511]) {
      t.equal(isRetryable(error({ status })), false, `${status}`)
    }
  },
)

t.test(
  'isRetryable: looks into causes, five deep, and the status of a response decides before its cause',
  async (t) => {
    const nested = (depth: number): Error =>
      depth === 0 ? error({ code: 'ECONNRESET' }) : new Error('outer', { cause: nested(depth - 1) })
    t.equal(isRetryable(nested(5)), true)
    t.equal(isRetryable(nested(6)), false)
    t.equal(isRetryable(error({ status: 404, cause: error({ code: 'ECONNRESET' }) })), false)
    t.equal(isRetryable(error({ status: 0, cause: error({ code: 'ECONNRESET' }) })), true, '0 is no status')
  },
)

t.test('isRetryable: an abort, a mistake in the call and what is no error are not', async (t) => {
  t.equal(isRetryable(AbortSignal.abort().reason), false)
  t.equal(isRetryable(new DOMException('late', 'TimeoutError')), true)
  for (const value of [
    undefined,
    null,
    'ECONNRESET',
    503,
    new TypeError('x'),
    error({ code: 'ENOTFOUND' }),
    {},
  ]) {
    t.equal(isRetryable(value), false)
  }
  const endless = error({})
  endless.cause = endless
  t.equal(isRetryable(endless), false)
})

t.test('retryAfter: seconds and dates, wherever the clients put the header', async (t) => {
  const now = Date.UTC(2026, 0, 1)
  const headers = { 'RETRY-AFTER': '7' }
  t.equal(retryAfter(error({ headers }), now), 7000)
  t.equal(retryAfter(error({ headers: new Headers(headers) }), now), 7000)
  t.equal(retryAfter(error({ response: { headers } }), now), 7000)
  t.equal(retryAfter(error({ $response: { headers } }), now), 7000)
  t.equal(retryAfter(new Error('x', { cause: error({ headers }) }), now), 7000)
  t.equal(retryAfter(error({ headers: { 'retry-after': 2 } }), now), 2000)
  t.equal(retryAfter(error({ headers: { 'retry-after': new Date(now + 9000).toUTCString() } }), now), 9000)
  t.equal(retryAfter(error({ headers: { 'retry-after': new Date(now - 9000).toUTCString() } }), now), 0)
  t.equal(retryAfter(new PolicyError('ERR_MILLRACE_CIRCUIT_OPEN', 'open', { retryAfterMs: 5 }), now), 5)
  for (const value of ['soon', '', '-1', undefined, {}]) {
    t.equal(retryAfter(error({ headers: { 'retry-after': value } }), now), undefined, JSON.stringify(value))
  }
  for (const value of [undefined, null, 1, error({}), error({ response: null, headers: 3 })]) {
    t.equal(retryAfter(value, now), undefined)
  }
})

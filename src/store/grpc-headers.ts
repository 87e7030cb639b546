// What gRPC says in the headers of HTTP/2.
import { STATUS, type CallStatus } from './store-status.ts'

/** Metadata of a call: names in lower case. */
export type CallMetadata = Readonly<Record<string, string>>

type Headers = Readonly<Record<string, string | readonly string[] | number | undefined>>

const CONTENT_TYPE = /^application\/grpc(\+|;|$)/
const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }
const MAX_TIMEOUT = 99_999_999

/** What a response without a status of gRPC means: there is a proxy, or no gRPC at the other end. */
const BY_HTTP_STATUS: Readonly<Record<number, number>> = {
  400: STATUS.INTERNAL,
  401: STATUS.UNAUTHENTICATED,
  403: STATUS.PERMISSION_DENIED,
  404: STATUS.UNIMPLEMENTED,
  429: STATUS.UNAVAILABLE,
  502: STATUS.UNAVAILABLE,
  503: STATUS.UNAVAILABLE,
  504: STATUS.UNAVAILABLE,
}

export function isGrpc(headers: Headers): boolean {
  return CONTENT_TYPE.test(String(headers['content-type']))
}

/** The status in headers or trailers; undefined if there is none. */
export function statusIn(headers: Headers): CallStatus | undefined {
  const text = headers['grpc-status']
  if (text === undefined) return undefined
  const code = Number(text)
  const message = decodeMessage(String(headers['grpc-message'] ?? ''))
  return {
    code: Number.isInteger(code) ? code : STATUS.UNKNOWN,
    message: message === '' ? `status ${String(text)}` : message,
    fromServer: true,
  }
}

/** What a response is that no server of gRPC gave. */
export function statusOfHttp(headers: Headers): CallStatus {
  const http = Number(headers[':status'])
  const code = BY_HTTP_STATUS[http] ?? STATUS.UNKNOWN
  const type = headers['content-type']
  return {
    code,
    message: `expected a response of gRPC, got status ${http}, ${String(type)}`,
    fromServer: false,
  }
}

/** Any text for a header: what is not printable ASCII in percents. */
export function encodeMessage(message: string): string {
  let text = ''
  for (const byte of Buffer.from(message)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25
    text += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return text
}

export function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // it was not encoded
    return text
  }
}

export function encodeTimeout(milliseconds: number): string {
  const whole = Math.max(1, Math.ceil(milliseconds))
  return whole <= MAX_TIMEOUT ? `${whole}m` : `${Math.min(MAX_TIMEOUT, Math.ceil(whole / 1000))}S`
}

/** Milliseconds of a timeout; undefined if it says none. */
export function decodeTimeout(text: unknown): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(typeof text === 'string' ? text : '')
  return match === null ? undefined : Number(match[1]) * UNITS[match[2]!]!
}

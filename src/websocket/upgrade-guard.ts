import { timingSafeEqual, createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

/** Whom a server lets in. */
export interface UpgradeRules {
  /** Pages from elsewhere that may connect, as `https://host:port`; a page from this host always may. */
  readonly origins: readonly string[]
  readonly token: string | undefined
}

/** Why a handshake is refused: a status of HTTP, with what the client may do about it. */
export interface Refusal {
  readonly status: 401 | 403 | 503
  readonly reason: string
  readonly headers?: Readonly<Record<string, string>>
}

const SECONDS_TO_WAIT = 1

/** The answer to a full house. */
export const FULL: Refusal = {
  status: 503,
  reason: 'as many clients are connected as may be',
  headers: { 'Retry-After': String(SECONDS_TO_WAIT) },
}

/** Looks at a handshake; undefined is a welcome. */
export function refusalOf(request: IncomingMessage, { origins, token }: UpgradeRules): Refusal | undefined {
  const { origin, host } = request.headers
  // who sends no origin is no browser, and could send any
  if (origin !== undefined && !isSameHost(origin, host) && !origins.includes(origin)) {
    return { status: 403, reason: `pages of ${origin} may not connect` }
  }
  if (token !== undefined && !isToken(tokenOf(request), token)) {
    const reason = 'a token is needed: Authorization: Bearer TOKEN, or ?token=TOKEN'
    return { status: 401, reason, headers: { 'WWW-Authenticate': 'Bearer' } }
  }
  return undefined
}

/** Ends a handshake with an answer of HTTP. */
export function refuse(socket: Duplex, { status, reason, headers = {} }: Refusal): void {
  const text = `${reason}\n`
  const lines = [
    `HTTP/1.1 ${status} ${{ 401: 'Unauthorized', 403: 'Forbidden', 503: 'Service Unavailable' }[status]}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(text)}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ]
  socket.on('error', () => {})
  socket.end(`${lines.join('\r\n')}\r\n\r\n${text}`)
}

function isSameHost(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host === host
}

/** A page cannot set headers for a WebSocket, hence the parameter. */
function tokenOf({ headers, url }: IncomingMessage): string | undefined {
  const bearer = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1]
  return bearer ?? new URL(url ?? '/', 'ws://localhost').searchParams.get('token') ?? undefined
}

/** Takes the same time whatever differs. */
function isToken(given: string | undefined, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return given !== undefined && timingSafeEqual(digest(given), digest(token))
}

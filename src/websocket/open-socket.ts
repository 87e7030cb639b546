import type { WebSocket } from 'ws'
import { WebSocketError, asError } from '../errors.ts'
import { Policy, isRetryable, type PolicyLike } from '../flow/index.ts'
import { OptionError } from '../errors.ts'
import { loadPeer } from '../load-peer.ts'
import { checkInteger, checkMethods } from '../options.ts'

/** How to reach a server. */
export interface SocketOptions {
  /** Headers of the handshake, such as `Authorization`. */
  readonly headers?: Readonly<Record<string, string>>
  /** Subprotocols to offer. */
  readonly protocols?: readonly string[]
  /**
   * How long a handshake may take, in milliseconds.
   * @defaultValue 10000
   */
  readonly handshakeTimeout?: number
  /**
   * How connections are tried again, the first one and those after a break.
   * @defaultValue 8 retries, with pauses of up to 20 s
   */
  readonly policy?: PolicyLike
  /**
   * How often in a row a connection may break before it has brought or taken a message.
   * @defaultValue 8
   */
  readonly maxReconnects?: number
}

export const DEFAULT_MAX_RECONNECTS = 8
const DEFAULT_HANDSHAKE_TIMEOUT = 10_000

/** What is wrong with the options shows before anything is opened. @throws {@link OptionError} */
export function checkSocketOptions(url: unknown, options: SocketOptions): string {
  const text = url instanceof URL ? url.href : url
  if (typeof text !== 'string' || !/^wss?:$/.test(URL.canParse(text) ? new URL(text).protocol : '')) {
    throw new OptionError('url', url, "an address that begins with 'ws://' or 'wss://'")
  }
  const { handshakeTimeout, maxReconnects, policy } = options
  if (handshakeTimeout !== undefined) checkInteger('handshakeTimeout', handshakeTimeout, 1, 2 ** 31 - 1)
  if (maxReconnects !== undefined) checkInteger('maxReconnects', maxReconnects)
  if (policy !== undefined) checkMethods('policy', policy, ['execute'])
  return text
}

export function defaultSocketPolicy(): PolicyLike {
  return new Policy({ retries: 8, retryable: (error) => isRetryable(error) || isHandshakeTimeout(error) })
}

/** Connects, as often as the policy says. `onSocket` hears of each socket before anything comes of it. */
export function openSocket(
  url: string,
  options: SocketOptions,
  policy: PolicyLike,
  signal: AbortSignal,
): Promise<WebSocket> {
  return policy.execute(({ signal: attempt }) => connect(url, options, attempt), signal)
}

async function connect(
  url: string,
  { headers, protocols, handshakeTimeout = DEFAULT_HANDSHAKE_TIMEOUT }: SocketOptions,
  signal: AbortSignal,
): Promise<WebSocket> {
  const { WebSocket } = await loadPeer('A WebSocket', ['ws'], () => import('ws'))
  signal.throwIfAborted()
  const socket = new WebSocket(url, [...(protocols ?? [])], {
    ...(headers && { headers: { ...headers } }),
    handshakeTimeout,
    perMessageDeflate: false,
  })
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      settle()
      socket.on('error', () => {})
      socket.terminate()
      reject(asError(error))
    }
    const onAbort = () => fail(signal.reason)
    const settle = () => {
      signal.removeEventListener('abort', onAbort)
      socket.off('open', onOpen).off('error', fail).off('unexpected-response', onRefused)
    }
    const onOpen = () => {
      settle()
      // whoever has the socket looks at its close event
      socket.on('error', () => {})
      // until somebody reads, messages wait in the kernel
      socket.pause()
      resolve(socket)
    }
    const onRefused = (_: unknown, response: { statusCode?: number }) => {
      const status = response.statusCode ?? 0
      const facts = { expected: 101, actual: status, status }
      fail(
        new WebSocketError(
          'ERR_MILLRACE_WEBSOCKET_CONNECT',
          `${url}: the handshake was answered with status ${status}`,
          facts,
        ),
      )
    }
    signal.addEventListener('abort', onAbort, { once: true })
    socket.on('open', onOpen).on('error', fail).on('unexpected-response', onRefused)
  })
}

function isHandshakeTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === 'Opening handshake has timed out'
}

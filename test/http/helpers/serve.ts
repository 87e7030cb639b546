import { once } from 'node:events'
import {
  createServer,
  get,
  type IncomingMessage,
  type RequestListener,
  type RequestOptions,
  type Server,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** Starts a server for the time of a test, on any port. */
export async function serve(
  t: Pick<Test, 'teardown'>,
  listener: RequestListener,
): Promise<{ server: Server; url: string; port: number }> {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { server, url: `http://127.0.0.1:${port}`, port }
}

/** What a client saw. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly chunks: readonly Buffer[]
  readonly body: Buffer
  /** Whether the body ended as it should. */
  readonly complete: boolean
}

/** Asks with `node:http`, and keeps what came before an error. */
export function ask(
  url: string,
  options: RequestOptions = {},
  onResponse?: (response: IncomingMessage) => void,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, ...options }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', () => {})
      response.on('close', () => {
        const { statusCode = 0, headers, complete } = response
        resolve({ status: statusCode, headers, chunks, body: Buffer.concat(chunks), complete })
      })
      onResponse?.(response)
    })
    request.on('error', reject)
  })
}

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

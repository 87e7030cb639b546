import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import type { StreamResponse } from './stream-response.ts'

/** What is used of Fastify's reply. */
export interface FastifyReplyLike {
  readonly request: { readonly raw: IncomingMessage }
  statusCode: number
  header(name: string, value: string): unknown
  hasHeader(name: string): boolean
  send(payload: string | Uint8Array | Readable): unknown
}

/** What is used of a Fastify instance. */
export interface FastifyLike {
  decorateReply(name: string, value: (this: never, response: StreamResponse) => Promise<void>): unknown
}

/** A reply with what {@link fastifyStreamer} adds to it. */
export interface StreamingReply {
  /**
   * Sends a response of a Streamer. An error before its first byte is thrown, for Fastify's error handler; hooks such as `onSend` run as for any
   * other payload.
   */
  sendStream(response: StreamResponse): Promise<void>
}

/**
 * Sends a response of a Streamer by a reply of Fastify: `return sendByFastify(reply, streamer.stream(rows))` in a handler. The plugin
 * {@link fastifyStreamer} makes it a method of every reply.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import fastify from 'fastify'
 * import { Streamer, sendByFastify } from 'millrace/http'
 *
 * const streamer = new Streamer<number>()
 * const app = fastify()
 * app.get('/', async (request, reply) => sendByFastify(reply, streamer.stream([1, 2, 3])))
 * assert.equal((await app.inject('/')).body, '[1,2,3]')
 * ```
 */
export async function sendByFastify(reply: FastifyReplyLike, response: StreamResponse): Promise<void> {
  const { method, headers: wanted } = reply.request.raw
  const { status, headers, body } = await response.toReady({
    method,
    header: (name) => {
      const value = wanted[name]
      return Array.isArray(value) ? value.join(', ') : value
    },
  })
  if (status !== 200) reply.statusCode = status
  for (const [name, value] of Object.entries(headers)) {
    // what the application has set stands
    if (name !== 'content-type' || !reply.hasHeader(name)) reply.header(name, value)
  }
  // a reply is thenable: resolved before it is sent, Fastify would take the handler's `undefined` for the payload
  await reply.send(body)
}

/**
 * A plugin for Fastify: `reply.sendStream(response)`.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import fastify from 'fastify'
 * import { Streamer, fastifyStreamer } from 'millrace/http'
 *
 * const streamer = new Streamer<number, { n: number }>()
 * const app = fastify()
 * app.register(fastifyStreamer)
 * app.get('/', async (request, reply) => reply.sendStream(streamer.stream([1, 2], (n) => ({ n }))))
 * assert.deepEqual((await app.inject('/')).json(), [{ n: 1 }, { n: 2 }])
 * ```
 */
export function fastifyStreamer(app: FastifyLike, _options: object, done: () => void): void {
  app.decorateReply('sendStream', function sendStream(this: FastifyReplyLike, response: StreamResponse) {
    return sendByFastify(this, response)
  })
  done()
}

// for the whole application and not for the scope of the plugin only: what the package fastify-plugin does
Object.assign(fastifyStreamer, {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'millrace',
})

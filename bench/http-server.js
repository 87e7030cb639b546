// The server of bench/http.js: answers /N with N records in the one way that its argument names, and tells its memory when asked.
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const way = process.argv[2] ?? 'batch'

/** A record as a query gives it, of some 130 bytes. @param {number} id */
const record = (id) => ({
  id,
  name: `user number ${id}`,
  email: `user${id}@example.com`,
  active: id % 3 === 0,
  score: id * 1.5,
  tags: ['alpha', 'beta'],
  created: '2026-01-01T00:00:00Z',
})

/** @param {number} count */
async function* records(count) {
  for (let id = 0; id < count; id++) yield record(id)
}

/** @param {number} count */
function* batches(count) {
  for (let id = 0; id < count; id += 100)
    yield Array.from({ length: Math.min(100, count - id) }, (_, i) => record(id + i))
}

/** The same over a source that never waits. @param {Iterable<object>} rows */
function* textAtOnce(rows) {
  let chunk = ''
  let separator = '['
  for (const row of rows) {
    chunk += separator + JSON.stringify(row)
    separator = ','
    if (chunk.length >= 32_768) {
      yield chunk
      chunk = ''
    }
  }
  yield `${chunk}]`
}

/** @param {number} count */
const all = (count) => Array.from({ length: count }, (_, id) => record(id))

/** @param {number} count */
function* recordsAtOnce(count) {
  for (let id = 0; id < count; id++) yield record(id)
}

/** What one writes by hand. @param {AsyncIterable<object>} rows */
async function* text(rows) {
  let chunk = ''
  let separator = '['
  for await (const row of rows) {
    chunk += separator + JSON.stringify(row)
    separator = ','
    if (chunk.length >= 32_768) {
      yield chunk
      chunk = ''
    }
  }
  yield `${chunk}]`
}

/** @type {Record<string, () => Promise<(count: number, response: import('node:http').ServerResponse) => unknown>>} */
const ways = {
  async batch() {
    const { Streamer } = await import('millrace/http')
    const streamer = new Streamer()
    return (count, response) => streamer.streamBatch(batches(count)).sendTo(response)
  },
  async items() {
    const { Streamer } = await import('millrace/http')
    const streamer = new Streamer()
    return (count, response) => streamer.stream(records(count)).sendTo(response)
  },
  async sync() {
    const { Streamer } = await import('millrace/http')
    const streamer = new Streamer()
    return (count, response) => streamer.stream(recordsAtOnce(count)).sendTo(response)
  },
  async readable() {
    const { Streamer } = await import('millrace/http')
    const streamer = new Streamer()
    return (count, response) => streamer.stream(Readable.from(records(count))).sendTo(response)
  },
  async whole() {
    return (count, response) => {
      const body = JSON.stringify(all(count))
      response.setHeader('content-type', 'application/json')
      response.setHeader('content-length', Buffer.byteLength(body))
      response.end(body)
    }
  },
  async 'json-stream-stringify'() {
    const { JsonStreamStringify } = await import('json-stream-stringify')
    return (count, response) => {
      response.setHeader('content-type', 'application/json')
      return pipeline(
        new JsonStreamStringify(Readable.from(records(count)), undefined, undefined, false, 32 * 1024),
        response,
      )
    }
  },
  async jsonstream() {
    const { default: JSONStream } = await import('JSONStream')
    return (count, response) => {
      response.setHeader('content-type', 'application/json')
      return pipeline(Readable.from(records(count)), JSONStream.stringify('[', ',', ']'), response)
    }
  },
}

/** @param {string} name */
async function fastifyServer(name) {
  const { default: fastify } = await import('fastify')
  const app = fastify()
  const { Streamer, fastifyStreamer } = await import('millrace/http')
  const streamer = new Streamer()
  if (name === 'fastify-streamer') app.register(fastifyStreamer)
  app.get('/:count', async (request, reply) => {
    const count = Number(/** @type {{ count: string }} */ (request.params).count)
    if (name === 'fastify') return all(count)
    if (name === 'fastify-streamer')
      return /** @type {any} */ (reply).sendStream(streamer.stream(records(count)))
    reply.type('application/json')
    return reply.send(
      Readable.from(name === 'fastify-readable' ? text(records(count)) : textAtOnce(recordsAtOnce(count)), {
        objectMode: false,
      }),
    )
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return /** @type {import('node:net').AddressInfo} */ (app.server.address()).port
}

async function plainServer() {
  const answer = await /** @type {NonNullable<typeof ways[string]>} */ (ways[way])()
  const server = createServer((request, response) => {
    void answer(Number(request.url?.slice(1)), response)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  return /** @type {import('node:net').AddressInfo} */ (server.address()).port
}

const port = way.startsWith('fastify') ? await fastifyServer(way) : await plainServer()
process.on('message', () => {
  globalThis.gc?.()
  process.send?.({ rss: process.resourceUsage().maxRSS * 1024, heap: process.memoryUsage().heapUsed })
})
process.on('disconnect', () => process.exit())
process.send?.({ port })

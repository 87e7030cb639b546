// Server and client on the same two cores, each in a process of its own: bench/http-server.js answers in every way there is, and a
// candidate here is a client of one of them.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get } from 'node:http'
import { fileURLToPath } from 'node:url'
import { times } from './harness.js'

export const title = 'HTTP: records to a client'

const serverFile = fileURLToPath(new URL('http-server.js', import.meta.url))

/**
 * Starts a server that knows one way to answer. @param {string} way
 * @returns {Promise<{ port: number, ask: (what: string) => Promise<any>, stop: () => void }>}
 */
async function startServer(way) {
  const child = fork(serverFile, [way], { execArgv: ['--expose-gc'] })
  const [{ port }] = await once(child, 'message')
  return {
    port,
    async ask(what) {
      child.send(what)
      return (await once(child, 'message'))[0]
    },
    stop: () => child.kill(),
  }
}

/**
 * One request, its body thrown away. @param {number} port @param {string} path @param {Agent} agent
 * @returns {Promise<{ firstByteMs: number, bytes: number }>}
 */
function request(port, path, agent) {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now()
    let firstByteMs = 0
    let bytes = 0
    get({ port, host: '127.0.0.1', path, agent }, (response) => {
      response.on('data', (chunk) => {
        if (bytes === 0) firstByteMs = performance.now() - startedAt
        bytes += chunk.length
      })
      response.on('end', () => resolve({ firstByteMs, bytes }))
      response.on('error', reject)
    }).on('error', reject)
  })
}

/** Some three seconds of them, since one second is as long as what else the machine does; after as many as it takes V8 to compile a server's code. */
const SMALL_REQUESTS = 10_000
const WARM_UP = 5000

/** Many small responses, one after the other on one connection. @param {string} name @param {string} way @param {boolean} [ours] */
const small = (name, way, ours = false) => ({
  name,
  ours,
  prepare: async () => {
    const server = await startServer(way)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let i = 0; i < WARM_UP; i++) await request(server.port, '/100', agent)
    return { server, agent, before: await server.ask('memory') }
  },
  async run(/** @type {any} */ { server, agent, before }) {
    let bytes = 0
    for (let i = 0; i < SMALL_REQUESTS; i++) bytes += (await request(server.port, '/100', agent)).bytes
    const { rss, heap } = await server.ask('memory')
    agent.destroy()
    server.stop()
    process.stderr.write(
      `    retained ${((heap - before.heap) / SMALL_REQUESTS).toFixed(0)} bytes a request\n`,
    )
    return { peakRssBytes: rss, bytes }
  },
})

/**
 * Large responses, `clients` at the same time. What is measured is the whole, or the mean first byte. @param {string} name @param {string} way
 * @param {number} clients @param {'total' | 'first'} what @param {boolean} [ours]
 */
const large = (name, way, clients, what, ours = false) => ({
  name,
  ours,
  prepare: async () => {
    const server = await startServer(way)
    const agent = new Agent({ keepAlive: true })
    // to be compiled, as a server that runs is
    for (let i = 0; i < 20; i++) await request(server.port, '/1000', agent)
    return { server, agent }
  },
  async run(/** @type {any} */ { server, agent }) {
    const startedAt = performance.now()
    const all = await Promise.all(
      Array.from({ length: clients }, () => request(server.port, '/100000', agent)),
    )
    const ms = performance.now() - startedAt
    const { rss } = await server.ask('memory')
    agent.destroy()
    server.stop()
    const first = all.reduce((sum, { firstByteMs }) => sum + firstByteMs, 0) / clients
    return { peakRssBytes: rss, ms: what === 'total' ? ms : first, bytes: all[0]?.bytes }
  },
})

/** @type {[name: string, way: string, ours?: boolean][]} */
const ways = [
  ['Streamer, array in batches', 'batch', true],
  ['Streamer, async generator', 'items'],
  ['Streamer, generator', 'sync'],
  ['Streamer, Readable of objects', 'readable'],
  ['Streamer by Fastify, async generator', 'fastify-streamer'],
  ['node:http, whole JSON.stringify', 'whole'],
  ['Fastify, whole', 'fastify'],
  ['Fastify, hand-made Readable, async generator', 'fastify-readable'],
  ['Fastify, hand-made Readable, generator', 'fastify-readable-sync'],
  ['json-stream-stringify', 'json-stream-stringify'],
  ['JSONStream.stringify', 'jsonstream'],
]

const input = () => ({ bytes: 0 })
/** @typedef {(name: string) => { ms: number, rss: number }} Rows */
/** @param {number} a @param {number} b */
const share = (a, b) => times(a, b)

export const groups = [
  {
    name: `100 records, 13 KB, ${SMALL_REQUESTS} requests one after the other`,
    unit: /** @type {const} */ ('none'),
    input,
    rounds: 3,
    candidates: ways.map(([name, way, ours]) => small(name, way, ours)),
    targets: (/** @type {Rows} */ row) => [
      [
        'time against Fastify with the whole JSON',
        '≤ 1.1×',
        share(row('Streamer, array in batches').ms, row('Fastify, whole').ms),
      ],
      [
        '… from an async generator',
        '≤ 1.1×',
        share(row('Streamer, async generator').ms, row('Fastify, whole').ms),
      ],
    ],
  },
  {
    name: '100,000 records, 13 MB, one client, the whole',
    unit: /** @type {const} */ ('none'),
    input,
    rounds: 5,
    candidates: ways.map(([name, way, ours]) => large(name, way, 1, 'total', ours)),
    targets: (/** @type {Rows} */ row) => [
      [
        'time against whole JSON',
        '≤ 0.75×',
        share(row('Streamer, array in batches').ms, row('node:http, whole JSON.stringify').ms),
      ],
      [
        '… from an async generator',
        '≤ 0.75×',
        share(row('Streamer, async generator').ms, row('node:http, whole JSON.stringify').ms),
      ],
      [
        'peak RSS against whole JSON',
        '≤ 0.5×',
        share(row('Streamer, async generator').rss, row('node:http, whole JSON.stringify').rss),
      ],
    ],
  },
  {
    name: '100,000 records, 13 MB, one client, the first byte',
    unit: /** @type {const} */ ('none'),
    input,
    rounds: 5,
    candidates: ways.map(([name, way, ours]) => large(name, way, 1, 'first', ours)),
    targets: (/** @type {Rows} */ row) => [
      [
        'sooner than whole JSON',
        '≥ 40×',
        times(row('node:http, whole JSON.stringify').ms, row('Streamer, array in batches').ms),
      ],
      [
        '… from an async generator',
        '≥ 40×',
        times(row('node:http, whole JSON.stringify').ms, row('Streamer, async generator').ms),
      ],
    ],
  },
  {
    name: '100,000 records, 13 MB, eight clients at once, the whole',
    unit: /** @type {const} */ ('none'),
    input,
    rounds: 3,
    candidates: ways.map(([name, way, ours]) => large(name, way, 8, 'total', ours)),
    targets: (/** @type {Rows} */ row) => [
      [
        'peak RSS against whole JSON',
        '≤ 0.3×',
        share(row('Streamer, async generator').rss, row('node:http, whole JSON.stringify').rss),
      ],
    ],
  },
  {
    name: '100,000 records, 13 MB, eight clients at once, the mean first byte',
    unit: /** @type {const} */ ('none'),
    input,
    rounds: 3,
    candidates: ways.map(([name, way, ours]) => large(name, way, 8, 'first', ours)),
  },
]

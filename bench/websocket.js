// Records over WebSockets on loopback: one client in the server's process, and many in another one.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { WebSocket, WebSocketServer } from 'ws'
import { times } from './harness.js'

export const title = 'WebSocket'

const at = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url))
const adult = at('../../shared/data/adult.csv')
const table = existsSync(adult) ? adult : at('../node_modules/vega-datasets/data/birdstrikes.csv')

/** Records that one client asks for, and each of many. */
const COUNT = 1_000_000
const EACH = 20_000
const CLIENTS = 100
const BATCH = 100

async function model() {
  const { fit } = await import('millrace/records')
  return await fit(table)
}

/** One client that parses what it gets. @param {string} url @param {number} count */
async function take(url, count) {
  const client = new WebSocket(url)
  await once(client, 'open')
  let records = 0
  const complete = new Promise((resolve, reject) => {
    client.on('error', reject)
    client.on('message', (/** @type {Buffer} */ data) => {
      const message = JSON.parse(data.toString())
      records += message.records.length
      if (message.status === 'complete') resolve(undefined)
      else if (message.status === 'error') reject(new Error(message.message))
    })
  })
  client.send(JSON.stringify({ action: 'generate', count, batch_size: BATCH }))
  await complete
  client.terminate()
  return records
}

/** @param {(fitted: Awaited<ReturnType<typeof model>>) => object} options */
const served = (options) => ({
  async prepare() {
    const { WebSocketStreamingGenerator } = await import('millrace/websocket')
    const server = new WebSocketStreamingGenerator({ port: 0, ...options(await model()) })
    const { url } = await server.start()
    await take(url, 50_000)
    return { url, stop: () => server.stop() }
  },
  run,
})

/** A server as one writes it oneself with ws: the next batch when the last one has left. @param {(fitted: Awaited<ReturnType<typeof model>>) => (batch: number) => string} texts */
const byHand = (texts) => ({
  async prepare() {
    const text = texts(await model())
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false })
    server.on('connection', (socket) =>
      socket.on('message', async (/** @type {Buffer} */ data) => {
        const { count } = JSON.parse(data.toString())
        for (let i = 0; i < count / BATCH; i++)
          await new Promise((resolve) => socket.send(text(i), () => setImmediate(resolve)))
        socket.send('{"status":"complete","records":[]}')
      }),
    )
    await once(server, 'listening')
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
    const url = `ws://127.0.0.1:${port}`
    await take(url, 50_000)
    return { url, stop: () => server.close() }
  },
  run,
})

/** @param {{ url: string, stop: () => unknown }} server */
async function run({ url, stop }) {
  const records = await take(url, COUNT)
  await stop()
  return records
}

/** Many clients in a process of their own, the last of which stops reading after its first message, or is not there. @param {boolean} stalled */
const crowd = (stalled) => ({
  async prepare() {
    const { WebSocketStreamingGenerator } = await import('millrace/websocket')
    const server = new WebSocketStreamingGenerator({ port: 0 })
    await server.load(await model())
    const { url } = await server.start()
    await take(url, 50_000)
    return { url, stop: () => server.stop(), stalled }
  },
  async run(/** @type {{ url: string, stop: () => unknown, stalled: boolean }} */ { url, stop, stalled }) {
    const clients = fork(at('websocket-clients.js'), [
      url,
      String(CLIENTS - 1),
      String(EACH),
      String(stalled),
    ])
    const [{ ms }] = await once(clients, 'message')
    clients.kill()
    await stop()
    return { ms, peakRssBytes: process.resourceUsage().maxRSS * 1024 }
  },
})

/** @typedef {(name: string) => { ms: number, rss: number, rate: number }} Rows */
export const groups = [
  {
    name: 'one client in the same process, 100 records a message',
    unit: /** @type {const} */ ('krec/s'),
    rounds: 5,
    input: () => ({ bytes: 0, records: COUNT }),
    candidates: [
      { name: 'records sampled live', ours: true, ...served((fitted) => ({ generator: fitted })) },
      {
        name: 'prepared records',
        ...served((fitted) => {
          const records = fitted.generate(BATCH)
          return { generator: { generate: (/** @type {number} */ count) => records.slice(0, count) } }
        }),
      },
      {
        name: 'ws by hand, JSON.stringify of prepared records',
        ...byHand((fitted) => {
          const records = fitted.generate(BATCH)
          return (batch) => JSON.stringify({ batch, records })
        }),
      },
      {
        name: 'ws by hand, prepared text: what the client and ws take',
        ...byHand((fitted) => {
          const text = JSON.stringify({ batch: 1, records: fitted.generate(BATCH) })
          return () => text
        }),
      },
    ],
    targets: (/** @type {Rows} */ row) => [
      ['sampled live', '≥ 500 k/s', `${row('records sampled live').rate.toFixed(0)} k/s`],
      ['prepared', '≥ 800 k/s', `${row('prepared records').rate.toFixed(0)} k/s`],
      [
        'prepared, against ws by hand',
        '',
        times(row('ws by hand, JSON.stringify of prepared records').ms, row('prepared records').ms),
      ],
    ],
  },
  {
    name: `${CLIENTS} clients, ${EACH} records each, sampled live`,
    unit: /** @type {const} */ ('krec/s'),
    rounds: 3,
    input: () => ({ bytes: 0, records: EACH * (CLIENTS - 1) }),
    candidates: [
      { name: '99 clients, and one that has stopped reading', ours: true, ...crowd(true) },
      { name: '99 clients', ...crowd(false) },
    ],
    targets: (/** @type {Rows} */ row) => {
      const [stalled, alone] = [row('99 clients, and one that has stopped reading'), row('99 clients')]
      return [
        ['rate of the others', '≥ 0.9×', times(alone.ms, stalled.ms)],
        ['peak RSS of the server', '≤ 1.1×', times(stalled.rss, alone.rss)],
      ]
    },
  },
]

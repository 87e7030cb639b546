// An API over a large table, by node:http and by Fastify, with a page that shows the records arrive.
//   node examples/http-api.js            asks both servers for everything, and checks what comes
//   node examples/http-api.js --serve    stays: open the address that it prints
// The table is in SQLite where this Node has it (22.13 and later), otherwise in a file of NDJSON.
import { once } from 'node:events'
import { createReadStream, createWriteStream, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import fastify from 'fastify'
import { RateLimiter, Streamer, fastifyStreamer, readJson, receive } from 'millrace'

const ORDERS = 100_000
const page = readFileSync(new URL('http-api/page.html', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'http-api-'))
const orders = await openTable()

/** @typedef {{ id: number, customer: string, city: string, item: string, quantity: number, price: number }} Order */

/** @type {Streamer<Order, object>} */
const streamer = new Streamer({
  compression: true,
  onError: (error) => console.error('a response failed:', error),
})
/** For eyes: the page would be done before anybody has looked. @type {Streamer<Order, object>} */
const slow = new Streamer({ rateLimit: new RateLimiter({ rate: 20_000 }), onError() {} })

/** @param {Order} order */
const withTotal = (order) => ({ ...order, total: Math.round(order.quantity * order.price * 100) / 100 })

/** Fails in the middle, to show what a client sees then. @param {AbortSignal} signal */
async function* failing(signal) {
  let count = 0
  for await (const order of orders(signal)) {
    if (count++ === 30_000) throw new Error('the disk is gone')
    yield order
  }
}

// node:http
const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  if (pathname === '/') return response.setHeader('content-type', 'text/html').end(page)
  if (pathname !== '/orders') return response.writeHead(404).end()
  const chosen = searchParams.has('slow') ? slow : streamer
  return chosen.stream(searchParams.has('fail') ? failing : orders, withTotal).sendTo(response)
})
server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1')
await once(server, 'listening')
const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
const address = `http://127.0.0.1:${port}`

// Fastify
const app = fastify()
app.register(fastifyStreamer)
app.get('/orders', async (_request, reply) =>
  /** @type {import('millrace').StreamingReply} */ (/** @type {unknown} */ (reply)).sendStream(
    streamer.stream(orders, withTotal),
  ),
)
const fastifyAddress = await app.listen({ port: 0, host: '127.0.0.1' })

if (process.argv.includes('--serve')) {
  console.log(`node:http  ${address}\nFastify    ${fastifyAddress}/orders`)
  process.once('SIGINT', () => void stop())
} else {
  for (const [name, url] of [
    ['node:http', `${address}/orders`],
    ['Fastify', `${fastifyAddress}/orders`],
  ]) {
    const startedAt = performance.now()
    let firstMs = 0
    let count = 0
    let total = 0
    for await (const order of receive(
      fetch(/** @type {string} */ (url), { headers: { accept: 'application/x-ndjson' } }),
    )) {
      if (count++ === 0) firstMs = performance.now() - startedAt
      total += /** @type {{ total: number }} */ (order).total
    }
    console.log(
      `${name}: ${count} orders of ${Math.round(total)} in all; the first after ${firstMs.toFixed(0)} ms, the last after ${(performance.now() - startedAt).toFixed(0)} ms`,
    )
  }
  let partial = 0
  try {
    for await (const order of receive(fetch(`${address}/orders?fail&slow`))) if (order) partial++
  } catch (error) {
    const { code, index } = /** @type {import('millrace').HttpError} */ (error)
    console.log(`${code} at order ${index}: nobody takes a part for the whole`)
  }
  const csv = await (await fetch(`${address}/orders`, { headers: { accept: 'text/csv' } })).text()
  await stop()
  console.log(
    `${ORDERS} orders twice, ${partial} before the error, ${csv.trimEnd().split('\n').length - 1} lines of CSV`,
  )
}

async function stop() {
  server.close()
  server.closeAllConnections()
  await app.close()
  rmSync(folder, { recursive: true })
}

/** @returns {Promise<(signal: AbortSignal) => AsyncIterable<any> | Iterable<any>>} */
async function openTable() {
  const sqlite = await import('node:sqlite').catch(() => undefined)
  if (sqlite === undefined) {
    const path = join(folder, 'orders.ndjson')
    await pipeline(function* () {
      for (let id = 0; id < ORDERS; id++) yield `${JSON.stringify(makeOrder(id))}\n`
    }, createWriteStream(path))
    return (signal) => readJson(createReadStream(path), { format: 'ndjson', signal })
  }
  const database = new sqlite.DatabaseSync(join(folder, 'orders.db'))
  database.exec(
    'create table orders (id integer primary key, customer text, city text, item text, quantity integer, price real)',
  )
  const insert = database.prepare('insert into orders values (?, ?, ?, ?, ?, ?)')
  database.exec('begin')
  for (let id = 0; id < ORDERS; id++) insert.run(.../** @type {any[]} */ (Object.values(makeOrder(id))))
  database.exec('commit')
  // an iterator reads on only as the client takes: no table in memory
  return () => database.prepare('select * from orders order by id').iterate()
}

/** @param {number} id @returns {Order} */
function makeOrder(id) {
  /** @param {string[]} list */
  const pick = (list) => /** @type {string} */ (list[(id * 7919 + list.length) % list.length])
  return {
    id,
    customer: `${pick(['Ada', 'Grace', 'Edsger', 'Barbara', 'Niklaus', 'Radia', 'Ken'])} ${pick(['Baker', 'Miller', 'Weaver', 'Smith', 'Mason'])}`,
    city: pick([
      'Lisbon',
      'Zürich',
      'Kraków',
      'Oslo',
      'Gent',
      'Porto',
      'Graz',
      'Brno',
      'Bern',
      'Turku',
      'Malmö',
    ]),
    item: pick(['grain, 25 kg', 'millstone', 'sieve', 'sack', 'water wheel', 'flour, 5 kg']),
    quantity: 1 + (id % 9),
    price: ((id * 37) % 5000) / 100 + 1,
  }
}

// The clients of bench/websocket.js: so many, each of which asks for so many records, and one more that stops reading, if asked for.
import { once } from 'node:events'
import { WebSocket } from 'ws'

const [url = '', clients = '1', count = '1', stalled = 'false'] = process.argv.slice(2)

/** @param {number} records */
async function open(records) {
  const socket = new WebSocket(url)
  await once(socket, 'open')
  return { socket, ask: () => socket.send(JSON.stringify({ action: 'generate', count: records })) }
}

if (stalled === 'true') {
  const { socket, ask } = await open(1_000_000)
  ask()
  await once(socket, 'message')
  socket.pause()
}
const all = await Promise.all(Array.from({ length: Number(clients) }, () => open(Number(count))))
const startedAt = performance.now()
await Promise.all(
  all.map(
    ({ socket, ask }) =>
      new Promise((resolve, reject) => {
        socket.on('error', reject)
        socket.on('close', () => reject(new Error('closed')))
        // the end says so by itself; parsing each message would measure the clients
        socket.on('message', (/** @type {Buffer} */ data) => {
          if (data.length < 200 && data.includes('"complete"')) resolve(undefined)
        })
        ask()
      }),
  ),
)
process.send?.({ ms: performance.now() - startedAt })

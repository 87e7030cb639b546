// A hundred records over a connection that is cut now and then, to a server that refuses three of them.
import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import { GrpcStore, MemoryStore, StoreServer } from 'millrace/store'

// records of more than 100 bytes are refused, and end the stream as the protocol says
const memory = new MemoryStore({ maxRecordLength: 100 })
const server = new StoreServer(memory, { inBandErrors: false })
const target = await server.start()

const unreliable = createServer((client) => {
  const upstream = connect(target, '127.0.0.1')
  let left = 2000
  upstream.on('data', (chunk) => {
    left -= chunk.length
    client.write(chunk)
    if (left < 0) client.destroy()
  })
  client.on('data', (chunk) => upstream.write(chunk))
  client.on('error', () => {}).on('close', () => upstream.destroy())
  upstream.on('error', () => {}).on('close', () => client.destroy())
})
unreliable.listen(0, '127.0.0.1')
await once(unreliable, 'listening')
const { port } = /** @type {import('node:net').AddressInfo} */ (unreliable.address())

const store = new GrpcStore(`127.0.0.1:${port}`, { minDelay: 1, maxDelay: 10, retries: 20 })
const records = Array.from({ length: 100 }, (_, n) => ({
  n,
  text: 'x'.repeat(n % 30 === 10 ? 200 : 10),
}))
const refused = []
let stored = 0
for await (const { index, error } of store.pushStream(records)) {
  if (error === undefined) stored++
  else refused.push(index)
}
await store.close()
unreliable.close()
await server.stop()
console.log(`${stored} of ${records.length} stored, ${refused.length} refused: ${refused.join(', ')}`)

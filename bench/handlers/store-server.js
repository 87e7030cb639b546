// A server in a process of its own: `ours` (StoreServer that keeps nothing), `memory` (StoreServer that keeps all), `stock` (grpc-js with proto-loader's Struct) or `tcp` (length prefixes,
// an answer of 59 bytes for each message). Prints its port.
import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import { MemoryStore, StoreServer } from 'millrace/store'

const kind = process.argv[2]
/** @param {number} port */
const ready = (port) => process.stdout.write(`${port}\n`)

/** Keeps nothing: what is measured is the way there. */
class Nowhere extends MemoryStore {
  /** @override @returns {void} */
  putAll() {}
}

if (kind === 'ours') ready(await new StoreServer(new Nowhere(), { window: 128 }).start())
if (kind === 'memory') ready(await new StoreServer(new MemoryStore(), { window: 128 }).start())
if (kind === 'stock') {
  const { grpc, service, fromStruct } = await import('./stock-store.js')
  const server = new grpc.Server()
  server.addService(service, {
    Push(/** @type {any} */ call) {
      call.on('data', (/** @type {any} */ { data }) => {
        const digest = createHash('sha256')
          .update(JSON.stringify(fromStruct(data)))
          .digest('hex')
        call.write({ cid: digest.slice(0, 59) })
      })
      call.on('end', () => call.end())
    },
  })
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (_error, port) => ready(port))
}
if (kind === 'tcp') {
  const answer = Buffer.alloc(59, 'b')
  const server = createServer((socket) => {
    let held = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      const bytes = held.length > 0 ? Buffer.concat([held, chunk]) : chunk
      let at = 0
      let count = 0
      while (at + 4 <= bytes.length && at + 4 + bytes.readUInt32BE(at) <= bytes.length) {
        at += 4 + bytes.readUInt32BE(at)
        count++
      }
      held = bytes.subarray(at)
      socket.write(Buffer.concat(Array.from({ length: count }, () => answer)))
    })
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1', () => ready(/** @type {any} */ (server.address()).port))
}
process.stdin.on('end', () => process.exit()).resume()

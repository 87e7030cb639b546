// Slow clients, many and for long, against one server with a Streamer:
//   node scripts/soak.js [--clients 1000] [--seconds 600] [--pause 800] [--records 16000]
// Each client reads a little, waits, and goes on; when it has all, it checks every record and asks again. Prints memory of the server once
// in ten seconds, and fails if its peak of the last minute is above that of the second by a tenth, a record is lost or mixed up, or a socket stays.
// `liveMB` is what the server holds at the end, while all the clients are still there: its heap and buffers after a collection.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Streamer } from 'millrace/http'

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '600' },
    pause: { type: 'string', default: '800' },
    // 2 MB, which such a client reads in 100 seconds
    records: { type: 'string', default: '16000' },
    server: { type: 'string' },
  },
})

/** Bytes that a client takes in at once, and how long it waits then, in milliseconds: 20 KB/s. */
const SIP = 16 * 1024
const PAUSE = Number(values.pause)
/** When the server is asked what it holds, in milliseconds before the clients go. */
const AT_THE_END = 300
/** Records of a response. */
const RECORDS = Number(values.records)
/**
 * On a Unix socket the system holds 200 KB of what is sent, whatever happens. On TCP it holds what it thinks right, up to 4 MB at the server
 * and 6 at the client, and gives it up as it thinks right: what the server held then told of that.
 */
const address =
  process.platform === 'win32'
    ? `\\\\.\\pipe\\millrace-soak-${process.pid}`
    : join(tmpdir(), `millrace-soak-${process.pid}.sock`)

if (values.server !== undefined) await serve(values.server)
else await soak(Number(values.clients), Number(values.seconds))

/** @param {string} path */
async function serve(path) {
  /** @type {Streamer<{ client: string, n: number, text: string }>} */
  const streamer = new Streamer()
  const server = createServer((request, response) => {
    const [, client = '', count] = (request.url ?? '').split('/')
    async function* records() {
      for (let n = 0; n < Number(count); n++)
        yield {
          client,
          n,
          text: `${client} has ${n} of these, and some text to fill it up with, as records have`,
        }
    }
    void streamer.stream(records()).sendTo(response)
  })
  server.listen(path)
  await once(server, 'listening')
  process.on('message', async () => {
    // buffers go a turn after what held them
    for (let i = 0; i < 3; i++) {
      globalThis.gc?.()
      await new Promise(setImmediate)
    }
    const { heapUsed, external } = process.memoryUsage()
    server.getConnections((_, connections) =>
      process.send?.({ ...streamer.stats(), connections, live: heapUsed + external }),
    )
  })
  process.on('disconnect', () => process.exit())
  process.send?.('listening')
}

/** @param {import('node:child_process').ChildProcess} child @returns {Promise<{ connections: number, active: number, responses: number, live: number }>} */
async function ask(child) {
  child.send('stats')
  const [answer] = await once(child, 'message')
  return answer
}

/** @param {number} clients @param {number} seconds */
async function soak(clients, seconds) {
  const child = fork(fileURLToPath(import.meta.url), ['--server', address], {
    execArgv: ['--expose-gc'],
  })
  await once(child, 'message')
  const endAt = performance.now() + seconds * 1000
  let whole = 0
  let left = 0
  /** @type {string[]} */
  const faults = []

  /** One response, read slowly; every seventh client leaves in the middle. @param {string} name @param {number} count @param {boolean} leaves @returns {Promise<void>} */
  const once_ = (name, count, leaves) =>
    new Promise((resolve) => {
      const options = { path: address, highWaterMark: SIP }
      const socket = connect(options)
      socket.write(
        `GET /${name}/${count} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: application/x-ndjson\r\n\r\n`,
      )
      let text = ''
      let head = true
      let next = 0
      let bytes = 0
      let timeIsUp = false
      socket.on('readable', () => setTimeout(sip, PAUSE))
      const sip = () => {
        const chunk = socket.read(Math.min(SIP, socket.readableLength || 1))
        if (chunk === null) return
        bytes += chunk.length
        text += chunk.toString('latin1')
        if (head && text.includes('\r\n\r\n')) {
          text = text.slice(text.indexOf('\r\n\r\n') + 4)
          head = false
        }
        if (!head) {
          // chunk sizes stand in lines of their own, also inside of records
          for (
            let at = text.indexOf('{'), end = text.indexOf('}', at);
            at >= 0 && end >= 0;
            at = text.indexOf('{'), end = text.indexOf('}', at)
          ) {
            const record = text.slice(at, end + 1).replace(/\r\n[\da-f]+\r\n/, '')
            const { client, n } = JSON.parse(record)
            if (client !== name || n !== next++)
              faults.push(`${name}: expected record ${next - 1}, got ${record}`)
            text = text.slice(end + 1)
          }
        }
        if (leaves && bytes > 200_000) {
          left++
          socket.destroy()
        } else if (socket.readableLength > 0) setTimeout(sip, PAUSE)
      }
      socket.on('error', () => {})
      socket.on('close', () => {
        if (!leaves) {
          if (next === count) whole++
          else if (!timeIsUp) faults.push(`${name}: ended after ${next} records`)
        }
        resolve()
      })
      setTimeout(
        () => {
          timeIsUp = true
          socket.destroy()
        },
        Math.max(0, endAt - performance.now()),
      ).unref()
    })

  // the first response of each client has another length, or all would be in step for minutes
  const running = Array.from({ length: clients }, async (_, i) => {
    await new Promise((resolve) => setTimeout(resolve, (i / clients) * Math.min(5000, seconds * 100)))
    for (let turn = 0; performance.now() < endAt; turn++)
      await once_(`client-${i}`, turn === 0 ? 1 + ((i * 7919) % RECORDS) : RECORDS, (i + turn) % 7 === 6)
  })
  const rss = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) * 1024
  /** Peak of each minute, or of each sixth part of a shorter run. @type {number[]} */
  const peaks = []
  const part = Math.min(60, seconds / 6) * 1000
  const startedAt = performance.now()
  const timer = setInterval(() => {
    const index = Math.floor((performance.now() - startedAt) / part)
    peaks[index] = Math.max(peaks[index] ?? 0, rss())
  }, 100)
  const teller = setInterval(() => {
    process.stderr.write(
      `${((performance.now() - startedAt) / 1000).toFixed(0)} s: ${(rss() / 1e6).toFixed(0)} MB, ${whole} whole, ${left} left, ${faults.length} faults\n`,
    )
  }, 10_000)
  await new Promise((resolve) => setTimeout(resolve, endAt - performance.now() - AT_THE_END))
  clearInterval(timer)
  clearInterval(teller)
  const { live } = await ask(child)
  await Promise.all(running)
  // a server that is busy learns a little later that its clients are gone
  let { connections, active, responses } = { connections: 1, active: 1, responses: 0 }
  for (let i = 0; i < 50 && connections + active > 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    ;({ connections, active, responses } = await ask(child))
  }
  child.disconnect()
  const second = peaks[1] ?? 0
  const last = peaks[Math.floor((seconds * 1000) / part) - 1] ?? 0
  process.stdout.write(
    `${JSON.stringify({ clients, seconds, responses, whole, left, faults: faults.length, connections, active, secondMB: Math.round(second / 1e6), lastMB: Math.round(last / 1e6), ratio: Number((last / second).toFixed(3)), liveMB: Math.round(live / 1e6) })}\n`,
  )
  for (const fault of faults.slice(0, 5)) process.stderr.write(`${fault}\n`)
  // a short run is over before memory has come to rest
  const grows = seconds >= 180 && last > 1.1 * second
  if (faults.length > 0 || connections > 0 || active > 0 || grows) process.exitCode = 1
}

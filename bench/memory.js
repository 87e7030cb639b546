import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, readFileSync } from 'node:fs'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { bytesFile, dataFile } from './data.js'

export const title = 'Memory does not grow with the input'

const bin = fileURLToPath(new URL('../dist/cli/bin.js', import.meta.url))
const MB = 1e6

/** A sink that takes a millisecond for every 4 MiB. @param {AsyncIterable<Uint8Array>} chunks */
async function slowly(chunks) {
  let bytes = 0
  let since = 0
  for await (const chunk of chunks) {
    bytes += chunk.length
    since += chunk.length
    if (since < 1 << 22) continue
    since = 0
    await sleep(1)
  }
  return bytes
}

/** @param {number} size */
const borrowed = (size) => async () => {
  const { ChunkedReader } = await import('millrace/framing')
  return {
    peakRssBytes: (await slowly(new ChunkedReader(bytesFile(2e9).path, { end: size }).borrowed()), ownRss()),
  }
}
/** @param {number} size */
const readStream = (size) => async () => {
  const sink = new Writable({ write: (_chunk, _encoding, done) => void setTimeout(done, 0.1) })
  await pipeline(createReadStream(bytesFile(2e9).path, { end: size - 1 }), sink)
  return { peakRssBytes: ownRss() }
}
const ownRss = () => process.resourceUsage().maxRSS * 1024

/** Peak RSS of `millrace map` with two workers on `size` bytes of NDJSON from a pipe. @param {number} size */
const map =
  (size) =>
  async (/** @type {{ path: string }} */ { path }) => {
    const text = readFileSync(path)
    const child = spawn(
      process.execPath,
      [bin, 'map', '-j', '2', 'r => ({ id: r.id, name: r.name })', '--stats=json'],
      {
        stdio: ['pipe', 'ignore', 'pipe'],
      },
    )
    let stats = ''
    child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ data) => (stats += data))
    const copies = Array.from({ length: Math.round(size / text.length) }, () => text)
    await pipeline(Readable.from(copies, { highWaterMark: 1 }), child.stdin)
    await once(child, 'close')
    return { peakRssBytes: JSON.parse(stats).peakRssBytes }
  }

/** @typedef {(name: string) => { rss: number }} Rows */
/** @param {number} bytes */
const mb = (bytes) => `${(bytes / MB).toFixed(1)} MB`

export const groups = [
  {
    name: 'ChunkedReader.borrowed() with a slow sink',
    unit: /** @type {const} */ ('none'),
    rounds: 3,
    input: () => bytesFile(2e9),
    candidates: [
      { name: 'borrowed(), 2 GB', ours: true, run: borrowed(2e9) },
      { name: 'borrowed(), 100 MB', run: borrowed(100 * MB) },
      { name: 'bare Node (the bench itself)', run: () => ({ peakRssBytes: ownRss() }) },
      { name: 'fs.createReadStream, 100 MB', run: readStream(100 * MB) },
      { name: 'fs.createReadStream, 2 GB', run: readStream(2e9) },
    ],
    targets: (/** @type {Rows} */ row) => [
      [
        '2 GB above bare Node',
        '≤ 12 MB',
        mb(row('borrowed(), 2 GB').rss - row('bare Node (the bench itself)').rss),
      ],
      ['2 GB above 100 MB', '≤ 4 MB', mb(row('borrowed(), 2 GB').rss - row('borrowed(), 100 MB').rss)],
    ],
  },
  {
    name: 'millrace map -j 2, NDJSON from a pipe',
    unit: /** @type {const} */ ('none'),
    rounds: 3,
    input: () => dataFile('medium', 'ndjson', 128e6),
    candidates: [
      { name: 'map, 5 GB', ours: true, run: map(5e9) },
      { name: 'map, 500 MB', run: map(500 * MB) },
    ],
    targets: (/** @type {Rows} */ row) => [
      [
        'peak at 5 GB against the peak at 500 MB',
        '≤ 1.1×',
        `${(row('map, 5 GB').rss / row('map, 500 MB').rss).toFixed(2)}×`,
      ],
    ],
  },
]

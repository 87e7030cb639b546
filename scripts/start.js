// The main job, on real input: a JSON array of about 1 GB (the movies of vega-datasets, over and over) is piped through
// `millrace map`, on all cores and in constant memory. Prints what it did, how fast, and in how much memory.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'

const TOTAL_BYTES = 1e9
const FN = 'r => ({ title: r.Title, year: +r["Release Date"]?.slice(-4), rating: r["IMDB Rating"] })'

const bin = fileURLToPath(new URL('../dist/cli/bin.js', import.meta.url))
const movies = new URL('../node_modules/vega-datasets/data/movies.json', import.meta.url)

const text = readFileSync(movies, 'utf8').trim()
const elements = Buffer.from(`${text.slice(1, -1).trim()},`)
const times = Math.ceil(TOTAL_BYTES / elements.length)

/** One array with the elements of the file `times` times. */
function* array() {
  yield Buffer.from('[')
  for (let i = 1; i < times; i++) yield elements
  yield elements.subarray(0, -1)
  yield Buffer.from(']')
}

console.log(
  `$ cat movies.json … movies.json | millrace map '${FN}' --stats=json > /dev/null   (${times} × movies.json, one array)\n`,
)
const child = spawn(process.execPath, [bin, 'map', FN, '--stats=json'], { stdio: ['pipe', 'pipe', 'pipe'] })
let stats = ''
child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ data) => (stats += data))
let head = ''
child.stdout.on('data', (/** @type {Buffer} */ data) => {
  if (head.length < 1000) head += data.toString()
})
const startedAt = performance.now()
await pipeline(Readable.from(array(), { objectMode: true, highWaterMark: 1 }), child.stdin)
const [code] = child.exitCode === null ? await once(child, 'close') : [child.exitCode]
const seconds = (performance.now() - startedAt) / 1000

if (code !== 0) {
  console.error(stats)
  process.exitCode = 1
} else {
  const { bytesIn, recordsIn, recordsOut, peakRssBytes } = JSON.parse(stats)
  console.log(head.split('\n').slice(0, 3).join('\n'))
  console.log('…\n')
  console.log(
    [
      `in       ${(bytesIn / 1e9).toFixed(2)} GB, ${recordsIn.toLocaleString('en-US')} records`,
      `out      ${recordsOut.toLocaleString('en-US')} records`,
      `time     ${seconds.toFixed(1)} s with start-up, on ${availableParallelism()} cores`,
      `rate     ${(bytesIn / 1e6 / seconds).toFixed(0)} MB/s, ${Math.round(recordsIn / seconds).toLocaleString('en-US')} records/s`,
      `memory   ${(peakRssBytes / 1e6).toFixed(0)} MB at the peak, whatever the size of the input`,
    ].join('\n'),
  )
}

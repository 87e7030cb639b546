import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { bytesFile } from './data.js'
import { times } from './harness.js'

export const title = 'offload: sha256 of every 1 MiB block of 512 MB, two workers'

const BLOCK = 1 << 20
const handler = new URL('./handlers/sha256.js', import.meta.url)

/** @typedef {{ path: string }} File */

/** Digests of all blocks, digested: equal only if all blocks came, in order. */
function digests() {
  const all = createHash('sha256')
  return {
    sink: new Writable({ objectMode: true, write: (chunk, _, done) => (all.update(chunk), done()) }),
    result: () => all.digest('hex'),
  }
}

/** @param {Buffer} block */
const sha256 = (block) => createHash('sha256').update(block).digest()

export const groups = [
  {
    name: '1 MiB blocks',
    unit: /** @type {const} */ ('MB/s'),
    input: () => bytesFile(512 * BLOCK),
    candidates: [
      {
        name: 'offload, the reader fills its slots',
        ours: true,
        loads: ['millrace'],
        async run(/** @type {File} */ { path }) {
          const { ChunkedReader, offload } = await import('millrace')
          const { sink, result } = digests()
          const stage = offload(handler, { workers: 2, blockSize: BLOCK })
          await pipeline(new ChunkedReader(path, { chunkSize: BLOCK, into: stage }), stage, sink)
          return result()
        },
      },
      {
        name: 'offload, any source',
        loads: ['millrace'],
        async run(/** @type {File} */ { path }) {
          const { offload } = await import('millrace')
          const { sink, result } = digests()
          await pipeline(
            createReadStream(path, { highWaterMark: BLOCK }),
            offload(handler, { workers: 2, blockSize: BLOCK }),
            sink,
          )
          return result()
        },
      },
      {
        name: 'one thread',
        async run(/** @type {File} */ { path }) {
          const { sink, result } = digests()
          await pipeline(
            createReadStream(path, { highWaterMark: BLOCK }),
            async function* (/** @type {AsyncIterable<Buffer>} */ blocks) {
              for await (const block of blocks) yield sha256(block)
            },
            sink,
          )
          return result()
        },
      },
      {
        name: 'Readable.map over piscina, concurrency 4',
        loads: ['piscina'],
        async run(/** @type {File} */ { path }) {
          const { Piscina } = await import('piscina')
          const { sink, result } = digests()
          const pool = new Piscina({ filename: handler.href, minThreads: 2, maxThreads: 2 })
          const mapped = createReadStream(path, { highWaterMark: BLOCK }).map((block) => pool.run(block), {
            concurrency: 4,
          })
          await pipeline(Readable.from(mapped), sink)
          await pool.destroy()
          return result()
        },
      },
    ],
    targets: (/** @type {(name: string) => { ms: number }} */ row) => [
      [
        'against one thread',
        '≥ 1.9×',
        times(row('one thread').ms, row('offload, the reader fills its slots').ms),
      ],
    ],
  },
]

import { createHash } from 'node:crypto'
import { once } from 'node:events'
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
        name: 'offload of ranges, the workers read',
        ours: true,
        loads: ['millrace'],
        async run(/** @type {File} */ { path }) {
          const { fileRanges, offload } = await import('millrace')
          const { sink, result } = digests()
          const stage = offload(handler, { in: 'ranges', workers: 2 })
          await pipeline(Readable.from(fileRanges(path, { rangeSize: BLOCK })), stage, sink)
          return result()
        },
      },
      {
        name: 'the same, on a pool that has run before',
        loads: ['millrace'],
        async prepare(/** @type {File} */ { path }) {
          const { createPool, offload } = await import('millrace')
          const pool = createPool({ workers: 2 })
          const warm = offload(handler, { pool })
          await pipeline(
            Array.from({ length: 64 }, () => Buffer.alloc(BLOCK)),
            warm,
            digests().sink,
          )
          return { path, pool }
        },
        async run(/** @type {File & { pool: import('piscina').Piscina }} */ { path, pool }) {
          const { fileRanges, offload } = await import('millrace')
          const { sink, result } = digests()
          const stage = offload(handler, { in: 'ranges', pool })
          await pipeline(Readable.from(fileRanges(path, { rangeSize: BLOCK })), stage, sink)
          return result()
        },
      },
      {
        name: 'offload, the reader fills its slots',
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
        name: 'two bare threads that read and hash, no stream: the ceiling',
        async run(/** @type {File} */ { path }) {
          const { Worker } = await import('node:worker_threads')
          const parts = await Promise.all(
            [0, 1].map(async (part) => {
              const worker = new Worker(new URL('./handlers/hash-half.js', import.meta.url), {
                workerData: { path, part, size: BLOCK },
              })
              const [hashes] = await once(worker, 'message')
              return hashes
            }),
          )
          const { sink, result } = digests()
          const inOrder = parts[0].flatMap((/** @type {Buffer} */ hash, /** @type {number} */ i) => [
            hash,
            parts[1][i],
          ])
          await pipeline(inOrder, sink)
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
        'against one thread, on a pool that has run before',
        '≥ 1.9×',
        times(row('one thread').ms, row('the same, on a pool that has run before').ms),
      ],
      [
        'against one thread, with the start of the threads',
        '≥ 1.9×',
        times(row('one thread').ms, row('offload of ranges, the workers read').ms),
      ],
    ],
  },
]

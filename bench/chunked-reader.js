import { createReadStream } from 'node:fs'
import { bytesFile } from './data.js'
import { times } from './harness.js'

export const title = 'ChunkedReader: 1 GiB from the page cache, four times over'

const SIZE = 2 ** 30

/** @typedef {{ path: string }} File */

/** Passes over the file: what one pass takes, a compiler that has just begun takes a good part of. */
const PASSES = 4

/** @param {() => AsyncIterable<Uint8Array>} open */
async function total(open) {
  let bytes = 0
  for (let pass = 0; pass < PASSES; pass++) for await (const chunk of open()) bytes += chunk.length
  return bytes
}

/** @param {number} chunkSize */
const borrowed =
  (chunkSize) =>
  async (/** @type {File} */ { path }) => {
    const { ChunkedReader } = await import('millrace')
    return total(() => new ChunkedReader(path, { chunkSize }).borrowed())
  }

/** @param {string} size */
const dd =
  (size) =>
  (/** @type {File} */ { path }) =>
    `for pass in 1 2 3 4; do dd if='${path}' of=/dev/null bs=${size} 2>/dev/null; done`

export const groups = [
  {
    name: 'every byte once',
    unit: /** @type {const} */ ('GB/s'),
    rounds: 7,
    input: () => ({ ...bytesFile(SIZE), bytes: PASSES * SIZE }),
    candidates: [
      {
        name: 'borrowed(), defaults',
        ours: true,
        loads: ['millrace'],
        async run(/** @type {File} */ { path }) {
          const { ChunkedReader } = await import('millrace')
          return total(() => new ChunkedReader(path).borrowed())
        },
      },
      { name: 'borrowed(), 256 KiB', loads: ['millrace'], run: borrowed(1 << 18) },
      { name: 'borrowed(), 1 MiB', loads: ['millrace'], run: borrowed(1 << 20) },
      {
        name: 'as a stream, defaults',
        loads: ['millrace'],
        async run(/** @type {File} */ { path }) {
          const { ChunkedReader } = await import('millrace')
          return total(() => new ChunkedReader(path))
        },
      },
      {
        name: 'fs.createReadStream, defaults',
        run: (/** @type {File} */ { path }) => total(() => createReadStream(path)),
      },
      {
        name: 'fs.createReadStream, 256 KiB',
        run: (/** @type {File} */ { path }) =>
          total(() => createReadStream(path, { highWaterMark: 1 << 18 })),
      },
      { name: 'dd bs=256K', command: dd('256K') },
      { name: 'dd bs=1M', command: dd('1M') },
    ],
    targets: (/** @type {(name: string) => { ms: number }} */ row) => [
      [
        'against fs.createReadStream with its defaults',
        '≥ 3×',
        times(row('fs.createReadStream, defaults').ms, row('borrowed(), defaults').ms),
      ],
      ['256 KiB against dd at 256 KiB', '≥ 0.8×', times(row('dd bs=256K').ms, row('borrowed(), 256 KiB').ms)],
      ['1 MiB against dd at 1 MiB', '≥ 0.8×', times(row('dd bs=1M').ms, row('borrowed(), 1 MiB').ms)],
    ],
  },
]

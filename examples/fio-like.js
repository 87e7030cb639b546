// A load on a directory, as fio would put it there: several files written at once, read back at once, every byte verified, and
// pages read at random and verified too.
//   node examples/fio-like.js [DIRECTORY] [FILES] [BYTES A FILE]
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ChunkedReader, DataGenerator, mapOrdered, pumpObject, verify } from 'millrace'

/** @typedef {import('millrace').ObjectGen} ObjectGen */

const AT_ONCE = 4
const PAGE = 4096
const PAGES_A_FILE = 1000
const [, , directory = tmpdir(), files = '6', bytes = '32e6'] = process.argv
const folder = mkdtempSync(join(directory, 'fio-like-'))

// 2.5 blocks for every different one, and compressible to 1/1.7, like real data: a store that saves space has work to do
const generator = new DataGenerator()
const objects = Array.from({ length: Number(files) }, (_, n) =>
  generator.beginObject({ key: `file-${n}`, size: Number(bytes), dedup: 2.5, compress: 1.7 }),
)
/** @param {ObjectGen} object */
const pathOf = (object) => join(folder, object.key)

/** Does something with every file, several at once, and tells the rate. @param {string} what @param {(object: ObjectGen) => Promise<number>} work bytes that it went through */
async function measure(what, work) {
  const startedAt = performance.now()
  let total = 0
  for await (const count of mapOrdered(objects, work, { concurrency: AT_ONCE })) total += count
  const seconds = (performance.now() - startedAt) / 1000
  console.log(
    `${what.padEnd(14)} ${(total / 1e6).toFixed(0).padStart(6)} MB  ${(total / 1e6 / seconds).toFixed(0).padStart(6)} MB/s`,
  )
}

try {
  console.log(`${files} files of ${Number(bytes) / 1e6} MB, ${AT_ONCE} at once, seed ${generator.seed}`)
  await measure(
    'write',
    async (object) => (await pumpObject(object, createWriteStream(pathOf(object)))).bytesOut,
  )
  await measure(
    'read, verify',
    async (object) => (await verify(new ChunkedReader(pathOf(object)), object)).bytes,
  )
  await measure('random pages', async (object) => {
    const file = await open(pathOf(object))
    const page = Buffer.alloc(PAGE)
    try {
      for (let i = 0; i < PAGES_A_FILE; i++) {
        const at = Math.floor(Math.random() * (object.size - PAGE))
        await file.read(page, 0, PAGE, at)
        // nothing before `at` has to be made to know what belongs there
        if (object.firstDifference(page, at) !== -1) throw new Error(`${object.key}: wrong bytes at ${at}`)
      }
    } finally {
      await file.close()
    }
    return PAGES_A_FILE * PAGE
  })
  console.log(`${files} files written, read and verified`)
} finally {
  rmSync(folder, { recursive: true })
}

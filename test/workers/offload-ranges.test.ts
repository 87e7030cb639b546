import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, renameSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import * as fc from 'fast-check'
import t from 'tap'
import { createPool, fileRanges, offload, type FileRange, type OffloadOptions } from '../../src/index.ts'

const handlers = new URL('fixtures/handlers.mjs', import.meta.url)
const pool = createPool({ workers: 2 })
t.teardown(() => pool.destroy())
const folder = t.testdir()
const bytes = Buffer.from(Array.from({ length: 10_000 }, (_, i) => (i * 31) % 251))
const path = join(folder, 'data.bin')
writeFileSync(path, bytes)

const stage = (options: OffloadOptions) => offload(handlers, { in: 'ranges', ...options })
const sha256 = (part: Buffer) => `${createHash('sha256').update(part).digest('hex')}\n`

/** Everything before the error, and the error. */
async function drain(stream: Readable) {
  const out: Buffer[] = []
  try {
    for await (const chunk of stream) out.push(chunk as Buffer)
  } catch (error) {
    return { out, error: error as Error & Record<string, unknown> }
  }
  return { out, error: undefined }
}

t.test(
  'offload of ranges: the bytes of a file, for any size of range, window, handler and number of workers',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12_000 }),
        fc.integer({ min: 0, max: 10_000 }),
        fc.integer({ min: 0, max: 10_000 }),
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom('default', 'overwriteInput', 'inScratch'),
        fc.constantFrom<OffloadOptions>({ pool }, { workers: 0 }),
        async (rangeSize, a, b, window, name, where) => {
          const [start, end] = [Math.min(a, b), Math.max(a, b)]
          // the scratch memory of that handler holds 8 KiB
          const size = name === 'inScratch' ? Math.min(rangeSize, 8192) : rangeSize
          const ranges = fileRanges(pathToFileURL(path), { rangeSize: size, start, end })
          const work = stage({ name, window, ...where })
          const out = await buffer(Readable.from(ranges).pipe(work))
          assert.equal(Buffer.compare(out, bytes.subarray(start, end)), 0)
          assert.equal(work.stats().bytesIn, end - start)
        },
      ),
      { numRuns: 60 },
    )
    t.pass('held')
  },
)

t.test(
  'offload of ranges: async handlers, of which several run at once, each have their own bytes',
  async (t) => {
    const out = await buffer(
      Readable.from(fileRanges(path, { rangeSize: 1000 })).pipe(stage({ name: 'hashLater', pool })),
    )
    const expected = Array.from({ length: 10 }, (_, i) => sha256(bytes.subarray(i * 1000, i * 1000 + 1000)))
    t.equal(String(out), expected.join(''))
  },
)

t.test('offload of ranges: memory that was moved away is not used again', async (t) => {
  const work = stage({ workers: 1, transfer: 'transfer' })
  t.same(await buffer(Readable.from(fileRanges(path, { rangeSize: 3000 })).pipe(work)), bytes)
})

t.test('offload of ranges: no descriptor stays open', async (t) => {
  await buffer(Readable.from(fileRanges(path, { rangeSize: 100 })).pipe(stage({ workers: 0 })))
  const open = readdirSync('/proc/self/fd').length
  await buffer(Readable.from(fileRanges(path, { rangeSize: 100 })).pipe(stage({ workers: 0 })))
  t.equal(readdirSync('/proc/self/fd').length, open)
})

t.test(
  'offload of ranges: a file that is gone, shorter or another one is an error at its place',
  async (t) => {
    const cases: [what: string, spoil: (path: string) => void, expected: object, before: number][] = [
      [
        'shrunk',
        (path) => truncateSync(path, 2500),
        { code: 'ERR_MILLRACE_FILE_SHRUNK', offset: 2500, actual: 2500 },
        2000,
      ],
      ['gone', (path) => renameSync(path, `${path}.old`), { code: 'ENOENT' }, 0],
      [
        'replaced',
        (path) => {
          writeFileSync(`${path}.new`, bytes)
          renameSync(`${path}.new`, path)
        },
        { code: 'ERR_MILLRACE_FILE_REPLACED', offset: 0 },
        0,
      ],
    ]
    for (const [what, spoil, expected, before] of cases) {
      for (const where of [{ pool }, { workers: 0 }]) {
        const own = join(folder, `${what}-${'pool' in where ? 'pool' : 'inline'}`)
        writeFileSync(own, bytes)
        const ranges: FileRange[] = []
        for await (const range of fileRanges(own, { rangeSize: 1000 })) ranges.push(range)
        spoil(own)
        const { out, error } = await drain(Readable.from(ranges).pipe(stage(where)))
        t.match(error, expected, what)
        t.equal(Buffer.concat(out).length, before, `${what}: all before it was delivered`)
      }
    }
  },
)

t.test(
  'offload of ranges: what is no range is an error with its index, after everything before it',
  async (t) => {
    const good = { path, offset: 0, length: 10 }
    for (const bad of [
      'text',
      { path },
      { path, offset: -1, length: 1 },
      { path, offset: 0, length: 0.5 },
      { path: 1, offset: 0, length: 1 },
    ]) {
      const { out, error } = await drain(Readable.from([good, bad]).pipe(stage({ workers: 0 })))
      t.match(error, { code: 'ERR_MILLRACE_OFFLOAD_INPUT', index: 1 })
      t.same(Buffer.concat(out), bytes.subarray(0, 10))
    }
  },
)

t.test('offload of ranges: a handler that throws is blamed with the offset and the path', async (t) => {
  const { error } = await drain(
    Readable.from(fileRanges(path, { rangeSize: 5000, start: 5000 })).pipe(
      stage({ name: 'failAt', workers: 0, workerData: bytes[5000] }),
    ),
  )
  t.match(error, { code: 'ERR_MILLRACE_OFFLOAD_HANDLER', offset: 5000, message: `byte 5000 of ${path}` })
})

t.test('fileRanges: options out of range, and what is no regular file, are refused', async (t) => {
  const first = (file: string | URL, options?: object) => fileRanges(file, options).next()
  mkdirSync(join(folder, 'directory'))
  const refused: [option: string, file: string, options?: object][] = [
    ['rangeSize', path, { rangeSize: 0 }],
    ['start', path, { start: -1 }],
    ['end', path, { start: 5, end: 4 }],
    ['start', path, { start: 10_001 }],
    ['end', path, { end: 10_001 }],
    ['file', join(folder, 'directory')],
  ]
  for (const [option, file, options] of refused) {
    await t.rejects(first(file, options), { code: 'ERR_MILLRACE_OPTION', message: `option ${option}:` })
  }
  await t.rejects(first(join(folder, 'missing')), { code: 'ENOENT' })
  t.same(await first(path, { start: 10_000 }), { done: true, value: undefined })
})

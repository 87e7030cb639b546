// Every example runs as a user would run it, and ends in a line that says that it did what it shows.
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { asUser } from './helpers/as-user.ts'

const exec = promisify(execFile)
const folder = fileURLToPath(new URL('../examples/', import.meta.url))

const lastLines: Record<string, string> = {
  'library-pipeline.js': '39 strong earthquakes',
  'csv-rows.js': '"3,plain"',
  'offload-cpu.js': '24 results, in order',
  'stream-chain.js': '4 lines',
  'property-test.js': 'the laws hold',
  's3-verify.js': '8 of 8 objects verified, 1 mix-up found',
  'lz4-codec.js': '20 blocks, 2 times smaller',
  'synthetic-records.js': '1000 of 1000 are heavy gentoos',
  'http-api.js': '100000 orders twice, 29999 before the error, 100000 lines of CSV',
  'http-metrics.js': 'Prometheus and OpenTelemetry agree: 3 responses, 1000 records',
  'store-partial-success.js': '97 of 100 stored, 3 refused: 10, 40, 70',
  'fio-like.js': '6 files written, read and verified',
}

t.test('every example has its last line here', async (t) => {
  const files = readdirSync(folder).filter((file) => file.endsWith('.js'))
  t.strictSame(files.toSorted(), Object.keys(lastLines).toSorted())
})

for (const [file, last] of Object.entries(lastLines)) {
  t.test(`examples/${file}`, async (t) => {
    const { stdout, stderr } = await exec(...asUser(process.execPath, `${folder}${file}`))
    t.equal(stdout.trimEnd().split('\n').at(-1), last)
    t.equal(stderr, '')
  })
}

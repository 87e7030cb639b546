import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { canonicalJson, cidOf } from '../../src/store/index.ts'
import { millrace, outcome, shell, start } from './helpers.ts'

const root = mkdtempSync(join(tmpdir(), 'millrace-cli-store-'))
t.teardown(() => rmSync(root, { recursive: true }))
const data = join(root, 'data')
const records = Array.from({ length: 200 }, (_, n) => ({ n, name: `agent ${n}` }))
const ndjson = records.map((record) => `${JSON.stringify(record)}\n`).join('')
const cids = records.map((record) => cidOf(canonicalJson(record)))
const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { index: number; cid?: string; error?: string })

t.test('store push, pull, lookup and delete work on a folder', async (t) => {
  const pushed = await millrace(['store', 'push', '--store', data], ndjson)
  t.strictSame([pushed.status, pushed.stderr], [0, ''])
  t.strictSame(
    lines(pushed.stdout),
    cids.map((cid, index) => ({ index, cid })),
  )
  const pulled = await millrace(['store', 'pull', '--store', data, '--window', '7'], pushed.stdout)
  t.strictSame([pulled.status, pulled.stdout], [0, ndjson])
  const looked = await millrace(['store', 'lookup', '--store', data], `"${cids[3]}"\n`)
  t.strictSame(lines(looked.stdout), [
    { index: 0, cid: cids[3], annotations: {}, schemaVersion: '', createdAt: '' },
  ])
  const deleted = await millrace(['store', 'delete', '--store', data], `${cids[0]}\n${cids[1]}`)
  t.strictSame(
    lines(deleted.stdout),
    [0, 1].map((index) => ({ index, cid: cids[index] })),
  )
  const gone = await millrace(['store', 'pull', '--store', data], `${cids[0]}\nno CID\n{"cid":\n${cids[2]}\n`)
  t.equal(gone.status, 4)
  t.equal(gone.stdout, `${JSON.stringify(records[2])}\n`)
  t.strictSame(
    lines(gone.stderr).map(({ index }) => index),
    [0, 1, 2],
  )
})

t.test('store: items that fail are told on stderr, or with --results in their place', async (t) => {
  const input = '{"a":1}\n7\n{"a":2}\n'
  const apart = await millrace(['store', 'push', '--store', data, '--stats=json'], input)
  t.equal(apart.status, 4)
  t.strictSame(
    lines(apart.stdout).map(({ index }) => index),
    [0, 2],
  )
  const [failed, stats] = apart.stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  t.strictSame(failed, { index: 1, error: 'record: expected an object, got 7' })
  t.match(stats, { recordsIn: 3, recordsOut: 3, errors: 1 })
  const together = await millrace(['store', 'push', '--store', data, '--results'], input)
  t.strictSame([together.status, together.stderr], [4, ''])
  t.strictSame(
    lines(together.stdout).map(({ index, error }) => [index, error === undefined]),
    [
      [0, true],
      [1, false],
      [2, true],
    ],
  )
  const file = join(root, 'out.ndjson')
  const pulled = await millrace(
    ['store', 'pull', '--store', data, '--results', '-o', file],
    `${cidOf('{"a":1}')}\n`,
  )
  t.equal(pulled.status, 0)
  t.strictSame((await shell(`cat ${file}`)).stdout, '{"index":0,"record":{"a":1}}\n')
})

t.test(
  'store: mistakes are told with status 2, bad input with 3, a server that is not there with 1',
  async (t) => {
    for (const args of [
      [],
      ['--store', data, '--addr', 'x:1'],
      ['--store', data, '--window', '0'],
      ['--addr', 'x:1', '--token-file', join(root, 'none')],
    ]) {
      const { status, stderr } = await millrace(['store', 'push', ...args], ndjson)
      t.equal(status, 2, stderr)
    }
    t.equal((await millrace(['store', 'push', '--store', data], '{"a":1}\n{"a":')).status, 3)
    const dead = await millrace(
      ['store', 'pull', '--addr', '127.0.0.1:1', '--retries', '1'],
      `${cids[0]}\n`.repeat(1000),
    )
    t.equal(dead.status, 1)
    t.match(dead.stderr, /ECONNREFUSED/)
    t.ok(dead.stderr.split('\n').length < 200, 'it does not go on')
    t.equal((await millrace(['store', 'pull', '--store', data, join(root, 'none')])).status, 1)
  },
)

t.test(
  'store serve: another process pushes and pulls; a signal ends it; the folder is locked meanwhile',
  async (t) => {
    const token = join(root, 'token')
    writeFileSync(token, 'secret\n')
    const server = start(['store', 'serve', '--store', data, '--port', '0', '--token-file', token])
    const ended = outcome(server)
    const [said] = (await once(server.stderr!, 'data')) as [Buffer]
    const port = /:(\d+)\n/.exec(String(said))![1]!
    const addr = ['--addr', `127.0.0.1:${port}`, '--token-file', token, '--concurrency', '2', '--gzip']
    const pushed = await millrace(['store', 'push', ...addr], ndjson)
    t.strictSame(
      lines(pushed.stdout).map(({ cid }) => cid),
      cids,
    )
    const early = await shell(
      `printf '${cids.join('\\n')}\\n' | millrace store pull ${addr.join(' ')} | head -1`,
    )
    t.strictSame([early.status, early.stdout, early.stderr], [0, `${JSON.stringify(records[0])}\n`, ''])
    const stranger = await millrace(['store', 'pull', '--addr', `127.0.0.1:${port}`], `${cids[0]}\n`)
    t.equal(stranger.status, 1)
    const second = await millrace(['store', 'pull', '--store', data], `${cids[0]}\n`)
    t.equal(second.status, 1)
    t.match(second.stderr, /has it open/)
    server.kill('SIGINT')
    t.equal((await ended).status, 130)
    t.equal((await millrace(['store', 'pull', '--store', data], `${cids[0]}\n`)).status, 0)
  },
)

t.test('store push: a signal ends the input, and what was read is stored and told', async (t) => {
  const child = start(['store', 'push', '--store', data])
  child.stdin!.write('{"kept":1}\n')
  // the lock is taken, and a moment later the input is read
  while (!existsSync(join(data, 'lock'))) await sleep(20)
  await sleep(700)
  const ended = outcome(child)
  child.kill('SIGINT')
  const { status, stdout } = await ended
  t.equal(status, 130)
  t.match(lines(stdout), [{ index: 0, cid: cidOf('{"kept":1}') }])
})

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { canonicalJson, cidOf } from '../../src/store/index.ts'
import { millrace, outcome, shell, start, userEnv } from './helpers.ts'

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
      ['--addr', 'x:1', '-j', '1', '-o', join(root, 'nothing')],
    ]) {
      const { status, stderr } = await millrace(['store', 'push', ...args], ndjson)
      t.equal(status, 2, stderr)
    }
    t.notOk(existsSync(join(root, 'nothing.partial')), 'a mistake in the options leaves nothing behind')
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

/** Files of a certificate that signs itself. */
function certificate(name: string): { readonly cert: string; readonly key: string } {
  const [key, cert] = [join(root, `${name}.key`), join(root, `${name}.pem`)]
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  execFileSync('openssl', ['req', '-x509', ...kind, '-keyout', key, '-out', cert, '-days', '2', ...subject], {
    stdio: 'ignore',
  })
  return { key, cert }
}

/** Starts `store serve` and gives its port. */
async function serve(args: readonly string[]) {
  const child = start(['store', 'serve', '--port', '0', ...args])
  const ended = outcome(child)
  const [said] = (await once(child.stderr!, 'data')) as [Buffer]
  return {
    port: Number(/:(\d+)\n/.exec(String(said))?.[1]),
    said: String(said),
    stop: () => (child.kill('SIGTERM'), ended),
  }
}

t.test('store, with --store: what each option does, for each verb', async (t) => {
  const folder = join(root, 'options')
  const two = '{"a":1}\n{"text":"' + 'x'.repeat(200) + '"}\n'
  const [short, long] = ['{"a":1}', two.split('\n')[1]!].map(cidOf) as [string, string]
  const refs = `${short}\n${long}\n`
  const pushed = (...cids: string[]) =>
    cids.map((cid, index) => `${JSON.stringify({ index, cid })}\n`).join('')
  const input = join(root, 'two.ndjson')
  writeFileSync(input, two)
  // in order: what is told of one is what the next finds
  for (const [verb, args, stdin, status, stdout, stderr] of [
    ['push', ['--max-message', '100B'], two, 4, pushed(short), /at most 100 bytes/],
    ['push', ['--max-message', '1KiB', '--fsync', 'always'], two, 0, pushed(short, long), /^$/],
    ['push', ['--fsync', 'interval', '-q'], two, 0, pushed(short, long), /^$/],
    ['push', ['--fsync', 'never', '--concurrency', '3'], two, 0, pushed(short, long), /^$/],
    ['push', [input], '', 0, pushed(short, long), /^$/],
    ['push', ['-'], two, 0, pushed(short, long), /^$/],
    ['push', ['--progress', '--stats'], two, 0, pushed(short, long), /2/],
    ['push', ['--results', '--window', '1'], two, 0, pushed(short, long), /^$/],
    ['push', ['-j', '0'], two, 0, pushed(short, long), /^$/],
    ['push', ['--workers', '2'], two, 0, pushed(short, long), /^$/],
    ['push', ['-j', 'many'], two, 2, '', /--workers/],
    ['push', ['--fsync', 'sometimes'], two, 2, '', /always, interval, never/],
    ['push', ['--max-message', 'much'], two, 2, '', /--max-message/],
    ['push', ['--window', 'x'], two, 2, '', /--window/],
    ['push', ['--concurrency', '0'], two, 2, '', /concurrency/],
    ['push', ['--retries', '-1'], two, 2, '', /--retries/],
    ['push', ['--stats', 'xml'], two, 2, '', /--stats|argument/],
    ['push', ['--no-such'], two, 2, '', /--no-such/],
    ['pull', ['--window', '1', '--concurrency', '2'], refs, 0, two, /^$/],
    ['pull', ['--fsync', 'never', '--stats=json'], refs, 0, two, /"recordsOut":2/],
    ['lookup', ['--window', '1', '--results'], `${short}\n`, 0, /^{"index":0,"cid":"b/, /^$/],
    ['delete', ['--fsync', 'always', '--window', '1'], `${long}\n`, 0, pushed(long), /^$/],
    ['pull', ['--results'], refs, 4, /^{"index":0,"record":{"a":1}}\n{"index":1,"error":/, /^$/],
    ['lookup', [], `${long}\n`, 4, '', /"index":0,"error"/],
    ['delete', ['--results'], 'no CID\n', 4, /^{"index":0,"error"/, /^$/],
  ] as const) {
    const name = `${verb} ${args.join(' ')}`
    const got = await millrace(['store', verb, '--store', folder, ...args], stdin)
    t.equal(got.status, status, `${name}: ${got.stderr}`)
    t.match(got.stdout, stdout, name)
    if (stdout === '') t.equal(got.stdout, '', name)
    t.match(got.stderr, stderr, name)
  }
  for (const [verb, stdin] of [
    ['push', two],
    ['pull', `${short}\n`],
    ['lookup', `${short}\n`],
    ['delete', `${short}\n`],
  ] as const) {
    const file = join(root, `${verb}.out`)
    const got = await millrace(['store', verb, '--store', folder, '--output', file], stdin)
    t.strictSame([got.status, got.stdout], [0, ''], verb)
    t.match(readFileSync(file, 'utf8'), verb === 'pull' ? '{"a":1}\n' : `"cid":"${short}"`, verb)
  }
})

t.test('store, with --addr: TLS, tokens, limits and retries, for the client and for serve', async (t) => {
  const own = certificate('own')
  const friend = certificate('friend')
  const stranger = certificate('stranger')
  const [token, wrong] = [join(root, 'tokens'), join(root, 'wrong')]
  writeFileSync(token, 'first\nsecond\n')
  writeFileSync(join(root, 'second'), 'second\n')
  writeFileSync(wrong, 'third\n')
  const server = await serve(
    [
      ['--store', join(root, 'served'), '--host', 'localhost', '--fsync', 'never', '--window', '2'],
      ['--tls-cert', own.cert, '--tls-key', own.key, '--tls-ca', friend.cert, '--token-file', token],
      ['--max-message', '2KiB'],
    ].flat(),
  )
  t.match(server.said, /serving on localhost:/)
  const [ca, cert] = [
    ['--tls-ca', own.cert],
    ['--tls-cert', friend.cert, '--tls-key', friend.key],
  ]
  const second = ['--token-file', join(root, 'second')]
  const good = [...ca, ...cert, ...second]
  const one = '{"a":1}\n'
  const long = `{"a":1}\n{"text":"${'x'.repeat(3000)}"}\n`
  const trusting = { env: userEnv({ NODE_EXTRA_CA_CERTS: own.cert }) }
  for (const [args, input, status, options] of [
    [good, one, 0],
    [[...good, '--gzip', '--window', '1', '--concurrency', '2', '--retries', '0'], one.repeat(50), 0],
    [['--tls', ...cert, ...second], one, 0, trusting],
    [[...cert, ...second], one, 0, trusting],
    [['--tls', ...cert, ...second], one, 1],
    [['--tls', ...second], one, 1, trusting],
    [[...ca, ...second], one, 1],
    [second, one, 1],
    [[...ca, '--tls-cert', stranger.cert, '--tls-key', stranger.key, ...second], one, 1],
    [[...ca, ...cert], one, 1],
    [[...ca, ...cert, '--token-file', wrong], one, 1],
    // refused by the server, and by the client itself
    [good, long, 4],
    [[...good, '--max-message', '1KiB'], long, 4],
    [[...good, '--tls-ca', join(root, 'none')], one, 2],
    [[...ca, '--tls-cert', join(root, 'none'), ...second], one, 2],
  ] as const) {
    const retries = args.includes('--retries') ? [] : ['--retries', '0']
    const all = ['store', 'push', '--addr', `localhost:${server.port}`, ...args, ...retries]
    const got = await millrace(all, input, options)
    t.equal(got.status, status, `${args.join(' ')}: ${got.stderr}`)
  }
  const cid = cidOf('{"a":1}')
  for (const [verb, stdout] of [
    ['pull', one],
    ['lookup', /^{"index":0,"cid":"/],
    ['delete', `${JSON.stringify({ index: 0, cid })}\n`],
  ] as const) {
    const got = await millrace(['store', verb, '--addr', `localhost:${server.port}`, ...good], `${cid}\n`)
    t.equal(got.status, 0, `${verb}: ${got.stderr}`)
    t.match(got.stdout, stdout, verb)
  }
  const place = ['store', 'serve', '--store', join(root, 'other')]
  for (const [args, status, stderr] of [
    [[...place, '--port', String(server.port), '--host', 'localhost'], 1, /EADDRINUSE/],
    [[...place, '--port', 'x'], 2, /--port/],
    [[...place, '--tls-cert', own.cert], 2, /need each other/],
    [[...place, '--tls-key', own.key], 2, /need each other/],
    [[...place, '--window', '0'], 2, /window/],
    [['store', 'serve'], 2, /--store DIR or --addr/],
  ] as const) {
    const got = await millrace(args)
    t.equal(got.status, status, `${args.join(' ')}: ${got.stderr}`)
    t.match(got.stderr, stderr)
  }
  t.equal((await server.stop()).status, 143)
})

t.test('store serve --addr: passes on to another server', async (t) => {
  const inner = await serve(['--store', join(root, 'inner')])
  const outer = await serve(['--addr', `127.0.0.1:${inner.port}`, '--retries', '1', '--gzip'])
  const got = await millrace(['store', 'push', '--addr', `127.0.0.1:${outer.port}`], ndjson)
  t.strictSame([got.status, lines(got.stdout).map((each) => each.cid)], [0, cids], got.stderr)
  await outer.stop()
  await inner.stop()
})

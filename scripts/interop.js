// node scripts/interop.js DIR: our client against the server code of agntcy/dir, and its client against our server; DIR is a checkout of it
// (tried with fa12a924). Needs Go. The store controller, the client's store and streams, the generated code and the CIDs are that project's, unchanged; interop/stand-ins.json stands for what
// they import besides and this needs nothing of, interop/server.go is a store in memory, interop/client.go a use of the client. Ends with what was wrong: nothing, or it fails.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { GrpcStore, MemoryStore, StoreServer, canonicalJson, cidOf } from '../dist/store/index.js'

const checkout = process.argv[2]
if (checkout === undefined) throw new Error('give the folder of a checkout of github.com/agntcy/dir')
const here = fileURLToPath(new URL('interop', import.meta.url))

const THEIRS = [
  ...[
    'cid.go',
    'record.go',
    'record.pb.go',
    'referrer.go',
    'referrer_types.go',
    'referrer.pb.go',
    'rules.pb.go',
  ].map((name) => `api/core/v1/${name}`),
  'api/store/v1/store_service.pb.go',
  'api/store/v1/store_service_grpc.pb.go',
  'server/controller/store.go',
  'server/types/store.go',
  'client/store.go',
  'client/streaming/bidi_stream.go',
  'client/streaming/client_stream.go',
  'client/streaming/stream_result.go',
  'client/streaming/utils.go',
  'utils/logging/config.go',
  'utils/logging/logging.go',
]

/** @param {string} folder */
function build(folder) {
  /** @param {string} path */
  const place = (path) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    return join(folder, path)
  }
  for (const path of THEIRS) copyFileSync(join(/** @type {string} */ (checkout), path), place(path))
  const standIns = JSON.parse(readFileSync(join(here, 'stand-ins.json'), 'utf8'))
  for (const [path, text] of Object.entries(standIns)) writeFileSync(place(path), text)
  for (const name of ['server', 'client'])
    copyFileSync(join(here, `${name}.go`), place(`cmd/store-${name}/main.go`))
  const options = {
    cwd: folder,
    stdio: /** @type {const} */ ('inherit'),
    env: { ...process.env, GOFLAGS: '-mod=mod' },
  }
  execFileSync('go', ['mod', 'tidy'], options)
  execFileSync('go', ['build', '-o', '.', './cmd/...'], options)
}

let wrong = 0
/** @param {boolean} isRight @param {string} what */
function check(isRight, what) {
  if (isRight) return
  wrong++
  console.error(`wrong: ${what}`)
}

/** @typedef {{ index: number, error?: { code: string, message: string } | undefined }} Result */

/** Every index once, in order. @template {Result} R @param {AsyncIterable<R>} stream @param {number} count @param {string} what */
async function all(stream, count, what) {
  const results = []
  for await (const result of stream)
    check(result.index === results.push(result) - 1, `${what} ${result.index}: out of order`)
  check(results.length === count, `${what}: ${results.length} results of ${count}`)
  return results
}

/** @param {GrpcStore} store @param {number} concurrency @param {unknown[]} records */
async function run(store, concurrency, records) {
  const isBad = (/** @type {any} */ record) => record.bad === true
  const pushed = await all(store.pushStream(records, { concurrency }), records.length, 'push')
  for (const { index, ref, error } of pushed) {
    if (isBad(records[index]))
      check(error?.message.includes('it says that it is bad') === true, `push ${index}: not refused`)
    else
      check(ref?.cid === cidOf(canonicalJson(records[index])), `push ${index}: ${error?.message ?? ref?.cid}`)
  }
  const good = records.filter((record) => !isBad(record))
  const cids = pushed.flatMap(({ ref }) => ref?.cid ?? [])
  for (const { index, record, error } of await all(
    store.pullStream(cids, { concurrency }),
    cids.length,
    'pull',
  ))
    check(
      record !== undefined && canonicalJson(record) === canonicalJson(good[index]),
      `pull ${index}: ${error?.message}`,
    )
  const none = cidOf('{"not":"there"}')
  const mixed = cids.slice(0, 300).map((cid, i) => (i % 41 === 7 ? none : cid))
  for (const { index, meta, error } of await all(
    store.lookupStream(mixed, { concurrency }),
    mixed.length,
    'lookup',
  )) {
    if (mixed[index] === none)
      check(error?.code === 'ERR_MILLRACE_STORE_NOT_FOUND', `lookup ${index}: ${error?.code}`)
    else
      check(
        meta?.cid === mixed[index] && meta?.annotations['a'] === 'b',
        `lookup ${index}: ${error?.message}`,
      )
  }
  const refs = [...cids, '']
  for (const { index, ref, error } of await all(
    store.deleteStream(refs, { concurrency }),
    refs.length,
    'delete',
  ))
    check(
      refs[index] === '' ? error !== undefined : ref?.cid === refs[index],
      `delete ${index}: ${error?.message}`,
    )
  for (const { index, error } of await all(
    store.pullStream(cids, { concurrency }),
    cids.length,
    'pull of what was deleted',
  ))
    check(error?.code === 'ERR_MILLRACE_STORE_NOT_FOUND', `pull ${index} of what was deleted: ${error?.code}`)
}

const vectors = JSON.parse(
  readFileSync(new URL('../test/store/fixtures/cid-vectors.json', import.meta.url), 'utf8'),
)
const records = [
  ...Array.from({ length: 2000 }, (_, i) =>
    i % 97 === 50
      ? { bad: true, i }
      : { name: `agent ${i}`, i, nested: { '<é>': [i / 7, null, true, -0, 1e21] } },
  ),
  ...vectors.map((/** @type {{ canonical: string }} */ { canonical }) => JSON.parse(canonical)),
]
const folder = mkdtempSync(join(tmpdir(), 'millrace-interop-'))
let server
try {
  build(folder)
  server = spawn(join(folder, 'store-server'), { stdio: ['ignore', 'pipe', 'ignore'] })
  const [port] = await once(server.stdout, 'data')
  for (const transport of /** @type {const} */ (['http2', 'grpc-js'])) {
    for (const concurrency of [1, 3]) {
      const store = new GrpcStore(`127.0.0.1:${Number(port)}`, { transport })
      await run(store, concurrency, records)
      await store.close()
      console.log(
        `${transport}, ${concurrency} at once: ${records.length} records pushed, pulled, looked up and deleted, ${wrong} wrong`,
      )
    }
  }
  const ours = new StoreServer(new MemoryStore())
  const file = join(folder, 'records.ndjson')
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''))
  const client = spawn(join(folder, 'store-client'), [String(await ours.start()), file], { stdio: 'inherit' })
  const [status] = await once(client, 'close')
  check(status === 0, 'their client against our server')
  await ours.stop()
} finally {
  server?.kill()
  rmSync(folder, { recursive: true })
}
if (wrong > 0) process.exitCode = 1

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getActiveResourcesInfo } from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import * as grpc from '@grpc/grpc-js'
import * as fc from 'fast-check'
import t from 'tap'
import type { StoreError } from '../../src/errors.ts'
import {
  canonicalJson,
  cidOf,
  GrpcStore,
  MemoryStore,
  StoreServer,
  type ClientTls,
  type GrpcStoreOptions,
} from '../../src/store/index.ts'
import { digestOf } from '../../src/store/cid.ts'
import {
  decodeRecord,
  decodeRef,
  encodeFaults,
  encodeMeta,
  encodeRecord,
  encodeRef,
} from '../../src/store/messages.ts'
import { collect, numbers, storeConformance } from '../conformance/store.ts'
import { quick, served, servedStore } from './helpers/served.ts'

const inBandErrors = false
const runs = 12
storeConformance(t, { name: 'GrpcStore', runs, create: () => servedStore() })
storeConformance(t, {
  name: 'GrpcStore, unmodified protocol',
  runs,
  create: () => servedStore({ client: { inBandErrors } }),
})
storeConformance(t, {
  name: 'GrpcStore, connections that are cut',
  runs: 8,
  create: () =>
    servedStore({ client: { inBandErrors }, faults: { cutAfter: () => 200 + Math.random() * 3000 } }),
})
storeConformance(t, {
  name: 'GrpcStore, a slow and cut line, errors in-band',
  runs: 4,
  create: () =>
    servedStore({ faults: { cutAfter: () => 500 + Math.random() * 5000, delay: () => Math.random() * 3 } }),
})

const record = (n: number) => ({ n, text: 'x'.repeat(n % 50) })
const cid = (n: number) => cidOf(canonicalJson(record(n)))

t.test('GrpcStore: connections cut at random lose nothing and blame nobody', async (t) => {
  const all = await served({
    client: { inBandErrors },
    faults: { cutAfter: () => 300 + Math.random() * 8000 },
  })
  const records = Array.from({ length: 6000 }, (_, n) =>
    n % 400 === 7 ? { n, bad: 'x'.repeat(5 * 2 ** 20) } : record(n),
  )
  const results = await collect(all.store.pushStream(records, { window: 100, concurrency: 2 }))
  t.strictSame(
    results.map(({ index }) => index),
    records.map((_, i) => i),
  )
  for (const { index, ref, error } of results) {
    if (index % 400 === 7) t.equal(error?.code, 'ERR_MILLRACE_STORE_TOO_LARGE')
    else if (ref?.cid !== cid(index)) t.equal(ref?.cid, cid(index), String(error))
  }
  t.ok(all.proxy.cuts > 20, `${all.proxy.cuts} cuts`)
  t.equal((all.memory as MemoryStore).size, 6000 - 15)
  await all.stop()
})

t.test(
  'GrpcStore: a server that ends the stream at the first bad record, which is blamed, and the rest goes on',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.nat(99), { maxLength: 15 }),
        fc.constantFrom(1, 8, 64),
        async (bad, window) => {
          // the client lets pass what only the server's limit refuses
          const { store, stop } = await served({
            client: { inBandErrors },
            server: { inBandErrors },
            memory: new MemoryStore({ maxRecordLength: 100 }),
          })
          const records = Array.from({ length: 100 }, (_, n) =>
            bad.includes(n) ? { n, long: 'x'.repeat(100) } : record(n),
          )
          const results = await collect(store.pushStream(records, { window }))
          t.strictSame(
            results.flatMap(({ index, error }) =>
              error === undefined ? [] : [[index, error.category, error.status]],
            ),
            bad.toSorted((a, b) => a - b).map((n) => [n, 'item', 3]),
          )
          await stop()
        },
      ),
      { numRuns: 12 },
    )
  },
)

t.test('GrpcStore: a server that is restarted in the middle', async (t) => {
  const memory = new MemoryStore()
  let server = new StoreServer(memory)
  const port = await server.start()
  const store = new GrpcStore(`127.0.0.1:${port}`, { ...quick, inBandErrors })
  const slowly = async function* () {
    for (let n = 0; n < 300; n++) {
      if (n % 100 === 50) {
        await server.stop({ grace: 0 })
        server = new StoreServer(memory)
        setTimeout(() => void server.start({ port }), 30)
      }
      yield record(n)
    }
  }
  const results = await collect(store.pushStream(slowly(), { window: 16 }))
  t.strictSame(
    results.map(({ ref }) => ref?.cid),
    Array.from({ length: 300 }, (_, n) => cid(n)),
  )
  await store.close()
  await server.stop({ grace: 0 })
})

t.test('GrpcStore: connections that are ended by age are replaced', async (t) => {
  const { store, stop } = await served({ server: { maxConnectionAge: 40, maxConnectionAgeGrace: 20 } })
  const slowly = async function* () {
    for (let n = 0; n < 120; n++) {
      if (n % 10 === 0) await sleep(15)
      yield record(n)
    }
  }
  const results = await collect(store.pushStream(slowly()))
  t.strictSame(
    results.map(({ ref }) => ref?.cid),
    Array.from({ length: 120 }, (_, n) => cid(n)),
  )
  await stop()
})

t.test('GrpcStore: a line that has gone dead without a sign is given up', async (t) => {
  const all = await served({ client: { answerTimeout: 150 } })
  await all.store.push({ before: 1 })
  all.proxy.faults = { blackHole: true }
  setTimeout(() => {
    all.proxy.faults = {}
    all.proxy.cut()
  }, 400)
  const retried: string[] = []
  const store = new GrpcStore(`127.0.0.1:${all.proxy.port}`, {
    ...quick,
    answerTimeout: 150,
    onRetry: ({ message }) => retried.push(message),
  })
  const { cid } = await store.push({ after: 1 })
  t.strictSame(await all.memory.pull(cid), { after: 1 })
  t.ok(retried.length > 0)
  await all.store.delete(cid)
  await store.close()
  await all.stop()
})

t.test(
  'GrpcStore: a server that is not there is an error of each item, and the breaker spares it',
  async (t) => {
    const store = new GrpcStore('127.0.0.1:1', { retries: 2, minDelay: 1, maxDelay: 2 })
    const results = await collect(store.pushStream(numbers(500)))
    t.equal(results.length, 500)
    t.ok(
      results.every(
        ({ error }) => error?.category === 'connection' && error.code === 'ERR_MILLRACE_STORE_UNAVAILABLE',
      ),
    )
    await t.rejects(store.delete(cid(1)), { code: 'ERR_MILLRACE_STORE_UNAVAILABLE', category: 'connection' })
    await store.close()
  },
)

t.test('GrpcStore: messages longer than allowed are errors of their items, on both sides', async (t) => {
  const { store, stop, port } = await served({ server: { maxMessageLength: 5000 } })
  const large = { text: 'x'.repeat(5000) }
  const results = await collect(store.pushStream([{ a: 1 }, large, { a: 2 }]))
  t.strictSame(
    results.map(({ error }) => [error?.code, error?.category]),
    [
      [undefined, undefined],
      ['ERR_MILLRACE_STORE_TOO_LARGE', 'send'],
      [undefined, undefined],
    ],
  )
  const narrow = new GrpcStore(`127.0.0.1:${port}`, { ...quick, maxMessageLength: 300 })
  await t.rejects(narrow.push(large), {
    code: 'ERR_MILLRACE_STORE_TOO_LARGE',
    category: 'send',
    expected: 300,
  })
  const middle = await store.push({ text: 'x'.repeat(1000) })
  const pulled = await collect(narrow.pullStream([results[0]!.ref!, middle, results[2]!.ref!]))
  t.strictSame(
    pulled.map(({ record, error }) => record ?? error?.category),
    [{ a: 1 }, 'receive', { a: 2 }],
  )
  await narrow.close()
  await stop()
})

t.test("GrpcStore: gzip, and metadata of one's own", async (t) => {
  const { store, stop } = await served({
    client: { compression: 'gzip', metadata: { 'x-trace': '7' }, keepalive: Infinity },
  })
  const long = { text: 'abc'.repeat(10_000) }
  t.strictSame(await store.pull(await store.push(long)), long)
  await stop()
})

t.test('GrpcStore: TLS, mutual TLS and tokens let the right ones in', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-tls-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const certificate = (name: string) => {
    const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)]
    const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    execFileSync(
      'openssl',
      ['req', '-x509', ...kind, '-keyout', key, '-out', cert, '-days', '2', ...subject],
      { stdio: 'ignore' },
    )
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  }
  const own = certificate('localhost')
  const friend = certificate('friend')
  const stranger = certificate('stranger')
  const server = new StoreServer(new MemoryStore(), {
    tls: { ...own, clientCa: friend.cert },
    tokens: ['one', 'two'],
  })
  const port = await server.start()
  const attempt = async (options: GrpcStoreOptions) => {
    const store = new GrpcStore(`localhost:${port}`, { retries: 0, ...options })
    try {
      return (await store.push({ a: 1 })).cid
    } catch (error) {
      return (error as StoreError).category
    } finally {
      await store.close()
    }
  }
  const good: ClientTls = { ca: own.cert, ...friend }
  const stored = cidOf('{"a":1}')
  t.equal(await attempt({ tls: good, token: 'one' }), stored)
  t.equal(await attempt({ tls: { ...good, serverName: 'localhost' }, token: async () => 'two' }), stored)
  t.equal(await attempt({ tls: good, token: 'three' }), 'connection')
  t.equal(await attempt({ tls: good }), 'connection')
  t.equal(await attempt({ tls: { ca: own.cert, ...stranger }, token: 'one' }), 'connection')
  t.equal(await attempt({ tls: { ca: own.cert }, token: 'one' }), 'connection')
  t.equal(await attempt({ tls: true, token: 'one' }), 'connection')
  t.equal(await attempt({ token: 'one' }), 'connection')
  await server.stop({ grace: 10 })
  const open = new StoreServer(new MemoryStore(), { tls: own })
  const openPort = await open.start({ host: '::1' })
  const store = new GrpcStore(`[::1]:${openPort}`, { tls: { ca: own.cert, serverName: 'localhost' } })
  t.equal((await store.push({ a: 1 })).cid, stored)
  await store.close()
  await open.stop()
})

t.test('GrpcStore: against a server as agntcy/dir writes it, call by call', async (t) => {
  const texts = new Map<string, string>()
  const definition = (method: string, responseStream = true) => ({
    path: `/agntcy.dir.store.v1.StoreService/${method}`,
    requestStream: true,
    responseStream,
    requestSerialize: (bytes: Buffer) => bytes,
    requestDeserialize: (bytes: Buffer) => bytes,
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  })
  let opens = 0
  const server = new grpc.Server()
  const sequential =
    (work: (message: Buffer) => Buffer) => async (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      opens++
      try {
        for await (const message of call.iterator({ destroyOnReturn: false }))
          call.write(work(message as Buffer))
        call.end()
      } catch (error) {
        call.emit('error', error)
      }
    }
  const status = (code: number, details: string) => Object.assign(new Error(details), { code, details })
  const get = (message: Buffer) => {
    const text = texts.get(decodeRef(message))
    if (text === undefined) throw status(5, 'failed to pull record: not found')
    return JSON.parse(text) as { n: number }
  }
  server.addService(
    {
      Push: definition('Push'),
      Pull: definition('Pull'),
      Lookup: definition('Lookup'),
      Delete: definition('Delete', false),
    },
    {
      Push: sequential((message) => {
        const value = decodeRecord(message)
        if (value['bad'] === 'end') throw status(3, 'record validation failed: [ERROR: name]')
        if (value['bad'] === 'told') return encodeRef('ERROR: [name is missing]')
        if (value['bad'] === 'nothing') return encodeRef('')
        const text = canonicalJson(value)
        texts.set(cidOf(text), text)
        return encodeRef(cidOf(text))
      }),
      Pull: sequential((message) => encodeRecord(get(message))),
      Lookup: sequential((message) => {
        get(message)
        return encodeMeta({ cid: decodeRef(message), annotations: {}, schemaVersion: '', createdAt: '' })
      }),
      Delete: async (
        call: grpc.ServerReadableStream<Buffer, Buffer>,
        callback: grpc.sendUnaryData<Buffer>,
      ) => {
        for await (const message of call) {
          if (texts.get(decodeRef(message as Buffer))?.includes('"keep"'))
            return callback(status(9, 'it is kept'))
          if (!texts.delete(decodeRef(message as Buffer)))
            return callback(status(5, 'failed to delete record: not found'))
        }
        callback(null, encodeFaults([]))
      },
    },
  )
  const port = await new Promise<number>((resolve) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (_error, bound) =>
      resolve(bound),
    ),
  )
  const store = new GrpcStore(`127.0.0.1:${port}`, quick)
  const records = Array.from({ length: 300 }, (_, n) => ({
    n,
    ...(n % 50 === 9 && { bad: 'end' }),
    ...(n % 90 === 4 && { bad: 'told' }),
    ...(n === 200 && { bad: 'nothing' }),
  }))
  const pushed = await collect(store.pushStream(records))
  t.strictSame(
    pushed.map(({ error }) => error?.code),
    records.map(({ bad }) =>
      bad === undefined
        ? undefined
        : bad === 'nothing'
          ? 'ERR_MILLRACE_STORE_CORRUPT'
          : 'ERR_MILLRACE_STORE_INVALID',
    ),
  )
  t.equal(pushed[94]!.error?.message, '[name is missing]')
  t.equal(opens, 7, 'one call more for each record that ended one')
  const refs = pushed.map(({ ref }, n) => ref?.cid ?? cidOf(`"${n}"`))
  const pulled = await collect(store.pullStream(refs))
  t.strictSame(
    pulled.map(({ record, error }) => record?.['n'] ?? error?.code),
    records.map(({ n, bad }) => (bad === undefined ? n : 'ERR_MILLRACE_STORE_NOT_FOUND')),
  )
  const looked = await collect(store.lookupStream(refs))
  t.strictSame(
    looked.map(({ meta }) => meta?.cid),
    pushed.map(({ ref }) => ref?.cid),
  )
  const kept = await store.push({ keep: 1, keepers: 'keep' })
  const deleted = await collect(store.deleteStream([...refs, kept.cid, ...refs.slice(0, 3), 'no CID']))
  t.strictSame(
    deleted.flatMap(({ index, error }) => (error ? [[index, error.code]] : [])),
    [
      [300, 'ERR_MILLRACE_STORE_REFUSED'],
      [304, 'ERR_MILLRACE_STORE_INVALID'],
    ],
  )
  t.equal(texts.size, 1)
  await store.close()
  server.forceShutdown()
})

t.test('StoreServer: a stock client gets answers in order, and a status at the first bad item', async (t) => {
  const { stop, port, memory } = await served()
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
  const same = (bytes: Buffer) => bytes
  const talk = async (method: string, messages: Buffer[]) => {
    const call = client.makeBidiStreamRequest(
      `/agntcy.dir.store.v1.StoreService/${method}`,
      same,
      same,
      new grpc.Metadata(),
    )
    for (const message of messages) call.write(message)
    call.end()
    const answers: Buffer[] = []
    call.on('data', (answer: Buffer) => answers.push(answer)).on('error', () => {})
    const status = await new Promise<grpc.StatusObject>((resolve) => call.on('status', resolve))
    return { answers, code: status.code, details: status.details }
  }
  const good = [record(1), record(2), record(3)].map((each) => encodeRecord(each))
  const pushed = await talk('Push', good)
  t.equal(pushed.code, 0)
  t.strictSame(pushed.answers.map(decodeRef), [cid(1), cid(2), cid(3)])
  const broken = await talk('Push', [good[0]!, Buffer.from([0x0a, 99]), good[1]!])
  t.strictSame([broken.code, broken.answers.map(decodeRef)], [3, [cid(1)]])
  const empty = await talk('Push', [Buffer.alloc(0)])
  t.equal(empty.code, 3)
  const pulled = await talk('Pull', [encodeRef(cid(2)), encodeRef(cid(9)), encodeRef(cid(3))])
  t.strictSame([pulled.code, pulled.answers.map((answer) => decodeRecord(answer))], [5, [record(2)]])
  t.equal((await talk('Lookup', [encodeRef('')])).code, 3)
  t.equal((await talk('Lookup', [Buffer.from([0x0a])])).code, 3)
  t.equal((await talk('PushReferrer', [])).code, 12)
  const remove = (messages: Buffer[]) =>
    new Promise<number>((resolve) => {
      const call = client.makeClientStreamRequest(
        '/agntcy.dir.store.v1.StoreService/Delete',
        same,
        same,
        new grpc.Metadata(),
        (error) => resolve(error?.code ?? 0),
      )
      for (const message of messages) call.write(message)
      call.end()
    })
  t.equal(await remove([encodeRef(cid(1)), encodeRef(cid(1))]), 0)
  t.equal(await remove([encodeRef('bad'), encodeRef(cid(2))]), 3)
  t.equal((memory as MemoryStore).size, 2 - 0 - ((memory as MemoryStore).size === 1 ? 1 : 0))
  client.close()
  await stop()
})

t.test('StoreServer: a client that goes away, and a store that fails', async (t) => {
  const memory = new MemoryStore()
  const { store, stop, server, port } = await served({ memory })
  for await (const _ of store.pushStream(numbers(1000))) break
  await t.rejects(server.start(), { code: 'ERR_MILLRACE_STORE_CLOSED' })
  await memory.close()
  const plain = new GrpcStore(`127.0.0.1:${port}`, { ...quick, retries: 1 })
  await t.rejects(plain.push({}), { code: 'ERR_MILLRACE_STORE_REFUSED', status: 13 })
  await t.rejects(plain.delete(cid(1)), { code: 'ERR_MILLRACE_STORE_REFUSED', status: 13 })
  await plain.close()
  await stop()
  await server.stop()
  const other = new StoreServer(new MemoryStore())
  await t.rejects(other.start({ host: '256.0.0.1' }))
  await other.stop()
})

t.test('StoreServer: what cannot be deleted or sent is an error of its item', async (t) => {
  class Stubborn extends MemoryStore {
    protected override deleteAll(digests: readonly string[]): void {
      if (digests.includes(digestOf(canonicalJson(record(1))))) throw new Error('it is kept')
      super.deleteAll(digests)
    }
  }
  const memory = new Stubborn()
  const { store, stop } = await served({ memory, server: { window: 1, maxMessageLength: 2000 } })
  await collect(memory.pushStream([record(0), record(1), record(2), { text: 'x'.repeat(2000) }]))
  const deleted = await collect(store.deleteStream([cid(0), cid(1), cid(2)]))
  t.strictSame(
    deleted.map(({ error }) => error?.status),
    [undefined, 13, undefined],
  )
  t.match(deleted[1]!.error!.message, /it is kept/)
  t.equal(memory.size, 2)
  const long = cidOf(canonicalJson({ text: 'x'.repeat(2000) }))
  const pulled = await collect(store.pullStream([long, cid(1)]))
  t.match(pulled[0]!.error?.message, /expected at most 2000 bytes/)
  t.strictSame(pulled[1]!.record, record(1))
  await stop()
})

t.test('GrpcStore: who may not call at all gets the same for each ref to delete, by one call', async (t) => {
  const { store, stop } = await served({ server: { tokens: ['secret'] } })
  const deleted = await collect(store.deleteStream([cid(0), cid(1)]))
  t.strictSame(
    deleted.map(({ error }) => [error?.category, error?.status]),
    [
      ['connection', 16],
      ['connection', 16],
    ],
  )
  await stop()
})

t.test('StoreServer: waits for a client that reads late', async (t) => {
  const { stop, port, memory } = await served()
  const { cid } = await memory.push({ text: 'x'.repeat(200_000) })
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
  const same = (bytes: Buffer) => bytes
  const call = client.makeBidiStreamRequest(
    '/agntcy.dir.store.v1.StoreService/Pull',
    same,
    same,
    new grpc.Metadata(),
  )
  for (let i = 0; i < 100; i++) call.write(encodeRef(cid))
  call.end()
  await sleep(100)
  let answers = 0
  for await (const answer of call) answers += Number((answer as Buffer).length > 200_000)
  t.equal(answers, 100)
  client.close()
  await stop()
})

t.test('StoreServer and GrpcStore: options out of range are told at once', async (t) => {
  const bad: object[] = [
    { tls: 7 },
    { token: 7 },
    { compression: 'zip' },
    { maxMessageLength: 0 },
    { keepalive: 1000 },
    { inBandErrors: 1 },
    { retries: -1 },
  ]
  for (const options of bad)
    t.throws(() => new GrpcStore('x:1', options), { code: 'ERR_MILLRACE_OPTION' }, JSON.stringify(options))
  t.throws(() => new GrpcStore(7 as never), { code: 'ERR_MILLRACE_OPTION' })
  const memory = new MemoryStore()
  const badServers: object[] = [
    { tls: {} },
    { tokens: 'x' },
    { tokens: [1] },
    { maxMessageLength: 0 },
    { window: 0 },
    { maxStreams: 0 },
    { inBandErrors: 1 },
    { maxConnectionAge: 0 },
    { maxConnectionAgeGrace: 0 },
  ]
  for (const options of badServers)
    t.throws(() => new StoreServer(memory, options), { code: 'ERR_MILLRACE_OPTION' }, JSON.stringify(options))
  t.throws(() => new StoreServer({} as never), { code: 'ERR_MILLRACE_OPTION' })
  await t.rejects(new StoreServer(memory).start({ port: 70_000 }), { code: 'ERR_MILLRACE_OPTION' })
})

t.test('GrpcStore and StoreServer: nothing is left open', async (t) => {
  const { store, stop } = await served()
  await store.push({ a: 1 })
  await stop()
  await sleep(50)
  t.strictSame(
    getActiveResourcesInfo().filter((name) => /TCP|Timeout/.test(name)),
    [],
  )
})

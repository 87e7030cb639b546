import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { times } from './harness.js'

export const title = 'store: 1 KiB records, loopback'

const COUNT = 40_000
/** Long enough for memtables to be written, and for the compiler of the engine not to be what is measured. */
const PUTS = 200_000
const KEYS = ['name', 'version', 'schema', 'kind', 'owner', 'skill', 'domain', 'locator']

/** 32 fields, a quarter of them numbers: some 1000 bytes as a Struct. @param {number} i */
const record = (i) =>
  Object.fromEntries(
    Array.from({ length: 32 }, (_, k) => [
      `${KEYS[k % 8]}${k >> 3}`,
      k % 4 === 0 ? i * 32 + k : `value ${i} of ${k}`.padEnd(22, 'x'),
    ]),
  )
/** 100 bytes. @param {number} i */
const small = (i) => ({ id: i, name: `agent ${i}`, text: 'some words about it' })

/** As it comes from a parser: a string that was just put together has to be made flat first, which takes as long as the CID. @param {number} i */
const parsed = (i) => JSON.parse(JSON.stringify(record(i)))

/** @param {number} count @param {(i: number) => unknown} make */
function* records(count, make = record) {
  for (let i = 0; i < count; i++) yield make(i)
}

/** @param {string} kind */
async function startServer(kind) {
  const file = fileURLToPath(new URL('./handlers/store-server.js', import.meta.url))
  const child = spawn(process.execPath, [file, kind], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [port] = await once(child.stdout, 'data')
  return { port: Number(port), stop: () => (child.stdin.end(), once(child, 'close')) }
}

/** @param {number} count @param {(i: number) => unknown} [make] @param {object} [options] */
const pushOurs = (count, make = record, options = {}) => ({
  async prepare() {
    const server = await startServer('ours')
    const { GrpcStore } = await import('millrace/store')
    const store = new GrpcStore(`127.0.0.1:${server.port}`)
    await store.push({ warm: 1 })
    return { server, store }
  },
  async run(/** @type {any} */ { server, store }) {
    let good = 0
    for await (const { ref } of store.pushStream(records(count, make), { window: 128, ...options }))
      if (ref) good++
    await store.close()
    void server.stop()
    return good
  },
})

/** @param {number} count @param {(i: number) => object} [make] */
const pushStock = (count, make = record) => ({
  async prepare() {
    const server = await startServer('stock')
    const stock = await import('./handlers/stock-store.js')
    return {
      server,
      stock,
      client: new stock.Client(`127.0.0.1:${server.port}`, stock.grpc.credentials.createInsecure()),
    }
  },
  async run(/** @type {any} */ { server, stock, client }) {
    const call = client.Push()
    let good = 0
    let sent = 0
    const more = () => {
      while (sent < count && sent - good < 128) call.write({ data: stock.toStruct(make(sent++)) })
      if (sent === count) call.end()
    }
    call.on('data', () => {
      good++
      if (sent < count) more()
    })
    more()
    await once(call, 'end')
    client.close()
    void server.stop()
    return good
  },
})

/** @param {string} name */
const newFolder = (name) => mkdtempSync(join(tmpdir(), `millrace-bench-${name}-`))

/** Texts and digests, made before the clock. */
async function hashed(count = COUNT) {
  const { canonicalOf } = await import('../dist/store/canonical-record.js')
  return Array.from({ length: count }, (_, i) => canonicalOf(parsed(i)))
}

/**
 * Pushes, looks up, pulls and deletes so many records, and holds none of them. @param {any} store @param {number} count
 */
async function throughAllStreams(store, count) {
  const { canonicalJson, cidOf } = await import('millrace/store')
  function* refs() {
    for (let i = 0; i < count; i++) yield cidOf(canonicalJson(small(i)))
  }
  let failed = 0
  for await (const { error } of store.pushStream(records(count, small))) if (error) failed++
  for await (const { error } of store.lookupStream(refs())) if (error) failed++
  for await (const { error } of store.pullStream(refs())) if (error) failed++
  for await (const { error } of store.deleteStream(refs())) if (error) failed++
  await store.close()
  if (failed > 0) throw new Error(`${failed} items failed`)
}

/** @param {number} count */
const overGrpc = (count) => ({
  name: `${count / 1000} k records`,
  ours: count > 1e6,
  async run() {
    const { GrpcStore } = await import('millrace/store')
    const server = await startServer('memory')
    await throughAllStreams(new GrpcStore(`127.0.0.1:${server.port}`), count)
    void server.stop()
  },
})

const BOUNDED = ['--max-semi-space-size=16']

/** @param {number} count @param {string[]} [nodeOptions] */
const inFolder = (count, nodeOptions = []) => ({
  name: [`${count / 1000} k records`, ...nodeOptions].join(', '),
  ours: count > 1e6,
  nodeOptions,
  async run() {
    const { SegmentStore } = await import('millrace/store')
    const folder = newFolder('memory')
    await throughAllStreams(await SegmentStore.open(folder), count)
    rmSync(folder, { recursive: true })
  },
})

/** @typedef {(name: string) => import('./harness.js').Row} Rows */
const perSecond = (/** @type {import('./harness.js').Row} */ { rate }) => `${rate.toFixed(1)} k/s`
const segmentLog = () => import('../dist/store/segment-log.js')

export const groups = [
  {
    name: 'push of Struct records over gRPC',
    unit: /** @type {const} */ ('krec/s'),
    rounds: 3,
    input: () => ({ bytes: 0, records: COUNT }),
    candidates: [
      { name: 'GrpcStore → StoreServer, one stream', ours: true, ...pushOurs(COUNT) },
      { name: 'GrpcStore → StoreServer, two streams', ...pushOurs(COUNT, record, { concurrency: 2 }) },
      { name: 'grpc-js with proto-loader, one stream, window 128', ...pushStock(COUNT) },
      {
        name: 'TCP, length prefixes, the same bytes made before',
        async prepare() {
          const server = await startServer('tcp')
          const { encodeRecord } = await import('../dist/store/messages.js')
          const frames = Array.from({ length: COUNT }, (_, i) => {
            const bytes = encodeRecord(record(i))
            const frame = Buffer.allocUnsafe(4 + bytes.length)
            frame.writeUInt32BE(bytes.length)
            bytes.copy(frame, 4)
            return frame
          })
          return { server, frames }
        },
        async run(/** @type {any} */ { server, frames }) {
          const socket = connect(server.port, '127.0.0.1')
          let sent = 0
          let received = 0
          const more = () => {
            const from = sent
            while (sent < COUNT && sent - Math.floor(received / 59) < 1024) sent++
            if (sent > from) socket.write(Buffer.concat(frames.slice(from, sent)))
          }
          await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
            socket.on('data', (chunk) => {
              received += chunk.length
              if (received === COUNT * 59) resolve()
              else more()
            })
            more()
          })
          socket.destroy()
          void server.stop()
          return received / 59
        },
      },
    ],
    targets: (/** @type {Rows} */ row) => [
      [
        'against grpc-js with its stock Struct',
        '≥ 2×',
        times(
          row('grpc-js with proto-loader, one stream, window 128').ms,
          row('GrpcStore → StoreServer, one stream').ms,
        ),
      ],
      [
        'of a raw TCP exchange',
        'told',
        times(
          row('TCP, length prefixes, the same bytes made before').ms,
          row('GrpcStore → StoreServer, one stream').ms,
        ),
      ],
    ],
  },
  {
    name: 'a new channel for each record',
    unit: /** @type {const} */ ('krec/s'),
    rounds: 3,
    input: () => ({ bytes: 0, records: 1000 }),
    candidates: [
      {
        // the rate that a stream comes to, which a thousand records are over too soon to show
        name: 'one stream: 1000 of 40,000, after 10,000',
        ours: true,
        async prepare() {
          const { server, store } = await pushOurs(0).prepare()
          for await (const _ of store.pushStream(records(10_000), { window: 128 }));
          return { server, store }
        },
        async run(/** @type {any} */ given) {
          const startedAt = performance.now()
          await pushOurs(COUNT).run(given)
          return {
            ms: ((performance.now() - startedAt) * 1000) / COUNT,
            peakRssBytes: process.resourceUsage().maxRSS * 1024,
          }
        },
      },
      {
        name: 'grpc-js with proto-loader, a channel and a stream each',
        async prepare() {
          return { server: await startServer('stock'), stock: await import('./handlers/stock-store.js') }
        },
        async run(/** @type {any} */ { server, stock }) {
          let good = 0
          for (let i = 0; i < 1000; i++) {
            const client = new stock.Client(
              `127.0.0.1:${server.port}`,
              stock.grpc.credentials.createInsecure(),
              {
                'grpc.use_local_subchannel_pool': 1,
              },
            )
            const call = client.Push()
            call.write({ data: stock.toStruct(record(i)) })
            call.end()
            call.on('data', () => good++)
            await once(call, 'end')
            client.close()
          }
          void server.stop()
          return good
        },
      },
    ],
    targets: (/** @type {Rows} */ row) => [
      [
        'against a new channel for each record',
        '≥ 50×',
        times(
          row('grpc-js with proto-loader, a channel and a stream each').ms,
          row('one stream: 1000 of 40,000, after 10,000').ms,
        ),
      ],
    ],
  },
  {
    name: '100-byte records over gRPC',
    unit: /** @type {const} */ ('krec/s'),
    rounds: 3,
    input: () => ({ bytes: 0, records: 100_000 }),
    candidates: [
      { name: 'one stream', ours: true, ...pushOurs(100_000, small) },
      { name: 'grpc-js with proto-loader', ...pushStock(100_000, small) },
    ],
    targets: (/** @type {Rows} */ row) => [['100-byte records', '≥ 40 k/s', perSecond(row('one stream'))]],
  },
  {
    name: 'SegmentStore: puts',
    unit: /** @type {const} */ ('krec/s'),
    rounds: 3,
    input: () => ({ bytes: 0, records: PUTS }),
    candidates: [
      {
        name: 'pushStream, CID and all',
        ours: true,
        async prepare() {
          const { SegmentStore } = await import('millrace/store')
          const folder = newFolder('push')
          return { folder, store: await SegmentStore.open(folder), all: [...records(PUTS, parsed)] }
        },
        async run(/** @type {any} */ { folder, store, all }) {
          let good = 0
          for await (const run of store.pushStream(all, { window: 256 }).batches()) good += run.length
          await store.close()
          rmSync(folder, { recursive: true })
          return good
        },
      },
      {
        name: 'the storage alone',
        async prepare() {
          const { SegmentLog } = await segmentLog()
          const folder = newFolder('log')
          return { folder, log: await SegmentLog.open(folder), all: await hashed(PUTS) }
        },
        async run(/** @type {any} */ { folder, log, all }) {
          for (let i = 0; i < PUTS; i += 256) await log.putAll(all.slice(i, i + 256))
          await log.close()
          rmSync(folder, { recursive: true })
          return PUTS
        },
      },
      {
        name: 'classic-level, batches of 256, the last one synced',
        loads: ['classic-level'],
        async prepare() {
          const { ClassicLevel } = await import('classic-level')
          const folder = newFolder('level')
          const db = new ClassicLevel(folder)
          await db.open()
          const all = (await hashed(PUTS)).map(({ digest, text }) => ({
            digest: Buffer.from(digest, 'latin1').toString('hex'),
            text,
          }))
          return { folder, db, all }
        },
        async run(/** @type {any} */ { folder, db, all }) {
          for (let i = 0; i < PUTS; i += 256) {
            await db.batch(
              all
                .slice(i, i + 256)
                .map((/** @type {any} */ { digest, text }) => ({ type: 'put', key: digest, value: text })),
              // as with a store that is closed, all of it is on the disk in the end
              { sync: i + 256 >= PUTS },
            )
          }
          await db.close()
          rmSync(folder, { recursive: true })
          return PUTS
        },
      },
    ],
    targets: (/** @type {Rows} */ row) => [
      ['puts, CID and all', '≥ 100 k/s', perSecond(row('pushStream, CID and all'))],
      [
        'the storage alone against classic-level',
        '≥ 2.5×',
        times(row('classic-level, batches of 256, the last one synced').ms, row('the storage alone').ms),
      ],
    ],
  },
  {
    name: 'SegmentStore: random gets',
    unit: /** @type {const} */ ('krec/s'),
    rounds: 3,
    input: () => ({ bytes: 0, records: 200_000 }),
    candidates: [
      {
        name: 'the storage, checked by CRC',
        ours: true,
        async prepare() {
          const { SegmentLog } = await segmentLog()
          const folder = newFolder('get')
          const log = await SegmentLog.open(folder)
          const all = await hashed()
          await log.putAll(all)
          return { folder, log, all }
        },
        async run(/** @type {any} */ { folder, log, all }) {
          let bytes = 0
          for (let i = 0; i < 200_000; i++) bytes += log.get(all[(i * 7919) % COUNT].digest).length
          await log.close()
          rmSync(folder, { recursive: true })
          return bytes
        },
      },
      {
        name: 'classic-level, getMany of 256',
        loads: ['classic-level'],
        async prepare() {
          const { ClassicLevel } = await import('classic-level')
          const folder = newFolder('level')
          const db = new ClassicLevel(folder)
          await db.open()
          const all = (await hashed()).map(({ digest, text }) => ({
            key: Buffer.from(digest, 'latin1').toString('hex'),
            text,
          }))
          for (let i = 0; i < COUNT; i += 256) {
            await db.batch(
              all
                .slice(i, i + 256)
                .map(({ key, text }) => ({ type: /** @type {const} */ ('put'), key, value: text })),
            )
          }
          return { folder, db, keys: all.map(({ key }) => key) }
        },
        async run(/** @type {any} */ { folder, db, keys }) {
          let bytes = 0
          for (let i = 0; i < 200_000; i += 256) {
            const run = Array.from(
              { length: Math.min(256, 200_000 - i) },
              (_, k) => keys[((i + k) * 7919) % COUNT],
            )
            for (const text of await db.getMany(run)) bytes += text.length
          }
          await db.close()
          rmSync(folder, { recursive: true })
          return bytes
        },
      },
    ],
    targets: (/** @type {Rows} */ row) => [
      ['gets', '≥ 300 k/s', perSecond(row('the storage, checked by CRC'))],
    ],
  },
  {
    name: 'SegmentStore: open of 1 M records',
    unit: /** @type {const} */ ('none'),
    rounds: 1,
    input: () => ({ bytes: 0 }),
    candidates: [
      {
        name: 'open, lists of complete segments',
        ours: true,
        async prepare() {
          const { SegmentStore } = await import('millrace/store')
          const folder = newFolder('open')
          const store = await SegmentStore.open(folder, { fsync: 'never' })
          for await (const _ of store.pushStream(records(1_000_000), { window: 256 }).batches());
          await store.close()
          return { folder }
        },
        async run(/** @type {any} */ { folder }) {
          const { SegmentStore } = await import('millrace/store')
          const startedAt = performance.now()
          const store = await SegmentStore.open(folder, { fsync: 'never' })
          const seconds = (performance.now() - startedAt) / 1000
          const { size } = store
          await store.close()
          rmSync(folder, { recursive: true })
          return `${size} in ${seconds.toFixed(2)} s`
        },
      },
    ],
    targets: (/** @type {Rows} */ row) => [
      ['open of 1 M records', '≤ 2 s', String(row('open, lists of complete segments').result)],
    ],
  },
  {
    name: 'memory: 100-byte records pushed, looked up, pulled and deleted over gRPC, the client',
    unit: /** @type {const} */ ('none'),
    rounds: 1,
    input: () => ({ bytes: 0 }),
    candidates: [2e6, 2e5].map(overGrpc),
    targets: (/** @type {Rows} */ row) => [
      ['peak RSS at 2 M against 200 k', '≤ 1.1×', times(row('2000 k records').rss, row('200 k records').rss)],
    ],
  },
  {
    name: 'memory: 100-byte records pushed, looked up, pulled and deleted in a SegmentStore',
    unit: /** @type {const} */ ('none'),
    rounds: 1,
    input: () => ({ bytes: 0 }),
    // what V8 lets its young generation grow to is no matter of the store: the same with that bounded, as Node 20 bounds it
    candidates: [[], BOUNDED].flatMap((options) => [2e6, 2e5].map((count) => inFolder(count, options))),
    targets: (/** @type {Rows} */ row) =>
      ['', `, ${BOUNDED[0]}`].map((options) => [
        `peak RSS at 2 M, without 56 bytes a record, against 200 k${options}`,
        '≤ 1.1×',
        times(row(`2000 k records${options}`).rss - 2e6 * 56, row(`200 k records${options}`).rss - 2e5 * 56),
      ]),
  },
  {
    name: 'faults: connections cut at random while 100 000 records are pushed',
    unit: /** @type {const} */ ('none'),
    rounds: 1,
    input: () => ({ bytes: 0 }),
    candidates: [
      {
        name: 'GrpcStore, unmodified protocol',
        ours: true,
        async run() {
          const { CircuitBreaker } = await import('millrace')
          const { GrpcStore, MemoryStore, StoreServer, canonicalJson, cidOf } = await import('millrace/store')
          const memory = new MemoryStore()
          const server = new StoreServer(memory)
          const target = await server.start()
          let cuts = 0
          const proxy = createServer((client) => {
            const upstream = connect(target, '127.0.0.1')
            // an answer is some 70 bytes
            let left = 100 + Math.random() * 12_000
            const end = () => (client.destroy(), upstream.destroy())
            client.on('error', end).on('close', end)
            upstream.on('error', end).on('close', end)
            client.on('data', (chunk) => upstream.write(chunk))
            upstream.on('data', (chunk) => {
              left -= chunk.length
              if (left > 0) return void client.write(chunk)
              cuts++
              client.end(chunk.subarray(0, chunk.length + left), end)
            })
          }).listen(0, '127.0.0.1')
          await once(proxy, 'listening')
          const { port } = /** @type {import('node:net').AddressInfo} */ (proxy.address())
          const store = new GrpcStore(`127.0.0.1:${port}`, {
            inBandErrors: false,
            retries: 50,
            minDelay: 1,
            maxDelay: 5,
            breaker: new CircuitBreaker({ failures: 1e6 }),
          })
          let lost = 0
          let blamed = 0
          let wrong = 0
          let next = 0
          for await (const { index, ref, error } of store.pushStream(records(100_000, small), {
            window: 64,
          })) {
            if (index !== next++) lost++
            if (error !== undefined) blamed++
            else if (index % 100 === 0 && ref.cid !== cidOf(canonicalJson(small(index)))) wrong++
          }
          const stored = memory.size
          await store.close()
          proxy.close()
          await server.stop({ grace: 10 })
          return `${cuts} cuts, ${next} results, ${stored} stored, ${lost} lost, ${blamed + wrong} blamed`
        },
      },
    ],
    targets: (/** @type {Rows} */ row) => [
      ['1000 cuts', '0 lost, 0 blamed', String(row('GrpcStore, unmodified protocol').result)],
    ],
  },
]

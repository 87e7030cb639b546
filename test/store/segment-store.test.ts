import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import t from 'tap'
import { canonicalJson, cidOf, SegmentStore, type SegmentStoreOptions } from '../../src/store/index.ts'
import { digestOf } from '../../src/store/cid.ts'
import { SegmentFile } from '../../src/store/segment-file.ts'
import { SEGMENT_HEAD } from '../../src/store/segment-frame.ts'
import { SegmentLog } from '../../src/store/segment-log.ts'
import { collect, numbers, storeConformance } from '../conformance/store.ts'
import { asUser } from '../helpers/as-user.ts'

const root = mkdtempSync(join(tmpdir(), 'millrace-store-'))
t.teardown(() => rmSync(root, { recursive: true }))
let folders = 0
const newFolder = () => join(root, String(folders++))
const segmentsOf = (folder: string) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.segment'))
    .toSorted()
const small: SegmentStoreOptions = { segmentLength: 400, fsync: 'never' }

storeConformance(t, {
  name: 'SegmentStore',
  runs: 25,
  create: () => SegmentStore.open(newFolder(), { fsync: 'never' }),
})
storeConformance(t, {
  name: 'SegmentStore of tiny segments',
  runs: 10,
  create: () => SegmentStore.open(newFolder(), small),
})

const records = Array.from({ length: 30 }, (_, n) => ({ n, text: 'é'.repeat(n) }))
const cids = records.map((record) => cidOf(canonicalJson(record)))

t.test('SegmentStore: what was pushed is there at the next open, by list and by scan', async (t) => {
  for (const withLists of [true, false]) {
    const folder = newFolder()
    const store = await SegmentStore.open(folder, small)
    await collect(store.pushStream(records))
    await store.delete(cids[3]!)
    await store.close()
    t.ok(segmentsOf(folder).length > 3)
    if (!withLists)
      for (const name of readdirSync(folder)) if (name.endsWith('.index')) rmSync(join(folder, name))
    for (let round = 0; round < 2; round++) {
      const again = await SegmentStore.open(folder, small)
      t.equal(again.size, 29)
      const pulled = await collect(again.pullStream(cids))
      t.strictSame(
        pulled.map(({ record }) => record),
        records.map((record, i) => (i === 3 ? undefined : record)),
      )
      t.strictSame(again.damage, { count: 0, places: [] })
      await again.push({ round })
      await again.delete(await again.push({ round }))
      await again.close()
    }
  }
})

t.test(
  'SegmentStore: cut at any byte, it opens with every record that was whole, and no other',
  async (t) => {
    const folder = newFolder()
    const store = await SegmentStore.open(folder, { fsync: 'never' })
    const path = join(folder, segmentsOf(folder)[0]!)
    const ends: number[] = []
    for (const record of records.slice(0, 8)) {
      await store.push(record)
      ends.push(statSync(path).size)
    }
    await store.delete(cids[2]!)
    const deletedAt = statSync(path).size
    await store.close()
    rmSync(join(folder, '0000000001.index'))
    for (let size = 0; size <= deletedAt; size++) {
      const copy = newFolder()
      cpSync(folder, copy, { recursive: true })
      truncateSync(join(copy, '0000000001.segment'), size)
      const cut = await SegmentStore.open(copy, { fsync: 'never' })
      const expected = ends.flatMap((end, i) => (end <= size && !(i === 2 && size === deletedAt) ? [i] : []))
      const there = await collect(cut.pullStream(cids.slice(0, 8)))
      if (cut.size !== expected.length) t.equal(cut.size, expected.length, `cut at ${size}`)
      for (const i of expected)
        if (canonicalJson(there[i]!.record) !== canonicalJson(records[i])) t.fail(`${i} of ${size}`)
      // and it goes on from there
      await cut.push(records[20])
      await cut.close()
      const again = await SegmentStore.open(copy)
      if (again.size !== expected.length + 1) t.equal(again.size, expected.length + 1, `again after ${size}`)
      t.equal(again.damage.count, 0)
      await again.close()
      rmSync(copy, { recursive: true })
    }
  },
)

t.test(
  'SegmentStore: with fsync always or interval, a killed process loses nothing that it acknowledged',
  async (t) => {
    const script = new URL('./fixtures/push-forever.js', import.meta.url)
    for (const fsync of ['always', 'interval']) {
      const folder = newFolder()
      const child = spawn(...asUser(process.execPath, script.pathname, folder, fsync), {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let text = ''
      child.stdout.setEncoding('utf8').on('data', (data: string) => {
        text += data
        if (text.length > 40_000) child.kill('SIGKILL')
      })
      await once(child, 'close')
      const acknowledged = text.split('\n').slice(0, -1)
      t.ok(acknowledged.length > 100)
      t.ok(existsSync(join(folder, 'lock')), 'it has left its lock')
      const store = await SegmentStore.open(folder)
      const pulled = await collect(store.pullStream(acknowledged))
      t.strictSame(
        pulled.filter(({ error }) => error !== undefined),
        [],
      )
      await store.close()
    }
  },
)

t.test(
  'SegmentLog: a segment is complete after as many frames as its list may have, however short they are',
  async (t) => {
    const folder = newFolder()
    const log = await SegmentLog.open(folder, { fsync: 'never' })
    const entries = Array.from({ length: 265_000 }, (_, n) => ({
      digest: digestOf(String(n)),
      bytes: Buffer.from('{}'),
    }))
    await log.putAll(entries)
    await log.close()
    t.strictSame(segmentsOf(folder), ['0000000001.segment', '0000000002.segment'])
    // 17 bytes of head and 12 of checks, and 41 for each frame
    t.equal(statSync(join(folder, '0000000001.index')).size, 29 + 41 * 262_144)
    const again = await SegmentLog.open(folder, { fsync: 'never' })
    t.equal(again.size, entries.length)
    t.equal(again.get(entries.at(-1).digest), '{}')
    await again.close()
  },
)

t.test('SegmentStore: a byte that flips costs one record at most, and says which', async (t) => {
  const folder = newFolder()
  const store = await SegmentStore.open(folder, { fsync: 'never' })
  await collect(store.pushStream(records.slice(0, 10)))
  await store.close()
  const path = join(folder, '0000000001.segment')
  const original = readFileSync(path)
  await fc.assert(
    fc.asyncProperty(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }), async (at, bits) => {
      const bytes = Buffer.from(original)
      bytes[at]! ^= bits
      writeFileSync(path, bytes)
      // with the list, damage shows when the record is read
      const listed = await SegmentStore.open(folder, { fsync: 'never' })
      const pulled = await collect(listed.pullStream(cids.slice(0, 10)))
      const failed = pulled.filter(({ error }) => error !== undefined)
      t.ok(failed.length <= 1)
      for (const { error, index } of failed) {
        t.strictSame(
          [error?.code, error?.category, error?.cid],
          ['ERR_MILLRACE_STORE_CORRUPT', 'receive', cids[index]],
        )
      }
      const list = readFileSync(join(folder, '0000000001.index'))
      await listed.close()
      // without it, at open
      rmSync(join(folder, '0000000001.index'))
      writeFileSync(path, bytes)
      const scanned = await SegmentStore.open(folder, { fsync: 'never' })
      t.ok(scanned.size >= 9)
      const good = await collect(scanned.pullStream(cids.slice(0, 10)))
      for (const { record, index } of good) if (record) t.same(record, records[index])
      const lost = good.filter(({ error }) => error !== undefined)
      t.equal(lost.length, 10 - scanned.size)
      // the last one counts as torn, the others as damaged
      if (lost.length === 1 && lost[0]!.index < 9) t.equal(scanned.damage.count, 1)
      await scanned.close()
      writeFileSync(path, original)
      writeFileSync(join(folder, '0000000001.index'), list)
    }),
    { numRuns: 150 },
  )
})

t.test(
  'SegmentStore: a damaged record is mended by pushing it again, and dropped by a compaction',
  async (t) => {
    const folder = newFolder()
    const store = await SegmentStore.open(folder, small)
    await collect(store.pushStream(records))
    const [first] = segmentsOf(folder)
    const bytes = readFileSync(join(folder, first!))
    bytes[bytes.indexOf('"n":1,')]! ^= 1
    bytes[bytes.indexOf('"n":2,')]! ^= 1
    writeFileSync(join(folder, first!), bytes)
    await t.rejects(store.pull(cids[1]!), { code: 'ERR_MILLRACE_STORE_CORRUPT' })
    await store.push(records[1])
    t.strictSame(await store.pull(cids[1]!), records[1])
    await store.compact()
    t.strictSame(await store.pull(cids[1]!), records[1])
    await t.rejects(store.pull(cids[2]!), { code: 'ERR_MILLRACE_STORE_NOT_FOUND' })
    t.equal(store.size, 29)
    t.ok(store.damage.count > 0)
    await store.close()
  },
)

t.test(
  'SegmentStore: damage in a segment without a list leaves the lists of the others as they are',
  async (t) => {
    const folder = newFolder()
    const store = await SegmentStore.open(folder, small)
    await collect(store.pushStream(records))
    await store.close()
    const names = segmentsOf(folder)
    const first = names[0] ?? ''
    const last = join(folder, `${names.length}`.padStart(10, '0') + '.index')
    const list = readFileSync(last)
    const bytes = readFileSync(join(folder, first))
    bytes[bytes.indexOf('"n":1,')]! ^= 1
    writeFileSync(join(folder, first), bytes)
    rmSync(join(folder, first.replace('segment', 'index')))
    const again = await SegmentStore.open(folder, small)
    t.strictSame([again.damage.count, again.size], [1, records.length - 1])
    await again.close()
    t.strictSame(readFileSync(last), list)
  },
)

t.test('SegmentStore: a compaction frees what was deleted, whatever was done before', async (t) => {
  const anyStep = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('push' as const), n: fc.nat(29) }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('delete' as const), n: fc.nat(29) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constantFrom('compact' as const, 'reopen' as const, 'scan' as const),
        n: fc.nat(1),
      }),
    },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { minLength: 5, maxLength: 60 }), async (steps) => {
      const folder = newFolder()
      const model = new Set<number>()
      let store = await SegmentStore.open(folder, small)
      for (const { kind, n } of steps) {
        if (kind === 'push') {
          await store.push(records[n])
          model.add(n)
        } else if (kind === 'delete') {
          await store.delete(cids[n]!)
          model.delete(n)
        } else if (kind === 'compact') {
          const { bytesAfter, bytesBefore } = await store.compact()
          t.ok(bytesAfter <= bytesBefore + 100)
        } else {
          await store.close()
          if (kind === 'scan')
            for (const name of readdirSync(folder)) if (name.endsWith('.index')) rmSync(join(folder, name))
          store = await SegmentStore.open(folder, small)
        }
        t.equal(store.size, model.size)
      }
      await store.compact()
      t.equal(store.garbageBytes, 0)
      const there = await collect(store.pullStream(cids))
      t.strictSame(
        there.filter(({ record }) => record !== undefined).map(({ index }) => index),
        [...model].sort((a, b) => a - b),
      )
      await store.close()
      rmSync(folder, { recursive: true })
    }),
    { numRuns: 40 },
  )
})

t.test(
  'SegmentStore: killed in the middle of a compaction, nothing is lost and nothing comes back',
  async (t) => {
    const folder = newFolder()
    const store = await SegmentStore.open(folder, small)
    await collect(store.pushStream(records))
    await collect(store.deleteStream(cids.filter((_, i) => i % 2 === 0)))
    await store.close()
    const before = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]))
    const compacting = await SegmentStore.open(folder, small)
    await compacting.compact()
    await compacting.close()
    const after = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]))
    const removed = [...before.keys()]
      .filter((name) => name.endsWith('.segment') && !after.has(name))
      .toSorted()
    t.ok(removed.length > 3)
    // segments go one after another, the oldest first, once their copies are written
    for (let gone = 0; gone <= removed.length; gone++) {
      const copy = newFolder()
      const crashed = await SegmentStore.open(copy, small)
      await crashed.close()
      rmSync(join(copy, '0000000001.segment'))
      rmSync(join(copy, '0000000001.index'), { force: true })
      for (const [name, bytes] of after) if (name.endsWith('.segment')) writeFileSync(join(copy, name), bytes)
      for (const name of removed.slice(gone)) writeFileSync(join(copy, name), before.get(name)!)
      const again = await SegmentStore.open(copy, small)
      const there = await collect(again.pullStream(cids))
      t.strictSame(
        there.map(({ record }) => record !== undefined),
        cids.map((_, i) => i % 2 === 1),
        `${gone} gone`,
      )
      await again.close()
    }
  },
)

t.test('SegmentStore: several streams at once write one after another', async (t) => {
  const store = await SegmentStore.open(newFolder(), { fsync: 'always', segmentLength: 1000 })
  const streams = [0, 1, 2].map((k) =>
    collect(store.pushStream(numbers(100).map(({ n }) => ({ n: n + k * 50 })))),
  )
  const results = (await Promise.all(streams)).flat()
  t.equal(store.size, 200)
  const pulled = await collect(store.pullStream(results.map(({ ref }) => ref!)))
  t.ok(pulled.every(({ error }) => error === undefined))
  await store.close()
})

t.test('SegmentStore: one process at a time, and the lock of a dead one is taken over', async (t) => {
  const folder = newFolder()
  const store = await SegmentStore.open(folder)
  await t.rejects(SegmentStore.open(folder), {
    code: 'ERR_MILLRACE_STORE_LOCKED',
    category: 'connection',
    actual: process.pid,
  })
  await store.close()
  t.notOk(existsSync(join(folder, 'lock')))
  const dead = { pid: 2 ** 22 + 1, host: hostname(), started: '' }
  // a number that was given to another process since
  const reused = { pid: process.ppid, host: hostname(), started: 'long ago' }
  for (const text of [JSON.stringify(dead), JSON.stringify(reused), '', '{"pid":1}', 'null']) {
    writeFileSync(join(folder, 'lock'), text)
    const taken = await SegmentStore.open(folder)
    await taken.close()
  }
  writeFileSync(join(folder, 'lock'), JSON.stringify({ ...dead, host: 'elsewhere' }))
  await t.rejects(SegmentStore.open(folder), /elsewhere/)
  writeFileSync(join(folder, 'lock'), JSON.stringify({ pid: process.ppid, host: hostname(), started: '' }))
  await t.rejects(SegmentStore.open(folder), { code: 'ERR_MILLRACE_STORE_LOCKED' })
  t.strictSame(
    readdirSync(folder).filter((name) => name.startsWith('lock')),
    ['lock'],
    'nothing else is left',
  )
})

t.test('SegmentStore: a record longer than all buffers goes in and out', async (t) => {
  const folder = newFolder()
  const store = await SegmentStore.open(folder, { fsync: 'never', maxRecordLength: 8 * 2 ** 20 })
  const large = { text: 'é'.repeat(3_000_000) }
  const { cid } = await store.push(large)
  await store.push({ a: 1 })
  await store.close()
  rmSync(join(folder, '0000000001.index'))
  const again = await SegmentStore.open(folder)
  t.strictSame(await again.pull(cid), large)
  t.equal(again.size, 2)
  await again.close()
})

t.test('SegmentStore: what cannot be written is an error of its record', async (t) => {
  const folder = newFolder()
  const store = await SegmentStore.open(folder, small)
  const before = await store.push({ a: 1 })
  // the next segment cannot be made: its name is taken
  writeFileSync(join(folder, '0000000002.segment'), 'taken')
  const results = await collect(store.pushStream([...records, 'bad'], { window: 100 }))
  const failed = results.filter(({ error }) => error?.code === 'ERR_MILLRACE_STORE_WRITE')
  t.strictSame(
    results.map(({ index }) => index),
    [...records, 0].map((_, i) => i),
  )
  t.equal(failed.length, 30)
  t.equal((failed[0]!.error!.cause as NodeJS.ErrnoException).code, 'EEXIST')
  t.equal(failed[0]!.error!.category, 'send')
  t.strictSame(await store.pull(before), { a: 1 }, 'reading goes on')
  rmSync(join(folder, '0000000002.segment'))
  await collect(store.pushStream(records))
  t.equal(store.size, 31)
  await store.close()
})

t.test('SegmentStore: what cannot be deleted is an error of its ref', async (t) => {
  const folder = newFolder()
  const store = await SegmentStore.open(folder, small)
  const { cid } = await store.push(records[29])
  writeFileSync(join(folder, '0000000002.segment'), 'taken')
  // the segment is full with these, and the next one cannot be made
  await collect(store.pushStream(records.slice(0, 12), { window: 1 }))
  const [result, bad] = await collect(store.deleteStream([cid, 'no CID']))
  t.equal(result!.error?.code, 'ERR_MILLRACE_STORE_WRITE')
  t.equal(bad!.error?.code, 'ERR_MILLRACE_STORE_INVALID')
  t.strictSame(await store.pull(cid), records[29])
  t.ok(store.bytes > 400)
  await store.close()
})

t.test('SegmentStore: a compaction copies more than fits its buffer', async (t) => {
  const store = await SegmentStore.open(newFolder(), { fsync: 'never' })
  const long = Array.from({ length: 40 }, (_, n) => ({ n, text: 'x'.repeat(100_000) }))
  const pushed = await collect(store.pushStream(long))
  await store.delete(pushed[7]!.ref!)
  await store.compact()
  const pulled = await collect(store.pullStream(pushed.map(({ ref }) => ref!)))
  t.strictSame(
    pulled.map(({ record }) => record?.['n']),
    long.map(({ n }) => (n === 7 ? undefined : n)),
  )
  t.equal(store.garbageBytes, 0)
  await store.close()
})

t.test('SegmentStore: a folder that cannot be read is told, and its lock released', async (t) => {
  const folder = newFolder()
  mkdirSync(join(folder, '0000000001.segment'), { recursive: true })
  await t.rejects(SegmentStore.open(folder), { code: 'EISDIR' })
  t.strictSame(readdirSync(folder), ['0000000001.segment'])
})

t.test('SegmentFile: what cannot be appended leaves it as it was', async (t) => {
  const path = join(root, '0000000009.segment')
  writeFileSync(path, SEGMENT_HEAD)
  const file = new SegmentFile(path, 9, 'r' as never)
  await t.rejects(file.append(Buffer.from('bytes')), { code: 'EBADF' })
  t.equal(file.size, SEGMENT_HEAD.length)
  file.close()
})

t.test('SegmentStore: options out of range are told before anything is made', async (t) => {
  const folder = newFolder()
  const bad: object[] = [
    { fsync: 'sometimes' },
    { syncInterval: 0 },
    { segmentLength: 1 },
    { segmentLength: 2 ** 32 },
  ]
  bad.push({ maxRecordLength: 1 }, { maxRecordLength: 2 ** 30 })
  for (const options of bad) {
    await t.rejects(
      SegmentStore.open(folder, options),
      { code: 'ERR_MILLRACE_OPTION' },
      JSON.stringify(options),
    )
  }
  await t.rejects(SegmentStore.open(7 as never), { code: 'ERR_MILLRACE_OPTION' })
  t.notOk(existsSync(folder))
})

t.test('SegmentLog: fsync interval syncs a moment later, and leaves no timer', async (t) => {
  const log = await SegmentLog.open(newFolder(), { syncInterval: 5 })
  await log.putAll([{ digest: 'd'.repeat(32), bytes: Buffer.from('text') }])
  await new Promise((resolve) => setTimeout(resolve, 30))
  t.equal(log.get('d'.repeat(32)), 'text')
  t.ok(log.has('d'.repeat(32)))
  await log.close()
})

// What every Store must keep, whatever it is made of.
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import * as fc from 'fast-check'
import type { Test } from 'tap'
import { StoreError } from '../../src/errors.ts'
import { RecordBatch } from '../../src/flow/index.ts'
import {
  canonicalJson,
  cidOf,
  type JsonObject,
  type Store,
  type StoreStreamOptions,
} from '../../src/store/index.ts'

export interface StoreFactory {
  readonly name: string
  /** A new, empty store. */
  create(): Promise<Store>
  readonly runs?: number
}

/** Runs of the properties of an embedded store; what goes over sockets takes fewer. */
const RUNS = 60

const anyRecord = fc.dictionary(
  fc.string({ unit: 'grapheme', maxLength: 6 }),
  fc.jsonValue({ maxDepth: 3 }),
  {
    maxKeys: 5,
    noNullPrototype: true,
  },
) as fc.Arbitrary<JsonObject>
/** Good ones, twins of good ones, and what no store can take. */
const anyItems = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: anyRecord },
    { weight: 2, arbitrary: fc.constantFrom<JsonObject>({}, { a: 1 }, { a: 1, b: [-0] }) },
    { weight: 1, arbitrary: fc.constantFrom<unknown>(1, null, 'text', [1], { n: NaN }, { s: '\ud800' }) },
  ),
  { maxLength: 40 },
)
const anyWindow = fc.constantFrom(1, 2, 3, 16, 64)
const anyConcurrency = fc.constantFrom(1, 2, 3)

const expectedCid = (record: unknown): string | undefined => {
  try {
    return cidOf(canonicalJson(record))
  } catch {
    return undefined
  }
}

export function storeConformance(t: Test, { name, create, runs = RUNS }: StoreFactory): void {
  const withStore = async (work: (store: Store) => Promise<void>) => {
    const store = await create()
    try {
      await work(store)
    } finally {
      await store.close()
    }
  }

  t.test(`${name}: every index comes once and in order, and what was pushed can be pulled`, async (t) => {
    await fc.assert(
      fc.asyncProperty(anyItems, anyWindow, anyConcurrency, async (items, window, concurrency) => {
        await withStore(async (store) => {
          const options = { window, concurrency }
          const pushed = await collect(store.pushStream(cutUp(items), options))
          t.strictSame(
            pushed.map(({ index }) => index),
            items.map((_, i) => i),
          )
          t.strictSame(
            pushed.map(({ ref }) => ref?.cid),
            items.map(expectedCid),
          )
          for (const { error, index } of pushed) {
            if (error === undefined) continue
            t.ok(error instanceof StoreError)
            t.strictSame(
              [error.category, error.index, error.code],
              ['item', index, 'ERR_MILLRACE_STORE_INVALID'],
            )
          }
          const refs = pushed.map(({ ref }) => ref ?? 'no CID')
          const pulled = await collect(store.pullStream(refs, options))
          t.strictSame(
            pulled.map(({ index }) => index),
            items.map((_, i) => i),
          )
          for (const [i, { record, error }] of pulled.entries()) {
            if (expectedCid(items[i]) === undefined) t.equal(error?.code, 'ERR_MILLRACE_STORE_INVALID')
            else t.equal(canonicalJson(record), canonicalJson(items[i]))
          }
        })
      }),
      { numRuns: runs },
    )
  })

  t.test(`${name}: push is idempotent, and delete too`, async (t) => {
    await withStore(async (store) => {
      const records = [{ n: 1 }, { n: 2 }, { n: 1 }]
      const first = await collect(store.pushStream(records))
      const second = await collect(store.pushStream(records))
      t.strictSame(first, second)
      const refs = first.map(({ ref }) => ref!)
      for (let round = 0; round < 2; round++) {
        const deleted = await collect(store.deleteStream(refs))
        t.strictSame(
          deleted,
          refs.map((ref, index) => ({ index, ref })),
        )
      }
      const gone = await collect(store.pullStream(refs))
      t.strictSame(
        gone.map(({ error }) => error?.code),
        Array(3).fill('ERR_MILLRACE_STORE_NOT_FOUND'),
      )
      t.strictSame(
        gone.map(({ error }) => error?.category),
        Array(3).fill('item'),
      )
      t.strictSame(
        gone.map(({ error }) => error?.index),
        [0, 1, 2],
      )
      const { cid } = await store.push(records[0])
      t.strictSame(await store.pull(cid), { n: 1 }, 'what was deleted can be pushed again')
    })
  })

  t.test(`${name}: of many refs to delete, only the bad ones fail`, async (t) => {
    await withStore(async (store) => {
      const stored = await collect(store.pushStream(numbers(200)))
      const refs: string[] = stored.map(({ ref }, i) => (i % 37 === 5 ? `bad ${i}` : ref!.cid))
      const deleted = await collect(store.deleteStream(refs, { window: 50, concurrency: 2 }))
      t.strictSame(
        deleted.map(({ index }) => index),
        refs.map((_, i) => i),
      )
      for (const [i, { error, ref }] of deleted.entries()) {
        if (i % 37 === 5) t.equal(error?.code, 'ERR_MILLRACE_STORE_INVALID')
        else t.equal(ref?.cid, refs[i])
      }
      const left = await collect(store.pullStream(stored.map(({ ref }) => ref!)))
      t.strictSame(
        left.filter(({ record }) => record !== undefined).map(({ index }) => index),
        refs.flatMap((_, i) => (i % 37 === 5 ? [i] : [])),
      )
    })
  })

  t.test(`${name}: lookup gives what is known of a record`, async (t) => {
    await withStore(async (store) => {
      const record = {
        schema_version: '0.8.0',
        created_at: '2026-11-24T00:00:00Z',
        annotations: { owner: 'é', count: 1, __proto__x: 'y' },
      }
      const { cid } = await store.push(record)
      const plain = await store.push({ annotations: [], schema_version: 1 })
      const expected = {
        cid,
        annotations: { owner: 'é', __proto__x: 'y' },
        schemaVersion: '0.8.0',
        createdAt: record.created_at,
      }
      t.strictSame(await store.lookup(cid), expected)
      t.strictSame(await store.lookup(plain), {
        cid: plain.cid,
        annotations: {},
        schemaVersion: '',
        createdAt: '',
      })
      await t.rejects(store.lookup(cidOf('"not there"')), { code: 'ERR_MILLRACE_STORE_NOT_FOUND' })
    })
  })

  t.test(`${name}: the calls for one item reject with its error`, async (t) => {
    await withStore(async (store) => {
      const { cid } = await store.push({ a: 1 })
      await store.delete({ cid })
      await store.delete(cid)
      await t.rejects(store.push(7), { code: 'ERR_MILLRACE_STORE_INVALID', category: 'item', index: 0 })
      await t.rejects(store.pull(cid), { code: 'ERR_MILLRACE_STORE_NOT_FOUND', index: 0 })
      await t.rejects(store.delete('no CID'), { code: 'ERR_MILLRACE_STORE_INVALID' })
      await t.rejects(store.pull(7 as never), { code: 'ERR_MILLRACE_STORE_INVALID' })
    })
  })

  t.test(`${name}: a Readable goes in and a Readable comes out`, async (t) => {
    await withStore(async (store) => {
      const batches = [new RecordBatch(0, numbers(10)), new RecordBatch(10, numbers(10)), { n: 99 }]
      const pushed = store.pushStream(Readable.from(batches), { window: 4 })
      const results = (await pushed.stream().toArray()) as { index: number; ref: { cid: string } }[]
      t.strictSame(
        results.map(({ index }) => index),
        Array.from({ length: 21 }, (_, i) => i),
      )
      t.equal(results[3]!.ref.cid, results[13]!.ref.cid)
      const { recordsIn, recordsOut, errors } = pushed.stats()
      t.strictSame([recordsIn, recordsOut, errors], [21, 21, 0])
      t.rejects(pushed[Symbol.asyncIterator]().next(), { code: 'ERR_MILLRACE_STORE_CLOSED' })
    })
  })

  t.test(`${name}: a reader that waits holds the source back`, async (t) => {
    await withStore(async (store) => {
      let asked = 0
      const source = async function* () {
        for (; asked < 100_000; asked++) yield { n: asked }
      }
      const window = 8
      let read = 0
      let ahead = 0
      for await (const { error } of store.pushStream(source(), { window, concurrency: 2 })) {
        t.equal(error, undefined)
        read++
        if (read % 10 === 0) await sleep(2)
        ahead = Math.max(ahead, asked - read)
        if (read === 60) break
      }
      // the windows, what the source is asked ahead, and what stands in a run
      t.ok(ahead <= 6 * window, `${ahead} ahead`)
      const before = asked
      await sleep(20)
      t.ok(asked <= before + 1, 'leaving the loop ends the source')
    })
  })

  t.test(`${name}: what the source throws comes after all that it gave`, async (t) => {
    await withStore(async (store) => {
      const failing = async function* () {
        yield* numbers(5)
        throw new RangeError('the source is broken')
      }
      const got: number[] = []
      const reading = async () => {
        for await (const { index, ref } of store.pushStream(failing())) if (ref !== undefined) got.push(index)
      }
      await t.rejects(reading(), new RangeError('the source is broken'))
      t.strictSame(got, [0, 1, 2, 3, 4])
    })
  })

  t.test(`${name}: an abort ends it with the category aborted`, async (t) => {
    await withStore(async (store) => {
      const abort = new AbortController()
      const endless = async function* () {
        for (let n = 0; ; n++) {
          yield { n }
          if (n === 20) await sleep(60_000, undefined, { ref: false })
        }
      }
      const reason = new Error('enough')
      let results = 0
      const reading = async (options: StoreStreamOptions) => {
        for await (const _ of store.pushStream(endless(), options)) if (++results === 5) abort.abort(reason)
      }
      const expected = { code: 'ERR_MILLRACE_STORE_ABORTED', category: 'aborted', cause: reason }
      await t.rejects(reading({ signal: abort.signal }), expected)
      await t.rejects(reading({ signal: abort.signal }), expected, 'a signal that is aborted already')
      t.ok(results <= 64)
    })
  })

  t.test(`${name}: options out of range are told at once`, async (t) => {
    await withStore(async (store) => {
      for (const options of [
        { window: 0 },
        { window: 1.5 },
        { concurrency: 0 },
        { signal: {} as AbortSignal },
      ]) {
        t.throws(() => store.pushStream([], options), { code: 'ERR_MILLRACE_OPTION' })
        t.throws(() => store.deleteStream([], options), { code: 'ERR_MILLRACE_OPTION' })
      }
    })
  })

  t.test(`${name}: a store that is closed says so`, async (t) => {
    const store = await create()
    await store.close()
    await store.close()
    await t.rejects(store.push({}), { code: 'ERR_MILLRACE_STORE_CLOSED' })
    await t.rejects(store.delete(cidOf('{}')), { code: 'ERR_MILLRACE_STORE_CLOSED' })
  })
}

export async function collect<T>(results: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const result of results) all.push(result)
  return all
}

export const numbers = (count: number): { n: number }[] => Array.from({ length: count }, (_, n) => ({ n }))

/** Some of the items alone, some in batches. */
async function* cutUp(items: readonly unknown[]): AsyncGenerator {
  for (let i = 0; i < items.length;) {
    if (i % 3 === 2 || items[i] === null) {
      const run = items.slice(i, i + 4)
      yield new RecordBatch(i, run)
      i += run.length
    } else yield items[i++]
  }
}

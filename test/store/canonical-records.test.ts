import * as fc from 'fast-check'
import { Readable } from 'node:stream'
import t from 'tap'
import { readCanonicalBlock, writeCanonicalBlock } from '../../src/store/canonical-block.ts'
import { CanonicalRecord, canonicalOf } from '../../src/store/canonical-record.ts'
import { MemoryStore, canonicalRecords, type ItemSource, type RefResult } from '../../src/store/index.ts'
import { RecordBatch } from '../../src/flow/index.ts'
import { anyCut } from '../../src/testing/index.ts'
import { createPool } from '../../src/workers/index.ts'

const outcome = ({ index, ref, error }: RefResult) => [index, ref?.cid ?? error?.message]

async function pushed(records: ItemSource<unknown>): Promise<unknown[]> {
  const results: unknown[] = []
  for await (const result of new MemoryStore().pushStream(records)) results.push(outcome(result))
  return results
}

const anyValue = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.dictionary(fc.string({ unit: 'grapheme', maxLength: 4 }), fc.jsonValue(), {
      noNullPrototype: true,
    }),
  },
  fc.jsonValue(),
)

t.test(
  'canonical block: what comes out is what canonicalOf makes of each record, or its error',
  async (t) => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(anyValue, fc.constantFrom(undefined, { a: NaN }, { a: 1n }))),
        fc.nat(5000),
        (records, length) => {
          const got = readCanonicalBlock(writeCanonicalBlock(records, Buffer.alloc(length)))
          const expected = records.map((record) => {
            try {
              const { text, digest } = canonicalOf(record)
              return [text, digest]
            } catch (error) {
              return String(error)
            }
          })
          t.strictSame(
            got.map((record) => {
              if (record instanceof CanonicalRecord) return [record.text, record.digest]
              try {
                return record.toJSON()
              } catch (error) {
                return String(error)
              }
            }),
            expected,
          )
        },
      ),
    )
  },
)

t.test(
  'canonicalRecords: a push gives what it gives for the records themselves, however the text is cut',
  async (t) => {
    const pool = createPool({ workers: 2 })
    t.teardown(() => pool.destroy())
    const anyCase = fc.array(anyValue).chain((records) =>
      anyCut(Buffer.from(records.map((record) => JSON.stringify(record)).join('\n'))).map((chunks) => ({
        records,
        chunks,
      })),
    )
    const law = (options: Parameters<typeof canonicalRecords>[1], numRuns: number) =>
      fc.assert(
        fc.asyncProperty(
          anyCase,
          fc.integer({ min: 1, max: 200 }),
          async ({ records, chunks }, blockSize) => {
            const got = await pushed(canonicalRecords(chunks, { in: 'ndjson', blockSize, ...options }))
            t.strictSame(
              got,
              await pushed(records.map((record): unknown => JSON.parse(JSON.stringify(record)))),
            )
          },
        ),
        { numRuns },
      )
    await law({ workers: 0 }, 100)
    await law({ pool }, 25)
  },
)

t.test('canonicalRecords: objects, single ones or in batches', async (t) => {
  const records = [{ a: 1, b: 'é' }, 7, { c: [new Date(0)] }, { d: { e: -0 } }]
  const expected = await pushed(records)
  t.equal(expected.length, 4)
  t.strictSame(await pushed(canonicalRecords(records, { in: 'records', workers: 1, batchSize: 2 })), expected)
  const batches = [new RecordBatch(0, records.slice(0, 3)), new RecordBatch(3, records.slice(3))]
  t.strictSame(
    await pushed(canonicalRecords(Readable.from(batches), { in: 'records', workers: 1 })),
    expected,
  )
})

t.test(
  'canonicalRecords: all before a bad record or a broken source is stored, and then comes the error',
  async (t) => {
    const lines = Array.from({ length: 50 }, (_, n) => `{"n":${n}}\n`).join('')
    const run = async (source: AsyncIterable<Buffer> | Iterable<Buffer>) => {
      const store = new MemoryStore()
      let error: unknown
      try {
        for await (const result of store.pushStream(canonicalRecords(source, { workers: 1, blockSize: 64 })))
          t.ok(result.ref)
      } catch (thrown) {
        error = thrown
      }
      return [store.size, (error as { code?: string; message: string }).code ?? (error as Error).message]
    }
    t.strictSame(await run([Buffer.from(`${lines}{"n":\n{"m":1}\n`)]), [50, 'ERR_MILLRACE_JSON_SYNTAX'])
    async function* broken(end: string) {
      yield Buffer.from(lines)
      yield Buffer.from(end)
      throw new Error('unplugged')
    }
    t.strictSame(await run(broken('')), [50, 'unplugged'])
    t.strictSame(await run(broken('{"n":')), [50, 'unplugged'], 'in a record, too')
    t.strictSame(
      await run(broken('{"n"}\n')),
      [50, 'ERR_MILLRACE_JSON_SYNTAX'],
      'but not before what was bad already',
    )
    t.strictSame(await run([Buffer.from(`${lines}{"n":`)]), [50, 'ERR_MILLRACE_JSON_TRUNCATED'])
  },
)

t.test(
  'canonicalRecords: nothing is no error, a wrong option is one of the call, and leaving ends the source',
  async (t) => {
    t.strictSame(await pushed(canonicalRecords([], { workers: 1 })), [])
    t.throws(() => canonicalRecords([], { workers: -1 }), { code: 'ERR_MILLRACE_OPTION' })
    const source = Readable.from(
      (function* () {
        for (let n = 0; ; n++) yield Buffer.from(`{"n":${n}}\n`)
      })(),
    )
    for await (const batch of canonicalRecords(source, { workers: 1, blockSize: 1000 })) {
      t.ok(batch.length > 0)
      break
    }
    if (!source.closed) await new Promise((resolve) => source.once('close', resolve))
    t.equal(source.destroyed, true)
  },
)

import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import t from 'tap'
import { LineBuffer } from '../../src/websocket/line-buffer.ts'

t.test('LineBuffer: however lines come and are taken, messages are the JSON of their records', async (t) => {
  const ids = fc.option(fc.oneof(fc.string(), fc.integer()), { nil: undefined })
  const records = fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { minLength: 1, maxLength: 40 })
  const sizes = fc.array(fc.integer({ min: 1, max: 15 }), { minLength: 40, maxLength: 40 })
  fc.assert(
    fc.property(records, sizes, sizes, ids, fc.nat(), (records, runs, takes, id, batch) => {
      const lines = new LineBuffer(id)
      let [added, taken, step] = [0, 0, 0]
      while (taken < records.length) {
        const wanted = Math.min(takes[step] as number, records.length - taken)
        while (lines.count < wanted) {
          const run = records.slice(added, added + (runs[step] as number))
          const text = run.map((record) => `${JSON.stringify(record)}\n`).join('')
          const bytes = Buffer.byteLength(text)
          // what writes there may need more than it writes
          lines.room(bytes + step).write(text)
          lines.added(bytes, run.length)
          added += run.length
        }
        assert.deepEqual(JSON.parse(String(lines.take(wanted, batch + step))), {
          ...(id !== undefined && { id }),
          batch: batch + step,
          records: JSON.parse(JSON.stringify(records.slice(taken, taken + wanted))) as unknown,
        })
        taken += wanted
        step++
      }
      assert.equal(lines.count, added - taken)
    }),
  )
  t.pass('held')
})

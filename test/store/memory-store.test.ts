import t from 'tap'
import { MemoryStore } from '../../src/store/index.ts'
import { storeConformance } from '../conformance/store.ts'

storeConformance(t, { name: 'MemoryStore', create: async () => new MemoryStore() })

t.test('MemoryStore: a record at the limit passes, and one byte more does not', async (t) => {
  const store = new MemoryStore({ maxRecordLength: 20 })
  const { cid } = await store.push({ text: '1234567é' })
  t.strictSame(await store.pull(cid), { text: '1234567é' })
  await t.rejects(store.push({ text: '12345678é' }), {
    code: 'ERR_MILLRACE_STORE_TOO_LARGE',
    category: 'send',
    expected: 20,
    actual: 21,
  })
  t.equal(store.size, 1)
  t.throws(() => new MemoryStore({ maxRecordLength: 1 }), { code: 'ERR_MILLRACE_OPTION' })
})

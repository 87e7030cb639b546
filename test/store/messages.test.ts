import * as fc from 'fast-check'
import t from 'tap'
import { StoreError } from '../../src/errors.ts'
import { DigestIndex } from '../../src/store/digest-index.ts'
import {
  decodeFaults,
  decodeMeta,
  decodeRecord,
  decodeRef,
  encodeFaults,
  encodeMeta,
  encodeRecord,
  encodeRef,
  isFault,
} from '../../src/store/messages.ts'

const decoders = [decodeRecord, decodeRef, decodeMeta, decodeFaults]

t.test('messages: what is damaged is an error of the store, and never anything else', async (t) => {
  const good = [
    encodeRecord({ a: [1, 'é', null, true, { b: [] }], long: 'x'.repeat(300) }),
    encodeRef('some CID'),
    encodeMeta({ cid: 'c', annotations: { a: 'b', é: '' }, schemaVersion: '1', createdAt: 'now' }),
    encodeFaults([{ code: 3, message: 'bad', index: 200 }]),
  ]
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...good),
      fc.nat(),
      fc.nat(255),
      fc.nat(),
      async (bytes, at, value, cut) => {
        const damaged = Buffer.from(bytes)
        damaged[at % damaged.length] = value
        for (const decode of decoders) {
          for (const input of [damaged, bytes.subarray(0, cut % bytes.length)]) {
            try {
              decode(input)
            } catch (error) {
              t.ok(error instanceof StoreError && error.category === 'receive', String(error))
            }
          }
        }
      },
    ),
    { numRuns: 1500 },
  )
})

t.test(
  'messages: fields that are not known are stepped over, of every kind and at every level',
  async (t) => {
    // fields 15: a varint, eight bytes, a text, four bytes
    const unknown = Buffer.from('7896017901020304050607087a027a7a7d01020304', 'hex')
    const nested = (tag: number, content: Buffer) =>
      Buffer.concat([Buffer.from([tag, content.length]), content])
    const text = Buffer.concat([unknown, nested(0x1a, Buffer.from('b'))])
    const list = Buffer.concat([unknown, nested(0x0a, text)])
    const value = Buffer.concat([unknown, nested(0x32, list)])
    const entry = Buffer.concat([unknown, nested(0x0a, Buffer.from('a')), nested(0x12, value)])
    const struct = Buffer.concat([unknown, nested(0x0a, entry)])
    t.strictSame(decodeRecord(Buffer.concat([unknown, nested(0x0a, struct)])), { a: ['b'] })
    t.equal(decodeRef(Buffer.concat([unknown, encodeRef('cid')])), 'cid')
    const pair = Buffer.concat([unknown, nested(0x0a, Buffer.from('k')), nested(0x12, Buffer.from('v'))])
    t.strictSame(decodeMeta(Buffer.concat([unknown, nested(0x12, pair)])).annotations, { k: 'v' })
    const fault = Buffer.concat([Buffer.from([0x08, 5]), unknown])
    const faults = Buffer.concat([unknown, Buffer.from([0xc2, 0x3e, fault.length]), fault])
    t.strictSame(decodeFaults(faults), [{ code: 5, message: '', index: 0 }])
    t.ok(isFault(encodeFaults([{ code: 5, message: 'x'.repeat(2000), index: 0 }])))
  },
)

t.test('messages: wrong numbers, texts and lengths are told', async (t) => {
  const bad: [string, RegExp][] = [
    ['0a', /expected a number, got the end/],
    ['0a05', /expected 5 bytes/],
    ['80'.repeat(11), /at most 10 bytes/],
    ['0b', /wire type 3/],
    ['00', /number of a field/],
    ['7d0102', /got the end/],
    ['0a080a060a0112120101', /./],
    ['0a090a070a01611202110a', /expected 8 bytes/],
    ['0a080a060a016112021aff', /./],
  ]
  for (const [hex, message] of bad) {
    t.throws(
      () => decodeRecord(Buffer.from(hex, 'hex')),
      { code: 'ERR_MILLRACE_STORE_CORRUPT', message },
      hex,
    )
  }
  const number = (bits: string) => `0a100a0e0a0161120911${bits}`
  t.throws(() => decodeRecord(Buffer.from(number('000000000000f07f'), 'hex')), /finite/)
  for (const text of ['ff', 'c328', '61ff']) {
    const bytes = Buffer.from(text, 'hex')
    t.throws(() => decodeRef(Buffer.concat([Buffer.from([0x0a, bytes.length]), bytes])), /UTF-8/, text)
  }
  const overlong = Buffer.from('c0af41', 'hex')
  t.throws(() => decodeRef(Buffer.concat([Buffer.from([0x0a, 3]), overlong])), /UTF-8/)
  t.equal(decodeRef(encodeRef('\ufffd')), '\ufffd')
})

t.test('encodeRecord: stops before it takes more memory than a message may have', async (t) => {
  const long = { a: Array.from({ length: 1000 }, () => 'x'.repeat(100)) }
  t.throws(() => encodeRecord(long, 5000), {
    code: 'ERR_MILLRACE_STORE_TOO_LARGE',
    category: 'send',
    expected: 5000,
  })
  t.throws(() => encodeRecord({ a: 'x'.repeat(100) }, 100), { code: 'ERR_MILLRACE_STORE_TOO_LARGE' })
  const exact = encodeRecord({ a: 'x'.repeat(100) }).length
  t.equal(encodeRecord({ a: 'x'.repeat(100) }, exact).length, exact)
})

t.test('DigestIndex: does what a Map does', async (t) => {
  const digestOf = (n: number) => Buffer.alloc(32, Buffer.from([n & 255, n >> 8, 7])).toString('latin1')
  fc.assert(
    fc.property(fc.array(fc.record({ n: fc.nat(300), put: fc.boolean() }), { maxLength: 400 }), (steps) => {
      const index = new DigestIndex()
      const model = new Map<number, number>()
      for (const [i, { n, put }] of steps.entries()) {
        if (put) {
          index.set(digestOf(n), n % 3, i, 1)
          model.set(n, i)
        } else t.equal(index.delete(digestOf(n)), model.delete(n))
      }
      t.equal(index.size, model.size)
      for (let n = 0; n <= 300; n++) t.equal(index.get(digestOf(n))?.offset, model.get(n))
      const ones = [...model.keys()].filter((n) => n % 3 === 1).map(digestOf)
      t.strictSame(index.digestsIn(1).toSorted(), ones.toSorted())
    }),
    { numRuns: 50 },
  )
  const large = new DigestIndex()
  for (let n = 0; n < 20_000; n++) large.set(digestOf(n), 1, n, 1)
  t.ok(large.has(digestOf(19_999)) && !large.has(digestOf(20_000)))
})

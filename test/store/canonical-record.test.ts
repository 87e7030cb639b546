import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import t from 'tap'
import { canonicalJson } from '../../src/store/canonical-json.ts'
import { CanonicalRecord, canonicalOf, canonicalOfMessage } from '../../src/store/canonical-record.ts'
import { cidOfDigest, digestOf } from '../../src/store/cid.ts'
import { MemoryStore } from '../../src/store/index.ts'
import { decodeRecord, encodeRecord } from '../../src/store/messages.ts'

const vectors = JSON.parse(readFileSync(new URL('fixtures/cid-vectors.json', import.meta.url), 'utf8')) as {
  readonly canonical: string
  readonly cid: string
  readonly wire: string
}[]

/** What the long way makes of a message: by an object. */
function longWay(message: Buffer): unknown {
  try {
    return canonicalJson(decodeRecord(message))
  } catch (error) {
    return String(error)
  }
}
function shortWay(message: Buffer): unknown {
  try {
    return canonicalOfMessage(message).text
  } catch (error) {
    return String(error)
  }
}

t.test('canonicalOfMessage: what Go makes of the same message', async (t) => {
  for (const { canonical, cid, wire } of vectors) {
    const { text, digest } = canonicalOfMessage(Buffer.from(wire, 'base64'))
    if (text !== canonical || cidOfDigest(digest) !== cid) t.equal(text, canonical)
  }
  t.ok(vectors.length > 200)
})

t.test('canonicalOfMessage: the same as by way of an object', async (t) => {
  const anyRecord = fc.dictionary(
    fc.oneof(fc.string({ unit: 'grapheme', maxLength: 6 }), fc.string({ unit: 'binary', maxLength: 3 })),
    fc.jsonValue({ maxDepth: 4, stringUnit: 'grapheme' }),
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(anyRecord, (record) => {
      const message = encodeRecord(record)
      const { text, digest } = canonicalOfMessage(message)
      const expected = canonicalJson(record)
      if (text !== expected) t.equal(text, expected)
      if (digest !== digestOf(expected)) t.fail(expected)
    }),
    { numRuns: 500 },
  )
})

t.test('canonicalOfMessage: damaged messages are refused, or read, as by way of an object', async (t) => {
  const sources = vectors.map(({ wire }) => Buffer.from(wire, 'base64')).filter(({ length }) => length < 2000)
  const anyChange = fc.record({
    source: fc.nat(sources.length - 1),
    at: fc.nat(2000),
    byte: fc.nat(255),
    cut: fc.option(fc.nat(2000)),
  })
  let refused = 0
  fc.assert(
    fc.property(anyChange, ({ source, at, byte, cut }) => {
      const message = Buffer.from(sources[source]!)
      if (message.length === 0) return
      message[at % message.length] = byte
      const damaged = cut === null ? message : message.subarray(0, cut % message.length)
      const expected = longWay(damaged)
      if (String(expected).startsWith('StoreError')) refused++
      if (shortWay(damaged) !== expected) t.equal(shortWay(damaged), expected)
    }),
    { numRuns: 3000 },
  )
  t.ok(refused > 100, `${refused} refused`)
})

t.test('canonicalOfMessage: what is unusual takes the long way', async (t) => {
  const nested = (levels: number): object => (levels === 0 ? {} : { a: [nested(levels - 1)] })
  const wide = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, i]))
  const long = { text: 'x'.repeat(300_000) }
  const table = (levels: number): object => ({
    ...Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`z${i}`, i])),
    ...(levels > 0 && { zz: table(levels - 1) }),
  })
  for (const record of [
    nested(80),
    wide,
    long,
    table(12),
    { many: Array.from({ length: 40 }, () => nested(5)) },
  ]) {
    const message = encodeRecord(record)
    t.equal(canonicalOfMessage(message).text, canonicalJson(record))
  }
  // the same key twice: the last one counts
  const one = encodeRecord({ a: 1 }).subarray(2)
  const two = encodeRecord({ a: 2 }).subarray(2)
  const twice = Buffer.concat([Buffer.from([0x0a, one.length + two.length]), one, two])
  t.equal(canonicalOfMessage(twice).text, '{"a":2}')
})

t.test('CanonicalRecord: stands for its record', async (t) => {
  const record = canonicalOfMessage(encodeRecord({ b: [1, 'é'], a: null }))
  t.ok(record instanceof CanonicalRecord)
  t.equal(JSON.stringify(record), '{"a":null,"b":[1,"é"]}')
  t.equal(canonicalJson(record), record.text)
  const store = new MemoryStore()
  const { cid } = await store.push(record)
  t.strictSame(await store.pull(cid), { a: null, b: [1, 'é'] })
})

t.test(
  'canonicalOf: the text, length and digest that canonicalJson and digestOf give, or the same error',
  async (t) => {
    const outcome = (work: () => unknown) => {
      try {
        return work()
      } catch (error) {
        return String(error)
      }
    }
    const same = (record: unknown) => {
      const got = outcome(() => {
        const { text, digest, bytes } = canonicalOf(record)
        return { text, digest, byteLength: bytes.length }
      })
      const expected = outcome(() => {
        const text = canonicalJson(record)
        return { text, digest: digestOf(text), byteLength: Buffer.byteLength(text) }
      })
      t.strictSame(got, expected)
    }
    const anyKey = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 6 }),
      fc.string({ unit: 'binary', maxLength: 3 }),
    )
    const anyNumber = fc.oneof(
      fc.integer(),
      fc.maxSafeInteger(),
      fc.double(),
      fc.constantFrom(0, -0, 9, 10, 99, 2 ** 30 - 1, 2 ** 30),
    )
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        fc.oneof(anyNumber, fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' }), fc.boolean()),
        fc.constantFrom(null, undefined, 1n, new Date(0), 'x'.repeat(300), '\ud800'),
        // long, with all that Go's encoder writes in a way of its own
        fc
          .array(
            fc.constantFrom('plain '.repeat(40), 'é€😀\u2027', '"\\<>&', '\0\b\t\n\f\r\x7f', '\u2028\u2029'),
            { maxLength: 4 },
          )
          .map((pieces) => 'x'.repeat(257) + pieces.join('')),
        fc.array(tie('tree'), { maxLength: 4 }),
        fc.dictionary(anyKey, tie('tree'), { maxKeys: 5 }),
      ),
    }))
    fc.assert(
      fc.property(fc.dictionary(anyKey, tree, { noNullPrototype: true }), (record) => same(record)),
      { numRuns: 1000 },
    )
    const deep = (levels: number, wrap: (inner: unknown) => unknown) => {
      let value: unknown = 1
      for (let i = 0; i < levels; i++) value = wrap(value)
      return { value }
    }
    for (const levels of [62, 63, 64, 65, 999, 1000]) {
      same(deep(levels, (a) => ({ a })))
      same(deep(levels, (a) => [a]))
    }
    for (const record of [[], null, 7, new Date(0), { a: () => 1 }, { a: NaN }, { toJSON: () => ({ b: 1 }) }])
      same(record)
    // as wide and as long as is written as bytes, and more
    for (const count of [256, 257])
      same(Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, i])))
    for (const length of [261_000, 263_000, 2_000_000]) same({ a: 'é'.repeat(length), b: [1, 2], c: {} })
    same({ a: 'x'.repeat(262_140), b: 'x'.repeat(262_140), c: Array(1_500_000).fill(1) })
    // more than is written as bytes
    same({ a: 'x'.repeat(23_000_000), b: '"' })
    t.throws(
      () =>
        canonicalOf({
          toJSON: () => {
            throw new RangeError('mine')
          },
        }),
      RangeError,
    )
    t.throws(
      () =>
        canonicalOf({
          a: {
            toJSON: () => {
              throw new RangeError('mine')
            },
          },
        }),
      RangeError,
    )
  },
)

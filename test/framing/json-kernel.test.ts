import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import t from 'tap'
import { countByte, loadKernel, scanJsonFast } from '../../src/framing/json-kernel.ts'
import { CLOSE, FIRST, JsonScanState, LAST, scanJson } from '../../src/framing/json-scan.ts'

const MODES = [LAST, FIRST, CLOSE]

/** Long enough for the kernel, from parts that are common, rare and nasty, so that runs and edges fall everywhere. */
const documents = fc
  .array(
    fc.oneof(
      {
        weight: 6,
        arbitrary: fc.constantFrom('{"id":1,"tags":["a","b"]}', ',', '"text"', '[1,2]', '1e5', 'x'),
      },
      { weight: 4, arbitrary: fc.constantFrom('[', ']', '{', '}', '"', '\\', '\\\\', '\\"', ' ', '\n') },
      { weight: 1, arbitrary: fc.nat(150).map((n) => '\\'.repeat(n)) },
      { weight: 1, arbitrary: fc.nat(150).map((n) => '['.repeat(n)) },
      { weight: 1, arbitrary: fc.nat(150).map((n) => `"${'s'.repeat(n)}"`) },
      {
        weight: 1,
        arbitrary: fc.uint8Array({ maxLength: 20 }).map((b) => Buffer.from(b).toString('latin1')),
      },
    ),
    { minLength: 80, maxLength: 300 },
  )
  .map((parts) => Buffer.from(parts.join(''), 'latin1'))

const states = fc.record({ depth: fc.nat(5), inString: fc.boolean(), escaped: fc.boolean() })

const stateFrom = (fields: object) => Object.assign(new JsonScanState(), fields)

t.test('kernel: finds what its JavaScript twin finds, from any state', async () => {
  fc.assert(
    fc.property(
      documents,
      states,
      fc.constantFrom(...MODES),
      fc.constantFrom(1, 3, 20, 1024),
      fc.nat(300),
      (bytes, start, mode, maxDepth, from) => {
        const slow = stateFrom(start)
        const fast = stateFrom(start)
        const begin = Math.min(from, bytes.length)
        const stopped = scanJson(slow, bytes, begin, bytes.length, mode, maxDepth)
        assert.equal(scanJsonFast(fast, bytes, begin, bytes.length, mode, maxDepth), stopped)
        assert.deepEqual(fast, slow)
      },
    ),
    { numRuns: 2000 },
  )
})

t.test('kernel: state carried over any edge gives what one scan gives', async () => {
  fc.assert(
    fc.property(documents, fc.nat(), (bytes, cut) => {
      const whole = new JsonScanState()
      const stopped = scanJsonFast(whole, bytes, 0, bytes.length, LAST, 1000)
      const middle = cut % (bytes.length + 1)
      const parts = new JsonScanState()
      let at = scanJsonFast(parts, bytes, 0, middle, LAST, 1000)
      const { comma, commas } = parts
      if (parts.bracket === -1) at = scanJsonFast(parts, bytes, middle, bytes.length, LAST, 1000)
      else return
      assert.equal(at, stopped)
      assert.equal(parts.comma === -1 ? comma : parts.comma, whole.comma)
      assert.equal(commas + parts.commas, whole.commas)
      assert.deepEqual(
        [parts.depth, parts.inString, parts.escaped, parts.bracket],
        [whole.depth, whole.inString, whole.escaped, whole.bracket],
      )
    }),
    { numRuns: 1000 },
  )
})

t.test('kernel: a backslash, quote or bracket at every place of a step and of a window', async (t) => {
  for (const [size, step] of [
    [600, 1],
    [140_000, 9973],
  ] as const) {
    for (const token of ['\\', '\\\\', '"', '\\"', ',', ']', '{', '[]']) {
      for (let at = 0; at < size - 3; at += size > 1000 && at > 130_900 && at < 131_000 ? 1 : step) {
        for (const fill of [' ', '"']) {
          const bytes = Buffer.alloc(size, 0x20)
          if (fill === '"') bytes[0] = 0x22
          bytes.write(token, at, 'latin1')
          bytes[size - 1] = 0x22
          const slow = new JsonScanState()
          const fast = new JsonScanState()
          const stopped = scanJson(slow, bytes, 0, size, LAST, 1024)
          if (scanJsonFast(fast, bytes, 0, size, LAST, 1024) !== stopped)
            t.fail(`${token} at ${at} of ${size}`)
          assert.deepEqual(fast, slow)
        }
      }
    }
  }
})

t.test('kernel: an escape that ends the last step is not lost, whatever its length', async () => {
  for (let size = 256; size < 400; size++) {
    for (const slashes of [0, 1, 2, 3, 64, 65, 129]) {
      const bytes = Buffer.alloc(size, 0x5c)
      bytes.fill(0x20, 0, size - slashes)
      bytes[0] = 0x22
      const fast = new JsonScanState()
      scanJsonFast(fast, bytes, 0, size, LAST, 1024)
      assert.equal(fast.escaped, slashes % 2 === 1)
      assert.equal(fast.inString, true)
    }
  }
})

t.test('kernel: nesting is found too deep at the very bracket', async (t) => {
  for (const depth of [300, 1023, 1024]) {
    const bytes = Buffer.from('['.repeat(depth) + ']'.repeat(depth))
    const state = new JsonScanState()
    t.equal(scanJsonFast(state, bytes, 0, bytes.length, LAST, depth), bytes.length)
    t.equal(state.bracket, -1)
    t.equal(scanJsonFast(state, bytes, 0, bytes.length, LAST, depth - 1), depth - 1)
    t.equal(state.bracket, depth - 1)
  }
})

t.test('countByte: counts in ranges of any place and length', async () => {
  fc.assert(
    fc.property(fc.nat(3000), fc.nat(3000), fc.constantFrom(0, 10, 32, 255), (a, b, byte) => {
      const bytes = Buffer.from(Array.from({ length: 3000 }, (_, i) => [0, 10, 32, 255, 1][(i * i) % 5]!))
      const [from, to] = a < b ? [a, b] : [b, a]
      assert.equal(
        countByte(bytes, from, to, byte),
        bytes.subarray(from, to).filter((x) => x === byte).length,
      )
    }),
  )
  assert.equal(countByte(Buffer.alloc(300_000, 10), 1, 299_999, 10), 299_998)
})

t.test('kernel: where WebAssembly cannot be had, the twin stands in', async (t) => {
  t.equal(loadKernel('AGFzbQEAAAA='), null)
  t.equal(loadKernel('not WebAssembly'), null)
  const crippled = await t.mockImport<typeof import('../../src/framing/json-kernel.ts')>(
    '../../src/framing/json-kernel.ts',
    { '../../src/wasm/json-scan.wasm.ts': { wasm: 'AGFzbQEAAAA=' } },
  )
  const bytes = Buffer.from(`${'{"a":[1,"]"]},'.repeat(100)}]`)
  const state = new JsonScanState()
  t.equal(crippled.scanJsonFast(state, bytes, 0, bytes.length, LAST, 10), bytes.length - 1)
  t.match(state, { commas: 100, bracket: bytes.length - 1 })
  t.equal(crippled.countByte(bytes, 0, bytes.length, 0x2c), 200)
})

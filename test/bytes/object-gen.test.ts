import t from 'tap'
import * as fc from 'fast-check'
import { createHash } from 'node:crypto'
import { fillTwin } from '../../src/bytes/fill-twin.ts'
import { compileKernel, openKernel, PIECE } from '../../src/bytes/byte-kernel.ts'
import { DataGenerator, ObjectGen, type ObjectOptions, type Seed } from '../../src/bytes/index.ts'

const MIB = 2 ** 20
const make = (seed: Seed, options: ObjectOptions) => new DataGenerator({ seed }).beginObject(options)
const sha256 = (object: ObjectGen) => {
  const hash = createHash('sha256')
  const chunk = Buffer.alloc(MIB)
  while (!object.isComplete) hash.update(chunk.subarray(0, object.fillChunk(chunk)))
  return hash.digest('hex').slice(0, 32)
}

/** Objects of up to some 40 blocks, of any seed, key and ratios. */
const seeds = fc.oneof(
  fc.maxSafeNat(),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.string({ unit: 'grapheme' }),
)
const ratios = fc.oneof(fc.constant(1), fc.double({ min: 1, max: 300, noNaN: true }))
const objects = fc
  .record({
    seed: seeds,
    key: fc.string({ unit: 'grapheme' }),
    size: fc.oneof(fc.nat(5000), fc.nat(40 * 65_536)),
    dedup: ratios,
    compress: ratios,
    codec: fc.constantFrom('zstd' as const, 'lz4' as const, 'gzip' as const),
  })
  .map(({ seed, ...options }) => ({ seed, options }))

t.test('ObjectGen: format og1 gives the bytes it has always given', async (t) => {
  const golden = [
    [42, '', 64 * MIB, 1, 1, 'a12a5f9af8974310c24b1728806726c3', '7a550816ef5e4f76b037465c36208d30'],
    [42, '', 4096, 1, 1, '460818e26a875d0847afefff51644ed0', '7a550816ef5e4f76b037465c36208d30'],
    [42, '', 64 * MIB, 2.5, 1.7, '78c5ce79834a4e8bb076f58b9a28efe7', '7a550816ef5e4f76b037465c36208d30'],
    [42, '', 64 * MIB, 3, 4, 'cb589ba6ba39ee2a732def9af4fcd559', '7a550816ef5e4f76b037465c36208d30'],
    [42, 'a/b', 100_000, 1, 1, 'e7d79153c9ced4aeb89ee0eece7a2a46', 'f2936d288969aee6c54b5fe4f85e97cc'],
    [43, '', MIB, 1, 1, 'fe5034c4734b06d7a32605b66619775c', '454040f00710824f8a27a9fc197a6098'],
    [
      2n ** 64n - 1n,
      'é',
      65_537,
      1,
      1000,
      'bd4ea06a232d935e72a8c84ca40dd137',
      '7d439e6ad47952dbbc4e871a5379c8b9',
    ],
  ] as const
  for (const [seed, key, size, dedup, compress, hash, head] of golden) {
    const object = make(seed, { key, size, dedup, compress })
    t.equal(object.read(0, 16).toString('hex'), head, `${key} ${size} head`)
    t.equal(sha256(object), hash, `${key} ${size} ${dedup} ${compress}`)
    if (size > MIB) continue
    const twin = new ObjectGen(seed, { key, size, dedup, compress }, fillTwin(65_536, PIECE))
    t.equal(sha256(twin), hash, `the JavaScript twin: ${key} ${size}`)
  }
  t.equal(make(42, { size: 1 }).identity.format, 'og1')
})

t.test('ObjectGen: the calibrated codecs and string seeds keep their bytes, too', async (t) => {
  const hashes = {
    lz4: '0608e96f1456a89b93d1165545dafb8a',
    gzip: '32e7ceb56ee296fd3205a882fc89353c',
  }
  for (const codec of ['lz4', 'gzip'] as const) {
    const object = make('nightly', { key: 'k', size: MIB, dedup: 1.5, compress: 2.75, codec })
    t.equal(sha256(object), hashes[codec], codec)
  }
  t.equal(
    sha256(make('nightly', { size: MIB, compress: 1.015 })),
    '60f945c4c8ffbebed76145488c2922f5',
    'zstd below its least gain',
  )
})

t.test('ObjectGen: the WebAssembly kernel and the JavaScript twin agree byte for byte', async () => {
  const wasm = openKernel()
  const twin = fillTwin(65_536, PIECE)
  fc.assert(
    fc.property(objects, fc.nat(), fc.nat(200_000), ({ seed, options }, from, length) => {
      const start = options.size === 0 ? 0 : from % options.size
      const count = Math.min(length, options.size - start)
      const a = new ObjectGen(seed, options, wasm).read(start, count)
      const b = new ObjectGen(seed, options, twin).read(start, count)
      return wasm.name === 'wasm' && a.equals(b)
    }),
    { numRuns: 60 },
  )
})

t.test('ObjectGen: without WebAssembly the JavaScript twin takes over', async (t) => {
  t.equal(compileKernel(''), null)
  const kernel = openKernel(65_536, null)
  t.equal(kernel.name, 'js')
  t.ok(
    new ObjectGen(42, { size: 100_000 }, kernel)
      .read(0, 100_000)
      .equals(make(42, { size: 100_000 }).fillRemaining()),
  )
})

t.test('ObjectGen: at the far end of the largest object, kernel and twin agree as well', async (t) => {
  const options = { size: Number.MAX_SAFE_INTEGER, dedup: 1.0001, compress: 3 }
  const end = options.size
  for (const offset of [2 ** 31 - 7, 2 ** 32 - 7, 2 ** 48 - 5000, end - 70_001]) {
    const a = new ObjectGen(7, options).read(offset, 70_000)
    const b = new ObjectGen(7, options, fillTwin(65_536, PIECE)).read(offset, 70_000)
    t.ok(a.equals(b), `at ${offset}`)
    t.ok(a.subarray(1000, 1016).equals(new ObjectGen(7, options).read(offset + 1000, 16)))
  }
  t.equal(new ObjectGen(7, options).readInto(Buffer.alloc(100), end - 10), 10)
})

t.test('ObjectGen: bytes do not depend on chunk sizes or on the order of reads', async () => {
  const ranges = fc.array(fc.tuple(fc.nat(), fc.nat(150_000)), { maxLength: 20 })
  const chunks = fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 10 })
  fc.assert(
    fc.property(objects, chunks, ranges, ({ seed, options }, sizes, reads) => {
      const object = make(seed, options)
      const whole = object.read(0, options.size)
      for (const [from, length] of reads) {
        const start = from % (options.size + 1)
        const count = Math.min(length, options.size - start)
        if (!object.read(start, count).equals(whole.subarray(start, start + count))) return false
      }
      const parts: Buffer[] = []
      for (let i = 0; !object.isComplete; i++) {
        const target = Buffer.alloc(sizes[i % sizes.length]!)
        parts.push(target.subarray(0, object.fillChunk(target)))
      }
      return Buffer.concat(parts).equals(whole)
    }),
    { numRuns: 60 },
  )
})

t.test(
  'ObjectGen: chunk sizes 1, 7, 4096, 65536, 99991 and 2000 random ranges equal one whole read',
  async (t) => {
    const size = 300_001
    const object = make(9, { size, dedup: 2, compress: 1.7 })
    const whole = object.read(0, size)
    for (const chunk of [1, 7, 4096, 65_536, 99_991]) {
      object.reset()
      const target = Buffer.alloc(chunk)
      const parts = Buffer.alloc(size)
      while (!object.isComplete) {
        const at = object.position
        parts.set(target.subarray(0, object.fillChunk(target)), at)
      }
      t.ok(parts.equals(whole), `chunks of ${chunk}`)
    }
    let wrong = 0
    let x = 1
    const next = (limit: number) => (x = (x * 48_271) % 0x7fff_ffff) % limit
    for (let i = 0; i < 2000; i++) {
      const start = next(size)
      const length = next(Math.min(20_000, size - start))
      if (!object.read(start, length).equals(whole.subarray(start, start + length))) wrong++
    }
    t.equal(wrong, 0)
  },
)

t.test('ObjectGen: fills Buffers, Uint8Arrays, views with an offset, and shared memory', async (t) => {
  const object = make(1, { size: 100_000, compress: 2 })
  const expected = object.read(777, 50_000)
  const memory = new SharedArrayBuffer(50_100)
  for (const target of [
    Buffer.alloc(50_000),
    new Uint8Array(50_000),
    new Uint8Array(new ArrayBuffer(50_100), 33, 50_000),
    new Uint8Array(memory, 33, 50_000),
  ]) {
    t.equal(object.readInto(target, 777), 50_000)
    t.ok(expected.equals(target))
  }
  const bytes = new Uint8Array(memory)
  t.same([bytes[32], bytes[50_033]], [0, 0], 'nothing before or after the view is touched')
})

t.test('ObjectGen: position, isComplete, reset and fillRemaining', async (t) => {
  const object = make(1, { size: 10 })
  const chunk = Buffer.alloc(6)
  t.same([object.position, object.isComplete], [0, false])
  t.equal(object.fillChunk(chunk), 6)
  t.equal(object.fillChunk(new Uint8Array(0)), 0)
  t.equal(object.position, 6)
  const rest = object.fillRemaining()
  t.same(rest, object.read(6, 4))
  t.same([object.position, object.isComplete], [10, true])
  t.equal(object.fillChunk(chunk), 0)
  t.equal(object.fillRemaining().length, 0)
  object.reset()
  t.same([object.position, object.isComplete], [0, false])
  t.same(object.fillRemaining(), object.read(0, 10))
})

t.test('ObjectGen: any size from 0 up is given exactly', async (t) => {
  for (const size of [0, 1, 63, 64, 65, 4095, 4096, 4097, 65_535, 65_536, 65_537]) {
    const object = make(5, { size, compress: 2 })
    t.equal(object.fillRemaining().length, size)
    t.equal(object.isComplete, true)
    t.equal(object.readInto(Buffer.alloc(10), size), 0)
  }
  t.equal(make(5, { size: 0 }).isComplete, true)
})

t.test('ObjectGen: small reads keep their bytes while others are made', async (t) => {
  const object = make(5, { size: MIB })
  const reads = Array.from({ length: 300 }, (_, i) => object.read(i * 3000, (i % 40) * 199))
  t.ok(reads.every((read, i) => read.equals(object.read(i * 3000, read.length))))
})

t.test('DataGenerator: the same parameters give the same object, whatever was made before', async (t) => {
  const generator = new DataGenerator({ seed: 'abc' })
  const first = generator.beginObject({ key: 'x', size: 5000 }).fillRemaining()
  generator.beginObject({ key: 'y', size: 9000, compress: 3 }).fillRemaining()
  t.same(generator.beginObject({ key: 'x', size: 5000 }).fillRemaining(), first)
  const { identity } = generator.beginObject({ key: 'x', size: 5000 })
  const copy = JSON.parse(JSON.stringify(identity)) as typeof identity
  t.same(new DataGenerator({ seed: copy.seed }).beginObject(copy).fillRemaining(), first)
})

t.test(
  'DataGenerator: without a seed two instances made in the same tick differ, and each can be repeated',
  async (t) => {
    const generators = Array.from({ length: 50 }, () => new DataGenerator())
    const heads = generators.map((generator) =>
      generator.beginObject({ size: 100 }).read(0, 16).toString('hex'),
    )
    t.equal(new Set(heads).size, 50)
    const [first] = generators
    t.type(first!.seed, 'number')
    t.equal(make(first!.seed, { size: 100 }).read(0, 16).toString('hex'), heads[0])
  },
)

t.test(
  'DataGenerator: a number and a bigint of the same value are the same seed, a string is another',
  async (t) => {
    const head = (seed: Seed) => make(seed, { size: 100 }).read(0, 16).toString('hex')
    t.equal(head(42), head(42n))
    t.not(head(42), head('42'))
    t.not(head(0), head(''))
    t.equal(head(Number.MAX_SAFE_INTEGER), head(2n ** 53n - 1n))
    t.not(head(2n ** 32n), head(0))
  },
)

t.test('DataGenerator: wrong seeds, sizes, factors, codecs and keys are option errors', async (t) => {
  const wrong = (option: string) => ({ code: 'ERR_MILLRACE_OPTION', option })
  for (const seed of [-1, 1.5, Number.NaN, Infinity, 2 ** 53, -1n, 2n ** 64n, null, {}, true]) {
    t.throws(() => new DataGenerator({ seed: seed as Seed }), wrong('seed'))
  }
  for (const seed of [0, 2 ** 53 - 1, 0n, 2n ** 64n - 1n, '']) t.equal(new DataGenerator({ seed }).seed, seed)
  for (const size of [-1, 1.5, Number.NaN, Infinity, 2 ** 53, '10', undefined]) {
    t.throws(() => make(1, { size: size as number }), wrong('size'))
  }
  for (const factor of [0, 0.999, -2, Number.NaN, Infinity, '2']) {
    t.throws(() => make(1, { size: 1, dedup: factor as number }), wrong('dedup'))
    t.throws(() => make(1, { size: 1, compress: factor as number }), wrong('compress'))
  }
  t.throws(() => make(1, { size: 1, codec: 'brotli' as 'zstd' }), wrong('codec'))
  t.throws(() => make(1, { size: 1, key: 7 as unknown as string }), wrong('key'))
})

t.test('ObjectGen: ranges outside the object are option errors', async (t) => {
  const object = make(1, { size: 100 })
  const wrong = (option: string) => ({ code: 'ERR_MILLRACE_OPTION', option })
  for (const offset of [-1, 0.5, 101, Number.NaN]) {
    t.throws(() => object.read(offset, 0), wrong('offset'))
    t.throws(() => object.readInto(Buffer.alloc(1), offset), wrong('offset'))
    t.throws(() => object.firstDifference(Buffer.alloc(0), offset), wrong('offset'))
  }
  t.throws(() => object.read(50, 51), wrong('length'))
  t.equal(object.read(50, 50).length, 50)
  t.throws(() => object.firstDifference(Buffer.alloc(51), 50), wrong('bytes.length'))
  t.throws(() => object.readInto([] as unknown as Uint8Array, 0), wrong('target'))
  t.throws(() => make(1, { size: 2 ** 53 - 1 }).fillRemaining(), wrong('length'))
})

t.test('ObjectGen: firstDifference names the first wrong byte of any range', async () => {
  const object = make(3, { size: 200_000, compress: 3, dedup: 2 })
  fc.assert(
    fc.property(
      fc.nat(150_000),
      fc.integer({ min: 1, max: 50_000 }),
      fc.nat(),
      fc.nat(),
      (at, length, i, j) => {
        const bytes = object.read(at, length)
        if (object.firstDifference(bytes, at) !== -1) return false
        const [first, second] = [i % length, j % length]
        bytes[first]! ^= 1
        if (second !== first) bytes[second]! ^= 255
        return object.firstDifference(bytes, at) === at + Math.min(first, second)
      },
    ),
  )
})

// Defects that others' generators of this kind have shown, each as a law of ours.

t.test('defect 1, dedup does nothing: a repeated block is the same bytes', async (t) => {
  const object = make(1, { size: 64 * 65_536, dedup: 4 })
  t.same([object.blocks, object.uniqueBlocks], [64, 16])
  t.ok(object.read(0, 65_536).equals(object.read(16 * 65_536, 65_536)))
  t.notOk(object.read(0, 65_536).equals(object.read(15 * 65_536, 65_536)))
})

t.test('defect 2, a second pass differs: reset() gives the same bytes at any chunk size', async (t) => {
  const object = make(1, { size: 200_000, dedup: 2 })
  const pass = (size: number) => {
    const hash = createHash('sha1')
    const chunk = Buffer.alloc(size)
    object.reset()
    while (!object.isComplete) hash.update(chunk.subarray(0, object.fillChunk(chunk)))
    return hash.digest('hex')
  }
  t.equal(new Set([pass(512), pass(512), pass(65_536), pass(1_000_000), pass(333)]).size, 1)
})

t.test(
  'defect 3, an unaligned start leaves bytes unfilled: every byte of the target is written',
  async (t) => {
    const object = make(1, { size: 400_000 })
    const target = Buffer.alloc(300_000, 0xee)
    object.readInto(target, 12_345)
    const again = Buffer.alloc(300_000, 0x11)
    object.readInto(again, 12_345)
    t.ok(target.equals(again))
  },
)

t.test(
  'defect 4, a small chunk costs a whole block: only the pages of the range are generated',
  async (t) => {
    const kernel = openKernel()
    const ends: number[] = []
    const spy: typeof kernel = {
      ...kernel,
      fill(to, keyLow, keyHigh, uLow, uHigh, page, end, rate) {
        ends.push(end - page * 4096)
        kernel.fill(to, keyLow, keyHigh, uLow, uHigh, page, end, rate)
      },
    }
    const object = new ObjectGen(1, { size: 2 ** 40 }, spy)
    object.read(2 ** 39 + 4096, 512)
    t.same(ends, [512])
    ends.length = 0
    object.read(2 ** 39 + 4000, 200)
    t.same(ends, [4200], 'a range over a page border starts at the first page')
  },
)

t.test('defect 5, a least size of one block: 100 bytes are 100 bytes, as thin as asked', async (t) => {
  t.equal(make(1, { size: 100 }).fillRemaining().length, 100)
  const small = make(1, { size: 32_768, compress: 2 }).fillRemaining()
  const zeros = small.filter((byte) => byte === 0).length
  t.ok(zeros > 0.49 * 32_768 && zeros < 0.52 * 32_768, `${zeros} zeros`)
})

t.test('defect 6, seeds are added: neighbouring seeds, keys and blocks share nothing', async (t) => {
  const pages = new Set<string>()
  const family: [Seed, string][] = [
    [42, ''],
    [43, ''],
    [42n + (1n << 32n), ''],
    ['a', ''],
    ['b', ''],
    [42, 'a'],
    [42, 'b'],
    [43, 'a'],
    [42, 'ab'],
    [42, 'ba'],
    [42, '\0'],
  ]
  for (const [seed, key] of family) {
    const bytes = make(seed, { key, size: 32 * 65_536 }).fillRemaining()
    for (let at = 0; at < bytes.length; at += 4096) pages.add(bytes.toString('latin1', at, at + 16))
  }
  t.equal(pages.size, family.length * 32 * 16, 'the joint dedup ratio of all of them is 1')
})

t.test('defect 7, compress 1 compresses: without a ratio nothing can be saved', async (t) => {
  const { gzipSync } = await import('node:zlib')
  const bytes = make(1, { size: MIB }).fillRemaining()
  t.ok(gzipSync(bytes).length > bytes.length)
})

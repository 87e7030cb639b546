import t from 'tap'
import * as fc from 'fast-check'
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { isGeneratedPage } from '../../src/bytes/generated-page.ts'
import {
  DataGenerator,
  ObjectVerifier,
  RangeVerifier,
  verify,
  type VerifyReport,
} from '../../src/bytes/index.ts'
import { VerifyError } from '../../src/errors.ts'

const BLOCK = 65_536
const generator = new DataGenerator({ seed: 42 })
const object = generator.beginObject({ size: 1_000_003 })
const whole = object.read(0, object.size)
const wrong = (option: string) => ({ code: 'ERR_MILLRACE_OPTION', option })

/** The whole object, changed. */
function changed(change: (copy: Buffer) => unknown): Buffer {
  const copy = Buffer.from(whole)
  const result = change(copy)
  return result instanceof Uint8Array ? Buffer.from(result) : copy
}

const fault = async (bytes: Buffer, options = {}): Promise<VerifyError> => {
  try {
    await verify(bytes, object, options)
  } catch (error) {
    return error as VerifyError
  }
  throw new Error('nothing was found')
}

const pieces = (bytes: Buffer, sizes: readonly number[]): Buffer[] => {
  const chunks: Buffer[] = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return chunks
}

t.test('verify: the right bytes are found right, from any kind of input', async (t) => {
  for (const input of [
    whole,
    new Uint8Array(whole),
    pieces(whole, [777]),
    Readable.from(pieces(whole, [70_000])),
    Readable.toWeb(object.stream()),
    object.stream({ chunkSize: 99_991 }),
  ]) {
    const report = await verify(input as Buffer, object)
    t.same(
      report,
      {
        ok: true,
        start: 0,
        end: 1_000_003,
        bytes: 1_000_003,
        badBytes: 0,
        badRanges: [],
        badRangeCount: 0,
        missingBytes: 0,
        extraBytes: 0,
      },
      input.constructor.name,
    )
  }
  const empty = generator.beginObject({ size: 0 })
  t.equal((await verify([], empty)).ok, true)
})

t.test('verify: one flipped bit is named with offset, block, page, expected and got', async (t) => {
  const error = await fault(changed((copy) => (copy[777_777]! ^= 1)))
  const [expected, actual] = [whole[777_777]!, whole[777_777]! ^ 1]
  const hex = (byte: number) => `0x${byte.toString(16).padStart(2, '0')}`
  t.match(error, {
    name: 'VerifyError',
    code: 'ERR_MILLRACE_VERIFY_MISMATCH',
    offset: 777_777,
    block: 11,
    uniqueBlock: 11,
    page: 13,
    expected,
    actual,
    found: { kind: 'bits', bits: 1 },
    message: `first mismatch at offset 777777 (block 11, unique 11, page 13): expected ${hex(expected)}, got ${hex(actual)}; one bit is flipped`,
  })
  t.match(await fault(changed((copy) => (copy[0]! ^= 3))), { offset: 0, message: '2 bits are flipped' })
  t.match(await fault(changed((copy) => (copy[1_000_002]! ^= 128))), { offset: 1_000_002, block: 15 })
})

t.test('verify: truncated and too long are told apart, and from bytes that differ', async (t) => {
  t.match(await fault(whole.subarray(0, 5000)), {
    code: 'ERR_MILLRACE_VERIFY_TRUNCATED',
    offset: 5000,
    expected: 1_000_003,
    actual: 5000,
    message: 'truncated at offset 5000: expected 1000003 bytes up to offset 1000003, 995003 missing',
  })
  t.match(await fault(Buffer.alloc(0)), { code: 'ERR_MILLRACE_VERIFY_TRUNCATED', offset: 0 })
  t.match(await fault(whole.subarray(0, -1)), { code: 'ERR_MILLRACE_VERIFY_TRUNCATED', offset: 1_000_002 })
  const long = {
    code: 'ERR_MILLRACE_VERIFY_TOO_LONG',
    offset: 1_000_003,
    message: 'too long: expected the end at offset 1000003',
  }
  t.match(await fault(Buffer.concat([whole, whole.subarray(0, 1)])), long)
  t.match(await fault(Buffer.concat([whole, whole])), long)
  const cut = changed((copy) => {
    copy[4500]! ^= 255
    copy[4501]! ^= 255
    return copy.subarray(0, 5000)
  })
  t.match(
    await fault(cut),
    { code: 'ERR_MILLRACE_VERIFY_MISMATCH', offset: 4500 },
    'the first fault comes first',
  )
})

t.test('verify: what stands in the wrong place is named', async (t) => {
  const swap = changed((copy) => {
    copy.copyWithin(3 * BLOCK, 7 * BLOCK, 8 * BLOCK)
    copy.set(whole.subarray(3 * BLOCK, 4 * BLOCK), 7 * BLOCK)
  })
  t.match(await fault(swap), {
    offset: 3 * BLOCK,
    found: { kind: 'elsewhere', shift: 4 * BLOCK },
    message: 'block 7 of this object stands here',
  })
  t.match(await verify(swap, object, { onMismatch: 'report' }), {
    badRangeCount: 2,
    badRanges: [
      { start: 3 * BLOCK, end: 4 * BLOCK, block: 3, found: { kind: 'elsewhere', shift: 4 * BLOCK } },
      { start: 7 * BLOCK, end: 8 * BLOCK, block: 7, found: { kind: 'elsewhere', shift: -4 * BLOCK } },
    ],
  })

  const page = changed((copy) => copy.set(whole.subarray(BLOCK, BLOCK + 4096), BLOCK + 3 * 4096))
  t.match(await fault(page), { offset: BLOCK + 3 * 4096, message: `the page of offset ${BLOCK} stands here` })

  const neighbour = generator.beginObject({ key: 'b', size: 1_000_003 })
  const foreign = changed((copy) => copy.set(neighbour.read(5 * BLOCK, BLOCK), 5 * BLOCK))
  t.match(await fault(foreign), {
    found: { kind: 'foreign' },
    message: 'the bytes of another object stand here',
  })
  t.match(await fault(foreign, { others: [neighbour] }), {
    found: { kind: 'object', key: 'b', seed: 42 },
    message: 'the bytes of object "b" of seed 42 stand here',
  })

  t.match(await fault(changed((copy) => copy.fill(0, 70_000, 80_000))), { message: 'zeros stand here' })
  const noise = new DataGenerator({ seed: 1 }).beginObject({ size: 9000 }).read(1, 5000)
  t.match(await fault(changed((copy) => copy.set(noise, 2 * BLOCK))), {
    offset: 2 * BLOCK,
    message: 'bytes of no known origin stand here',
  })
  t.match(await fault(changed((copy) => copy.set(noise, 2 * BLOCK + 100))), {
    found: { kind: 'unknown' },
  })
})

t.test('verify: bytes lost or inserted in the middle are named as that', async (t) => {
  const lost = changed((copy) => Buffer.concat([copy.subarray(0, 123_456), copy.subarray(123_500)]))
  t.match(await fault(lost), {
    offset: 123_456,
    message: 'the bytes of offset 123500 stand here: 44 bytes are lost',
  })
  t.match(await verify(lost, object, { onMismatch: 'report' }), {
    badRangeCount: 1,
    badRanges: [{ start: 123_456, end: 1_000_003 - 44, found: { kind: 'elsewhere', shift: 44 } }],
    missingBytes: 44,
  })
  const twice = changed((copy) => Buffer.concat([copy.subarray(0, 200_000), copy.subarray(199_999)]))
  t.match(await fault(twice), { offset: 200_000, message: 'stand here: 1 byte is inserted' })
  t.equal((await verify(twice, object, { onMismatch: 'report' })).extraBytes, 1)
})

t.test('verify: goes on if asked, and reports every bad range', async (t) => {
  const bad = changed((copy) => {
    copy[10]! ^= 1
    copy[20]! ^= 6
    copy[500]! ^= 1
    copy.fill(0, 4000, 9000)
    copy.fill(0, BLOCK, 2 * BLOCK)
    return Buffer.concat([copy, Buffer.from('more')])
  })
  const report = await verify(bad, object, { onMismatch: 'report' })
  t.match(report, { ok: false, badRangeCount: 4, extraBytes: 4, missingBytes: 0, bytes: 1_000_003 })
  t.match(report.badRanges, [
    { start: 10, end: 21, bytes: 2, found: { kind: 'bits', bits: 3 } },
    {
      start: 500,
      end: 501,
      bytes: 1,
      found: { kind: 'bits', bits: 1 },
      expected: whole[500],
      actual: whole[500]! ^ 1,
    },
    { start: 4000, end: 9000, found: { kind: 'zeros' } },
    { start: BLOCK, end: 2 * BLOCK, block: 1, page: 0, found: { kind: 'zeros' } },
  ])
  t.equal(
    report.badBytes,
    report.badRanges.reduce((sum, { bytes }) => sum + bytes, 0),
  )
  const short = await verify(bad, object, { onMismatch: 'report', maxRanges: 2 })
  t.same([short.badRanges.length, short.badRangeCount, short.badBytes], [2, 4, report.badBytes])
})

t.test('verify: a range is compared with the range, and offsets are those of the object', async (t) => {
  const range = { start: 300_001, end: 700_002 }
  const bytes = Buffer.from(whole.subarray(range.start, range.end))
  t.match(await verify(bytes, object, range), { ok: true, start: 300_001, end: 700_002, bytes: 400_001 })
  bytes[99]! ^= 1
  t.match(await fault(bytes, range), { offset: 300_100 })
  t.match(await fault(bytes.subarray(0, 50), range), {
    code: 'ERR_MILLRACE_VERIFY_TRUNCATED',
    offset: 300_051,
  })
  bytes[99]! ^= 1
  t.match(await fault(Buffer.concat([bytes, bytes]), range), {
    code: 'ERR_MILLRACE_VERIFY_TOO_LONG',
    offset: 700_002,
  })
  t.equal((await verify([], object, { start: 7, end: 7 })).ok, true)
  const first = Buffer.from(whole.subarray(5000, 9000))
  first.set(whole.subarray(BLOCK + 5000, BLOCK + 5100))
  t.match(await fault(first, { start: 5000, end: 9000 }), {
    offset: 5000,
    found: { kind: 'elsewhere', shift: BLOCK },
  })
})

const damages = fc.array(
  fc.record({
    at: fc.nat(299_999),
    length: fc.oneof(fc.constant(1), fc.nat(9000)),
    how: fc.constantFrom('flip', 'zeros', 'noise', 'elsewhere', 'foreign'),
    from: fc.nat(290_000),
  }),
  { maxLength: 5 },
)

t.test('RangeVerifier: what is found does not depend on how the input was cut', async (t) => {
  const small = generator.beginObject({ size: 300_000, dedup: 1.5, compress: 2 })
  const right = small.read(0, small.size)
  const foreign = generator.beginObject({ key: 'f', size: 300_000 })
  const noise = Buffer.from(Array.from({ length: 9000 }, (_, i) => (i * i * 7 + (i >> 3)) & 255))
  const run = (bytes: Buffer, sizes: readonly number[]) => {
    const verifier = new RangeVerifier(small)
    let good = 0
    for (const chunk of pieces(bytes, sizes)) good += verifier.write(chunk)
    verifier.finish()
    return {
      report: verifier.report(),
      message: verifier.fault?.message,
      offset: verifier.fault?.offset,
      good,
    }
  }
  let faults = 0
  fc.assert(
    fc.property(
      damages,
      fc.nat(310_000),
      fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 }),
      (list, length, sizes) => {
        let bytes = Buffer.from(right)
        for (const { at, length: count, how, from } of list) {
          if (how === 'flip') bytes[at]! ^= 4
          else if (how === 'zeros') bytes.fill(0, at, Math.min(300_000, at + count))
          else if (how === 'noise') bytes.set(noise.subarray(0, Math.min(count, 300_000 - at)), at)
          else if (how === 'elsewhere')
            bytes.set(right.subarray(from, Math.min(from + count, from + 300_000 - at)), at)
          else bytes.set(foreign.read(at, Math.min(count, 300_000 - at)), at)
        }
        bytes =
          length <= 300_000
            ? bytes.subarray(0, length)
            : Buffer.concat([bytes, bytes.subarray(0, length - 300_000)])
        const once = run(bytes, [1_000_000])
        const cut = run(bytes, sizes)
        const firstWrong = bytes.findIndex((byte, i) => i >= 300_000 || byte !== right[i])
        const known = Math.min(bytes.length, 300_000)
        const badBytes = bytes.subarray(0, known).filter((byte, i) => byte !== right[i]).length
        if (once.message !== undefined) faults++
        t.same(cut, once)
        t.equal(once.good, firstWrong === -1 || firstWrong > known ? known : firstWrong)
        t.equal(once.report.badBytes, badBytes)
        t.equal(once.offset, firstWrong === -1 ? (known < 300_000 ? known : undefined) : firstWrong)
        return true
      },
    ),
    { numRuns: 40 },
  )
  t.ok(faults > 10)
})

t.test('ObjectVerifier: every right byte before the fault is delivered before the error', async (t) => {
  const bad = changed((copy) => (copy[500_000]! ^= 1))
  for (const sizes of [[1_000_003], [65_536], [1, 9999], [500_000], [500_001]]) {
    const verifier = new ObjectVerifier(object)
    const parts: Buffer[] = []
    const feed = pipeline(pieces(bad, sizes), verifier, async (chunks) => {
      for await (const chunk of chunks as AsyncIterable<Buffer>) parts.push(chunk)
    })
    await t.rejects(feed, { code: 'ERR_MILLRACE_VERIFY_MISMATCH', offset: 500_000 })
    t.ok(Buffer.concat(parts).equals(whole.subarray(0, 500_000)), `chunks of ${sizes.join(', ')}`)
  }
})

t.test('ObjectVerifier: passes everything on, wrong or right, when it reports', async (t) => {
  const bad = changed((copy) => Buffer.concat([copy.fill(0, 10, 5000), copy.subarray(0, 100)]))
  const verifier = new ObjectVerifier(object, { onMismatch: 'report' })
  t.ok((await buffer(Readable.from(pieces(bad, [70_001])).pipe(verifier))).equals(bad))
  t.match(verifier.report(), { ok: false, badRangeCount: 1, extraBytes: 100 })
  t.match(verifier.stats(), { bytesIn: 1_000_103, bytesOut: 1_000_103, errors: 0 })
  t.equal(verifier.position, 1_000_003)
})

t.test('ObjectVerifier: is the end of a pipeline when it passes nothing on', async (t) => {
  let done: number | undefined
  const verifier = new ObjectVerifier(object, {
    passThrough: false,
    onComplete: (stats) => void (done = stats.bytesIn),
  })
  await pipeline(object.stream(), verifier)
  t.equal(done, 1_000_003)
  t.equal(verifier.report().ok, true)
  t.equal(verifier.readableLength, 0)
})

t.test('ObjectVerifier: a reader that is slow holds the writer back', async (t) => {
  const verifier = new ObjectVerifier(generator.beginObject({ size: 2 ** 40 }), { highWaterMark: 100_000 })
  generator
    .beginObject({ size: 2 ** 40 })
    .stream({ chunkSize: 50_000 })
    .pipe(verifier)
  await once(verifier, 'readable')
  for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  t.ok(verifier.position <= 500_000, `${verifier.position} bytes taken`)
  verifier.destroy()
})

t.test('ObjectVerifier: hooks, signal and wrong options', async (t) => {
  const errors: unknown[] = []
  await t.rejects(
    verify(whole.subarray(5), object, { onError: (error) => void errors.push(error) }),
    VerifyError,
  )
  t.equal(errors.length, 1)
  const controller = new AbortController()
  const endless = new PassThrough()
  const waiting = verify(endless, object, { signal: controller.signal })
  controller.abort()
  await t.rejects(waiting, { name: 'AbortError' })
  t.equal(endless.destroyed, true)
  t.throws(() => new ObjectVerifier(object, { end: 1_000_004 }), wrong('end'))
  t.throws(() => new ObjectVerifier(object, { start: -1 }), wrong('start'))
  t.throws(() => new ObjectVerifier(object, { maxRanges: 0 }), wrong('maxRanges'))
  t.throws(() => new ObjectVerifier(object, { onMismatch: 'skip' as 'throw' }), wrong('onMismatch'))
  t.throws(() => new ObjectVerifier(object, { passThrough: 1 as unknown as boolean }), wrong('passThrough'))
  t.throws(() => new ObjectVerifier(object, { highWaterMark: -1 }), wrong('highWaterMark'))
})

t.test('verify: an input that fails rejects with its own error', async (t) => {
  async function* failing() {
    yield whole.subarray(0, 1000)
    throw new Error('connection reset')
  }
  await t.rejects(verify(failing(), object), { message: 'connection reset' })
})

t.test('verify: finds a block far away in a large object, and costs little when all is wrong', async (t) => {
  const large = generator.beginObject({ size: 2 ** 40 })
  const range = { start: 2 ** 39, end: 2 ** 39 + 2 * BLOCK }
  const far = large.read(range.start - 9000 * BLOCK, 2 * BLOCK)
  const report = await verify(far, large, { ...range, onMismatch: 'report' })
  t.match(report.badRanges, [{ start: range.start, found: { kind: 'elsewhere', shift: -9000 * BLOCK } }])
  t.equal(report.badRangeCount, 1)

  const alien = new DataGenerator({ seed: 7 }).beginObject({ size: 2 ** 24, dedup: 3 })
  const all: VerifyReport = await verify(alien.stream(), generator.beginObject({ size: 2 ** 24 }), {
    onMismatch: 'report',
  })
  t.match(all.badRanges[0], { start: 0, found: { kind: 'foreign' } })
  t.ok(all.badBytes > 2 ** 24 * 0.99)
})

t.test('isGeneratedPage: knows a page of any seed, and takes nothing else for one', async (t) => {
  const page = whole.subarray(0, 4096)
  for (let seed = 0; seed < 20; seed++) {
    const other = new DataGenerator({ seed }).beginObject({ size: 2 ** 20, compress: 1 + seed / 2 })
    const bytes = other.read(4096 * seed, 4096)
    t.equal(isGeneratedPage(bytes, page), true, `seed ${seed}`)
    t.equal(isGeneratedPage(Buffer.concat([bytes.subarray(64), bytes.subarray(0, 64)]), page), false)
    bytes[64 * 4]! ^= 1
    t.equal(isGeneratedPage(bytes, page), false)
  }
  t.equal(isGeneratedPage(Buffer.alloc(4096), page), false)
  t.equal(isGeneratedPage(Buffer.alloc(4096, 1), page), false)
  const next = whole.subarray(4096, 8192)
  t.equal(isGeneratedPage(next, page), true)
  t.equal(isGeneratedPage(next, next), false, 'the page that belongs there')
  t.equal(isGeneratedPage(next.subarray(0, 319), page), false, 'too short to tell')
  t.equal(isGeneratedPage(next.subarray(0, 320), page), true)
})

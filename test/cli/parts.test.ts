// The parts of the command line that need no process of their own.
import { gunzipSync, gzipSync } from 'node:zlib'
import zlib from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { decompress } from '../../src/cli/decompress.ts'
import { exitCodeOf } from '../../src/cli/exit-codes.ts'
import { compile, mapRecords } from '../../src/cli/map-records.ts'
import { describe } from '../../src/cli/progress.ts'
import { formatBytes, formatDuration, parseCount, parseSize } from '../../src/cli/units.ts'
import { CodecError, FrameError, JsonError, OffloadError, OptionError } from '../../src/errors.ts'
import { anyCut } from '../../src/testing/index.ts'

async function* stream(chunks: readonly Uint8Array[]) {
  for (const chunk of chunks) yield Buffer.from(chunk)
}

/** All that came, and the error after it. */
async function drain(chunks: readonly Uint8Array[]): Promise<{ bytes: Buffer; error: unknown }> {
  const out: Buffer[] = []
  try {
    for await (const chunk of decompress(stream(chunks))) out.push(chunk)
    return { bytes: Buffer.concat(out), error: undefined }
  } catch (error) {
    return { bytes: Buffer.concat(out), error }
  }
}

/** Bytes that do not compress. */
function noise(length: number): Buffer {
  let x = 1
  return Buffer.from(
    Array.from({ length }, () => {
      x ^= x << 13
      x ^= x >>> 17
      x ^= x << 5
      return x
    }),
  )
}
const text = Buffer.from('the quick brown fox '.repeat(5000))

t.test('decompress: plain bytes pass as they are, however they were cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 40 }).chain((bytes) => anyCut(bytes).map((chunks) => ({ bytes, chunks }))),
      async ({ bytes, chunks }) => {
        fc.pre(!(bytes[0] === 0x1f && bytes[1] === 0x8b) && bytes[0] !== 0x28)
        const drained = await drain(chunks)
        return drained.error === undefined && drained.bytes.equals(bytes)
      },
    ),
  )
})

t.test('decompress: gzip of several members, however it was cut', async () => {
  const packed = Buffer.concat([gzipSync(text), gzipSync(noise(70_000)), gzipSync('')])
  const plain = gunzipSync(packed)
  await fc.assert(
    fc.asyncProperty(anyCut(packed), async (chunks) => {
      const drained = await drain(chunks)
      return drained.error === undefined && drained.bytes.equals(plain)
    }),
    { numRuns: 30 },
  )
})

t.test('decompress: a truncated gzip gives what it holds, then an error', async (t) => {
  const packed = gzipSync(noise(200_000))
  const { bytes, error } = await drain([packed.subarray(0, 150_000)])
  t.ok(bytes.length > 100_000)
  t.ok(noise(200_000).subarray(0, bytes.length).equals(bytes))
  t.match(error, { code: 'ERR_MILLRACE_CODEC_TRUNCATED', offset: 150_000 })
  t.type(error, CodecError)
})

t.test(
  'decompress: zstd',
  { skip: typeof zlib.zstdCompressSync !== 'function' && 'this Node has no zstd' },
  async (t) => {
    const skippable = Buffer.from('502a4d1803000000616263', 'hex')
    const checksum = { params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } }
    const frames = [
      zlib.zstdCompressSync(text),
      skippable,
      zlib.zstdCompressSync(noise(300_000), checksum),
      zlib.zstdCompressSync(''),
      zlib.zstdCompressSync(Buffer.alloc(500_000)),
    ]
    const packed = Buffer.concat(frames)
    const plain = Buffer.concat([text, noise(300_000), Buffer.alloc(500_000)])

    t.test('all frames are read, however they were cut', async () => {
      await fc.assert(
        fc.asyncProperty(anyCut(packed), async (chunks) => {
          const drained = await drain(chunks)
          return drained.error === undefined && drained.bytes.equals(plain)
        }),
        { numRuns: 30 },
      )
    })

    t.test('a truncated frame gives what it holds, then an error', async (t) => {
      const { bytes, error } = await drain([packed.subarray(0, 250_000)])
      t.ok(plain.subarray(0, bytes.length).equals(bytes))
      t.ok(bytes.length >= text.length)
      t.match(error, { code: 'ERR_MILLRACE_CODEC_TRUNCATED', offset: 250_000 })
    })

    t.test('bytes after a frame that begin none are an error with their offset', async (t) => {
      const { bytes, error } = await drain([Buffer.concat([frames[0] as Buffer, Buffer.from('garbage')])])
      t.ok(bytes.equals(text))
      t.match(error, { code: 'ERR_MILLRACE_CODEC_INVALID', offset: frames[0]?.length })
    })
  },
)

t.test(
  'decompress: zstd without support says which Node has it',
  { skip: typeof zlib.createZstdDecompress === 'function' && 'this Node has zstd' },
  async (t) => {
    const { error } = await drain([Buffer.from('28b52ffd2000010000', 'hex')])
    t.match(error, { code: 'ERR_MILLRACE_NODE_VERSION', expected: '22.15.0' })
  },
)

t.test('sizes and counts mean what their names say', async (t) => {
  const sizes: [string, number][] = [
    ['0', 0],
    ['64KiB', 65536],
    ['64 KiB', 65536],
    ['1MB', 1e6],
    ['1e6', 1e6],
    ['10GiB', 10 * 2 ** 30],
    ['10.5k', 10500],
    ['7B', 7],
  ]
  for (const [written, bytes] of sizes) t.equal(parseSize(written), bytes, written)
  for (const wrong of ['', '-1', '1XB', 'KiB', '1e99', '0x10', '1..2'])
    t.throws(() => parseSize(wrong), /expected a size/, wrong)
  t.equal(parseCount('1M'), 1e6)
  t.equal(parseCount('4'), 4)
  for (const wrong of ['', '-1', 'two', '1e99']) t.throws(() => parseCount(wrong), /whole number/, wrong)
  t.strictSame([0, 1023, 1536, 5 * 2 ** 20, 150 * 2 ** 30].map(formatBytes), [
    '0 B',
    '1023 B',
    '1.5 KiB',
    '5.0 MiB',
    '150 GiB',
  ])
  t.strictSame([0, 61_000, 3_723_000].map(formatDuration), ['0:00', '1:01', '1:02:03'])
})

t.test('the progress line shows a bar and the time to go only where the size is known', async (t) => {
  const startedAt = performance.now() - 2000
  t.match(
    describe({ size: undefined, bytesRead: 2 ** 21 }, startedAt),
    /^2\.0 MiB {2}0:02 {2}\d+ KiB\/s|1\.0 MiB\/s/,
  )
  t.match(describe({ size: 2 ** 22, bytesRead: 2 ** 21 }, startedAt), /\[={10} {10}\] {2}50 % {2}ETA 0:02/)
})

t.test('exit codes: 2 for options, 3 for corrupt input, 1 for all else', async (t) => {
  t.equal(exitCodeOf(new OptionError('x', 1, '2')), 2)
  t.equal(exitCodeOf(new JsonError('ERR_MILLRACE_JSON_SYNTAX', 'x')), 3)
  t.equal(exitCodeOf(new JsonError('ERR_MILLRACE_JSON_VALUE', 'x')), 1)
  t.equal(exitCodeOf(new FrameError('ERR_MILLRACE_FRAME_TRUNCATED', 'x')), 3)
  t.equal(exitCodeOf(new Error('x', { cause: new JsonError('ERR_MILLRACE_JSON_UTF8', 'x') })), 3)
  t.equal(
    exitCodeOf(
      new OffloadError('ERR_MILLRACE_OFFLOAD_HANDLER', 'x', {
        cause: new JsonError('ERR_MILLRACE_JSON_SYNTAX', 'x'),
      }),
    ),
    1,
  )
  t.equal(exitCodeOf(new Error('x')), 1)
})

t.test('mapRecords: what was made before a failure travels with the error', async (t) => {
  const workerData = {
    fn: '(r, { index }) => { if (r === 3) throw new TypeError("no"); return index }',
    onError: 'fail' as const,
  }
  const context = {
    recordIndex: (i: number) => 10 + i,
    workerData,
    report: () => t.fail('nothing is reported'),
  }
  const error = await Promise.resolve()
    .then(() => mapRecords([1, 2, 3, 4], context))
    .then(
      () => undefined,
      (reason: unknown) => reason,
    )
  t.match(error, { message: /record 12: no/, index: 12, partial: [10, 11] })
  t.throws(() => compile('42', 'FN'), /FN is not a function, but number/)
})

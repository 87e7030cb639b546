import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import zlib from 'node:zlib'
import * as fc from 'fast-check'
import t from 'tap'
import { detectFormat, formatOfName } from '../../src/codec/detect-format.ts'
import { StreamingDecoder } from '../../src/codec/streaming-decoder.ts'
import { StreamingEncoder, type PackFormat } from '../../src/codec/streaming-encoder.ts'
import { unpackFrame } from '../../src/codec/zstd-reader.ts'
import { anyCut, laws } from '../../src/testing/index.ts'
import { anyRaw, decodeAll, hasZstd, lines, noise, pack, through, unpack } from './helpers/through.ts'

const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}`, import.meta.url))
const sample = lines(150_000, 7)
const formats: PackFormat[] = ['gzip', 'bgzf', ...(hasZstd ? (['zstd'] as const) : [])]
const folder = mkdtempSync(join(tmpdir(), 'millrace-codec-'))
t.teardown(() => rmSync(folder, { recursive: true }))

t.test(
  'gzip, BGZF, zstd: what was encoded comes back in any cut, and does not depend on cuts or workers',
  async () => {
    const anyFormat = fc.constantFrom(...formats).chain((format) =>
      fc.record({
        format: fc.constant(format),
        blockSize: fc.integer({ min: 30, max: 800 }),
        context: fc.constantFrom(
          'none' as const,
          format === 'gzip' ? ('previous' as const) : ('none' as const),
        ),
      }),
    )
    await fc.assert(
      fc.asyncProperty(
        anyRaw.chain((raw) => fc.tuple(fc.constant(Buffer.from(raw)), anyCut(raw))),
        anyFormat,
        fc.nat(),
        async ([raw, chunks], options, at) => {
          const packed = await pack(chunks, { ...options, workers: 3 })
          assert.ok(packed.equals(await pack(raw, options)))
          const cut = at % packed.length
          assert.ok((await unpack([packed.subarray(0, cut), packed.subarray(cut)])).equals(raw))
          if (options.format !== 'zstd') assert.ok(zlib.gunzipSync(packed).equals(raw))
        },
      ),
      { numRuns: 120 },
    )
  },
)

t.test(
  'gzip, BGZF, zstd: the decoder keeps the law of cuts, and any prefix gives a prefix and then an error',
  async (t) => {
    for (const format of formats) {
      const raw = Buffer.concat([lines(3000), noise(500)])
      const packed = await pack(raw, { format, blockSize: 600 })
      const decoder = () => new StreamingDecoder({ workers: 2 })
      await laws.cutIndependent(decoder, { input: packed, parameters: { numRuns: 25 } })
      for (let length = 0; length < packed.length; length += length < 40 ? 1 : 23) {
        const { bytes, error } = await decodeAll(packed.subarray(0, length), { format })
        // a seek table is no part of the content: without it the frames are a whole file
        const isWhole = format === 'zstd' && bytes.equals(raw)
        assert.ok(
          isWhole || (error as { code?: string })?.code === 'ERR_MILLRACE_CODEC_TRUNCATED',
          `${format} ${length}`,
        )
        assert.ok(bytes.equals(raw.subarray(0, bytes.length)))
      }
      t.pass(format)
    }
  },
)

t.test('files of the original tools are read: gzip, pigz, bgzip, zstd', async (t) => {
  for (const name of ['gzip.gz', 'pigz.gz', 'bgzip.bgz', ...(hasZstd ? ['zstd.zst', 'zstd-pipe.zst'] : [])]) {
    const packed = fixture(name)
    t.ok((await unpack(packed)).equals(sample), name)
    const bytes = Array.from(packed.subarray(0, 3000), (byte) => Buffer.of(byte))
    t.ok((await unpack([...bytes, packed.subarray(3000)])).equals(sample), `${name}, byte by byte`)
    t.equal(detectFormat(packed), name.endsWith('.gz') ? 'gzip' : name.endsWith('.bgz') ? 'bgzf' : 'zstd')
    t.ok(
      (await unpack(Buffer.concat([packed, packed]))).equals(Buffer.concat([sample, sample])),
      `${name} twice`,
    )
  }
})

t.test('what is written is read by the original tools, where they are installed', async (t) => {
  const tools: [PackFormat, string, string[]][] = [
    ['gzip', 'gzip', ['-dc']],
    ['bgzf', 'gzip', ['-dc']],
    ['bgzf', 'bgzip', ['-dc']],
    ['zstd', 'zstd', ['-dcq']],
  ]
  for (const [format, tool, args] of tools) {
    if (!formats.includes(format)) continue
    for (const raw of [sample, Buffer.concat([noise(70_000), lines(70_000)]), Buffer.alloc(0)]) {
      const file = join(folder, 'packed')
      writeFileSync(file, await pack(raw, { format, ...(format !== 'bgzf' && { blockSize: 20_000 }) }))
      try {
        const out = execFileSync(tool, args, { input: readFileSync(file), stdio: ['pipe', 'pipe', 'ignore'] })
        t.ok(out.equals(raw), `${tool}, ${raw.length} bytes`)
      } catch (error) {
        if ((error as { code?: string }).code !== 'ENOENT') throw error
        t.comment(`${tool} is not installed`)
      }
    }
  }
})

t.test('gzip: names, comments, extra fields and header checksums are passed over', async (t) => {
  const body = zlib.deflateRawSync('content')
  const trailer = zlib.gzipSync('content').subarray(-8)
  for (const [flags, rest] of [
    [8, 'name.txt\0'],
    [16, 'a comment\0'],
    [24, 'name\0comment\0'],
    [2, 'xx'],
    [4, '\x03\0abc'],
    [31, '\x03\0abcname\0comment\0xx'],
  ] as const) {
    const header = Buffer.concat([
      Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3]),
      Buffer.from(rest, 'latin1'),
    ])
    const bytes = Buffer.concat([header, body, trailer])
    t.equal(String(await unpack(bytes)), 'content', String(flags))
    t.equal(
      String(await unpack(Array.from(bytes, (byte) => Buffer.of(byte)))),
      'content',
      `${flags}, byte by byte`,
    )
  }
  const endless = Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3]),
    Buffer.alloc(200_000, 'n'),
  ])
  t.match((await decodeAll(endless)).error, { code: 'ERR_MILLRACE_CODEC_LIMIT' })
  t.match((await decodeAll(Buffer.from([0x1f, 0x8b, 8, 0xff, 0, 0, 0, 0, 0, 0]), { format: 'gzip' })).error, {
    code: 'ERR_MILLRACE_CODEC_INVALID',
  })
})

t.test('gzip: zeros behind the last member are padding, anything else is an error', async (t) => {
  const packed = zlib.gzipSync(sample)
  t.ok((await unpack(Buffer.concat([packed, Buffer.alloc(1000)]))).equals(sample))
  for (const garbage of ['garbage', '\0\0garbage']) {
    for (const chunks of [[Buffer.concat([packed, Buffer.from(garbage)])], [packed, Buffer.from(garbage)]]) {
      const { bytes, error } = await decodeAll(chunks)
      t.ok(bytes.equals(sample))
      t.match(error, {
        code: 'ERR_MILLRACE_CODEC_INVALID',
        offset: packed.length + garbage.lastIndexOf('\0') + 1,
      })
    }
  }
})

t.test('gzip: damage is an error with its place', async (t) => {
  const packed = zlib.gzipSync(noise(100_000))
  const change = (at: number) => {
    const copy = Buffer.from(packed)
    copy.set([copy.at(at) ^ 0xff], at < 0 ? copy.length + at : at)
    return copy
  }
  t.match((await decodeAll(change(-8))).error, { code: 'ERR_MILLRACE_CODEC_CHECKSUM', message: /CRC-32/ })
  t.match((await decodeAll(change(-1))).error, {
    code: 'ERR_MILLRACE_CODEC_CHECKSUM',
    message: /has 100000 bytes/,
  })
  const { bytes, error } = await decodeAll(change(11))
  t.match(error, { code: 'ERR_MILLRACE_CODEC_INVALID', message: /damaged/ })
  t.ok(noise(100_000).subarray(0, bytes.length).equals(bytes))
  t.match((await decodeAll(packed.subarray(0, 60_000))).error, {
    code: 'ERR_MILLRACE_CODEC_TRUNCATED',
    offset: 60_000,
  })
})

t.test('bombs: they are unpacked in steps of a bounded size, or refused by their ratio', async (t) => {
  const bombs = [
    zlib.gzipSync(Buffer.alloc(100e6)),
    ...(hasZstd ? [zlib.zstdCompressSync(Buffer.alloc(100e6))] : []),
  ]
  for (const bomb of bombs) {
    t.match((await decodeAll(bomb, { maxRatio: 100 })).error, {
      code: 'ERR_MILLRACE_CODEC_LIMIT',
      expected: 100,
    })
    const decoder = new StreamingDecoder()
    decoder.end(bomb)
    let bytes = 0
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      bytes += chunk.length
      assert.ok(decoder.readableLength < 20e6)
    }
    t.equal(bytes, 100e6)
  }
  const doubled = Buffer.concat(bombs.slice(1).flatMap((bomb) => [bomb, bomb]))
  if (hasZstd) t.equal((await unpack(doubled)).length, 200e6, 'one bomb after the other')
})

t.test('BGZF: a file without its end mark is truncated, and a damaged block is named', async (t) => {
  const packed = await pack(sample, { format: 'bgzf' })
  const { bytes, error } = await decodeAll(packed.subarray(0, -28))
  t.ok(bytes.equals(sample))
  t.match(error, { code: 'ERR_MILLRACE_CODEC_TRUNCATED', message: /without the empty block/ })
  const second = packed.readUInt16LE(16) + 1
  const damage = (change: (copy: Buffer) => unknown) => {
    const copy = Buffer.from(packed)
    change(copy)
    return decodeAll(copy)
  }
  t.match((await damage((copy) => copy.fill(0, second + 100, second + 110))).error, {
    code: 'ERR_MILLRACE_CODEC_CHECKSUM',
    offset: second,
  })
  t.match((await damage((copy) => copy.writeUInt32LE(1, second - 8))).error, {
    code: 'ERR_MILLRACE_CODEC_CHECKSUM',
    offset: 0,
  })
  t.match((await damage((copy) => copy.writeUInt32LE(70_000, second - 4))).error, {
    code: 'ERR_MILLRACE_CODEC_LIMIT',
    actual: 70_000,
  })
  t.match((await damage((copy) => (copy[second + 12] = 0))).error, {
    code: 'ERR_MILLRACE_CODEC_INVALID',
    offset: second,
  })
  t.match((await decodeAll(Buffer.concat([packed, Buffer.from('xy')]))).error, {
    code: 'ERR_MILLRACE_CODEC_INVALID',
    offset: packed.length,
  })
  t.match((await decodeAll(packed.subarray(0, second + 50))).error, {
    code: 'ERR_MILLRACE_CODEC_TRUNCATED',
    offset: second + 50,
  })
})

t.test('BGZF: extra fields beside its own are passed over', async (t) => {
  const packed = await pack(Buffer.from('some text'), { format: 'bgzf' })
  const size = packed.readUInt16LE(16) + 1
  const extra = Buffer.from('585901007a', 'hex')
  const first = Buffer.concat([packed.subarray(0, 12), extra, packed.subarray(12, size)])
  first.writeUInt16LE(6 + extra.length, 10)
  first.writeUInt16LE(size - 1 + extra.length, 16 + extra.length)
  t.equal(
    String(await unpack(Buffer.concat([first, packed.subarray(size)]), { format: 'bgzf' })),
    'some text',
  )
})

t.test(
  'a zstd frame that gives less than its seek table says',
  { skip: !hasZstd && 'no zstd in this Node' },
  async (t) => {
    const frame = zlib.zstdCompressSync(Buffer.from('ten bytes.'))
    t.equal(String(await unpackFrame(frame, 10, 0)), 'ten bytes.')
    await t.rejects(unpackFrame(frame, 11, 64), {
      code: 'ERR_MILLRACE_CODEC_CHECKSUM',
      offset: 64,
      expected: 11,
      actual: 10,
    })
  },
)

t.test('zstd', { skip: !hasZstd && 'no zstd in this Node' }, async (t) => {
  const skippable = Buffer.from('502a4d1803000000616263', 'hex')

  t.test('many frames in one chunk all come out', async (t) => {
    const frames = [lines(1000), Buffer.alloc(0), noise(70_000), Buffer.alloc(300_000)]
    const packed = Buffer.concat([
      skippable,
      ...frames.map((frame) => zlib.zstdCompressSync(frame)),
      skippable,
    ])
    t.ok((await unpack(packed)).equals(Buffer.concat(frames)))
    t.ok((await unpack(packed, { maxBlockSize: 500 })).equals(Buffer.concat(frames)), 'as streams, too')
    await laws.cutIndependent(() => new StreamingDecoder({ maxBlockSize: 500 }), {
      input: packed,
      parameters: { numRuns: 20 },
    })
  })

  t.test('garbage after a frame, damage and truncation are errors with their place', async (t) => {
    const frame = zlib.zstdCompressSync(noise(200_000))
    for (const options of [{}, { maxBlockSize: 1000 }]) {
      const garbage = await decodeAll(Buffer.concat([frame, Buffer.from('garbage')]), options)
      t.equal(garbage.bytes.length, 200_000)
      t.match(garbage.error, { code: 'ERR_MILLRACE_CODEC_INVALID', offset: frame.length })
      const cut = await decodeAll(frame.subarray(0, 150_000), options)
      t.match(cut.error, { code: 'ERR_MILLRACE_CODEC_TRUNCATED', offset: 150_000 })
      t.ok(noise(200_000).subarray(0, cut.bytes.length).equals(cut.bytes))
    }
    const checked = await pack(lines(5000), { format: 'zstd' })
    checked[checked.length - 30]! ^= 1
    t.match((await decodeAll(checked)).error, { code: 'ERR_MILLRACE_CODEC_CHECKSUM', offset: 0 })
    t.match((await decodeAll(checked, { maxBlockSize: 1000 })).error, { code: 'ERR_MILLRACE_CODEC_CHECKSUM' })
  })

  t.test('a frame that needs a dictionary, or too large a window, is refused', async (t) => {
    t.match((await decodeAll(Buffer.from('28b52ffd010007010000', 'hex'))).error, {
      code: 'ERR_MILLRACE_CODEC_UNKNOWN',
      message: /dictionary 7/,
    })
    t.match((await decodeAll(Buffer.from('28b52ffd00ff010000', 'hex'))).error, {
      code: 'ERR_MILLRACE_CODEC_LIMIT',
      message: /window/,
    })
    // says that it has 3 bytes, and goes on for ever
    const endless = Buffer.concat([
      Buffer.from('28b52ffd2003', 'hex'),
      ...Array.from({ length: 2000 }, () => Buffer.from('000000', 'hex')),
    ])
    t.match((await decodeAll(endless)).error, { code: 'ERR_MILLRACE_CODEC_LIMIT' })
    const liar = Buffer.from('28b52ffd2005190000616263', 'hex')
    t.match((await decodeAll(liar)).error, { code: 'ERR_MILLRACE_CODEC_CHECKSUM' })
  })
})

t.test(
  'zstd without support says which Node has it',
  { skip: hasZstd && 'this Node has zstd' },
  async (t) => {
    t.match((await decodeAll(fixture('zstd.zst'))).error, {
      code: 'ERR_MILLRACE_NODE_VERSION',
      expected: '22.15.0',
    })
    t.throws(() => new StreamingEncoder({ format: 'zstd' }), { code: 'ERR_MILLRACE_NODE_VERSION' })
  },
)

t.test('formats: what is none, and what cannot be recovered, is told', async (t) => {
  t.match((await decodeAll(Buffer.from('plain text, which nobody packed'))).error, {
    code: 'ERR_MILLRACE_CODEC_INVALID',
    offset: 0,
  })
  t.match((await decodeAll([])).error, { code: 'ERR_MILLRACE_CODEC_TRUNCATED', message: /empty/ })
  t.match((await decodeAll(fixture('gzip.gz'), { mode: 'recover' })).error, {
    code: 'ERR_MILLRACE_OPTION',
    option: 'mode',
  })
  const decoder = new StreamingDecoder()
  await through(decoder, [fixture('gzip.gz')])
  t.equal(decoder.format, 'gzip')
  t.strictSame(['a.gz', 'b.MRZ', 'c.zst', 'd.bgz', 'e.txt', 'tgz'].map(formatOfName), [
    'gzip',
    'container',
    'zstd',
    'bgzf',
    undefined,
    undefined,
  ])
})

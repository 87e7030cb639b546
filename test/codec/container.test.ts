import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import t from 'tap'
import type { BlockCodec } from '../../src/codec/block-codec.ts'
import { combineCrc32, crc32 } from '../../src/codec/crc32.ts'
import type { Gap } from '../../src/codec/gap-ledger.ts'
import {
  GLYPH,
  HEADER_BYTES,
  MARKER,
  maskFor,
  readGlyphHeader,
  writeGlyphHeader,
  type GlyphHeader,
} from '../../src/codec/glyph-header.ts'
import { StreamingDecoder } from '../../src/codec/streaming-decoder.ts'
import { StreamingEncoder } from '../../src/codec/streaming-encoder.ts'
import { GlyphDeframer } from '../../src/framing/glyph-deframer.ts'
import { decodeAll, hasZstd, lines, noise, pack, through, unpack } from './helpers/through.ts'

const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}`, import.meta.url))
const sample = lines(150_000, 7)
const wrong = (option: string) => ({ code: 'ERR_MILLRACE_OPTION', option })

/** `hello, hello, hello`, stored in blocks of 8 bytes: every byte of version 1. */
const GOLDEN =
  '89bb808000f51ec7a9000051c7a918000000000000000000001b000000b9e3171a81c972ad0100000800000073746f726500000000000000000000000d0a1a0a' +
  '44a8808000f51ec7a9000051c7a918000000000000000000000800000051c7a91897ae391b68656c6c6f2c2068' +
  '44a8808000f51ec7a9000051c7a9180100000008000000000008000000845a3e9724e67460656c6c6f2c206865' +
  '44a3808000f51ec7a9000051c7a918020000001000000000000300000034b3c9aa7fa7ac106c6c6f' +
  '49a6808000f51ec7a9000051c7a9180300000013000000000006000000c1259fa27027ee602d082d082803' +
  '52a5808000f51ec7a9000051c7a918030000001300000000000500000070c2a144b8a888c88201132b03' +
  '45ae808000f51ec7a9000051c7a918030000001300000000000e00000073b24582bdefaee84a01000000002a0000009fa1ca09'

t.test('container: version 1 is written and read byte for byte', async (t) => {
  const raw = Buffer.from('hello, hello, hello')
  const packed = await pack(raw, { codec: 'store', blockSize: 8 })
  t.equal(packed.toString('hex'), GOLDEN)
  t.equal(String(await unpack(Buffer.from(GOLDEN, 'hex'))), String(raw))
})

t.test('container: files of this version stay readable, whatever made them', async (t) => {
  for (const name of ['deflate-previous', 'brotli', ...(hasZstd ? ['zstd-dictionary'] : [])]) {
    t.ok((await unpack(fixture(`${name}.mrz`))).equals(sample), name)
  }
})

t.test('container: a file is a sequence of glyphs and nothing else', async (t) => {
  const types: number[] = []
  const deframer = new GlyphDeframer((_bytes, _start, _end, header) => types.push(header))
  deframer.write(await pack(lines(1000), { codec: 'deflate', context: 'dictionary', blockSize: 500 }))
  deframer.end()
  const { file, dictionary, data, index, root, end } = GLYPH
  t.strictSame(types, [file, dictionary, data, data, index, root, end])
})

t.test('container: what stands around blocks of 256 KiB is less than 0.05 %', async (t) => {
  const raw = noise(262_144 * 4)
  const packed = await pack(raw, { codec: 'deflate', blockSize: 262_144 })
  t.ok(packed.length / raw.length < 1.0005, `${packed.length} bytes`)
})

t.test('container: many blocks have an index in levels', async (t) => {
  const raw = lines(4096 * 2 + 100)
  const packed = await pack(raw, { codec: 'store', blockSize: 1 })
  t.ok((await unpack(packed)).equals(raw))
  const missing = glyphs(packed).find(({ header }) => header.type === GLYPH.index)!
  const without = Buffer.concat([packed.subarray(0, missing.offset), packed.subarray(missing.end)])
  t.match((await decodeAll(without)).error, {
    code: 'ERR_MILLRACE_CODEC_INVALID',
    message: /an index glyph is missing/,
  })
})

t.test('container: what does not get smaller is stored, and counted', async (t) => {
  const encoder = new StreamingEncoder({ codec: 'deflate', blockSize: 1000 })
  const { bytes } = await through(encoder, [Buffer.concat([lines(2000), noise(3000)])])
  t.match(encoder.stats(), { bytesIn: 5000, bytesOut: bytes.length, blocks: 5, storedBlocks: 3, gaps: 0 })
  t.equal(encoder.stats().ratio, 5000 / bytes.length)
  const decoder = new StreamingDecoder()
  await through(decoder, [bytes])
  t.match(decoder.stats(), { bytesOut: 5000, blocks: 5, storedBlocks: 3, ratio: 5000 / bytes.length })
})

t.test('container: a marker in the raw bytes is masked, so that no payload holds one', async (t) => {
  for (const raw of [
    MARKER,
    Buffer.concat([noise(50), MARKER, MARKER, noise(50)]),
    Buffer.concat(Array.from({ length: 40 }, () => MARKER)),
  ]) {
    const packed = await pack(raw, { codec: 'store' })
    t.equal(glyphs(packed).find(({ header }) => header.type === GLYPH.data)!.header.mask > 0, true)
    t.equal(packed.toString('latin1').split(MARKER.toString('latin1')).length - 1, 5, 'one a glyph')
    t.ok((await unpack(packed)).equals(raw))
  }
  const masks = Array.from({ length: 256 }, (_, mask) => MARKER.map((byte) => byte ^ mask))
  t.equal(maskFor(Buffer.concat(masks.slice(0, 100))), 100)
  t.equal(maskFor(Buffer.concat(masks)), 0, 'one that holds it under every mask is left alone')
})

t.test(
  'container: recovery does not take a container inside of a damaged one for a part of it',
  async (t) => {
    const inner = await pack(lines(3000, 4), { codec: 'deflate', blockSize: 300 })
    const raw = Buffer.concat([lines(500), inner, lines(500, 2)])
    const packed = await pack(raw, { codec: 'store', blockSize: 1000 })
    const data = glyphs(packed).filter(({ header }) => header.type === GLYPH.data)
    const damaged = Buffer.from(packed)
    damaged[data[1]!.offset + 20]! ^= 1
    const gaps: Gap[] = []
    const decoder = new StreamingDecoder({ mode: 'recover', fill: true })
    decoder.on('gap', (gap: Gap) => gaps.push(gap))
    const { bytes } = await through(decoder, [damaged])
    t.match(gaps, [
      { start: 1000, end: 2000, offset: data[2]!.offset, reason: `no glyph at byte ${data[1]!.offset}` },
    ])
    t.ok(bytes.equals(Buffer.from(raw).fill(0, 1000, 2000)))
    t.match(decoder.stats(), { gaps: 1 })
  },
)

t.test('strict: damage is named by byte, block and raw byte, after all that comes before', async (t) => {
  const raw = lines(1000)
  const packed = await pack(raw, { codec: 'deflate', blockSize: 250 })
  const block = glyphs(packed).filter(({ header }) => header.type === GLYPH.data)[2]!
  const payload = flip(packed, block.offset + HEADER_BYTES + 5)
  const place = { offset: block.offset, index: 2, rawOffset: 500 }
  let outcome = await decodeAll(payload)
  t.match(outcome.error, { name: 'CodecError', code: 'ERR_MILLRACE_CODEC_CHECKSUM', ...place })
  t.ok(outcome.bytes.equals(raw.subarray(0, 500)))
  outcome = await decodeAll(flip(packed, block.offset + 12))
  t.match(outcome.error, { code: 'ERR_MILLRACE_CODEC_INVALID', ...place, expected: 'a glyph' })
  t.ok(outcome.bytes.equals(raw.subarray(0, 500)))
  outcome = await decodeAll(packed.subarray(0, block.end - 3))
  t.match(outcome.error, { code: 'ERR_MILLRACE_CODEC_TRUNCATED', offset: block.end - 3, rawOffset: 500 })
})

t.test('strict: glyphs that are good by themselves, but not here, are errors', async (t) => {
  const options = { codec: 'store', blockSize: 4 } as const
  const packed = await pack(Buffer.from('aaaabbbbcccc'), options)
  const other = await pack(Buffer.from('xxxxyyyyzzzz'), options)
  const [file, a, b, c, index, root, end] = glyphs(packed).map(({ offset, end: e }) =>
    packed.subarray(offset, e),
  ) as [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer, Buffer]
  const foreign = glyphs(other)
  const invalid = async (parts: Buffer[], message: RegExp) =>
    t.match((await decodeAll(Buffer.concat(parts))).error, { code: 'ERR_MILLRACE_CODEC_INVALID', message })
  await invalid([file, a, c], /expected block 1 at raw byte 4, got 2 at 8/)
  await invalid([file, a, b, c, index, root, end, end], /expected the beginning of a file/)
  await invalid([file, a, file], /a new file begins inside of another/)
  await invalid([file, a, b, c, index, root, a], /expected block 3 at raw byte 12/)
  await invalid([file, a, b, c, index, end], /in the wrong place/)
  await invalid([file, a, b, c, root], /the index does not list/)
  await invalid([file, a, other.subarray(foreign[2]!.offset, foreign[2]!.end)], /of another file/)
  await invalid([file, a, b, c, reglyph(index, (payload) => void payload[0]!++)], /the index does not list/)
  await invalid(
    [file, a, b, c, index, root, reglyph(end, (payload) => void payload[0]!++)],
    /file of another length/,
  )
  const checksum = [file, a, b, c, index, root, reglyph(end, (payload) => void payload[10]!++)]
  t.match((await decodeAll(Buffer.concat(checksum))).error, {
    code: 'ERR_MILLRACE_CODEC_CHECKSUM',
    message: /CRC-32 of the whole/,
  })
  await invalid([reglyph(file, (payload) => void payload.fill(0x0a, 23))], /makes no sense/)
  await invalid([file, reglyph(a, () => {}, { rawLength: 0 })], /4 packed bytes for 0 raw ones/)
})

t.test('limits: absurd lengths are refused before memory is taken', async (t) => {
  const packed = await pack(lines(100), { codec: 'deflate', blockSize: 50 })
  const [file, block] = glyphs(packed).map(({ offset, end }) => packed.subarray(offset, end)) as [
    Buffer,
    Buffer,
  ]
  const limit = { code: 'ERR_MILLRACE_CODEC_LIMIT' }
  const before = process.memoryUsage().rss
  t.match(
    (await decodeAll(Buffer.concat([file, reglyph(block, () => {}, { rawLength: 0xffffffff })]))).error,
    { ...limit, expected: 50, actual: 0xffffffff },
  )
  t.match(
    (await decodeAll(Buffer.concat([file, reglyph(block, () => {}, { rawLength: 51 })]))).error,
    limit,
    'one past the block size',
  )
  t.ok(process.memoryUsage().rss - before < 200e6)
  t.match((await decodeAll(packed, { maxBlockSize: 49 })).error, { ...limit, expected: 49, actual: 50 })
  t.ok((await unpack(packed, { maxBlockSize: 50 })).equals(lines(100)))
  const huge = reglyph(file, (payload) => payload.writeUInt32LE(2 ** 31, 3))
  t.match((await decodeAll(Buffer.concat([huge, block]))).error, { ...limit, actual: 2 ** 31 })
  for (const part of [
    reglyph(file, () => {}, { rawLength: 28 }),
    Buffer.concat([file, reglyph(block, () => {}, { type: GLYPH.index, rawLength: 1e6 })]),
  ]) {
    t.match((await decodeAll(part)).error, limit)
  }
})

t.test('limits: a length that never ends is no glyph', async (t) => {
  const bytes = Buffer.from(GOLDEN, 'hex')
  bytes[4] = 0x80
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 33)), 33)
  t.match((await decodeAll(bytes)).error, { code: 'ERR_MILLRACE_CODEC_INVALID', offset: 0 })
  const short = Buffer.from(GOLDEN, 'hex')
  short[1] = 0x81
  short.writeUInt32LE(crc32(short.subarray(0, 33)), 33)
  t.equal(readGlyphHeader(short, 0), undefined, 'shorter than its own header')
})

t.test('limits: a block that unpacks to more than it says, or to less, is refused', async (t) => {
  const packed = await pack(Buffer.alloc(5000), { codec: 'deflate', blockSize: 5000 })
  const [file, block] = glyphs(packed).map(({ offset, end }) => packed.subarray(offset, end)) as [
    Buffer,
    Buffer,
  ]
  t.match((await decodeAll(Buffer.concat([file, reglyph(block, () => {}, { rawLength: 4999 })]))).error, {
    code: 'ERR_MILLRACE_CODEC_LIMIT',
    expected: 4999,
  })
  const more = reglyph(file, (payload) => payload.writeUInt32LE(6000, 3))
  t.match((await decodeAll(Buffer.concat([more, reglyph(block, () => {}, { rawLength: 5001 })]))).error, {
    code: 'ERR_MILLRACE_CODEC_CHECKSUM',
    expected: 5001,
    actual: 5000,
  })
})

t.test('limits: a ratio above maxRatio is refused, in recovery too', async (t) => {
  const packed = await pack(Buffer.alloc(300_000), { codec: 'deflate', blockSize: 100_000 })
  const first = glyphs(packed)[1]!
  t.match((await decodeAll(packed, { maxRatio: 100 })).error, {
    code: 'ERR_MILLRACE_CODEC_LIMIT',
    expected: 100,
    offset: first.offset,
  })
  t.match((await decodeAll(packed, { maxRatio: 100, mode: 'recover' })).error, {
    code: 'ERR_MILLRACE_CODEC_LIMIT',
  })
  t.equal((await unpack(packed, { maxRatio: Infinity })).length, 300_000)
})

t.test('versions: what is not known is told, and what may be passed over is', async (t) => {
  const packed = await pack(Buffer.from('abc'), { codec: 'store' })
  const [file, block, ...rest] = glyphs(packed).map(({ offset, end }) => packed.subarray(offset, end)) as [
    Buffer,
    Buffer,
    ...Buffer[],
  ]
  t.match((await decodeAll(reglyph(file, (payload) => void (payload[0] = 2)))).error, {
    code: 'ERR_MILLRACE_CODEC_UNKNOWN',
    actual: 2,
  })
  t.match((await decodeAll(Buffer.concat([file, reglyph(block, () => {}, { type: 0x58 })]))).error, {
    code: 'ERR_MILLRACE_CODEC_UNKNOWN',
    actual: 0x58,
  })
  const small = Buffer.concat([
    file,
    reglyph(block, () => {}, { type: 0x78 }),
    block,
    ...rest.slice(0, -1),
    reglyph(rest.at(-1), (payload) => void payload.writeUIntLE(packed.length + block.length, 0, 6)),
  ])
  t.equal(String(await unpack(small)), 'abc', 'a type in a small letter')
})

const deflate = promisify(zlib.deflate)
const inflate = promisify(zlib.inflate)
const own: BlockCodec = {
  name: 'my-zlib',
  contextBytes: 100,
  pack: (bytes, { context }) => deflate(bytes, context ? { dictionary: context } : {}),
  unpack: (bytes, { rawLength, context }) =>
    inflate(bytes, { maxOutputLength: rawLength, ...(context && { dictionary: context }) }),
}

t.test('codecs: one of your own is named in the file, and needed to read it', async (t) => {
  const raw = lines(3000)
  for (const context of ['none', 'previous', 'dictionary'] as const) {
    const packed = await pack(raw, { codec: own, context, blockSize: 500 })
    t.ok((await unpack(packed, { codecs: [own] })).equals(raw), context)
    t.match((await decodeAll(packed)).error, {
      code: 'ERR_MILLRACE_CODEC_UNKNOWN',
      expected: 'my-zlib',
      message: /"my-zlib"; give it in codecs/,
    })
    t.match((await decodeAll(packed, { mode: 'recover' })).error, { code: 'ERR_MILLRACE_CODEC_UNKNOWN' })
  }
  const packed = await pack(raw, { codec: own, blockSize: 500 })
  const gaps: Gap[] = []
  await decodeAll(flip(packed, 3), { mode: 'recover', codecs: [own], onGap: (gap) => gaps.push(gap) })
  t.match(gaps, [{ start: 0, end: 3000 }], 'the name is lost with the beginning')
})

t.test('codecs: what one throws is an error of its block, after the blocks before', async (t) => {
  const failing: BlockCodec = {
    ...own,
    pack: (bytes) => (bytes[0] === 0x78 ? Promise.reject(new Error('not x')) : bytes),
  }
  const { bytes, error } = await through(new StreamingEncoder({ codec: failing, blockSize: 4 }), [
    Buffer.from('aaaaxxxx'),
  ])
  t.match(error, { code: 'ERR_MILLRACE_CODEC_FAILED', index: 1, rawOffset: 4, cause: { message: 'not x' } })
  t.ok(bytes.length > 64)
  const broken: BlockCodec = { ...own, unpack: () => Promise.reject(new Error('no idea')) }
  const packed = await pack(lines(100), { codec: own })
  t.match((await decodeAll(packed, { codecs: [broken] })).error, {
    code: 'ERR_MILLRACE_CODEC_CHECKSUM',
    message: /no idea/,
  })
})

t.test('encoder: options that make no sense are refused', async (t) => {
  for (const [option, options] of [
    ['codec', { codec: 'lzma' }],
    ['codec.name', { codec: { ...own, name: '' } }],
    ['codec.contextBytes', { codec: { ...own, contextBytes: 1e9 } }],
    ['codec', { codec: 'deflate', format: 'zstd' }],
    ['level', { codec: 'deflate', level: 10 }],
    ['level', { codec: own, level: 1.5 }],
    ['blockSize', { blockSize: 0 }],
    ['blockSize', { blockSize: 'large' }],
    ['blockSize', { format: 'bgzf', blockSize: 70_000 }],
    ['context', { codec: 'brotli', context: 'previous' }],
    ['context', { format: 'gzip', context: 'dictionary' }],
    ['dictionary', { codec: 'deflate', dictionary: Buffer.alloc(5) }],
    ['dictionary', { codec: 'deflate', context: 'dictionary', dictionary: Buffer.alloc(40_000) }],
    ['dictionary', { format: 'gzip', dictionary: Buffer.alloc(5) }],
    ['restartEvery', { codec: 'deflate', context: 'previous', restartEvery: 0 }],
    ['workers', { workers: 0 }],
    ['format', { format: 'zip' }],
    ['gzi', { gzi: true }],
    ['highWaterMark', { highWaterMark: -1 }],
    ['signal', { signal: 'now' }],
  ] as const) {
    t.throws(
      () => new StreamingEncoder({ codec: 'deflate', ...options } as object),
      wrong(option),
      JSON.stringify(options),
    )
  }
  if (!hasZstd)
    t.throws(() => new StreamingEncoder({ codec: 'zstd' }), {
      code: 'ERR_MILLRACE_NODE_VERSION',
      expected: '22.15.0',
    })
  t.throws(() => new StreamingEncoder().gziIndex(), wrong('gzi'))
})

t.test('decoder: options that make no sense are refused', async (t) => {
  for (const [option, options] of [
    ['format', { format: 'zip' }],
    ['mode', { mode: 'lenient' }],
    ['mode', { mode: 'recover', format: 'gzip' }],
    ['fill', { fill: true }],
    ['maxBlockSize', { maxBlockSize: 0 }],
    ['maxRatio', { maxRatio: 0 }],
    ['workers', { workers: 65 }],
    ['codecs[0]', { codecs: [{ name: 'x' }] }],
    ['onGap', { onGap: 'yes' }],
    ['highWaterMark', { highWaterMark: -1 }],
  ] as const) {
    t.throws(() => new StreamingDecoder(options as object), wrong(option), JSON.stringify(options))
  }
})

t.test('dictionary: one that is given serves all blocks', async (t) => {
  const dictionary = lines(2000, 5)
  const options = { codec: 'deflate', blockSize: 1000 } as const
  const raw = Buffer.concat([dictionary.subarray(0, 1000), dictionary.subarray(500, 1500)])
  const packed = await pack(raw, { ...options, context: 'dictionary', dictionary })
  t.ok((await unpack(packed)).equals(raw))
  const blockBytes = (bytes: Buffer) =>
    glyphs(bytes).reduce((sum, { header }) => sum + (header.type === GLYPH.data ? header.packedLength : 0), 0)
  t.ok(blockBytes(packed) < blockBytes(await pack(raw, options)) / 3)
  const random = await pack(lines(500), { ...options, context: 'dictionary', dictionary: noise(500) })
  t.ok((await unpack(random)).equals(lines(500)), 'a dictionary that does not get smaller is stored')
  const [file, damaged] = glyphs(packed)
  const without = flip(packed, damaged!.offset + HEADER_BYTES)
  t.match((await decodeAll(without)).error, { code: 'ERR_MILLRACE_CODEC_CHECKSUM', offset: file!.end })
  const gaps: Gap[] = []
  await decodeAll(without, { mode: 'recover', onGap: (gap) => gaps.push(gap) })
  t.match(gaps, [{ start: 0, end: 2000, reason: /without the dictionary, which is lost/ }])
})

t.test(
  'zstd: context that looks like a dictionary of its own format is taken as it is',
  { skip: !hasZstd && 'no zstd in this Node' },
  async (t) => {
    const magic = Buffer.from('37a430ec37a430ec', 'hex')
    const raw = Buffer.concat(Array.from({ length: 40 }, () => Buffer.concat([magic, lines(92)])))
    for (const context of ['previous', 'dictionary'] as const) {
      t.ok((await unpack(await pack(raw, { codec: 'zstd', context, blockSize: 100 }))).equals(raw), context)
    }
  },
)

t.test('encoder: memory that a reader fills is packed without a copy, and given back', async (t) => {
  const encoder = new StreamingEncoder({ codec: 'store', blockSize: 8 })
  const out = encoder.toArray()
  const full = encoder.alloc(8)
  full.fill('a')
  encoder.write(full)
  const unused = encoder.alloc(8)
  encoder.release(unused)
  encoder.release(Buffer.alloc(8)) // not ours
  encoder.write(Buffer.from('bb'))
  const part = encoder.alloc(5)
  part.fill('c')
  encoder.write(part)
  encoder.end()
  t.equal(String(await unpack(Buffer.concat(await out))), 'aaaaaaaabbccccc')
})

t.test('stages: abort destroys them, and the end is told to hooks', async (t) => {
  const abort = new AbortController()
  const encoder = new StreamingEncoder({ codec: 'deflate', signal: abort.signal })
  encoder.write(lines(100))
  abort.abort()
  await t.rejects(encoder.toArray(), { name: 'AbortError' })
  const seen: string[] = []
  const failing = new StreamingDecoder({
    onError: () => {
      seen.push('error')
      throw new Error('in the hook')
    },
  })
  t.match((await through(failing, [Buffer.from('what is this?')])).error, {
    code: 'ERR_MILLRACE_CODEC_INVALID',
    offset: 0,
  })
  t.strictSame(seen, ['error'])
  const complete = new StreamingEncoder({
    codec: 'deflate',
    onComplete: () => {
      throw new Error('complete')
    },
  })
  t.match((await through(complete, [lines(10)])).error, { message: 'complete' })
})

t.test('crc32: parts combine to the whole', async (t) => {
  t.equal(crc32(Buffer.from('123456789')), 0xcbf43926)
  const whole = noise(5000)
  for (const at of [0, 1, 77, 4096, 5000]) {
    const [a, b] = [whole.subarray(0, at), whole.subarray(at)]
    t.equal(combineCrc32(crc32(a), crc32(b), b.length), crc32(whole), String(at))
  }
})

t.test(
  'recover: headers that cannot be right, and markers that begin no glyph, are passed over',
  async (t) => {
    const raw = lines(300)
    const packed = await pack(raw, { codec: 'store', blockSize: 100 })
    const parts = glyphs(packed).map(({ offset, end }) => packed.subarray(offset, end))
    const absurd = reglyph(parts[2]!, () => {}, { rawLength: 2 ** 31 })
    const damaged = Buffer.concat([
      parts[0]!,
      parts[1]!,
      absurd,
      MARKER,
      noise(40),
      MARKER,
      ...parts.slice(3),
    ])
    for (const chunks of [[damaged], Array.from(damaged, (byte) => Buffer.of(byte))]) {
      const gaps: Gap[] = []
      const { bytes } = await decodeAll(chunks, { mode: 'recover', onGap: (gap) => gaps.push(gap) })
      t.match(gaps, [{ start: 100, end: 200 }])
      t.ok(bytes.equals(Buffer.concat([raw.subarray(0, 100), raw.subarray(200)])))
    }
  },
)

interface Found {
  readonly header: GlyphHeader
  readonly offset: number
  readonly end: number
}

function glyphs(packed: Buffer): Found[] {
  const found: Found[] = []
  for (let offset = 0; offset < packed.length;) {
    const header = readGlyphHeader(packed, offset)!
    const end = offset + HEADER_BYTES + header.packedLength
    found.push({ header, offset, end })
    offset = end
  }
  return found
}

/** The glyph, changed, with checksums that fit: payloads of the glyphs that are not data are stored. */
function reglyph(
  glyph: Buffer,
  change: (payload: Buffer) => unknown,
  facts: Partial<GlyphHeader> = {},
): Buffer {
  const header = readGlyphHeader(glyph, 0)!
  const payload = Buffer.from(glyph.subarray(HEADER_BYTES))
  const before = crc32(payload)
  change(payload)
  const checksum = crc32(payload) === before ? header.checksum : crc32(payload)
  return Buffer.concat([writeGlyphHeader({ ...header, checksum, ...facts }), payload])
}

function flip(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at]! ^= 0x55
  return copy
}

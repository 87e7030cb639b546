import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { buffer } from 'node:stream/consumers'
import t from 'tap'
import { GLYPH, HEADER_BYTES, readGlyphHeader } from '../../src/codec/glyph-header.ts'
import { SeekableDecoder, decodeRange } from '../../src/codec/seekable-decoder.ts'
import { StreamingEncoder } from '../../src/codec/streaming-encoder.ts'
import { inspectPacked } from '../../src/codec/inspect-packed.ts'
import { hasZstd, lines, noise, pack, through } from './helpers/through.ts'

const folder = mkdtempSync(join(tmpdir(), 'millrace-seek-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}`, import.meta.url))
const sample = lines(150_000, 7)
const ranges: [number, number][] = [
  [0, 0],
  [0, 1],
  [70_000, 70_001],
  [65_279, 65_281],
  [1000, 140_000],
  [0, 150_000],
  [149_999, 150_000],
  [150_000, 150_000],
]

async function assertRanges(file: SeekableDecoder): Promise<void> {
  assert.equal(file.size, 150_000)
  for (const [start, end] of ranges) {
    assert.ok((await file.read(start, end)).equals(sample.subarray(start, end)), `${start}-${end}`)
  }
  await file.close()
}

t.test('ranges equal slices: container, BGZF with and without an index, zstd', async () => {
  for (const name of ['deflate-previous.mrz', 'brotli.mrz', ...(hasZstd ? ['zstd-dictionary.mrz'] : [])]) {
    await assertRanges(await SeekableDecoder.open(fixture(name)))
  }
  await assertRanges(await SeekableDecoder.open(fixture('bgzip.bgz')))
  await assertRanges(await SeekableDecoder.open(fixture('bgzip.bgz'), { gzi: fixture('bgzip.gzi') }))
  if (hasZstd)
    await assertRanges(await SeekableDecoder.open(await pack(sample, { format: 'zstd', blockSize: 7000 })))
})

t.test('the .gzi index is the one that bgzip makes', async (t) => {
  const encoder = new StreamingEncoder({ format: 'bgzf', gzi: true })
  const { bytes } = await through(encoder, [sample])
  const index = encoder.gziIndex()
  t.equal(index.length, fixture('bgzip.gzi').length)
  t.equal(index.readBigUInt64LE(16), fixture('bgzip.gzi').readBigUInt64LE(16), 'raw offsets are the same')
  const path = join(folder, 'sample.bgz')
  writeFileSync(path, bytes)
  writeFileSync(`${path}.gzi`, index)
  for (const input of [path, pathToFileURL(path)]) {
    const file = await SeekableDecoder.open(input)
    t.equal(file.facts.index, 'beside')
    await assertRanges(file)
  }
})

t.test('only the index and the blocks of the range are read', async (t) => {
  const packed = await pack(noise(400_000), { codec: 'deflate', blockSize: 1000 })
  let bytesRead = 0
  const source = {
    size: packed.length,
    read: async (start: number, end: number) => {
      bytesRead += end - start
      return packed.subarray(start, end)
    },
  }
  const part = await buffer(decodeRange(source, 200_500, 203_500))
  t.ok(part.equals(noise(400_000).subarray(200_500, 203_500)))
  t.ok(bytesRead < 12_000, `${bytesRead} of ${packed.length} bytes`)
})

t.test('many blocks: ranges across index glyphs, and from a restart before one', async (t) => {
  const raw = lines(10_000)
  for (const options of [
    { codec: 'store' },
    { codec: 'deflate', context: 'previous', restartEvery: 9 },
    { codec: 'deflate', context: 'previous', restartEvery: 6000 },
  ] as const) {
    const packed = await pack(raw, { ...options, blockSize: 1 })
    for (const bytes of [packed, packed.subarray(0, -1)]) {
      const file = await SeekableDecoder.open(bytes)
      t.ok((await file.read(4090, 4110)).equals(raw.subarray(4090, 4110)))
      t.ok((await file.read(9000, 9001)).equals(raw.subarray(9000, 9001)))
    }
  }
})

t.test('what is wrong in a file is told when it is read', async (t) => {
  const packed = await pack(lines(5000), { codec: 'deflate', blockSize: 500 })
  const offsets: { type: number; at: number; end: number }[] = []
  for (let at = 0; at < packed.length;) {
    const { type, packedLength } = readGlyphHeader(packed, at)!
    offsets.push({ type, at, end: at + HEADER_BYTES + packedLength })
    at += HEADER_BYTES + packedLength
  }
  const flipped = (at: number) => {
    const copy = Buffer.from(packed)
    copy[at]! ^= 0x55
    return copy
  }
  const index = offsets.find(({ type }) => type === GLYPH.index)!
  const file = await SeekableDecoder.open(flipped(index.end - 1))
  await t.rejects(file.read(0, 10), {
    code: 'ERR_MILLRACE_CODEC_INVALID',
    offset: index.at,
    message: /index of the blocks/,
  })
  const third = offsets.filter(({ type }) => type === GLYPH.data)[2]!
  const header = await SeekableDecoder.open(flipped(third.at + 15))
  await t.rejects(header.read(1100, 1200), { code: 'ERR_MILLRACE_CODEC_INVALID', index: 2, rawOffset: 1000 })
  t.ok((await header.read(0, 1000)).equals(lines(5000).subarray(0, 1000)), 'the rest can be read')
  const payload = await SeekableDecoder.open(flipped(third.at + HEADER_BYTES + 5))
  await t.rejects(payload.read(1100, 1200), { code: 'ERR_MILLRACE_CODEC_CHECKSUM', index: 2 })
  const root = await SeekableDecoder.open(flipped(offsets.at(-2).at + 3))
  t.equal(root.facts.index, 'rebuilt')
  await t.rejects(
    SeekableDecoder.open(packed, { maxBlockSize: 499 }).then((f) => f.read(0, 1)),
    { code: 'ERR_MILLRACE_CODEC_LIMIT' },
  )
  await t.rejects(
    SeekableDecoder.open(flipped(3)).then((f) => f.read(0, 1)),
    { code: 'ERR_MILLRACE_CODEC_INVALID' },
  )
  const shared = await pack(lines(500), { codec: 'deflate', context: 'dictionary', blockSize: 100 })
  shared[64 + HEADER_BYTES + 3]! ^= 0x55
  await t.rejects(
    SeekableDecoder.open(shared).then((f) => f.read(0, 10)),
    { code: 'ERR_MILLRACE_CODEC_CHECKSUM' },
  )
  // a file glyph that ends at once, and one whose payload is wrong, in a file without a trailer
  await t.rejects(SeekableDecoder.open(packed.subarray(0, 50)), { code: 'ERR_MILLRACE_CODEC_INVALID' })
  await t.rejects(SeekableDecoder.open(flipped(HEADER_BYTES + 2).subarray(0, -1)), {
    code: 'ERR_MILLRACE_CODEC_INVALID',
  })
})

t.test('a file can be missing its end, and a codec', async (t) => {
  const codec = {
    name: 'same',
    pack: (bytes: Buffer) => Buffer.from(bytes.subarray(0, 1)),
    unpack: (bytes: Buffer, { rawLength }: { rawLength: number }) => Buffer.alloc(rawLength, bytes),
  }
  const packed = await pack(Buffer.alloc(100, 'x'), { codec, blockSize: 10 })
  await t.rejects(
    SeekableDecoder.open(packed).then((file) => file.read(0, 5)),
    { code: 'ERR_MILLRACE_CODEC_UNKNOWN', expected: 'same' },
  )
  const cut = await SeekableDecoder.open(packed.subarray(0, 64 + 3 * 38 + 5), { codecs: [codec] })
  t.match(cut.facts, { index: 'rebuilt', complete: false, blocks: 3, rawBytes: 30 })
  t.equal(String(await cut.read(5, 30)), 'x'.repeat(25))
  t.throws(() => cut.range(0, 31), {
    code: 'ERR_MILLRACE_CODEC_RANGE',
    actual: 30,
    message: /as far as the file is whole/,
  })
  await cut.close()
})

t.test('BGZF and zstd: an index that does not fit is told', async (t) => {
  const bgzf = fixture('bgzip.bgz')
  const gzi = Buffer.from(fixture('bgzip.gzi'))
  await t.rejects(SeekableDecoder.open(bgzf, { gzi: gzi.subarray(0, 20) }), {
    code: 'ERR_MILLRACE_CODEC_INVALID',
    message: /\.gzi index of 20 bytes/,
  })
  await t.rejects(SeekableDecoder.open(bgzf, { gzi: Buffer.alloc(3) }), {
    code: 'ERR_MILLRACE_CODEC_INVALID',
  })
  const shifted = Buffer.from(gzi)
  shifted.writeBigUInt64LE(gzi.readBigUInt64LE(8) + 1n, 8)
  await t.rejects(
    SeekableDecoder.open(bgzf, { gzi: shifted }).then((file) => file.read(0, 10)),
    { code: 'ERR_MILLRACE_CODEC_INVALID', message: /does not/ },
  )
  const large = Buffer.from(gzi)
  large.writeBigUInt64LE(10n ** 12n, 8)
  await t.rejects(SeekableDecoder.open(bgzf, { gzi: large }), { message: /does not fit the file/ })
  const raw = Buffer.from(gzi)
  raw.writeBigUInt64LE(gzi.readBigUInt64LE(16) + 1n, 16)
  await t.rejects(
    SeekableDecoder.open(bgzf, { gzi: raw }).then((file) => file.read(0, 10)),
    { message: /raw bytes, where the index says/ },
  )
  const broken = Buffer.from(bgzf)
  broken[bgzf.readUInt16LE(16) + 1] = 0
  await t.rejects(SeekableDecoder.open(broken), {
    code: 'ERR_MILLRACE_CODEC_INVALID',
    message: /expected a BGZF block/,
  })
  const liar = Buffer.from(bgzf)
  liar.writeUInt32LE(70_000, bgzf.readUInt16LE(16) - 3)
  await t.rejects(SeekableDecoder.open(liar), {
    code: 'ERR_MILLRACE_CODEC_INVALID',
    message: /70000 raw bytes/,
  })
  const cut = await SeekableDecoder.open(bgzf.subarray(0, -40))
  t.equal(cut.facts.complete, false)
  await cut.close()
  if (!hasZstd) return
  const zstd = await pack(lines(5000), { format: 'zstd', blockSize: 500 })
  for (const [at, value] of [
    [zstd.length - 9, 3000],
    [zstd.length - 9, 9],
    [zstd.length - 30, 77],
  ] as const) {
    const copy = Buffer.from(zstd)
    copy.writeUInt32LE(value, at)
    await t.rejects(
      SeekableDecoder.open(copy),
      { code: 'ERR_MILLRACE_CODEC_INVALID', message: /seek table/ },
      `${at}`,
    )
  }
  await t.rejects(
    SeekableDecoder.open(zstd, { maxBlockSize: 100 }).then((file) => file.read(0, 5)),
    { code: 'ERR_MILLRACE_CODEC_LIMIT' },
  )
  const tooLong = Buffer.from(zstd)
  tooLong.writeUInt32LE(tooLong.readUInt32LE(zstd.length - 13) + 1, zstd.length - 13)
  const file = await SeekableDecoder.open(tooLong)
  await t.rejects(file.read(file.size - 5, file.size), {
    code: 'ERR_MILLRACE_CODEC_CHECKSUM',
    message: /a zstd frame unpacks to \d+ bytes, not to/,
  })
  const checked = addChecksums(zstd)
  t.ok(
    (await (await SeekableDecoder.open(checked)).read(700, 900)).equals(lines(5000).subarray(700, 900)),
    'entries with checksums',
  )
})

/** The seek table, with a checksum in every entry, as other writers have it. */
function addChecksums(zstd: Buffer): Buffer {
  const frames = zstd.readUInt32LE(zstd.length - 9)
  const tableAt = zstd.length - 9 - 8 * frames - 8
  const table = Buffer.alloc(8 + 12 * frames + 9)
  zstd.copy(table, 0, tableAt, tableAt + 8)
  table.writeUInt32LE(table.length - 8, 4)
  for (let i = 0; i < frames; i++) zstd.copy(table, 8 + 12 * i, tableAt + 8 + 8 * i, tableAt + 16 + 8 * i)
  zstd.copy(table, table.length - 9, zstd.length - 9)
  table[table.length - 5] = 0x80
  return Buffer.concat([zstd.subarray(0, tableAt), table])
}

t.test('what can only be read from its start, or not at all, is told', async (t) => {
  await t.rejects(SeekableDecoder.open(fixture('gzip.gz')), {
    code: 'ERR_MILLRACE_CODEC_UNSEEKABLE',
    message: /gzip/,
  })
  await t.rejects(SeekableDecoder.open(fixture('zstd.zst')), {
    code: 'ERR_MILLRACE_CODEC_UNSEEKABLE',
    message: /no seek table/,
  })
  await t.rejects(SeekableDecoder.open(Buffer.from('28b52ffd', 'hex')), {
    code: 'ERR_MILLRACE_CODEC_UNSEEKABLE',
  })
  await t.rejects(SeekableDecoder.open(Buffer.from('plain text')), { code: 'ERR_MILLRACE_CODEC_INVALID' })
  await t.rejects(SeekableDecoder.open(folder), { code: 'ERR_MILLRACE_OPTION', option: 'input' })
  await t.rejects(SeekableDecoder.open({ size: -1, read: async () => Buffer.alloc(0) }), {
    code: 'ERR_MILLRACE_OPTION',
  })
  await t.rejects(buffer(decodeRange(fixture('brotli.mrz'), 0, 150_001)), {
    code: 'ERR_MILLRACE_CODEC_RANGE',
    actual: 150_000,
  })
  t.throws(() => decodeRange('x', 5, 4), { code: 'ERR_MILLRACE_OPTION', option: 'end' })
  const path = join(folder, 'shrinks.mrz')
  writeFileSync(path, fixture('brotli.mrz'))
  const file = await SeekableDecoder.open(path)
  truncateSync(path, 1000)
  await t.rejects(file.read(100_000, 100_010), { code: 'ERR_MILLRACE_FILE_SHRUNK' })
  await file.close()
  const signal = AbortSignal.abort()
  await t.rejects(buffer((await SeekableDecoder.open(fixture('brotli.mrz'))).range(0, 10, { signal })), {
    name: 'AbortError',
  })
  await t.rejects(buffer(decodeRange(fixture('brotli.mrz'), 0, 10, { signal })), { name: 'AbortError' })
})

t.test('inspectPacked: says what a file is, and whether it is right', async (t) => {
  t.match(
    await inspectPacked(fixture('deflate-previous.mrz'), {
      verify: true,
      codecs: [],
      workers: 1,
      maxBlockSize: 1e6,
    }),
    {
      format: 'container',
      codec: 'deflate',
      context: 'previous',
      blocks: 8,
      storedBlocks: 0,
      rawBytes: 150_000,
      index: 'file',
      complete: true,
      verified: true,
      seekable: true,
    },
  )
  const gzip = fixture('gzip.gz')
  t.strictSame(await inspectPacked(gzip), { format: 'gzip', packedBytes: gzip.length, seekable: false })
  t.match(await inspectPacked(gzip, { verify: true }), {
    rawBytes: 150_000,
    ratio: 150_000 / gzip.length,
    verified: true,
  })
  const damaged = Buffer.from(fixture('brotli.mrz'))
  damaged[500]! ^= 1
  t.equal((await inspectPacked(damaged)).complete, true)
  await t.rejects(inspectPacked(damaged, { verify: true }), { code: 'ERR_MILLRACE_CODEC_CHECKSUM' })
  await t.rejects(inspectPacked(Buffer.from('x')), { code: 'ERR_MILLRACE_CODEC_INVALID' })
  t.match(await inspectPacked(await pack(Buffer.alloc(0), { codec: 'deflate' }), { verify: true }), {
    blocks: 0,
    ratio: 0,
  })
})

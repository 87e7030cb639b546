import t from 'tap'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import zlib from 'node:zlib'
import { DataGenerator, type Codec } from '../../src/bytes/index.ts'

const BLOCK = 65_536
const MIB = 2 ** 20
const generator = new DataGenerator({ seed: 42 })

/** Total pages for every different one, for pages of this size. */
function dedupRatio(bytes: Buffer, page: number): number {
  const pages = new Set<string>()
  for (let at = 0; at < bytes.length; at += page) {
    pages.add(
      createHash('md5')
        .update(bytes.subarray(at, at + page))
        .digest('base64'),
    )
  }
  return bytes.length / page / pages.size
}

const percentOff = (actual: number, asked: number) => (actual / asked - 1) * 100

interface Tool {
  readonly codec: Codec
  readonly name: string
  readonly limit: number
  readonly pack: (bytes: Buffer) => number
}

const command = (...[program, ...args]: [string, ...string[]]) => ({
  isThere: spawnSync(program, ['--version']).status === 0,
  pack: (bytes: Buffer) => spawnSync(program, args, { input: bytes, maxBuffer: 64 * MIB }).stdout.length,
})

const tools: Tool[] = [
  {
    codec: 'gzip',
    name: 'zlib level 6',
    limit: 3,
    pack: (bytes) => zlib.gzipSync(bytes, { level: 6 }).length,
  },
]
const missing: string[] = []
const params = { [zlib.constants.ZSTD_c_compressionLevel ?? 100]: 1 }
if (typeof zlib.zstdCompressSync === 'function') {
  tools.push({
    codec: 'zstd',
    name: 'zlib.zstd',
    limit: 1,
    pack: (bytes) => zlib.zstdCompressSync(bytes, { params }).length,
  })
} else missing.push('zlib.zstdCompressSync (Node 22.15)')
for (const [codec, name, limit] of [
  ['zstd', 'zstd -1 -c', 1],
  ['lz4', 'lz4 -1 -c', 3],
  ['gzip', 'gzip -6 -c', 3],
] as const) {
  const { isThere, pack } = command(...(name.split(' ') as [string, ...string[]]))
  if (isThere) tools.push({ codec, name, limit, pack })
  else missing.push(name)
}

t.test('compress: the codec it is asked for reaches the ratio on unique blocks', async (t) => {
  if (missing.length > 0) t.comment(`not there to be tested: ${missing.join(', ')}`)
  for (const compress of [1, 1.01, 1.015, 1.1, 1.5, 1.7, 2.2, 3, 5]) {
    for (const { codec, name, limit, pack } of tools) {
      const object = generator.beginObject({ key: codec, size: 3 * MIB, compress, codec })
      const off = percentOff(object.size / pack(object.read(0, object.size)), compress)
      t.ok(Math.abs(off) <= limit, `${name}: ${compress} is ${off.toFixed(2)} % off`)
    }
  }
})

t.test('compress: the share of random bytes is exact on every stretch of a megabyte', async (t) => {
  const object = generator.beginObject({ size: 16 * MIB, compress: 3 })
  const asked = (4096 / 3 - 7) / 4096
  for (const start of [0, 3 * MIB, 15 * MIB]) {
    const zeros = object.read(start, MIB).filter((byte) => byte === 0).length / MIB
    // of the random bytes, one in 256 is a zero as well
    const random = (1 - zeros) * (256 / 255)
    t.ok(Math.abs(random - asked) < 0.001, `${random} random of ${asked}`)
  }
})

t.test('dedup: pages of 4, 8 and 64 KiB give the ratio, from 3.1 MiB times the ratio up', async (t) => {
  for (const dedup of [1, 1.3, 2, 2.5, 3, 7.5]) {
    const size = Math.ceil((3.1 * MIB * dedup) / BLOCK) * BLOCK
    for (const compress of [1, 4]) {
      const bytes = generator.beginObject({ size, dedup, compress }).read(0, size)
      for (const page of [4096, 8192, BLOCK]) {
        const off = percentOff(dedupRatio(bytes, page), dedup)
        t.ok(Math.abs(off) <= 1, `dedup ${dedup}, compress ${compress}, ${page}: ${off.toFixed(2)} % off`)
      }
    }
  }
})

t.test('dedup and compress: neither moves the other', async (t) => {
  const { pack, codec, limit } = tools.find((tool) => tool.codec === 'zstd') ?? tools[0]!
  for (const compress of [1, 1.7, 3]) {
    for (const dedup of [1, 2.5, 6]) {
      const object = generator.beginObject({ size: 24 * MIB, dedup, compress, codec })
      const bytes = object.read(0, object.size)
      const unique = bytes.subarray(0, object.uniqueBlocks * BLOCK)
      const ratios = `dedup ${dedup}, compress ${compress}`
      t.ok(Math.abs(percentOff(unique.length / pack(unique), compress)) <= limit, `${ratios}: compress`)
      t.ok(Math.abs(percentOff(dedupRatio(bytes, 4096), dedup)) <= 1, `${ratios}: dedup`)
    }
  }
})

t.test('dedup: the number of unique blocks never leaves its limits', async (t) => {
  const unique = (size: number, dedup: number) => generator.beginObject({ size, dedup }).uniqueBlocks
  t.equal(unique(0, 1), 1)
  t.equal(unique(0, 9), 1)
  t.equal(unique(1, 9), 1)
  t.equal(unique(10 * BLOCK, 1), 10)
  t.equal(unique(10 * BLOCK, 1e300), 1)
  t.equal(unique(10 * BLOCK + 1, 2), 6, 'half of 11, rounded')
  t.equal(unique(Number.MAX_SAFE_INTEGER, 1), 2 ** 37)
})

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { packFile } from './data.js'
import { times } from './harness.js'

export const title = 'codec: files packed and unpacked, whole commands'

const bin = fileURLToPath(new URL('../dist/cli/bin.js', import.meta.url))
const out = fileURLToPath(new URL('./data/out/', import.meta.url))
mkdirSync(out, { recursive: true })
const millrace = `${process.execPath} ${bin}`
const SIZE = 120e6
const hasZstd = Number(process.versions.node.split('.')[0]) > 22

/** Writes a file and then says how many bytes it has, on stderr of the bench. @param {string} file */
const bytesOf = (file) => (existsSync(file) ? statSync(file).size : Number.NaN)

/** @typedef {(name: string) => { ms: number, rate: number, rss: number }} Rows */
/** @param {number} ours @param {number} theirs */
const percent = (ours, theirs) => `${(100 * (ours / theirs - 1)).toFixed(2)} %`

/** @param {import('./data.js').Kind} kind */
const gzip = (kind) => ({
  name: `gzip level 6: ${kind}`,
  unit: /** @type {const} */ ('MB/s'),
  input: () => packFile(kind, SIZE),
  candidates: [
    {
      name: 'millrace encode --format gzip -j 2',
      ours: true,
      command: (/** @type {{ path: string }} */ { path }) =>
        `${millrace} encode -j 2 ${path} -o ${out}millrace.gz`,
    },
    {
      name: 'pigz -p2 -6',
      needs: 'pigz',
      command: (/** @type {{ path: string }} */ { path }) => `pigz -p2 -6 -c ${path} > ${out}pigz.gz`,
    },
    {
      name: 'bgzip -@2 (libdeflate)',
      needs: 'bgzip',
      command: (/** @type {{ path: string }} */ { path }) => `bgzip -@2 -c ${path} > ${out}bgzip.gz`,
    },
    {
      name: 'libdeflate-gzip -6, one thread',
      needs: 'libdeflate-gzip',
      command: (/** @type {{ path: string }} */ { path }) =>
        `libdeflate-gzip -6 -c ${path} > ${out}libdeflate.gz`,
    },
    {
      name: 'igzip -1 (ISA-L), one thread',
      needs: 'igzip',
      command: (/** @type {{ path: string }} */ { path }) => `igzip -1 -c ${path} > ${out}igzip.gz`,
    },
  ],
  targets: (/** @type {Rows} */ row) => [
    [
      'against pigz -p2 -6',
      '≥ 1.0×',
      times(row('pigz -p2 -6').ms, row('millrace encode --format gzip -j 2').ms),
    ],
    ['size against pigz', '≤ 0 %', percent(bytesOf(`${out}millrace.gz`), bytesOf(`${out}pigz.gz`))],
    ...['bgzip', 'libdeflate', 'igzip'].map(
      (name) =>
        /** @type {[string, string, string]} */ ([
          `size against ${name}`,
          '',
          percent(bytesOf(`${out}millrace.gz`), bytesOf(`${out}${name}.gz`)),
        ]),
    ),
  ],
})

/** @param {import('./data.js').Kind} kind */
const zstd = (kind) => ({
  name: `zstd level 3: ${kind}`,
  unit: /** @type {const} */ ('MB/s'),
  rounds: 7,
  input: () => packFile(kind, SIZE),
  candidates: [
    {
      name: 'millrace encode -c zstd -j 2',
      ours: true,
      command: (/** @type {{ path: string }} */ { path }) =>
        `${millrace} encode -c zstd -j 2 ${path} -o ${out}millrace.mrz`,
    },
    {
      name: 'millrace encode --format zstd -j 2',
      command: (/** @type {{ path: string }} */ { path }) =>
        `${millrace} encode -j 2 ${path} -o ${out}millrace.zst`,
    },
    {
      name: 'zstd -3 -T2',
      needs: 'zstd',
      command: (/** @type {{ path: string }} */ { path }) => `zstd -q -f -3 -T2 ${path} -o ${out}zstd.zst`,
    },
  ],
  targets: (/** @type {Rows} */ row) => [
    ['against zstd -3 -T2', '≥ 0.9×', times(row('zstd -3 -T2').ms, row('millrace encode -c zstd -j 2').ms)],
    ['size against zstd', '≤ 2 %', percent(bytesOf(`${out}millrace.mrz`), bytesOf(`${out}zstd.zst`))],
  ],
})

/** @param {string} command */
const prepared = (command) => void execFileSync('bash', ['-c', command], { stdio: 'inherit' })

const decodeDeflate = {
  name: 'decode: deflate, mixed',
  unit: /** @type {const} */ ('MB/s'),
  input: () => {
    const input = packFile('mixed', SIZE)
    prepared(
      `${millrace} encode -c deflate ${input.path} -o ${out}d.mrz && ${millrace} encode ${input.path} -o ${out}d.bgz && gzip -6 -c ${input.path} > ${out}d.gz`,
    )
    return input
  },
  candidates: [
    {
      name: 'millrace decode -j 2, container',
      ours: true,
      command: () => `${millrace} decode -j 2 ${out}d.mrz -o ${out}d.raw`,
    },
    {
      name: 'millrace decode -j 2, BGZF',
      command: () => `${millrace} decode -j 2 ${out}d.bgz -o ${out}d.raw`,
    },
    {
      name: 'millrace decode, one gzip member',
      command: () => `${millrace} decode ${out}d.gz -o ${out}d.raw`,
    },
    { name: 'gzip -d', command: () => `gzip -dc ${out}d.gz > ${out}d2.raw` },
    { name: 'pigz -d -p2', needs: 'pigz', command: () => `pigz -dc -p2 ${out}d.gz > ${out}d2.raw` },
    { name: 'bgzip -d -@2', needs: 'bgzip', command: () => `bgzip -dc -@2 ${out}d.bgz > ${out}d2.raw` },
    {
      name: 'libdeflate-gunzip',
      needs: 'libdeflate-gunzip',
      command: () => `libdeflate-gunzip -c ${out}d.gz > ${out}d2.raw`,
    },
  ],
  targets: (/** @type {Rows} */ row) => [
    [
      'container against gzip -d',
      '≥ 1.5×',
      times(row('gzip -d').ms, row('millrace decode -j 2, container').ms),
    ],
    [
      'one gzip member against gzip -d',
      '',
      times(row('gzip -d').ms, row('millrace decode, one gzip member').ms),
    ],
  ],
}

const decodeZstd = {
  name: 'decode: zstd, mixed',
  unit: /** @type {const} */ ('MB/s'),
  rounds: 7,
  input: () => {
    const input = packFile('mixed', 480e6)
    prepared(
      `${millrace} encode -c zstd ${input.path} -o ${out}z.mrz && ${millrace} encode ${input.path} -o ${out}z.zst && zstd -q -f -3 -T2 ${input.path} -o ${out}t.zst`,
    )
    return input
  },
  candidates: [
    {
      name: 'millrace decode -j 2, container',
      ours: true,
      command: () => `${millrace} decode -j 2 ${out}z.mrz -o ${out}d.raw`,
    },
    {
      name: 'millrace decode -j 2, its own zstd',
      command: () => `${millrace} decode -j 2 ${out}z.zst -o ${out}d.raw`,
    },
    { name: 'millrace decode, one frame', command: () => `${millrace} decode ${out}t.zst -o ${out}d.raw` },
    { name: 'zstd -d', needs: 'zstd', command: () => `zstd -q -d -f ${out}t.zst -o ${out}d2.raw` },
  ],
  targets: (/** @type {Rows} */ row) => [
    [
      'container against zstd -d',
      '≥ 0.9×',
      times(row('zstd -d').ms, row('millrace decode -j 2, container').ms),
    ],
    ['one frame against zstd -d', '', times(row('zstd -d').ms, row('millrace decode, one frame').ms)],
  ],
}

/**
 * Peak RSS of a command that reads so many bytes from a pipe, as it reports itself.
 *
 * @param {number} bytes @param {string[]} args @param {number} [perPass] bytes that one pass over the file counts for
 */
const peak = (bytes, args, perPass) => ({
  name: bytes >= 1e9 ? `${bytes / 1e9} GB` : `${bytes / 1e6} MB`,
  ours: bytes === 5e9,
  async run(/** @type {{ path: string }} */ { path }) {
    const content = readFileSync(path)
    const each = perPass ?? content.length
    const child = spawn(process.execPath, [bin, ...args, '-j', '2', '-o', '/dev/null', '--stats=json'], {
      stdio: ['pipe', 'ignore', 'pipe'],
    })
    let stats = ''
    child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ data) => (stats += data))
    for (let left = bytes; left > 0; left -= each) {
      if (!child.stdin.write(left >= each ? content : content.subarray(0, left)))
        await once(child.stdin, 'drain')
    }
    child.stdin.end()
    await once(child, 'close')
    return { peakRssBytes: JSON.parse(stats).peakRssBytes }
  },
})

/** @param {string} codec */
const memory = (codec) => ({
  name: `memory: encode -c ${codec} -j 2 from a pipe`,
  unit: /** @type {const} */ ('none'),
  rounds: 3,
  input: () => packFile('mixed', SIZE),
  candidates: [5e9, 500e6, 1e9, 100e6, 50e6, 10e6].map((bytes) =>
    peak(bytes, ['encode', '-c', codec, '-l', '1']),
  ),
  targets: (/** @type {Rows} */ row) => [
    ['peak at 5 GB against 500 MB', '≤ 1.1×', times(row('5 GB').rss, row('500 MB').rss)],
    ...[10e6, 50e6, 100e6, 500e6, 1e9].map((bytes) => {
      const { rss } = row(bytes >= 1e9 ? '1 GB' : `${bytes / 1e6} MB`)
      return /** @type {[string, string, string]} */ ([
        `full load of ${bytes / 1e6} MB against the peak`,
        '',
        `${(bytes / 1e6).toFixed(0)} : ${(rss / 1e6).toFixed(0)} MB`,
      ])
    }),
  ],
})

/** Joined files are a file: one of 100 MB is given again and again. @param {string} codec */
const decodeMemory = (codec) => ({
  name: `memory: decode -j 2 of ${codec} from a pipe`,
  unit: /** @type {const} */ ('none'),
  rounds: 3,
  input: () => {
    const { path } = packFile('mixed', 100e6)
    prepared(`${millrace} encode -c ${codec} -l 1 ${path} -o ${out}m.${codec}.mrz`)
    return { path: `${out}m.${codec}.mrz`, bytes: 100e6 }
  },
  candidates: [5e9, 500e6, 100e6].map((bytes) => peak(bytes, ['decode'], 100e6)),
  targets: (/** @type {Rows} */ row) => [
    ['peak at 5 GB against 500 MB', '≤ 1.1×', times(row('5 GB').rss, row('500 MB').rss)],
  ],
})

const sigma = {
  name: 'deframing: SigmaLang glyphs of 20-byte payloads, chunks of 1 to 64 KiB',
  unit: /** @type {const} */ ('GB/s'),
  input: () => ({ bytes: 2e9 }),
  candidates: [
    {
      name: "BoundaryHandler('sigma-glyph')'s scanner",
      ours: true,
      async prepare() {
        const { encodeSigmaGlyph } = await import('millrace')
        const glyph = encodeSigmaGlyph({ type: 'primitive', primitive: 5, payload: Buffer.alloc(20, 7) })
        const bytes = Buffer.concat(Array.from({ length: 1 << 20 }, () => glyph))
        const chunks = []
        let x = 1
        for (let at = 0; at < bytes.length;) {
          x = (Math.imul(x, 1664525) + 1013904223) >>> 0
          const size = 1024 + (x % (63 * 1024))
          chunks.push(bytes.subarray(at, at + size))
          at += size
        }
        return { chunks, size: bytes.length }
      },
      async run(/** @type {{ chunks: Buffer[], size: number }} */ { chunks, size }) {
        const { SigmaGlyphScanner } = await import('millrace')
        const scanner = new SigmaGlyphScanner()
        let frames = 0
        for (let pass = 0; pass < 2e9 / size; pass++) {
          for (const chunk of chunks) {
            scanner.scan(chunk, 0, chunk.length, false)
            frames += scanner.frames
          }
        }
        return frames
      },
    },
  ],
  targets: (/** @type {Rows} */ row) => [
    [
      '20-byte payloads',
      '≥ 1 GB/s',
      `${row("BoundaryHandler('sigma-glyph')'s scanner").rate.toFixed(1)} GB/s`,
    ],
  ],
}

const kinds = /** @type {const} */ (['mixed', 'log', 'binary'])
export const groups = [
  ...kinds.map(gzip),
  ...(hasZstd ? kinds.map(zstd) : []),
  decodeDeflate,
  ...(hasZstd ? [decodeZstd] : []),
  memory('deflate'),
  decodeMemory('deflate'),
  ...(hasZstd ? [memory('zstd'), decodeMemory('zstd')] : []),
  sigma,
]

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { hasZstd, lines, noise } from '../codec/helpers/through.ts'
import { millrace, outcome, shell, start } from './helpers.ts'

const folder = mkdtempSync(join(tmpdir(), 'millrace-encode-'))
t.teardown(() => rmSync(folder, { recursive: true }))
t.jobs = 2
const at = (name: string) => join(folder, name)
const raw = Buffer.concat([lines(600_000), noise(40_000), lines(300_000, 2)])
writeFileSync(at('raw'), raw)
const fixture = (name: string) => new URL(`../codec/fixtures/${name}`, import.meta.url).pathname

t.test('encode and decode: files and pipes, in every format', async (t) => {
  t.match(await millrace(['encode', at('raw'), '-o', at('a.mrz'), '--stats']), {
    status: 0,
    stdout: '',
    stderr: /ratio \d+\.\d+, \d+ blocks \(\d+ stored\)/,
  })
  t.match(await millrace(['decode', at('a.mrz'), '-o', at('a')]), { status: 0, stderr: '' })
  t.ok(readFileSync(at('a')).equals(raw))
  for (const options of [
    '--format gzip',
    '--format bgzf',
    '-c deflate -l 9 --context previous',
    '-c brotli -l 1',
    '-c store',
    '-c deflate --block-size 10KiB -j 3 --context dictionary',
    ...(hasZstd ? ['--format zstd', '-c zstd -l 3'] : []),
  ]) {
    const line = `millrace encode ${options} < ${at('raw')} | millrace decode | cmp - ${at('raw')}`
    t.match(await shell(line), { status: 0, stdout: '', stderr: '' }, options)
  }
})

t.test('encode: what comes out depends neither on -j nor on whether a file or a pipe is read', async (t) => {
  const sums = await Promise.all(
    ['-j 1', '-j 4', '-j 2 -'].map((options) =>
      shell(
        `cat ${at('raw')} | millrace encode -c deflate ${options.includes(' -') ? options : `${options} ${at('raw')}`} | cksum`,
      ),
    ),
  )
  t.equal(new Set(sums.map(({ stdout }) => stdout)).size, 1)
})

t.test('encode: the name after -o decides on the format, and --gzi writes an index', async (t) => {
  t.match(await millrace(['encode', at('raw'), '-o', at('b.gz')]), { status: 0 })
  t.ok(gunzipSync(readFileSync(at('b.gz'))).equals(raw))
  t.match(await millrace(['encode', at('raw'), '-o', at('b.bgz'), '--gzi', at('b.bgz.gzi')]), { status: 0 })
  const { stdout } = await millrace(['inspect', '--json', at('b.bgz')])
  t.match(JSON.parse(stdout), { format: 'bgzf', rawBytes: raw.length, index: 'beside', complete: true })
  t.equal(
    (await millrace(['decode', '--range', '500000-500020', at('b.bgz')])).stdout,
    raw.toString('latin1', 500_000, 500_020),
  )
  t.equal(
    (await millrace(['decode', '--range', '5-9', '--gzi', at('b.bgz.gzi'), at('b.bgz')])).stdout,
    String(raw.subarray(5, 9)),
  )
})

t.test('decode --range: reads a part, of what can be entered anywhere and of what cannot', async (t) => {
  const part = String(lines(150_000, 7).subarray(70_000, 70_100))
  for (const name of ['deflate-previous.mrz', 'gzip.gz', 'bgzip.bgz', ...(hasZstd ? ['zstd.zst'] : [])]) {
    t.match(
      await millrace(['decode', '--range', '70000-70100', fixture(name)]),
      { status: 0, stdout: part },
      name,
    )
    t.match(
      await shell(`cat ${fixture(name)} | millrace decode --range 70000-70100`),
      { status: 0, stdout: part },
      `${name} from a pipe`,
    )
  }
  t.match(await millrace(['decode', '--range', '149990-', fixture('brotli.mrz')]), {
    status: 0,
    stdout: /^.{10}$/s,
  })
  t.match(await millrace(['decode', '--range', '1-150001', fixture('brotli.mrz')]), {
    status: 2,
    stderr: /the content has 150000 bytes/,
  })
  t.match(await millrace(['decode', '--range', '1-150001', fixture('gzip.gz')]), {
    status: 2,
    stderr: /the content has 150000 bytes/,
  })
  t.match(await millrace(['decode', '--range', '150001-', fixture('gzip.gz')]), { status: 2 })
})

t.test(
  'decode: damage ends with status 3 and its place; --recover saves the rest and lists the gaps',
  async (t) => {
    await millrace(['encode', '-c', 'deflate', at('raw'), '-o', at('c.mrz')])
    const damaged = readFileSync(at('c.mrz'))
    damaged.fill(0x55, 20_000, 20_010)
    writeFileSync(at('damaged.mrz'), damaged)
    const strict = await millrace(['decode', at('damaged.mrz'), '-o', at('strict')])
    t.match(strict, {
      status: 3,
      stderr:
        /block \d+ at byte \d+ \(raw byte \d+\) (is damaged|unpacks to more)[^]*what was written before is in/,
    })
    t.notOk(existsSync(at('strict')))
    const recovered = await millrace(['decode', '--recover', at('damaged.mrz'), '-o', at('saved')])
    t.equal(recovered.status, 4)
    const gap = JSON.parse(recovered.stderr) as { start: number; end: number }
    t.ok(readFileSync(at('saved')).equals(Buffer.concat([raw.subarray(0, gap.start), raw.subarray(gap.end)])))
    const filled = await millrace([
      'decode',
      '--recover',
      '--fill',
      '--stats=json',
      at('damaged.mrz'),
      '-o',
      at('filled'),
    ])
    t.match(JSON.parse(filled.stderr.split('\n').findLast((line) => line !== '') ?? ''), {
      gaps: 1,
      bytesOut: raw.length,
    })
    t.ok(readFileSync(at('filled')).equals(Buffer.from(raw).fill(0, gap.start, gap.end)))
    writeFileSync(at('cut.mrz'), damaged.subarray(0, 15_000))
    t.match(await millrace(['decode', '--recover', at('cut.mrz'), '-o', at('saved2')]), {
      status: 4,
      stderr: /"end":null/,
    })
    t.match(await millrace(['decode', at('raw')]), {
      status: 3,
      stderr: /expected a container, gzip, BGZF or zstd/,
    })
    t.match(await millrace(['inspect', '--verify', at('damaged.mrz')]), { status: 3 })
  },
)

t.test('inspect: says what a file is', async (t) => {
  const { stdout, status } = await millrace(['inspect', '--verify', fixture('deflate-previous.mrz')])
  t.equal(status, 0)
  t.match(
    stdout,
    /^format +glyph container, version 1\ncodec +deflate\ncontext +previous\nblocks +8\n[^]*raw bytes +150,000[^]*index +in the file\nchecksums +all right\n$/,
  )
  t.match(await millrace(['inspect', fixture('gzip.gz')]), {
    stdout: /raw bytes +known when it is verified[^]*can only be read from its start/,
  })
  writeFileSync(at('no-end.mrz'), readFileSync(fixture('brotli.mrz')).subarray(0, -5))
  t.match(await millrace(['inspect', at('no-end.mrz')]), {
    stdout: /index +none: made from the headers of all blocks, but the end of the file is missing/,
  })
})

t.test('map: a container is recognised, too', async (t) => {
  const line = `printf '1\\n2\\n' | millrace encode -c deflate | millrace map 'r => r * 2'`
  t.match(await shell(line), { status: 0, stdout: '2\n4\n' })
})

t.test('mistakes are told, with status 2', async (t) => {
  for (const [args, message] of [
    [['encode', '-l', 'high'], /whole number/],
    [
      ['encode', '-c', 'deflate', '-l', '77', at('raw')],
      /option level: expected an integer of at least 0 and at most 9, got 77/,
    ],
    [['encode', '-j', '0', at('raw')], /-j: expected at least 1/],
    [['encode', '--gzi', at('x'), at('raw')], /gzi/],
    [['encode', '--format', 'zip'], /Allowed choices are container, gzip, bgzf, zstd/],
    [['decode', '--fill', at('raw')], /--fill needs --recover/],
    [['decode', '--recover', '--range', '1-2', at('raw')], /recover the file first/],
    [['decode', '--recover', fixture('gzip.gz')], /only containers can be recovered/],
    [['decode', '-j', '0', at('raw')], /-j/],
    [['inspect', '-j', '0', at('raw')], /-j/],
    [['inspect', '-'], /not a pipe/],
    [['inspect'], /missing required argument/],
    [['decode', '--recovr'], /Did you mean --recover/],
  ] as const) {
    const { status, stderr } = await millrace(args)
    t.equal(status, 2, args.join(' '))
    t.match(stderr, message)
  }
  for (const verb of ['encode', 'decode', 'inspect'])
    t.match(await millrace([verb, '--help']), { status: 0, stdout: /Examples:/, stderr: '' })
})

t.test('a reader that has enough is a normal end, and a signal lets the rest be written', async (t) => {
  t.match(await shell(`millrace decode ${at('c.mrz')} | head -c 10`), {
    status: 0,
    stdout: String(raw.subarray(0, 10)),
    stderr: '',
  })
  const child = start(['encode', '-c', 'deflate'])
  const result = outcome(child)
  // more than a pipe holds: once it is taken, the command is reading
  child.stdin?.on('error', () => {})
  await new Promise((resolve) => child.stdin?.write(raw, resolve))
  child.kill('SIGINT')
  t.match(await result, { status: 130, stderr: '' })
  child.stdin?.destroy()
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
})

import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import zlib from 'node:zlib'
import t from 'tap'
import { bin, data, millrace, outcome, shell, start } from './helpers.ts'

const folder = mkdtempSync(join(tmpdir(), 'millrace-map-'))
t.teardown(() => rmSync(folder, { recursive: true }))
t.jobs = 2

const movies = JSON.parse(readFileSync(`${data}movies.json`, 'utf8')) as Record<string, unknown>[]
const ndjson = movies.map((movie) => `${JSON.stringify(movie)}\n`).join('')
const titles = movies.map((movie) => `${JSON.stringify(movie['Title'])}\n`).join('')
const lines = (text: string) => text.split('\n').slice(0, -1)

t.test('formats in and out', async (t) => {
  t.test('map: an array in a real file becomes NDJSON', async (t) => {
    const { status, stdout, stderr } = await millrace(['map', 'r => r.Title', `${data}movies.json`])
    t.equal(status, 0)
    t.equal(stderr, '')
    t.equal(stdout, titles)
  })

  t.test('map: NDJSON on stdin is recognised, and the array written is what JSON.parse reads', async (t) => {
    const { status, stdout } = await millrace(['map', 'r => r.Title', '-', '--out', 'json'], ndjson)
    t.equal(status, 0)
    t.strictSame(
      JSON.parse(stdout),
      movies.map((movie) => movie['Title']),
    )
  })

  t.test('map: json-seq in and out', async (t) => {
    const { stdout } = await millrace(['map', 'r => r + 1', '--in', 'seq', '--out', 'seq'], '\x1e1\n\x1e2\n')
    t.equal(stdout, '\x1e2\n\x1e3\n')
  })

  t.test('map: concatenated values, pretty-printed', async (t) => {
    const { stdout } = await millrace(['map', 'r => r.a'], '{\n "a": 1\n}\n{\n "a": 2\n}')
    t.equal(stdout, '1\n2\n')
  })

  t.test('map: --path goes down to the records', async (t) => {
    const { stdout, status } = await millrace([
      'map',
      '--path',
      'features',
      'r => r.properties.mag',
      `${data}earthquakes.json`,
    ])
    const { features } = JSON.parse(readFileSync(`${data}earthquakes.json`, 'utf8')) as {
      features: { properties: { mag: number } }[]
    }
    t.equal(status, 0)
    t.strictSame(
      lines(stdout).map(Number),
      features.map(({ properties }) => properties.mag),
    )
  })

  t.test('map: gzip is recognised by its magic, in a file and on stdin, several members too', async (t) => {
    const half = ndjson.indexOf('\n', ndjson.length / 2) + 1
    const packed = Buffer.concat([gzipSync(ndjson.slice(0, half)), gzipSync(ndjson.slice(half))])
    writeFileSync(join(folder, 'movies.gz'), packed)
    t.equal((await millrace(['map', 'r => r.Title', join(folder, 'movies.gz')])).stdout, titles)
    t.equal((await millrace(['map', 'r => r.Title'], packed)).stdout, titles)
  })

  t.test('map: zstd is recognised where Node can read it, and told where it cannot', async (t) => {
    if (typeof zlib.zstdCompressSync !== 'function') {
      const { status, stderr } = await millrace(['map', 'r => r'], Buffer.from('28b52ffd2000010000', 'hex'))
      t.equal(status, 1)
      t.match(stderr, /zstd input needs Node 22\.15/)
      return
    }
    const half = ndjson.indexOf('\n', ndjson.length / 2) + 1
    const frames = [zlib.zstdCompressSync(ndjson.slice(0, half)), zlib.zstdCompressSync(ndjson.slice(half))]
    const { status, stdout } = await millrace(['map', 'r => r.Title'], Buffer.concat(frames))
    t.equal(status, 0)
    t.equal(stdout, titles)
  })

  t.test('map: empty input gives an empty output', async (t) => {
    t.match(await millrace(['map', 'r => r']), { status: 0, stdout: '' })
    t.match(await millrace(['map', 'r => r', '--out', 'json']), { status: 0, stdout: '[]' })
  })
})

t.test('functions', async (t) => {
  const cases: [title: string, fn: string, expected: string][] = [
    ['undefined drops a record', 'r => r > 1 ? r : undefined', '2\n3\n'],
    ['null is written', 'r => null', 'null\nnull\nnull\n'],
    ['the second argument has the index', '(r, { index }) => index', '0\n1\n2\n'],
    [
      'a generator function yields any number',
      'function* (r) { for (let i = 0; i < r; i++) yield r }',
      '1\n2\n2\n3\n3\n3\n',
    ],
    ['an async function is awaited', 'async r => (await null, r * 2)', '2\n4\n6\n'],
    ['an async generator function too', 'async function* (r) { yield r; yield -r }', '1\n-1\n2\n-2\n3\n-3\n'],
    ['an array is one record', 'r => [r, r]', '[1,1]\n[2,2]\n[3,3]\n'],
  ]
  for (const [title, fn, expected] of cases) {
    t.test(`map: ${title}`, async (t) => {
      t.match(await millrace(['map', '-j', '1', fn], '1\n2\n3\n'), {
        status: 0,
        stdout: expected,
        stderr: '',
      })
      t.match(await millrace(['map', '-j', '0', fn], '1\n2\n3\n'), {
        status: 0,
        stdout: expected,
        stderr: '',
      })
    })
  }

  t.test('map: --where keeps what is true, async too', async (t) => {
    t.equal((await millrace(['map', '--where', 'r => r % 2', 'r => r * 10'], '1\n2\n3\n')).stdout, '10\n30\n')
    t.equal(
      (await millrace(['map', '--where', 'async r => r % 2', 'r => r * 10'], '1\n2\n3\n')).stdout,
      '10\n30\n',
    )
  })

  t.test('map: --module takes the default export', async (t) => {
    writeFileSync(join(folder, 'double.mjs'), 'export default (r) => r * 2')
    const { stdout } = await millrace(['map', '--module', join(folder, 'double.mjs'), '-'], '1\n2\n')
    t.equal(stdout, '2\n4\n')
  })

  t.test('map: the output does not depend on the number of workers', async (t) => {
    const fn = '(r, { index }) => [index, r.Title]'
    const [none, one, three] = await Promise.all(
      ['0', '1', '3'].map((n) => millrace(['map', '-j', n, fn, `${data}movies.json`])),
    )
    t.equal(none?.status, 0)
    t.equal(one?.stdout, none?.stdout)
    t.equal(three?.stdout, none?.stdout)
  })

  t.test('map: --unordered gives the same records', async (t) => {
    const { stdout } = await millrace(['map', '--unordered', 'r => r.Title'], ndjson)
    t.strictSame(lines(stdout).toSorted(), lines(titles).toSorted())
  })
})

t.test('faults', async (t) => {
  const good = (n: number) => Array.from({ length: n }, (_, i) => `{"i":${i}}\n`).join('')

  t.test('map: corrupt input is exit 3, names the place, and all before it is written', async (t) => {
    const { status, stdout, stderr } = await millrace(
      ['map', 'r => r.i'],
      `${good(5000)}{"i":,}\n${good(10)}`,
    )
    t.equal(status, 3)
    t.equal(lines(stdout).length, 5000)
    t.match(stderr, /record 5000\b/)
    t.match(stderr, new RegExp(`byte ${good(5000).length + 5}\\b`))
    t.match(stderr, /line 5001\b/)
  })

  t.test('map: a truncated array is exit 3, and all before it is written', async (t) => {
    const { status, stdout, stderr } = await millrace(['map', 'r => r'], '[1,2,{"a":')
    t.equal(status, 3)
    t.equal(stdout, '1\n2\n')
    t.match(stderr, /byte 10\b/)
  })

  t.test('map: bytes that are not UTF-8 are exit 3', async (t) => {
    const { status, stdout } = await millrace(
      ['map', 'r => r', '--in', 'ndjson'],
      Buffer.from('1\n"\xff"\n', 'latin1'),
    )
    t.equal(status, 3)
    t.equal(stdout, '1\n')
  })

  t.test('map: a depth of 100 000 is refused, not a crash', async (t) => {
    const { status, stderr } = await millrace(
      ['map', 'r => 1'],
      `[1,${'['.repeat(100_000)}${']'.repeat(100_000)}]`,
    )
    t.equal(status, 3)
    t.match(stderr, /deep/)
  })

  t.test('map: damaged gzip is exit 3 with what came before it', async (t) => {
    const packed = gzipSync(ndjson)
    const { status, stdout, stderr } = await millrace(
      ['map', 'r => r.Title'],
      packed.subarray(0, packed.length / 2),
    )
    t.equal(status, 3)
    t.ok(stdout.length > 1000)
    t.ok(titles.startsWith(stdout))
    t.match(stderr, /^millrace: byte \d+ .*gzip input ends/)
  })

  t.test(
    'map: a function that throws is exit 1, names the record, and all before it is written',
    async (t) => {
      const { status, stdout, stderr } = await millrace(
        ['map', 'r => { if (r === 3) throw new Error("no three"); return r }'],
        '1\n2\n3\n4\n',
      )
      t.equal(status, 1)
      t.equal(stdout, '1\n2\n')
      t.match(stderr, /record 2\b.*no three/)
    },
  )

  t.test('map: what JSON cannot hold is exit 1 and names the record', async (t) => {
    const { status, stdout, stderr } = await millrace(['map', 'r => r === 3 ? 3n : r'], '1\n2\n3\n4\n')
    t.equal(status, 1)
    t.equal(stdout, '1\n2\n')
    t.match(stderr, /record 2\b/)
  })

  t.test('map: --on-error skip leaves bad records out', async (t) => {
    const { status, stdout, stderr } = await millrace(
      ['map', '--on-error', 'skip', '--in', 'ndjson', 'r => r.a.b'],
      '{"a":{"b":1}}\nnull\n{"a":\n{"a":{"b":2}}\n',
    )
    t.match({ status, stdout, stderr }, { status: 0, stdout: '1\n2\n', stderr: '' })
  })

  t.test('map: --on-error report names them on stderr and is exit 4', async (t) => {
    const { status, stdout, stderr } = await millrace(
      ['map', '--on-error', 'report', '--in', 'ndjson', '(r, { index }) => [index, r.a.b]'],
      '{"a":{"b":1}}\nnull\n{"a":\n{"a":{"b":2}}\n',
    )
    t.equal(status, 4)
    t.equal(stdout, '[0,1]\n[3,2]\n')
    const reports = lines(stderr).map((line) => JSON.parse(line) as { index: number; error: string })
    t.strictSame(
      reports.map(({ index }) => index).toSorted((a, b) => a - b),
      [1, 2],
    )
  })

  t.test('map: a worker that exits or runs out of memory is exit 1 with a reason', async (t) => {
    const exits = await millrace(['map', '-j', '1', 'r => r === 2 ? process.exit(7) : r'], '1\n2\n3\n')
    t.equal(exits.status, 1)
    t.match(exits.stderr, /worker/)
  })

  t.test(
    'map: a full disk is exit 1',
    { skip: !existsSync('/dev/full') && 'this system has no /dev/full' },
    async (t) => {
      const toStdout = await shell(`millrace map 'r => r' '${data}movies.json' > /dev/full`)
      t.equal(toStdout.status, 1)
      t.match(toStdout.stderr, /ENOSPC/)
      const toFile = await millrace(['map', 'r => r', '-o', '/dev/full', `${data}movies.json`])
      t.equal(toFile.status, 1)
      t.match(toFile.stderr, /ENOSPC/)
    },
  )

  t.test('map: a file that is not there is exit 1', async (t) => {
    const { status, stderr } = await millrace(['map', 'r => r', join(folder, 'nowhere.json')])
    t.equal(status, 1)
    t.match(stderr, /ENOENT.*nowhere\.json/)
  })
})

t.test('usage', async (t) => {
  const cases: [title: string, args: string[], message: RegExp][] = [
    ['a misspelt option gets a suggestion', ['map', 'r => r', '--wokers', '2'], /Did you mean --workers\?/],
    ['a misspelt verb gets a suggestion', ['mpa'], /Did you mean map\?/],
    ['a wrong format names the right ones', ['map', 'r => r', '--in', 'xml'], /ndjson/],
    ['FN that is no JavaScript', ['map', 'r => {'], /FN: /],
    ['FN that is no function', ['map', '42'], /FN is not a function/],
    ['FN that is missing', ['map'], /FN is missing/],
    ['a number of workers that is none', ['map', 'r => r', '-j', 'many'], /whole number/],
  ]
  for (const [title, args, message] of cases) {
    t.test(`map: ${title} is exit 2`, async (t) => {
      const { status, stdout, stderr } = await millrace(args)
      t.equal(status, 2)
      t.equal(stdout, '')
      t.match(stderr, message)
    })
  }

  t.test('map: --help and --version go to stdout', async (t) => {
    t.match(await millrace(['map', '--help']), { status: 0, stdout: /Usage: millrace map/, stderr: '' })
    t.match(await millrace(['--help']), { status: 0, stdout: /Exit status:/, stderr: '' })
    t.match(await millrace(['--version']), { status: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })
  })
})

t.test('in a shell', async (t) => {
  const endless = `yes '{"a":1}'`

  t.test('help and messages: a reader of either stream that closes early is a normal end', async (t) => {
    const help = await shell(`{ millrace --help; echo "exit $?" >&2; } | true`)
    t.equal(help.stderr, 'exit 0\n')
    const message = await shell(
      `{ { millrace map --bogus; echo "exit $?" >&3; } 2>&1 >/dev/null | true; } 3>&1`,
    )
    t.equal(message.stdout, 'exit 2\n')
    const full = await shell(`millrace --help > /dev/full`)
    t.equal(full.status, 1)
    t.equal(full.stderr, 'millrace: ENOSPC: no space left on device, write\n')
  })

  t.test('map: a reader that has enough is a normal end', async (t) => {
    const { status, stdout, stderr } = await shell(
      `${endless} | { millrace map 'r => r.a'; echo "exit $?" >&2; } | head -n 3`,
    )
    t.equal(stdout, '1\n1\n1\n')
    t.equal(stderr, 'exit 0\n')
    t.ok(status === 0 || status === 141, 'yes itself may die of SIGPIPE')
  })

  t.test('map: the reader is gone although the input is silent', async (t) => {
    const { stderr } = await shell(
      `{ ${endless} | head -n 200000; sleep 2; } | { timeout 20 "${process.execPath}" "${bin}" map 'r => r.a'; echo "exit $?" >&2; } | head -n 1`,
    )
    t.equal(stderr, 'exit 0\n')
  })

  t.test('map: SIGINT ends the input, what was read is flushed, and the stats say so', async (t) => {
    const child = start(['map', 'r => r.Title', '--stats=json'])
    child.stdin?.on('error', () => {})
    const done = outcome(child)
    child.stdin?.write(ndjson)
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    child.kill('SIGINT')
    const { status, stdout, stderr } = await done
    t.equal(status, 130)
    t.ok(titles.startsWith(stdout))
    t.ok(stdout.endsWith('\n'))
    const stats = JSON.parse(stderr) as { recordsOut: number; bytesOut: number }
    t.equal(stats.recordsOut, lines(stdout).length)
    t.equal(stats.bytesOut, Buffer.byteLength(stdout))
  })

  t.test('map: a second SIGINT kills what does not end', async (t) => {
    const never = 'r => r > 1 ? new Promise(() => setInterval(() => {}, 1000)) : r'
    const child = start(['map', '-j', '1', '--block-size', '1', '--in', 'ndjson', never])
    const done = outcome(child)
    child.stdin?.write('1\n2\n')
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    child.kill('SIGINT')
    const nudge = setInterval(() => child.kill('SIGINT'), 300)
    const { signal } = await done
    clearInterval(nudge)
    t.equal(signal, 'SIGINT')
  })

  t.test('map: progress is drawn on a terminal, or where it is asked for, unless --quiet', async (t) => {
    const slow = (options: string) => `(cat '${data}movies.json'; sleep 2) | millrace map ${options} 'r => 1'`
    const rate = /[KM]iB\/s/
    t.notMatch((await shell(`${slow('')} 2>&1 >/dev/null`)).stdout, rate, 'a pipe is no terminal')
    t.match((await shell(`${slow('--progress')} 2>&1 >/dev/null`)).stdout, rate)
    if (!existsSync('/usr/bin/script')) return t.comment('no script(1), so no terminal')
    // script(1) gives the command a terminal
    const onTerminal = (options: string) =>
      shell(
        `export -f millrace; TERM=xterm SHELL=/bin/bash script -qec "${slow(options)} >/dev/null" /dev/null`,
      )
    t.match((await onTerminal('')).stdout, rate)
    t.notMatch((await onTerminal('--quiet')).stdout, rate)
  })

  t.test('map: -o writes FILE only when all went well', async (t) => {
    const file = join(folder, 'out.ndjson')
    t.match(await millrace(['map', 'r => r', '-o', file], '1\n2\n'), { status: 0, stdout: '' })
    t.equal(readFileSync(file, 'utf8'), '1\n2\n')
    const { status, stderr } = await millrace(['map', 'r => r', '-o', file, '--in', 'ndjson'], '7\n8\nx\n')
    t.equal(status, 3)
    t.equal(readFileSync(file, 'utf8'), '1\n2\n', 'the old file stands')
    t.equal(readFileSync(`${file}.partial`, 'utf8'), '7\n8\n', 'nothing is lost')
    t.match(stderr, /out\.ndjson\.partial/)
  })

  t.test('map: --stats=json is one object on stderr', async (t) => {
    const { stderr } = await millrace(['map', 'r => r > 1 ? r : undefined', '--stats=json'], '1\n2\n3\n')
    const stats = JSON.parse(stderr) as Record<string, number>
    t.match(stats, { bytesIn: 6, bytesOut: 4, recordsIn: 3, recordsOut: 2, errors: 0, outputClosed: false })
    t.ok((stats['peakRssBytes'] as number) > 1e6)
  })

  t.test('map: --stats is a line for people', async (t) => {
    const { stderr } = await millrace(['map', 'r => r', '--stats', '--', '-'], '1\n2\n3\n')
    t.match(stderr, /^millrace: .*3 → 3 records/)
  })
})

// gen and verify, as a shell runs them: with files, pipes, a terminal, and a store on loopback.
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DataGenerator, type ObjectOptions, type Seed } from '../../src/bytes/index.ts'
import { main } from '../../src/cli/main.ts'
import { parseRange, parseSeed } from '../../src/cli/object-options.ts'
import { BUCKET, CREDENTIALS, S3Server, refuse } from '../s3/helpers/s3-server.ts'
import { type Outcome, data, millrace, outcome, shell, start, userEnv } from './helpers.ts'

const folder = mkdtempSync(join(tmpdir(), 'millrace-gen-'))
const server = await new S3Server().start()
t.teardown(async () => {
  rmSync(folder, { recursive: true })
  await server.die()
})

const bytes = (options: ObjectOptions, seed: Seed = 42) =>
  new DataGenerator({ seed }).beginObject(options).read(0, options.size)
/** A file of the test's own, so that tests can run at the same time. */
const file = (name: string, content?: Uint8Array) => {
  const path = join(folder, name)
  if (content !== undefined) writeFileSync(path, content)
  return path
}
const env = userEnv({
  AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${server.port}`,
  AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
  AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
})
const s3 = (args: readonly string[]) => millrace(args, '', { env })
/** The same in this process, which costs no start: for what needs neither pipes nor signals. */
async function inProcess(
  t: Test,
  args: readonly string[],
): Promise<Pick<Outcome, 'status' | 'stdout' | 'stderr'>> {
  const [out, err] = [t.capture(process.stdout, 'write'), t.capture(process.stderr, 'write')]
  try {
    const status = await main(args)
    const text = (captured: typeof out) =>
      captured()
        .map((call) => String(call.args[0]))
        .join('')
    return { status, stdout: text(out), stderr: text(err) }
  } finally {
    out.restore()
    err.restore()
  }
}
const SIZE = 300_000
const described = ['--seed', '42', '--size', String(SIZE)]

t.test('gen: what it writes', async (t) => {
  t.test('the object of its options, to a pipe', async (t) => {
    const path = file('piped')
    const { status, stderr } = await shell(
      `millrace gen --size 3.5MiB --seed 42 --dedup 2.5 --compress 1.7 --codec lz4 --key k | cat > '${path}'`,
    )
    t.match({ status, stderr }, { status: 0, stderr: '' })
    const expected = bytes({ size: 3.5 * 2 ** 20, dedup: 2.5, compress: 1.7, codec: 'lz4', key: 'k' })
    t.ok(readFileSync(path).equals(expected))
  })

  t.test('a range, half-open, to a file that takes its place when it is complete', async (t) => {
    const path = file('range')
    const run = await inProcess(t, ['gen', ...described, '--range', '1KiB-200k', '-o', path, '--stats=json'])
    t.match(run, { status: 0, stdout: '' })
    t.ok(readFileSync(path).equals(bytes({ size: SIZE }).subarray(1024, 200_000)))
    t.notOk(existsSync(`${path}.partial`))
    const stats = JSON.parse(run.stderr) as Record<string, number>
    t.match(stats, { bytesIn: 0, bytesOut: 198_976, recordsOut: 1, seed: 42, outputClosed: false })
    t.ok(stats['peakRssBytes']! > 1e6)
  })

  t.test('a fresh seed each time, which the stats tell', async (t) => {
    const runs = await Promise.all(
      ['fresh1', 'fresh2'].map((name) =>
        millrace(['gen', '--size', '1000', '-o', file(name), '--stats=json']),
      ),
    )
    const seeds = runs.map(({ stderr }) => (JSON.parse(stderr) as { seed: number }).seed)
    t.not(seeds[0], seeds[1])
    for (const [i, name] of ['fresh1', 'fresh2'].entries())
      t.ok(readFileSync(file(name)).equals(bytes({ size: 1000 }, seeds[i])))
  })

  t.test('many objects, numbered from 0, each with a key of its own', async (t) => {
    const run = await millrace([
      'gen',
      '--size',
      '70000',
      '--seed',
      'text',
      '--count',
      '5',
      '-o',
      file('set-{n}'),
      '-j',
      '2',
      '--stats',
    ])
    t.match(run, { status: 0, stdout: '', stderr: /seed text.*5 objects/ })
    for (let n = 0; n < 5; n++)
      t.ok(readFileSync(file(`set-${n}`)).equals(bytes({ size: 70_000, key: String(n) }, 'text')), `${n}`)
    t.notOk(existsSync(file('set-5')))
  })

  t.test('the rest of a set when some of it cannot be written', async (t) => {
    mkdirSync(file('dir-1'))
    const { status, stderr } = await inProcess(t, [
      'gen',
      '--size',
      '10',
      '--count',
      '3',
      '-o',
      file('dir-{n}'),
    ])
    // -o that is a folder is a fault of the command line, not of one object
    t.match({ status, stderr }, { status: 2, stderr: /dir-1 is a directory/ })
    const missing = await inProcess(t, ['gen', '--size', '10', '--count', '2', '-o', file('no/{n}')])
    t.equal(missing.status, 4)
    const reports = missing.stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { index: number })
    t.strictSame(
      reports.map(({ index }) => index).toSorted((a, b) => a - b),
      [0, 1],
    )
    t.match(reports[0], { error: /ENOENT/ })
  })
})

t.test('gen and verify: a range goes through a pipe and is verified there', async (t) => {
  const range = '--size 10GiB --seed 42 --range 4GiB-4100MiB'
  const good = await shell(`millrace gen ${range} | millrace verify ${range} --stats=json`)
  t.match(good, { status: 0, stdout: '' })
  t.match(JSON.parse(good.stderr), { bytesIn: 4 * 2 ** 20, errors: 0, seed: 42 })
  const other = await shell(`millrace gen ${range} --key other | millrace verify ${range}`)
  t.match(other, { status: 3, stdout: '4294967296\n', stderr: /another object/ })
})

t.test('verify: names the first bad offset, and what is wrong there', async (t) => {
  const right = bytes({ size: SIZE })
  const flipped = Buffer.from(right)
  flipped[77_777]! ^= 4
  const swapped = Buffer.concat([
    right.subarray(65_536, 131_072),
    right.subarray(0, 65_536),
    right.subarray(131_072),
  ])
  const cases: [name: string, content: Buffer, offset: number, message: RegExp][] = [
    [
      'one bit flipped',
      flipped,
      77_777,
      /offset 77777 \(block 1, unique 1, page 2\): expected 0x.., got 0x..; one bit/,
    ],
    ['two blocks swapped', swapped, 0, /block 1 of this object stands here/],
    [
      'truncated',
      right.subarray(0, 123_456),
      123_456,
      /truncated at offset 123456: expected 300000 bytes.*176544 missing/,
    ],
    [
      'too long',
      Buffer.concat([right, Buffer.from('x')]),
      SIZE,
      /too long: expected the end at offset 300000/,
    ],
    ['empty', Buffer.alloc(0), 0, /truncated at offset 0/],
  ]
  for (const [name, content, offset, message] of cases) {
    t.test(`verify: ${name}`, async (t) => {
      const path = file(`bad ${name}`, content)
      const { status, stdout, stderr } = await inProcess(t, ['verify', ...described, path])
      t.match({ status, stdout, stderr }, { status: 3, stdout: `${offset}\n`, stderr: message })
    })
  }

  t.test('verify: what is right is exit 0 and says nothing, from a file and from stdin', async (t) => {
    t.match(await inProcess(t, ['verify', ...described, file('right', right)]), {
      status: 0,
      stdout: '',
      stderr: '',
    })
    t.match(await shell(`millrace verify ${described.join(' ')} < '${file('right')}'`), {
      status: 0,
      stdout: '',
      stderr: '',
    })
  })

  t.test('verify: --all goes on, and lists every bad range', async (t) => {
    const bad = Buffer.from(right.subarray(0, 250_000))
    bad[10]! ^= 1
    bad.fill(0, 131_072, 131_072 + 4096)
    const { status, stdout, stderr } = await millrace(['verify', ...described, '--all', '-'], bad)
    t.equal(status, 3)
    t.match(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as object),
      [
        { start: 10, end: 11, bytes: 1, block: 0, page: 0, found: { kind: 'bits', bits: 1 } },
        { start: 131_072, end: 135_168, block: 2, found: { kind: 'zeros' } },
        { start: 250_000, end: SIZE, bytes: 50_000, found: { kind: 'missing' } },
      ],
    )
    t.match(stderr, /in 2 ranges, 50000 missing, 0 too many\n.*first mismatch at offset 10 /)
    const long = await millrace(['verify', ...described, '--all'], Buffer.concat([right, bad]))
    t.match(long, { status: 3, stdout: /^\{"start":300000,"end":550000,.*"extra"\}\}\n$/ })
  })

  t.test('verify: an input that is not there is exit 1', async (t) => {
    const run = await inProcess(t, ['verify', ...described, file('nowhere')])
    t.match(run, { status: 1, stdout: '', stderr: /ENOENT.*nowhere/ })
  })
})

t.test('S3 stands wherever a file can', async (t) => {
  t.test('gen: a set of objects is stored, and each verified', async (t) => {
    const run = await s3([
      'gen',
      '--size',
      '1MiB',
      '--count',
      '3',
      '--seed',
      '7',
      '--key',
      'run1/{n}',
      '-o',
      `s3://${BUCKET}/run1/{n}`,
      '-j',
      '2',
      '--stats=json',
    ])
    t.equal(run.status, 0)
    // one line: no warning of the SDK beside it
    t.match(JSON.parse(run.stderr), { bytesOut: 3 * 2 ** 20, recordsOut: 3, seed: 7 })
    for (let n = 0; n < 3; n++)
      t.ok(server.object(`run1/${n}`)?.equals(bytes({ size: 2 ** 20, key: `run1/${n}` }, 7)), `${n}`)
    const described = ['--size', '1MiB', '--seed', '7', '--key', 'run1/2']
    t.match(await s3(['verify', ...described, `s3://${BUCKET}/run1/2`]), {
      status: 0,
      stdout: '',
      stderr: '',
    })
    const wrong = await s3(['verify', ...described, `s3://${BUCKET}/run1/1`])
    t.match(wrong, { status: 3, stdout: '0\n' })
    t.match(await s3(['verify', ...described, `s3://${BUCKET}/none`]), {
      status: 1,
      stderr: /does not exist/,
    })
  })

  t.test('gen: objects that the store refuses are reported, and the others stored', async (t) => {
    server.intercept = (request, response) => {
      if (request.method !== 'PUT' || !request.url!.includes('/some/1')) return false
      refuse(request, response, 403, 'AccessDenied')
      return true
    }
    const run = await s3(['gen', '--size', '1000', '--count', '3', '-o', `s3://${BUCKET}/some/{n}`])
    server.intercept = () => false
    t.equal(run.status, 4)
    t.match(JSON.parse(run.stderr), { index: 1, error: /AccessDenied/ })
    t.strictSame(
      [0, 1, 2].map((n) => server.object(`some/${n}`)?.length),
      [1000, undefined, 1000],
    )
  })

  t.test('gen: an address that is none is exit 2', async (t) => {
    t.match(await s3(['gen', '--size', '1', '-o', 's3://bucket-alone']), {
      status: 2,
      stderr: /s3:\/\/bucket\/key/,
    })
  })

  t.test('gen: SIGINT gives an upload up, and leaves nothing of it', async (t) => {
    const child = start(
      ['gen', '--size', '1TiB', '--seed', '1', '-o', `s3://${BUCKET}/huge`, '--stats=json'],
      {
        env,
      },
    )
    const done = outcome(child)
    // the second part is on its way
    server.intercept = (request) => {
      if (request.url!.includes('partNumber=2')) child.kill('SIGINT')
      return false
    }
    const { status, stderr } = await done
    t.equal(status, 130)
    t.match(JSON.parse(stderr), { seed: 1, recordsOut: 0 })
    t.strictSame(server.uploads(), [])
    t.equal(server.object('huge'), undefined)
  })

  t.test('map: reads from S3 and writes to it, all or nothing', async (t) => {
    const { status } = await s3(['map', 'r => r.Title', `${data}movies.json`, '-o', `s3://${BUCKET}/titles`])
    t.equal(status, 0)
    const count = await s3(['map', 'r => r === "Slam" ? r : undefined', `s3://${BUCKET}/titles`])
    t.match(count, { status: 0, stdout: '"Slam"\n', stderr: '' })
    const bad = await s3(['map', 'r => r.Title.length', `${data}movies.json`, '-o', `s3://${BUCKET}/bad`])
    t.equal(bad.status, 1)
    t.equal(server.object('bad'), undefined)
  })
})

t.test('in a shell', async (t) => {
  t.test('gen: a reader that has enough is a normal end', async (t) => {
    const { stdout, stderr } = await shell(
      `{ millrace gen --size 1TiB --seed 1 --stats=json; echo "exit $?" >&2; } | head -c 100000 | wc -c`,
    )
    t.equal(stdout.trim(), '100000')
    const [stats, exit] = stderr.split('\n') as [string, string]
    t.equal(exit, 'exit 0')
    t.match(JSON.parse(stats), { outputClosed: true, seed: 1 })
  })

  t.test('gen: SIGINT ends it, with what was written in the stats', async (t) => {
    const child = start(['gen', '--size', '1TiB', '--seed', '1', '--stats=json'])
    let length = 0
    child.stdout?.on('data', (chunk: Buffer) => (length += chunk.length))
    child.stdout?.once('data', () => child.kill('SIGINT'))
    let stderr = ''
    child.stderr?.on('data', (chunk: Buffer) => (stderr += String(chunk)))
    const [status] = (await once(child, 'close')) as [number]
    t.equal(status, 130)
    t.match(JSON.parse(stderr), { bytesOut: length, outputClosed: false, seed: 1 })
  })

  t.test('gen: a second SIGTERM kills although the reader sleeps', async (t) => {
    const child = start(['gen', '--size', '1TiB'])
    const closed = once(child, 'exit')
    // nothing is read, so the pipe is full in a moment
    await once(child.stdout as NodeJS.ReadableStream, 'readable')
    const nudge = setInterval(() => child.kill('SIGTERM'), 200)
    const [status, signal] = (await closed) as [number | null, NodeJS.Signals | null]
    clearInterval(nudge)
    child.stdout?.destroy()
    t.ok(signal === 'SIGTERM' || status === 143)
  })

  t.test('gen: a full disk is exit 1', { skip: !existsSync('/dev/full') && 'no /dev/full' }, async (t) => {
    const { status, stderr } = await shell('millrace gen --size 1MiB > /dev/full')
    t.match({ status, stderr }, { status: 1, stderr: /ENOSPC/ })
  })

  t.test(
    'gen: a terminal is refused, unless --force',
    { skip: !existsSync('/usr/bin/script') && 'no script(1), so no terminal' },
    async (t) => {
      // script(1) gives the command a terminal
      const onTerminal = (command: string) =>
        shell(`export -f millrace; SHELL=/bin/bash script -qec "${command}" /dev/null`)
      t.match(await onTerminal('millrace gen --size 10'), {
        status: 2,
        stdout: /stdout is a terminal.*--force/,
      })
      const forced = await onTerminal('millrace gen --size 0 --force')
      t.match(forced, { status: 0, stdout: '' })
    },
  )
})

t.test('usage', async (t) => {
  const cases: [title: string, args: string[], message: RegExp][] = [
    ['a size that is missing', ['gen'], /--size/],
    ['a size with half a byte', ['gen', '--size', '1.5'], /expected a size/],
    ['a size past 2^53', ['gen', '--size', '9PiB'], /expected a size/],
    ['a ratio below 1', ['gen', '--size', '1', '--dedup', '0.9'], /dedup.*at least 1/],
    ['a ratio that is none', ['gen', '--size', '1', '--compress', 'x'], /expected a number/],
    ['a codec that is unknown', ['gen', '--size', '1', '--codec', 'xz'], /zstd/],
    [
      'a range that ends outside',
      ['gen', '--size', '10', '--range', '3-11'],
      /--range 3-11.*10 \(the size\)/,
    ],
    ['a range that ends before it begins', ['gen', '--size', '10', '--range', '5-3'], /--range 5-3/],
    ['a negative seed', ['gen', '--size', '1', '--seed=-1'], /seed.*got -1/],
    ['many objects on stdout', ['gen', '--size', '1', '--count', '2'], /--count needs -o/],
    ['many objects of one name', ['gen', '--size', '1', '--count', '2', '-o', 'x'], /\{n\} is missing/],
    ['a number of nothing', ['gen', '--size', '1', '-o', '{n}'], /needs --count/],
    ['verify without a seed', ['verify', '--size', '1'], /--seed/],
    [
      'a misspelt option',
      ['verify', '--size', '1', '--seed', '1', '--rnage', '0-1'],
      /Did you mean --range\?/,
    ],
  ]
  for (const [title, args, message] of cases) {
    t.test(`gen, verify: ${title} is exit 2`, async (t) => {
      t.match(await inProcess(t, args), { status: 2, stdout: '', stderr: message })
    })
  }

  t.test('seeds and ranges mean what they look like', async (t) => {
    t.strictSame(['42', '042', '9007199254740993', 'run 7', '1e3', '-1', '0.5'].map(parseSeed), [
      42,
      42,
      9_007_199_254_740_993n,
      'run 7',
      '1e3',
      -1,
      0.5,
    ])
    t.match(parseRange('4KiB-5k'), { start: 4096, end: 5000 })
    t.strictSame(parseRange('7-'), { text: '7-', start: 7 })
    for (const wrong of ['', '7', '-7', '1-2-3', 'a-b']) t.throws(() => parseRange(wrong), /expected/, wrong)
  })

  t.test('gen, verify: --help goes to stdout', async (t) => {
    t.match(await inProcess(t, ['gen', '--help']), { status: 0, stdout: /Usage: millrace gen/, stderr: '' })
    t.match(await inProcess(t, ['verify', '--help']), {
      status: 0,
      stdout: /Usage: millrace verify/,
      stderr: '',
    })
  })
})

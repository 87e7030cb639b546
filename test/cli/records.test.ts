// fit, sample and report, as a shell runs them.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { main } from '../../src/cli/main.ts'
import { Model, type Evaluation, type Schema } from '../../src/records/index.ts'
import { people } from '../records/helpers.ts'
import { data, millrace, outcome, shell, start } from './helpers.ts'

const folder = mkdtempSync(join(tmpdir(), 'millrace-records-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const file = (name: string) => join(folder, name)
writeFileSync(file('people.json'), JSON.stringify(people(800)))
const modelFile = file('people.model.json')
await millrace(['fit', file('people.json'), '-o', modelFile])
const model = await Model.load(modelFile)
/** In this process, which costs no start. */
async function inProcess(t: Test, args: readonly string[]) {
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
const lines = (text: string) => text.split('\n').slice(0, -1)

t.test('fit: a model of a file or of stdin, by each method', async (t) => {
  t.match({ method: model.method, rows: model.rows }, { method: 'bayes_net', rows: 800 })
  const run = await shell(
    `cat '${data}penguins.json' | gzip | millrace fit --method gaussian_copula --stats=json > '${file('p.json')}'`,
  )
  t.equal(run.status, 0, run.stderr)
  t.match(JSON.parse(run.stderr), { recordsIn: 344 })
  t.equal((await Model.load(file('p.json'))).method, 'gaussian_copula')
})

t.test('fit: a schema is written, edited and given back', async (t) => {
  const { stdout } = await millrace([
    'fit',
    file('people.json'),
    '--schema-only',
    '--column',
    'children=category',
  ])
  const schema = JSON.parse(stdout) as Schema
  t.equal(schema.columns.find(({ name }) => name === 'children')?.kind, 'category')
  const fewer = {
    ...schema,
    columns: schema.columns.filter(({ name }) => name === 'age' || name === 'region'),
  }
  writeFileSync(file('schema.json'), JSON.stringify(fewer))
  const run = await millrace([
    'fit',
    file('people.json'),
    '--schema',
    file('schema.json'),
    '--max-rows',
    '100',
    '-o',
    file('s.json'),
  ])
  t.equal(run.status, 0, run.stderr)
  const small = await Model.load(file('s.json'))
  t.strictSame(Object.keys(small.generate(1)[0]!), ['age', 'region'])
  t.equal(small.rows, 100)
})

t.test('fit: what is wrong is told, with the right status', async (t) => {
  writeFileSync(file('bad.csv'), 'a,b\n1,2\n3\n')
  for (const [args, status, message] of [
    [['fit', file('bad.csv')], 3, /line 3/],
    [['fit', file('people.json'), '--method', 'ctgan'], 2, /bayes_net/],
    [['fit', file('people.json'), '--column', 'age'], 2, /NAME=KIND/],
    [['fit', file('people.json'), '--schema', file('bad.csv')], 2, /--schema/],
    [['fit', file('people.json'), '--max-parents', '-1'], 2, /whole number/],
    [['fit', file('nowhere.csv')], 1, /ENOENT/],
    [['sample', file('bad.csv')], 3, /not JSON/],
    [['sample', file('schema.json')], 3, /expected a model/],
    [['sample', modelFile, '--where', 'nobody=1'], 2, /one of the columns age|one of the columns id/],
    [['sample', modelFile, '--where', 'age>999'], 1, /no value/],
    [['sample', modelFile, '--rate', '0'], 2, /above 0/],
    [['sample', modelFile, '--format', 'xml'], 2, /Allowed choices/],
    [['report', file('people.json'), file('bad.csv')], 3, /line 3/],
    [['report', file('people.json'), file('people.json'), '--target', 'x'], 2, /one of the columns/],
    [['report', '-', '-'], 2, /only one/],
  ] as const) {
    const run = await inProcess(t, args)
    t.equal(run.status, status, `${args.join(' ')}: ${run.stderr}`)
    t.match(run.stderr, message)
  }
})

t.test('sample: the records of the model, by any number of threads', async (t) => {
  const args = [
    'sample',
    modelFile,
    '--count',
    '9k',
    '--seed',
    '7',
    '--where',
    'age>=30',
    '--where',
    'region in West,East',
  ]
  const expected = model.generate(9000, { seed: 7, conditions: ['age>=30', 'region in West,East'] })
  for (const workers of ['0', '2']) {
    const { stdout, status } = await millrace([...args, '-j', workers])
    t.equal(status, 0)
    t.strictSame(
      lines(stdout).map((line) => JSON.parse(line) as unknown),
      expected,
    )
  }
  const csv = await shell(
    `millrace sample '${modelFile}' --count 5 --seed 7 --format csv -o '${file('five.csv')}'`,
  )
  t.equal(csv.status, 0)
  t.match(readFileSync(file('five.csv'), 'utf8'), /^id,age,region/)
  t.notOk(existsSync(file('five.csv.partial')))
  const json = await millrace(
    [
      'sample',
      '--count',
      '3',
      '--max',
      '2',
      '--seed',
      'x',
      '--format',
      'json',
      '--skip',
      '4',
      '--stats=json',
    ],
    readFileSync(modelFile),
  )
  t.strictSame(JSON.parse(json.stdout), model.generate(2, { seed: 'x', skip: 4 }))
  t.match(JSON.parse(json.stderr), { recordsOut: 2, seed: 'x' })
  const marked = await millrace(['sample', modelFile, '--count', '1', '--metadata', '--batch-size', '10'])
  t.match(JSON.parse(marked.stdout), { _batch_id: 'batch-001' })
})

t.test('sample: a reader that has enough, and a signal, are ends', async (t) => {
  const head = await shell(`millrace sample '${modelFile}' | head -n 3; exit "\${PIPESTATUS[0]}"`)
  t.match(head, { status: 0, stderr: '' })
  t.equal(lines(head.stdout).length, 3)
  const child = start(['sample', modelFile, '--format', 'json', '--rate', '2000', '--seed', '1'])
  const done = outcome(child)
  child.stdout!.once('data', () => child.kill('SIGINT'))
  const { status, stdout } = await done
  t.equal(status, 130)
  const records = JSON.parse(stdout) as unknown[]
  t.strictSame(records, model.generate(records.length, { seed: 1 }), 'the array is closed')
})

t.test('report: a page, or the scores', async (t) => {
  writeFileSync(
    file('made.ndjson'),
    model
      .generate(800, { seed: 1 })
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(''),
  )
  const args = ['report', file('people.json'), file('made.ndjson'), '--target', 'isMember']
  const page = await millrace([
    ...args,
    '-o',
    file('report.html'),
    '--holdout',
    file('people.json'),
    '--stats=json',
  ])
  t.equal(page.status, 0, page.stderr)
  t.match(page.stderr, /^overall 0\.9\d+ · shapes/)
  t.match(readFileSync(file('report.html'), 'utf8'), '<title>made.ndjson against people.json</title>')
  const scores = await millrace([...args, '--json'])
  t.match(JSON.parse(scores.stdout) as Evaluation, {
    rows: { real: 800, synthetic: 800 },
    utility: { target: 'isMember' },
  })
  const closed = await shell(`millrace ${args.join(' ')} | head -c 10; exit "\${PIPESTATUS[0]}"`)
  t.match(closed, { status: 0, stdout: '<!doctype ' })
})

t.test(
  'a topic is no file of bytes: verbs that have bytes refuse it, and do not tell the password',
  async (t) => {
    const topic = 'kafka://ann:secret@localhost/clicks'
    const plain = file('people.json')
    const described = ['--size', '1KiB', '--seed', '1']
    for (const args of [
      ['gen', ...described, '-o', topic],
      ['verify', ...described, topic],
      ['encode', topic],
      ['encode', plain, '-o', topic],
      ['decode', topic],
      ['decode', plain, '-o', topic],
      ['inspect', topic],
      ['sample', topic],
      ['serve', topic],
      // before anything is read
      ['fit', file('none.csv'), '-o', topic],
      ['report', file('none.csv'), plain, '-o', topic],
    ]) {
      const stderr =
        /^millrace: kafka:\/\/…@localhost\/clicks: a topic holds records, and this verb has bytes/
      t.match(await inProcess(t, args), { status: 2, stdout: '', stderr }, args.join(' '))
    }
    t.match(await inProcess(t, ['fit', plain, '--from', plain]), { status: 2, stderr: /give one of them/ })
  },
)

t.test('a model that is none is told by its name, by every verb that takes one', async (t) => {
  writeFileSync(file('no.json'), '{"format":"something else"}')
  writeFileSync(file('no.txt'), 'river,power\n')
  for (const verb of ['sample', 'serve']) {
    t.match(await inProcess(t, [verb, file('no.json')]), {
      status: 3,
      stdout: '',
      stderr: /expected a model of millrace/,
    })
    t.match(await inProcess(t, [verb, file('no.txt')]), {
      status: 3,
      stdout: '',
      stderr: /no\.txt is not JSON/,
    })
    t.match(await inProcess(t, [verb, file('not-there')]), { status: 1, stdout: '', stderr: /ENOENT/ })
  }
})

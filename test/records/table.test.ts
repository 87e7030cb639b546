import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import t from 'tap'
import { RecordBatch } from '../../src/flow/index.ts'
import { DATE_PATTERNS, DateFormat, detectDateFormat } from '../../src/records/date-format.ts'
import { castTexts, inferColumn } from '../../src/records/infer-column.ts'
import { detectId, IdMaker } from '../../src/records/id-maker.ts'
import { parseSchema, Table, type ColumnKind, type Schema, type Value } from '../../src/records/index.ts'
import { poolOf, shapeOf, TextMaker } from '../../src/records/text-shape.ts'
import { anyCut } from '../../src/testing/index.ts'

const vega = fileURLToPath(new URL('../../node_modules/vega-datasets/data/', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'millrace-table-'))
t.teardown(() => rmSync(folder, { recursive: true }))

const kinds = (table: Table) => Object.fromEntries(table.schema.columns.map(({ name, kind }) => [name, kind]))
const csv = (text: string, options = {}) => Table.read(Readable.from([Buffer.from(text)]), options)
const fails = (code: string, facts = {}) => ({ code: `ERR_MILLRACE_TABLE_${code}`, ...facts })

t.test(
  'Table.read: what it reads does not depend on the format, nor on how the bytes were cut',
  async (t) => {
    const rows = [
      { name: 'Zoë, "the" first', price: 1.25, sold: true, on: '2024-02-29', note: null },
      { name: 'line\nbreak', price: -3, sold: false, on: '2023-12-31', note: null },
      { name: 'plain', price: null, sold: true, on: null, note: null },
    ]
    const quote = (value: Value) => (value === null ? '' : `"${String(value).replaceAll('"', '""')}"`)
    const names = Object.keys(rows[0]!)
    const texts = {
      csv: `\uFEFF${names.join(',')}\r\n${rows.map((row) => Object.values(row).map(quote).join(',')).join('\r\n')}`,
      json: JSON.stringify(rows),
      ndjson: rows.map((row) => JSON.stringify(row)).join('\n'),
    }
    const expected = Table.from(rows)
    t.strictSame(kinds(expected), {
      name: 'category',
      price: 'decimal',
      sold: 'boolean',
      on: 'datetime',
      note: 'constant',
    })
    for (const [format, text] of Object.entries(texts)) {
      await fc.assert(
        fc.asyncProperty(anyCut(Buffer.from(text)), fc.boolean(), async (chunks, isAuto) => {
          const table = await Table.read(Readable.from(chunks), isAuto ? {} : { format: format as 'csv' })
          t.strictSame([...table.records()], rows)
          t.strictSame(table.schema, expected.schema)
        }),
        { numRuns: 15 },
      )
    }
  },
)

t.test(
  'Table.read: paths, strings, batches, records with other columns, white space before it all',
  async (t) => {
    writeFileSync(join(folder, 'a.csv'), 'a;b\n1;NA\n2;x\n')
    const table = await Table.read(join(folder, 'a.csv'), { delimiter: ';', nulls: ['NA'] })
    t.strictSame(
      [...table.records()],
      [
        { a: 1, b: null },
        { a: 2, b: 'x' },
      ],
    )
    t.strictSame(table.column('b'), [null, 'x'])
    t.throws(() => table.column('c'), { code: 'ERR_MILLRACE_OPTION' })
    const mixed = [{ a: 1 }, { a: 2, b: undefined }, { b: new Date(0), a: Number.NaN }, { c: -0 }]
    t.strictSame(
      [...Table.from(mixed).records()],
      [
        { a: 1, b: null, c: null },
        { a: 2, b: null, c: null },
        { a: null, b: '1970-01-01T00:00:00.000Z', c: null },
        { a: null, b: null, c: 0 },
      ],
    )
    const batches = await Table.read(Readable.from([new RecordBatch(0, [{ a: 1 }]), { a: 2 }]))
    t.equal(batches.rows, 2)
    t.equal((await Table.read(Readable.from(['  \n', ' ', '[{"a":1}]']))).rows, 1)
    t.equal((await Table.read(Readable.from(['{"a":1}\n{"a":2}\n']))).rows, 2)
  },
)

t.test('Table.read: what is wrong is told with its place', async (t) => {
  await t.rejects(csv('a,b\n1,2\n3\n'), fails('CSV', { line: 3 }))
  await t.rejects(csv('a,b\n1,"2'), fails('CSV'))
  await t.rejects(csv('a,a\n1,2\n'), fails('CSV', { line: 1 }))
  await t.rejects(csv(''), fails('EMPTY'))
  await t.rejects(csv('  '), fails('EMPTY'))
  await t.rejects(csv('a,b\n'), fails('EMPTY'))
  await t.rejects(csv('[]'), fails('EMPTY'))
  await t.rejects(csv('[{"a":1},{"a":[]}]'), fails('ROW', { index: 1 }))
  await t.rejects(csv('[{"a":1},3]'), fails('ROW', { index: 1 }))
  await t.rejects(csv('[{"a":1},'), { code: 'ERR_MILLRACE_JSON_TRUNCATED' })
  await t.rejects(Table.read(join(folder, 'nowhere.csv')), { code: 'ENOENT' })
  await t.rejects(csv('a\n1', { format: 'xml' }), { code: 'ERR_MILLRACE_OPTION' })
  await t.rejects(csv('a\n1', { maxRows: 0 }), { code: 'ERR_MILLRACE_OPTION' })
  await t.rejects(csv('a\n1', { columns: { b: 'text' } }), { code: 'ERR_MILLRACE_OPTION' })
  await t.rejects(csv('a\n1', { columns: { a: 'number' as ColumnKind } }), { code: 'ERR_MILLRACE_OPTION' })
  const broken = Readable.from(
    (async function* () {
      yield Buffer.from('a\n1\n')
      throw new Error('the disk is gone')
    })(),
  )
  await t.rejects(Table.read(broken), /the disk is gone/)
  const controller = new AbortController()
  controller.abort(new Error('enough'))
  await t.rejects(csv('a\n1\n', { signal: controller.signal }), /enough/)
  await t.rejects(csv('[{"a":1}]', { signal: controller.signal }), /enough/)
  await t.rejects(Table.read([{ a: 1 }], { signal: controller.signal }), /enough/)
})

t.test('Table.read: a reservoir is of the size asked for, and every row has the same odds', async (t) => {
  const counts = new Float64Array(100)
  for (let seed = 0; seed < 400; seed++) {
    const rows = Array.from({ length: 100 }, (_, n) => ({ n }))
    const table = await Table.read(rows, { maxRows: 25, seed, columns: { n: 'integer' } })
    t.equal(table.rows, 25)
    for (const n of table.column('n')) counts[n as number]!++
  }
  const chi = counts.reduce((sum, count) => sum + (count - 100) ** 2 / 75, 0)
  t.ok(chi < 180, `chi-square ${chi} of 99 degrees`)
})

t.test('Table: infers the columns of real tables', async (t) => {
  t.strictSame(kinds(await Table.read(`${vega}penguins.json`)), {
    Species: 'category',
    Island: 'category',
    'Beak Length (mm)': 'decimal',
    'Beak Depth (mm)': 'decimal',
    'Flipper Length (mm)': 'integer',
    'Body Mass (g)': 'integer',
    Sex: 'category',
  })
  const movies = kinds(await Table.read(`${vega}movies.json`))
  t.match(movies, {
    Title: 'text',
    'US Gross': 'integer',
    'Release Date': 'datetime',
    'IMDB Rating': 'decimal',
  })
  t.match(kinds(await Table.read(`${vega}cars.json`)), { Year: 'datetime', Name: 'text', Origin: 'category' })
  t.match(kinds(await Table.read(`${vega}flights-2k.json`)), { date: 'datetime', origin: 'category' })
  t.match(kinds(await Table.read(`${vega}stocks.csv`)), {
    date: 'datetime',
    price: 'decimal',
    symbol: 'category',
  })
})

t.test('inferColumn: ids, sequences, constants, numbers of any precision', async (t) => {
  const kindOf = (of: (i: number) => Value, name = 'x') =>
    inferColumn(
      name,
      Array.from({ length: 40 }, (_, i) => of(i)),
    )
  t.match(
    kindOf((i) => i + 7),
    { kind: 'id', id: { form: 'sequence', first: 7 } },
  )
  t.match(
    kindOf((i) => i * 100),
    { kind: 'integer' },
    'different numbers alone are no ids',
  )
  t.match(
    kindOf((i) => i * 100, 'order_id'),
    { kind: 'id' },
    'unless they are called so',
  )
  t.match(
    kindOf((i) => -i * 100, 'order_id'),
    { kind: 'integer' },
  )
  t.match(
    kindOf((i) => `ORD-${String(i).padStart(5, '0')}`),
    { kind: 'id', id: { prefix: 'ORD-', width: 5 } },
  )
  t.match(
    kindOf(() => 3),
    { kind: 'constant' },
  )
  t.match(
    kindOf(() => null),
    { kind: 'constant', nullRate: 1 },
  )
  t.match(
    kindOf((i) => (i % 4 === 0 ? null : i / 8)),
    { kind: 'decimal', decimals: 3, nullRate: 0.25 },
  )
  t.match(
    kindOf((i) => (i % 4) * 1.5e-9),
    { kind: 'decimal', decimals: 10 },
  )
  t.notOk('decimals' in kindOf((i) => (i % 4) / 3))
  t.match(
    kindOf((i) => (i % 2 === 0 ? i : `n${i}`)),
    { kind: 'text' },
    'numbers and texts',
  )
  t.match(
    kindOf((i) => (i % 2 === 0 ? 1 : 'one')),
    { kind: 'category' },
  )
})

t.test('castTexts: numbers and booleans only where every text is one', async (t) => {
  const cast = (texts: Value[]) => {
    castTexts(texts)
    return texts
  }
  t.strictSame(cast(['1', null, '-2.50', '1e3']), [1, null, -2.5, 1000])
  t.strictSame(cast(['TRUE', 'false']), [true, false])
  for (const texts of [['01234'], ['1', 'x'], ['1,5'], ['+1'], ['.5'], ['1e999'], ['true', 'yes'], [null]]) {
    t.strictSame(cast([...texts]), texts, `${texts.join()} stays as it is`)
  }
})

t.test('DateFormat: what it writes it reads, for every pattern and any time', async (t) => {
  for (const pattern of DATE_PATTERNS) {
    const format = new DateFormat(pattern)
    const [min, max] = pattern.includes('YYYY') ? [-50_000_000_000_000, 200_000_000_000_000] : [0, 86_399_999]
    fc.assert(
      fc.property(
        fc.integer({ min: Math.ceil(min / format.unit), max: Math.floor(max / format.unit) }),
        (units) => {
          return format.parse(format.format(units)) === units
        },
      ),
      { numRuns: 30 },
    )
  }
  for (const text of ['2023-02-29', '2023-13-01', '2023-1-1', '2023-01-01 ', 'x2023-01-01']) {
    t.equal(new DateFormat('YYYY-MM-DD').parse(text), undefined, text)
  }
  t.equal(new DateFormat('HH:mm').parse('24:00'), undefined)
  const short = new DateFormat('H:mm')
  t.equal(short.format(short.parse('7:05')!), '7:05')
})

t.test('detectDateFormat: the one that fits all, and writes them back', async (t) => {
  for (const [texts, pattern] of [
    [['2024-01-31', '1999-12-01'], 'YYYY-MM-DD'],
    [['31/01/2024', '01/02/2024'], 'DD/MM/YYYY'],
    [['1/31/2024', '12/1/2024'], 'M/D/YYYY'],
    [['Jun 12 1998', 'Aug 07 1998'], 'Mon DD YYYY'],
    [['Jan 1 2000', 'Dec 31 2000'], 'Mon D YYYY'],
    [['2001/01/10 18:20'], 'YYYY/MM/DD HH:mm'],
    [['2024-01-31T12:30:00Z'], 'YYYY-MM-DDTHH:mm:ssZ'],
    [['2024-01-31T12:30:00.125'], 'YYYY-MM-DDTHH:mm:ss.SSS'],
    [['09:30', '23:59'], 'HH:mm'],
  ] as const) {
    t.equal(detectDateFormat(texts)?.pattern, pattern, texts.join())
  }
  for (const texts of [['2024-01-31', 'x'], ['1.5'], [], ['2024'], ['1/2/2024', '01/02/2024']]) {
    t.equal(detectDateFormat(texts), undefined, texts.join())
  }
})

t.test('IdMaker: never the same id twice, and of the form that was seen', async (t) => {
  const uuid = 'f81d4fae-7dec-41d0-a765-00a0c91e6bf6'
  for (const [seen, form] of [
    [[3, 9, 1], /^\d+$/],
    [['A7', 'A12'], /^A\d+$/],
    [['0007', '0012'], /^\d{4,}$/],
    [
      [uuid, uuid.replaceAll('f', '0')],
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    ],
    [[uuid.toUpperCase()], /^[0-9A-F-]{36}$/],
    [['Qx7-9b', 'Ab1-0z'], /^[A-Z][a-z]\d-\d[a-z]$/],
    [['a\\b', 'c\\d'], /^[a-z]\\[a-z]$/],
  ] as const) {
    const maker = new IdMaker('id', detectId(seen)!, 99)
    const count = seen[0] === 'a\\b' ? 676 : 5000
    const ids = new Set(Array.from({ length: count }, (_, i) => maker.make(i)))
    t.equal(ids.size, count, String(form))
    t.ok([...ids].every((id) => form.test(String(id)) && typeof id === typeof seen[0]))
  }
  t.strictSame(
    [0, 1, 2].map((i) => new IdMaker('id', detectId([5, 4])!, 1).make(i)),
    [4, 5, 6],
  )
  const uuids = new IdMaker('id', detectId([uuid])!, 99)
  t.not(uuids.make(2 ** 33), uuids.make(2 ** 34), 'beyond 32 bits too')
  t.equal(detectId(['abc', 'a1c']), undefined)
  t.equal(detectId([1.5]), undefined)
  t.equal(detectId([1, 'a']), undefined)
  const short = new IdMaker('code', detectId(['a', 'b'])!, 3)
  t.equal(new Set(Array.from({ length: 26 }, (_, i) => short.make(i))).size, 26)
  t.throws(() => short.make(26), { code: 'ERR_MILLRACE_MODEL_IDS', index: 26, expected: 26 })
})

t.test('TextMaker: texts of the shapes that were seen, made of the characters that were seen', async (t) => {
  const texts = ['Crème brûlée 42!', 'Ünder 7 Ärzten']
  const maker = new TextMaker(poolOf(texts))
  for (const text of texts) {
    for (let word = 0; word < 50; word++)
      t.equal(shapeOf(maker.make(shapeOf(text), word * 7919)), shapeOf(text))
  }
  t.ok(Array.from(maker.make(shapeOf(texts[0]!), 5)).every((character) => texts.join('').includes(character)))
  t.not(maker.make(shapeOf(texts[0]!), 5), maker.make(shapeOf(texts[0]!), 6))
})

t.test('schema: can be saved, edited and given back, and the table is held against it', async (t) => {
  const rows = Array.from({ length: 30 }, (_, i) => ({
    id: i,
    age: 20 + (i % 9),
    day: `2024-01-${10 + (i % 9)}`,
    extra: i % 3,
    flag: i % 2 === 0,
  }))
  const { schema } = Table.from(rows)
  const edited = JSON.parse(JSON.stringify(schema)) as Schema
  t.strictSame(parseSchema(edited), schema)
  t.strictSame(Table.from(rows, { schema: edited }).schema, schema)
  const only = (columns: Schema['columns']) => Table.from(rows, { schema: { ...schema, columns } })
  t.strictSame(
    kinds(only([{ name: 'age', kind: 'category' }])),
    { age: 'category' },
    'other columns are left out',
  )
  t.match(only([{ name: 'age', kind: 'decimal', min: 0, max: 99 }]).schema.columns[0], { min: 0, max: 99 })
  t.match(only([{ name: 'id', kind: 'id' }]).schema.columns[0], { id: { form: 'sequence', first: 0 } })
  t.match(only([{ name: 'flag', kind: 'id' }]).schema.columns[0], { id: { form: 'sequence', first: 1 } })
  t.match(only([{ name: 'day', kind: 'datetime', max: '2024-02-01' }]).schema.columns[0], {
    max: '2024-02-01',
  })
  const halves = Table.from(
    rows.map(({ id }) => ({ x: id / 8 })),
    { schema: { ...schema, columns: [{ name: 'x', kind: 'decimal', decimals: 1 }] } },
  )
  t.strictSame(halves.column('x').slice(0, 3), [0, 0.1, 0.3], 'rounded as the schema says')
  t.throws(() => only([{ name: 'age', kind: 'integer', max: 25 }]), fails('VALUE', { index: 6, actual: 26 }))
  t.throws(() => only([{ name: 'day', kind: 'integer' }]), fails('VALUE', { index: 0 }))
  t.throws(() => only([{ name: 'age', kind: 'boolean' }]), fails('VALUE'))
  t.throws(() => only([{ name: 'age', kind: 'datetime', dateFormat: 'YYYY-MM-DD' }]), fails('VALUE'))
  t.throws(() => only([{ name: 'day', kind: 'datetime', min: '2024-01-15' }]), fails('VALUE', { index: 0 }))
  t.throws(() => Table.from([{ x: 1.5 }], { columns: { x: 'integer' } }), fails('VALUE'))
  t.throws(() => only([{ name: 'nobody', kind: 'integer' }]), fails('SCHEMA', { expected: 'nobody' }))
  const bad: unknown[] = [
    null,
    { ...schema, version: 2 },
    { ...schema, columns: [] },
    { ...schema, columns: [{ kind: 'text' }] },
    { ...schema, columns: [{ name: 'a', kind: 'number' }] },
    {
      ...schema,
      columns: [
        { name: 'a', kind: 'text' },
        { name: 'a', kind: 'text' },
      ],
    },
    { ...schema, columns: [{ name: 'a', kind: 'datetime', dateFormat: 'YY' }] },
    { ...schema, columns: [{ name: 'a', kind: 'decimal', decimals: 99 }] },
    { ...schema, columns: [{ name: 'a', kind: 'id', id: { form: 'x' } }] },
  ]
  for (const value of bad) t.throws(() => parseSchema(value), fails('SCHEMA'))
})

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { Model, Table, fit, type Method, type Row } from '../../src/records/index.ts'
import { compileMake } from '../../src/records/record-builder.ts'
import { isChance, people, vega } from './helpers.ts'

const folder = mkdtempSync(join(tmpdir(), 'millrace-model-'))
t.teardown(() => rmSync(folder, { recursive: true }))

const METHODS: Method[] = ['bayes_net', 'gaussian_copula', 'cart']
const rows = people(3000)
const table = Table.from(rows)
const models = await Promise.all(METHODS.map((method) => fit(table, { method })))
const option = (name: string) => ({ code: 'ERR_MILLRACE_OPTION', option: name })

for (const [at, method] of METHODS.entries()) {
  const model = models[at]!

  t.test(
    `${method}: records have the types, bounds, decimals, nulls and categories of the rows`,
    async (t) => {
      const made = model.generate(8000, { seed: 5 })
      t.strictSame(Object.keys(made[0]!), Object.keys(rows[0]!))
      const column = (all: readonly Row[], name: string) => all.map((row) => row[name]!)
      for (const name of ['age', 'income', 'children', 'since', 'region', 'country', 'isMember', 'unit']) {
        const real = column(rows, name)
        const synthetic = column(made, name)
        const nullRate = real.filter((value) => value === null).length / real.length
        const nulls = synthetic.filter((value) => value === null).length
        // the rate was learnt from 3000 rows exactly, so only the drawing varies
        t.ok(isChance(nulls, nullRate, synthetic.length), `${name}: ${nulls} nulls for a rate of ${nullRate}`)
        if (nullRate === 0) t.equal(nulls, 0)
        const present = real.filter((value) => value !== null)
        const types = new Set(present.map((value) => typeof value))
        const [min, max] = present.reduce<[(typeof present)[0], (typeof present)[0]]>(
          ([low, high], value) => [value < low ? value : low, value > high ? value : high],
          [present[0]!, present[0]!],
        )
        const isWithin = synthetic.every(
          (value) => value === null || (types.has(typeof value) && value >= min && value <= max),
        )
        t.ok(isWithin, `${name} is of the types and bounds of the rows`)
      }
      const known = (name: string) => new Set(column(rows, name))
      for (const name of ['region', 'country', 'isMember', 'unit', 'children', 'age']) {
        t.ok(
          made.every((row) => known(name).has(row[name]!)),
          `${name} has no other values`,
        )
      }
      t.ok(
        made.every(({ income }) => income === null || Math.round((income as number) * 100) / 100 === income),
      )
      t.ok(made.every(({ since }) => since === null || /^\d{4}-\d\d-\d\d$/.test(since as string)))
      t.equal(new Set(column(made, 'id')).size, made.length, 'ids are unique')
      t.ok(
        made.every(({ name }) => /^[A-Z][a-z]{2,4} \d{4}$/.test(name as string)),
        'texts keep their shape',
      )
      const realNames = new Set(column(rows, 'name'))
      t.ok(
        made.filter(({ name }) => realNames.has(name!)).length < made.length / 50,
        'and are not those of the rows',
      )
      const west = (all: readonly Row[]) => all.filter(({ region }) => region === 'West').length / all.length
      t.ok(isChance(west(made) * made.length, west(rows), made.length), 'shares of categories')
    },
  )

  t.test(`${method}: the same seed, the same records, from any record on and in any portions`, async (t) => {
    const whole = model.generate(5000, { seed: 'a' })
    fc.assert(
      fc.property(fc.nat({ max: 4999 }), fc.nat({ max: 3000 }), (skip, count) => {
        const part = model.generate(Math.min(count, 5000 - skip), { seed: 'a', skip })
        t.strictSame(part, whole.slice(skip, skip + part.length))
      }),
      { numRuns: 20 },
    )
    t.notSame(model.generate(10, { seed: 'b' }), whole.slice(0, 10))
    t.strictSame((await fit(rows, { method })).toJSON(), model.toJSON(), 'the same rows give the same model')
  })

  t.test(`${method}: saving and loading changes nothing`, async (t) => {
    const path = join(folder, `${method}.json`)
    await model.save(path)
    const loaded = await Model.load(path)
    const options = { seed: 3, conditions: { age: { gte: 30 } } }
    t.strictSame(loaded.generate(2000, options), model.generate(2000, options))
    t.match({ method: loaded.method, rows: loaded.rows }, { method, rows: 3000 })
    t.strictSame(loaded.schema, model.schema)
  })

  t.test(`${method}: learns from any table, however small or odd`, async (t) => {
    const odd: Record<string, object[]> = {
      'one row': [{ a: 1, b: 'x' }],
      'a constant': Array.from({ length: 30 }, (_, i) => ({ a: 7, b: i % 3 })),
      'only nulls': Array.from({ length: 5 }, () => ({ a: null, b: null })),
      'all different': Array.from({ length: 50 }, (_, i) => ({
        a: i * 3.7,
        b: `v${(i * 7919) % 50}x`,
        c: `w ${i} ${'x'.repeat(i)}`,
      })),
      'numbers that no decimals hold': Array.from({ length: 400 }, (_, i) => ({
        a: (i * i) / 7,
        b: -1 / (i + 1),
        c: 1e300 * i,
      })),
      'values of several types': Array.from({ length: 30 }, (_, i) => ({ a: [1, 'one', true, null][i % 4] })),
      'a name like a field of objects': JSON.parse(
        '[{"__proto__":1,"constructor":"a"},{"__proto__":2,"constructor":"b"}]',
      ) as object[],
      'large and negative numbers': Array.from({ length: 600 }, (_, i) => ({
        a: -(2 ** 52) + i * 1001,
        b: -i / 1000,
        c: i / 1e9,
      })),
      'one value that fills most bins': Array.from({ length: 2000 }, (_, i) => ({ a: i % 3 === 0 ? i : 5 })),
    }
    for (const [name, data] of Object.entries(odd)) {
      const small = await fit(data, { method })
      const made = small.generate(3000, { seed: 1 })
      t.equal(made.length, 3000, name)
      t.strictSame(Model.fromJSON(JSON.parse(JSON.stringify(small))).generate(50), small.generate(50), name)
      const text = String(
        await small.stream({ count: 3000, seed: 1, format: 'ndjson' }).toArray().then(Buffer.concat),
      )
      t.equal(
        text,
        made.map((row) => `${JSON.stringify(row)}\n`).join(''),
        `${name}: text is what JSON.stringify gives`,
      )
    }
    const spiky = (await fit(odd['one value that fills most bins']!, { method })).generate(4000)
    t.ok(isChance(spiky.filter(({ a }) => a === 5).length, 2 / 3, 4000), 'frequent values stay frequent')
  })
}

t.test(
  'bayes_net: counts are closer to what they should be than by chance, and columns are still independent',
  async (t) => {
    const rows = Array.from({ length: 4096 }, (_, i) => ({
      a: i % 2 === 0,
      b: (i >> 1) % 2 === 0,
      c: (i >> 2) % 4,
    }))
    const made = (await fit(rows)).generate(64 * 1024, { seed: 3 })
    let turns = 0
    const together: number[] = []
    for (let from = 0; from < made.length; from += 1024) {
      const block = made.slice(from, from + 1024)
      for (const key of ['a', 'b'] as const) t.ok(Math.abs(block.filter((row) => row[key]).length - 512) <= 2)
      together.push(block.filter(({ a, b }) => a && b).length)
      for (let i = 1; i < 1024; i++) if (block[i]!['a'] !== block[i - 1]!['a']) turns++
    }
    // 256 with a standard deviation of 8 were a and b independent and each as often as it is
    const chi = together.reduce((sum, count) => sum + ((count - 256) / 8) ** 2, 0)
    t.ok(chi > 25 && chi < 120, `chi-square of 64 blocks: ${chi}`)
    t.ok(Math.abs(turns / made.length - 0.5) < 0.02, 'no pattern from row to row')
  },
)

t.test('bayes_net, cart: what follows from another column always does', async (t) => {
  for (const at of [0, 2]) {
    const made = models[at]!.generate(5000, { seed: 2 })
    const expected = { West: 'FR', East: 'PL', North: 'DE', 'Süd, "far"': 'DE' }
    t.ok(made.every(({ region, country }) => expected[region as 'West'] === country))
    t.ok(made.every(({ isMember, since }) => isMember === (since !== null)))
  }
})

t.test('fit: real tables, dates and nulls included', async (t) => {
  for (const file of ['penguins.json', 'movies.json', 'flights-2k.json', 'stocks.csv']) {
    const real = await Table.read(`${vega}${file}`)
    for (const method of METHODS) {
      const made = Table.from((await fit(real, { method })).generate(500, { seed: 1 }), {
        schema: real.schema,
      })
      t.equal(made.rows, 500, `${file}, ${method}: within the schema of the real table`)
    }
  }
})

t.test('fit: options that make no sense, and methods that are not there', async (t) => {
  const refused = { code: 'ERR_MILLRACE_MODEL_METHOD', expected: METHODS }
  await t.rejects(fit(rows, { method: 'ctgan' as Method }), { ...refused, message: /use 'bayes_net'/ })
  await t.rejects(fit(rows, { method: 'vae' as Method }), refused)
  await t.rejects(fit(rows, { maxParents: -1 }), option('maxParents'))
  await t.rejects(fit(rows, { minCellCount: 0 }), option('minCellCount'))
  await t.rejects(fit([]), { code: 'ERR_MILLRACE_TABLE_EMPTY' })
  t.throws(() => models[0]!.generate(-1), option('count'))
  t.throws(() => models[0]!.generate(1, { skip: 0.5 }), option('skip'))
  t.throws(() => models[0]!.generate(1, { seed: -1 }), option('seed'))
  t.throws(() => models[0]!.generate(1, { minAcceptance: 0 }), option('minAcceptance'))
  t.strictSame(models[0]!.generate(0), [])
  const free = await fit(rows, { maxParents: 0 })
  t.ok(
    free.toJSON().network!.nodes.every(({ tree }) => 'codes' in tree),
    'no parents, no questions',
  )
})

t.test('fit: ids run out with an error, after all that there were', async (t) => {
  const codes = Array.from({ length: 26 }, (_, i) => ({ code: String.fromCharCode(97 + i), n: i % 3 }))
  const model = await fit(codes)
  t.equal(new Set(model.generate(26).map(({ code }) => code)).size, 26)
  t.throws(() => model.generate(27), { code: 'ERR_MILLRACE_MODEL_IDS', index: 26 })
})

t.test('Model.load: what is no model is refused, with what is wrong', async (t) => {
  const refused = { code: 'ERR_MILLRACE_MODEL_FORMAT' }
  const path = join(folder, 'broken.json')
  writeFileSync(path, '{"format":"millrace.model"')
  await t.rejects(Model.load(path), refused)
  const data = models[0]!.toJSON()
  const copula = models[1]!.toJSON()
  const { nodes, groups } = data.network!
  const wrong: unknown[] = [
    null,
    'model',
    { ...data, format: 'other' },
    { ...data, version: 2 },
    { ...data, method: 'ctgan' },
    { ...data, rows: '5' },
    { ...data, columns: data.columns.slice(1) },
    { ...data, columns: data.columns.map((column) => ({ ...column, coding: 'range' })) },
    { ...data, network: undefined },
    { ...data, network: { nodes: nodes.toReversed(), groups } },
    { ...data, network: { nodes: [{ column: 1, tree: { codes: [9999], counts: [1] } }], groups } },
    { ...data, network: { nodes: [{ column: 1, tree: { codes: [], counts: [] } }], groups } },
    { ...data, network: { nodes: [{ column: 1, tree: { codes: [0, 1], counts: [0, 0] } }], groups } },
    { ...data, network: { nodes: [{ column: 1, tree: { codes: [0, 1], counts: [2, -1] } }], groups } },
    {
      ...data,
      columns: data.columns.map((column) =>
        column.coding === 'text' ? { ...column, counts: column.counts.map(() => 0) } : column,
      ),
    },
    { ...data, network: { nodes, groups: groups.map((of) => of.slice(1)) } },
    { ...copula, copula: { ...copula.copula!, correlations: [2] } },
  ]
  for (const value of wrong) t.throws(() => Model.fromJSON(value), refused)
  t.throws(() => Model.fromJSON({ ...data, schema: null }), { code: 'ERR_MILLRACE_TABLE_SCHEMA' })
})

t.test('partialFit: counting on is the same as having counted all at once', async (t) => {
  // the same columns depend on each other in both halves, and no level is new
  const all = Array.from({ length: 2000 }, (_, i) => ({
    a: i % 5,
    b: (i % 5) * 2 + (Math.floor(i / 5) % 2),
    c: i % 3 === 0 ? null : 'x',
  }))
  for (const method of METHODS) {
    const half = await fit(all.slice(0, 1000), { method, columns: { a: 'category', b: 'category' } })
    const both = half.partialFit(all.slice(1000))
    const once = await fit(all, { method, columns: { a: 'category', b: 'category' } })
    t.equal(both.rows, 2000)
    if (method === 'gaussian_copula') t.strictSame(both.toJSON().copula!.counts, once.toJSON().copula!.counts)
    const share = (model: Model, test: (row: Row) => boolean) =>
      model.generate(20_000, { seed: 1 }).filter(test).length / 20_000
    for (const test of [({ a }: Row) => a === 3, ({ b }: Row) => b === 7, ({ c }: Row) => c === null]) {
      t.ok(Math.abs(share(both, test) - share(once, test)) < 0.02, method)
    }
  }
})

t.test(
  'partialFit: new values, nulls, ranges and shapes find their place; weight says how much they count',
  async (t) => {
    const news = people(500, 9).map((row, i) => ({
      ...row,
      region: i % 2 === 0 ? 'Island' : row['region'],
      age: i % 5 === 0 ? 130 : row['age'],
      income: i % 3 === 0 ? 99_999 : i % 3 === 1 ? 1.5 : row['income'],
      unit: i % 2 === 0 ? 'USD' : 'EUR',
      country: i % 7 === 0 ? null : row['country'],
      name: i % 2 === 0 ? 'NN' : row['name'],
      since: i % 2 === 0 ? '2031-05-05' : row['since'],
    }))
    for (const model of models) {
      t.ok(model.drift(people(1000, 33)) < 0.05, 'rows of the same kind have not drifted')
      const drift = model.drift(news)
      t.ok(drift > 0.15, `drift ${drift}`)
      const next = model.partialFit(news, { weight: 0.5 })
      const made = next.generate(6000, { seed: 4 })
      const count = (test: (row: Row) => boolean) => made.filter(test).length
      t.ok(
        isChance(
          count(({ region }) => region === 'Island'),
          0.25,
          6000,
        ),
        'half of the news, which are half of all',
      )
      t.ok(
        isChance(
          count(({ unit }) => unit === 'USD'),
          0.25,
          6000,
        ),
      )
      t.ok(count(({ age }) => age === 130) > 400)
      t.ok(count(({ country }) => country === null) > 200)
      t.ok(count(({ name }) => /^[A-Z]{2}$/.test(name as string)) > 1000)
      t.ok(made.some(({ income }) => (income as number) > 20_000))
      t.ok(next.drift(news) < drift, 'the model has followed')
      t.strictSame(Model.fromJSON(JSON.parse(JSON.stringify(next))).generate(100), next.generate(100))
      t.ok(model.partialFit(news, { weight: 1 }).drift(news) < 0.1, 'all that counts')
      t.ok(model.partialFit(news, { weight: 0 }).drift(rows) < 0.05, 'nothing that counts')
      t.equal(model.partialFit(Table.from(news, { schema: looser(model) })).rows, 3500)
    }
  },
)

/** The schema of a model without bounds. */
function looser(model: Model) {
  const columns = model.schema.columns.map(({ name, kind, dateFormat }) => ({
    name,
    kind: kind === 'constant' ? ('category' as const) : kind,
    ...(dateFormat !== undefined && { dateFormat }),
  }))
  return { ...model.schema, columns }
}

t.test('partialFit: rows that do not fit are refused', async (t) => {
  const refused = { code: 'ERR_MILLRACE_MODEL_UPDATE' }
  t.throws(() => models[0]!.partialFit([]), refused)
  t.throws(() => models[0]!.partialFit([{ age: 3 }]), refused)
  t.throws(() => models[0]!.partialFit(rows.map((row) => ({ ...row, age: 'old' }))), refused)
  t.throws(() => models[0]!.partialFit(rows, { weight: 2 }), option('weight'))
})

t.test('records are made without code from strings too', async (t) => {
  const names = ['a', '__proto__', 'b c']
  const { Function: real } = globalThis
  const values = [1, 2, 3]
  const fast = compileMake(names)(values)
  globalThis.Function = function () {
    throw new EvalError('Code generation from strings disallowed for this context')
  } as unknown as FunctionConstructor
  const slow = compileMake(names)(values)
  globalThis.Function = real
  t.strictSame(Object.entries(fast), Object.entries(slow))
})

import t from 'tap'
import { Table, evaluate, fit, report, type Method } from '../../src/records/index.ts'
import { largestGap, pearson, totalVariation } from '../../src/records/quality.ts'
import { adult, hasAdult, people, vega } from './helpers.ts'

t.test('quality: measures are what they are defined as', async (t) => {
  t.equal(largestGap(Float64Array.of(1, 2, 3), Float64Array.of(1, 2, 3)), 0)
  t.equal(largestGap(Float64Array.of(1, 2), Float64Array.of(3, 4)), 1)
  t.equal(largestGap(Float64Array.of(1, 2, 3, 4), Float64Array.of(3, 4, Number.NaN)), 0.5)
  t.equal(largestGap(Float64Array.of(Number.NaN), Float64Array.of(1)), 1)
  t.equal(largestGap(Float64Array.of(Number.NaN), Float64Array.of()), 0)
  t.equal(totalVariation(Float64Array.of(0, 0, 1, 2), Float64Array.of(0, 1), 3), 0.25)
  t.equal(pearson(Float64Array.of(1, 2, 3, Number.NaN), Float64Array.of(2, 4, 6, 1)), 1)
  t.ok(Number.isNaN(pearson(Float64Array.of(1, 1), Float64Array.of(1, 2))))
})

t.test('evaluate: a table against itself is perfect, and all copies', async (t) => {
  const rows = people(400)
  const { overall, shapes, pairs, columnScores, pairScores, privacy, utility } = evaluate(rows, rows, {
    holdout: people(400, 2),
    target: 'region',
  })
  t.strictSame(
    [overall, shapes, pairs].map((score) => Math.round(score * 1e12) / 1e12),
    [1, 1, 1],
  )
  t.strictSame(
    columnScores.map(({ column }) => column),
    ['age', 'region', 'country', 'isMember', 'income', 'since', 'children', 'unit'],
  )
  t.equal(pairScores.find(({ columns }) => columns.join() === 'age,income')?.metric, 'CorrelationSimilarity')
  t.equal(pairScores.find(({ columns }) => columns.join() === 'age,region')?.metric, 'ContingencySimilarity')
  t.match(privacy, { exactCopies: 1, closestDistance: 0 })
  t.ok(privacy.holdoutCopies! < 0.6 && privacy.holdoutDistance! > 0.01)
  t.notOk(privacy.comparedColumns.includes('income'), 'what is nearly different in every row is not compared')
  t.match(utility, { target: 'region', metric: 'accuracy' })
  t.ok(utility!.synthetic > utility!.baseline)
  const numbers = evaluate(rows, rows, { target: 'income' }).utility!
  t.equal(numbers.metric, 'R2')
  t.ok(numbers.synthetic > numbers.baseline + 0.05 && Math.abs(numbers.baseline) < 0.05)
  t.throws(() => evaluate(rows, rows, { target: 'id' }), { code: 'ERR_MILLRACE_OPTION', option: 'target' })
  t.throws(() => evaluate(rows, [{ age: 1 }]), { code: 'ERR_MILLRACE_TABLE_SCHEMA' })
})

t.test('evaluate: what was broken apart scores worse', async (t) => {
  const rows = people(1500)
  const incomes = rows.map(({ income }) => income!)
  const shuffled = rows.map((row, i) => ({
    ...row,
    income: incomes[(i * 611) % 1500]!,
    country: rows[(i * 7) % 1500]!['country']!,
  }))
  const { shapes, pairs, pairScores } = evaluate(rows, shuffled)
  t.ok(shapes > 0.99 && pairs < 0.97)
  t.ok(pairScores.find(({ columns }) => columns.join() === 'region,country')!.score < 0.8)
  const constant = evaluate(
    rows,
    rows.map((row) => ({ ...row, age: 30, children: 0.5, income: null })),
  )
  t.ok(constant.shapes < 0.8)
  t.equal(evaluate([{ a: 1 }], [{ a: 1 }]).overall, 1, 'nothing to tell apart')
})

t.test('fit: held-out fidelity near that of real rows, and no more copies than chance gives', async (t) => {
  const real = Table.from(people(12_000))
  const half = (side: number) => real.filter((row) => row % 2 === side)
  const [train, held] = [half(0), half(1)]
  const ceiling = evaluate(held, train).overall
  const least: Record<Method, number> = { bayes_net: 0.02, cart: 0.02, gaussian_copula: 0.06 }
  for (const [method, slack] of Object.entries(least) as [Method, number][]) {
    const model = await fit(train, { method })
    const made = model.generate(train.rows, { seed: 1 })
    const { overall } = evaluate(held, made)
    t.ok(overall > ceiling - slack, `${method}: ${overall} against ${ceiling} of real rows`)
    const { privacy } = evaluate(train, made, { holdout: held })
    t.ok(
      privacy.exactCopies - privacy.holdoutCopies! < 0.02,
      `${method}: ${privacy.exactCopies} copies, ${privacy.holdoutCopies} by chance`,
    )
  }
})

t.test(
  'fit: the score on the adult table',
  { skip: hasAdult ? false : 'the table is not at hand' },
  async (t) => {
    const real = await Table.read(adult)
    const train = real.filter((row) => row % 2 === 0)
    const held = real.filter((row) => row % 2 === 1)
    const made = (await fit(train)).generate(train.rows, { seed: 1 })
    const { overall, privacy } = evaluate(train, made, { holdout: held })
    t.ok(overall >= 0.985, `${overall} against the training table`)
    t.ok(privacy.exactCopies - privacy.holdoutCopies! < 0.015)
  },
)

t.test('report: one page with all in it', async (t) => {
  const real = await Table.read(`${vega}penguins.json`)
  const made = (await fit(real)).generate(344, { seed: 1 })
  const page = await report(real, made, { title: '<Penguins>', target: 'Species', holdout: real })
  t.match(page, /^<!doctype html>\n<html lang="en">/)
  t.match(page, '<title>&lt;Penguins&gt;</title>')
  t.match(page, 'Predicts Species')
  t.notMatch(page, /<(script|link|img)[^>]+(src|href)=/)
  const data = JSON.parse(/id="data">(.*?)<\/script>/s.exec(page)![1]!) as {
    charts: { column: string; x: number[]; real: number[]; synthetic: number[]; labels?: string[] }[]
    heatMaps: { title: string; names: string[]; cells: (number | null)[][] }[]
  }
  t.equal(data.charts.length, 7)
  for (const { x, real, synthetic, labels } of data.charts) {
    t.equal(x.length, real.length)
    t.equal(x.length, synthetic.length)
    if (labels) t.equal(labels.length, x.length)
    t.ok(Math.abs(real.reduce((a, b) => a + b) - 1) < 0.01 || real.reduce((a, b) => a + b) < 1)
  }
  t.strictSame(
    data.heatMaps.map(({ names }) => names.length),
    [4, 4, 7],
  )
  const evaluation = evaluate(real, made)
  t.equal(await report(real, made, { evaluation }), await report(real, made))
  const many = Array.from({ length: 400 }, (_, i) => ({
    city: `c${i % 40}`,
    day: `2024-0${1 + (i % 9)}-11`,
    on: i % 2 === 0 ? '</script>' : null,
  }))
  const other = await report(many, many)
  t.match(other, '29 others')
  t.match(other, '"isTime":true')
  t.equal(other.match(/<\/script>/g)?.length, 3, 'no value ends a script')
  t.match(await report(many, many, { target: 'city' }), 'accuracy')
  t.match(
    await report(
      many.map((row, i) => ({ ...row, n: i % 7 })),
      many.map((row, i) => ({ ...row, n: i % 7 })),
      { target: 'n' },
    ),
    'R²',
  )
})

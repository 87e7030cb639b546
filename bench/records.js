import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { times } from './harness.js'

export const title = 'records: fitted and sampled'

const at = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url))
const adult = at('../../shared/data/adult.csv')
// without the table of 15 columns, one of 14 that a package brings
const table = existsSync(adult) ? adult : at('../node_modules/vega-datasets/data/birdstrikes.csv')
const rare = existsSync(adult)
  ? { age: { gte: 65 }, education: 'Doctorate', income: '>50K' }
  : { 'Speed IAS in knots': { gte: 250 }, 'Origin State': 'Texas', 'Time of day': 'Dusk' }

/** @typedef {import('millrace/records').Method} Method */
/** @param {Method} method */
async function fitted(method) {
  const { fit } = await import('millrace/records')
  return await fit(table, { method })
}

/** Text of a model, in one thread or several; with their start, or from the first chunk on. @param {Method} method @param {number} workers */
const toText = (method, workers, isSteady = false) => ({
  async prepare(/** @type {{ records: number }} */ { records }) {
    const model = await fitted(method)
    for await (const chunk of model.stream({ count: 100_000, format: 'ndjson' })) void chunk
    return { model, records }
  },
  async run(/** @type {{ model: import('millrace/records').Model, records: number }} */ { model, records }) {
    let startedAt = isSteady ? 0 : performance.now()
    for await (const chunk of model.stream({ count: records, format: 'ndjson', workers, seed: 1 })) {
      void chunk
      startedAt ||= performance.now()
    }
    return { ms: performance.now() - startedAt }
  },
})

/** Fifteen fields like those of the table, none of which depends on another. */
async function fakeRow() {
  const { faker } = await import('@faker-js/faker')
  const education = ['HS-grad', 'Some-college', 'Bachelors', 'Masters', 'Assoc-voc', '11th', 'Doctorate']
  const kinds = ['Private', 'Self-emp', 'Local-gov', 'State-gov', 'Federal-gov']
  const marital = ['Married-civ-spouse', 'Never-married', 'Divorced', 'Separated', 'Widowed']
  const jobs = ['Prof-specialty', 'Exec-managerial', 'Craft-repair', 'Adm-clerical', 'Sales', 'Other-service']
  const relations = ['Husband', 'Not-in-family', 'Own-child', 'Unmarried', 'Wife', 'Other-relative']
  const races = ['White', 'Black', 'Asian-Pac-Islander', 'Amer-Indian-Eskimo', 'Other']
  const countries = ['United-States', 'Mexico', 'Philippines', 'Germany', 'Canada', 'Puerto-Rico']
  const { int } = faker.number
  const pick = faker.helpers.arrayElement
  return () => ({
    age: int({ min: 17, max: 90 }),
    type_employer: pick(kinds),
    fnlwgt: int({ min: 13_769, max: 1_484_705 }),
    education: pick(education),
    education_num: int({ min: 1, max: 16 }),
    marital: pick(marital),
    occupation: pick(jobs),
    relationship: pick(relations),
    race: pick(races),
    sex: pick(['Male', 'Female']),
    capital_gain: int({ min: 0, max: 99_999 }),
    capital_loss: int({ min: 0, max: 4356 }),
    hr_per_week: int({ min: 1, max: 99 }),
    country: pick(countries),
    income: pick(['<=50K', '>50K']),
  })
}

/** @param {(row: object) => unknown} use */
const faked = (use) => ({
  async prepare(/** @type {{ records: number }} */ { records }) {
    const make = await fakeRow()
    for (let i = 0; i < 100_000; i++) use(make())
    return { make, records }
  },
  run(/** @type {{ make: () => object, records: number }} */ { make, records }) {
    for (let i = 0; i < records; i++) use(make())
  },
})

/** Peak memory of a stream of that many records to nowhere. @param {number} count */
const peakAfter = (count) => ({
  name: `${count / 1e6} M records`,
  ours: count > 1e7,
  async run() {
    const { Model } = await import('millrace/records')
    const model = Model.fromJSON((await fitted('bayes_net')).toJSON())
    for await (const chunk of model.stream({ count, format: 'ndjson', seed: 1 })) void chunk
  },
})

/** @param {Method} method */
const fitting = (method) => ({
  name: `fit, ${method}`,
  ours: method === 'bayes_net',
  async prepare() {
    const { Table } = await import('millrace/records')
    return { table: await Table.read(table) }
  },
  async run(/** @type {{ table: import('millrace/records').Table }} */ { table }) {
    const { fit } = await import('millrace/records')
    await fit(table, { method })
  },
})

export const groups = [
  {
    name: 'to NDJSON, 15 columns',
    unit: /** @type {const} */ ('krec/s'),
    rounds: 5,
    input: () => ({ bytes: 0, records: 3_000_000 }),
    candidates: [
      { name: 'bayes_net, one core', ours: true, ...toText('bayes_net', 0) },
      { name: 'gaussian_copula, one core', ...toText('gaussian_copula', 0) },
      { name: 'cart, one core', ...toText('cart', 0) },
      { name: '@faker-js/faker, objects', ...faked((row) => row) },
      { name: '@faker-js/faker, JSON.stringify', ...faked((row) => `${JSON.stringify(row)}\n`) },
    ],
    targets: (/** @type {(name: string) => { ms: number, rate: number }} */ row) => {
      const ours = row('bayes_net, one core')
      return [
        ['records a second, one core', '≥ 1 M', `${(ours.rate / 1000).toFixed(2)} M`],
        [
          'against faker, objects, which are not serialised',
          '≥ 0.8×',
          times(row('@faker-js/faker, objects').ms, ours.ms),
        ],
      ]
    },
  },
  {
    // so long that the start of workers, 0.1 s, is not what is measured
    name: 'to NDJSON, two workers',
    unit: /** @type {const} */ ('krec/s'),
    rounds: 5,
    input: () => ({ bytes: 0, records: 15_000_000 }),
    candidates: [
      { name: 'one core', ours: true, ...toText('bayes_net', 0) },
      { name: 'two workers, with their start', ...toText('bayes_net', 2) },
      { name: 'two workers, from the first chunk on', ...toText('bayes_net', 2, true) },
    ],
    targets: (/** @type {(name: string) => { ms: number }} */ row) => [
      [
        'two workers against one core',
        '≥ 1.6×',
        times(row('one core').ms, row('two workers, with their start').ms),
      ],
    ],
  },
  {
    name: 'a rare condition, 0.04 % of rows, gaussian_copula',
    unit: /** @type {const} */ ('none'),
    rounds: 3,
    input: () => ({ bytes: 0 }),
    candidates: [
      {
        name: 'drawn within it, 200 000 records',
        ours: true,
        prepare: () => fitted('gaussian_copula'),
        run(/** @type {import('millrace/records').Model} */ model) {
          const made = model.generate(200_000, { conditions: rare })
          const { age, education, income } = rare
          if (
            age &&
            made.some(
              (row) =>
                Number(row['age']) < age.gte || row['education'] !== education || row['income'] !== income,
            )
          ) {
            throw new Error('a record violates the condition')
          }
        },
      },
      {
        name: 'rejection: all are made, what meets it is kept, 200 records',
        prepare: () => fitted('gaussian_copula'),
        run(/** @type {import('millrace/records').Model} */ model) {
          const { age, education, income } = rare
          let found = 0
          for (let skip = 0; found < 200; skip += 10_240) {
            for (const row of model.generate(10_240, { skip })) {
              const meets = age
                ? Number(row['age']) >= age.gte && row['education'] === education && row['income'] === income
                : Number(row['Speed IAS in knots']) >= 250 &&
                  row['Origin State'] === 'Texas' &&
                  row['Time of day'] === 'Dusk'
              if (meets) found++
            }
          }
        },
      },
    ],
    targets: (/** @type {(name: string) => { ms: number }} */ row) => [
      [
        'records a second against rejection',
        '≥ 500×',
        times(
          1000 * row('rejection: all are made, what meets it is kept, 200 records').ms,
          row('drawn within it, 200 000 records').ms,
        ),
      ],
    ],
  },
  {
    name: 'fit of 30 162 rows of 15 columns',
    unit: /** @type {const} */ ('s'),
    rounds: 5,
    input: () => ({ bytes: 0 }),
    candidates: [fitting('bayes_net'), fitting('cart'), fitting('gaussian_copula')],
    targets: (/** @type {(name: string) => { ms: number }} */ row) => [
      ['fit, bayes_net', '≤ 3 s', `${(row('fit, bayes_net').ms / 1000).toFixed(2)} s`],
    ],
  },
  {
    name: 'memory of records',
    unit: /** @type {const} */ ('none'),
    rounds: 1,
    input: () => ({ bytes: 0 }),
    candidates: [peakAfter(100_000_000), peakAfter(5_000_000)],
    targets: (/** @type {(name: string) => { rss: number }} */ row) => [
      [
        'peak RSS at 100 M records against 5 M',
        '≤ 1.1×',
        times(row('100 M records').rss, row('5 M records').rss),
      ],
    ],
  },
]

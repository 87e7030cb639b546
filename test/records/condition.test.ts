import fc from 'fast-check'
import t from 'tap'
import { isLike, OPERATORS, parseConditions } from '../../src/records/condition.ts'
import {
  fit,
  type ColumnCondition,
  type Conditions,
  type Method,
  type Row,
  type Value,
} from '../../src/records/index.ts'
import { isChance, people } from './helpers.ts'

const rows = people(2000)
// many different numbers and dates, so that they are cut into bins
const wide: Row[] = rows.map((row, i) => ({
  ...row,
  at: new Date(Date.UTC(2020, 0, 1) + i * 7_777_777).toISOString().slice(0, 16).replace('T', ' '),
}))
const METHODS: Method[] = ['bayes_net', 'gaussian_copula', 'cart']
const models = await Promise.all(METHODS.map((method) => fit(wide, { method })))
const option = (name: string) => ({ code: 'ERR_MILLRACE_OPTION', option: name })

/** What conditions say of a record, told apart from how they are compiled. */
function meets(row: Row, conditions: Record<string, ColumnCondition>): boolean {
  return Object.entries(conditions).every(([column, condition]) => {
    const value = row[column] as Value
    const clauses = typeof condition === 'object' ? Object.entries(condition) : [['eq', condition] as const]
    return clauses.every(([operator, operand]) => {
      if (operator === 'isNull') return value === null
      if (value === null) return false
      const [x, y] = [value as number, operand as number]
      const list = operand as Value[]
      switch (operator) {
        case 'eq':
          return x === y
        case 'ne':
          return x !== y
        case 'gt':
          return x > y
        case 'gte':
          return x >= y
        case 'lt':
          return x < y
        case 'lte':
          return x <= y
        case 'in':
          return list.includes(value)
        case 'notIn':
          return !list.includes(value)
        case 'between':
          return value >= list[0]! && value <= list[1]!
        case 'like':
          return new RegExp(`^${String(operand).replaceAll('%', '.*').replaceAll('_', '.')}$`, 's').test(
            String(value),
          )
        default:
          return true
      }
    })
  })
}

const columns = ['age', 'region', 'isMember', 'income', 'since', 'children', 'at'] as const
const arbitrary = fc
  .uniqueArray(fc.constantFrom(...columns), { minLength: 1, maxLength: 3 })
  .chain((names) => fc.tuple(...names.map((name) => fc.tuple(fc.constant(name), conditionOf(name)))))
  .map((entries) => Object.fromEntries(entries) as Record<string, ColumnCondition>)

function conditionOf(name: (typeof columns)[number]): fc.Arbitrary<ColumnCondition> {
  const value = fc
    .nat({ max: 1999 })
    .map((i) => wide[i]![name])
    .filter((found) => found !== null) as fc.Arbitrary<number | string>
  const pair = fc.tuple(value, value).map(([a, b]) => (a < b ? [a, b] : [b, a]))
  const list = fc.uniqueArray(value, { minLength: 1, maxLength: 5 })
  return fc.oneof<fc.Arbitrary<ColumnCondition>[]>(
    value.map((eq) => ({ ne: eq })),
    value.map((gte) => ({ gte })),
    value.map((lt) => ({ lt })),
    fc.tuple(value, value).map(([gt, ne]) => ({ gt, ne })),
    value.map((lte) => ({ lte })),
    list.map((values) => ({ in: values })),
    list.map((values) => ({ notIn: values })),
    pair.map((ends): ColumnCondition => ({ between: [ends[0]!, ends[1]!] })),
    fc.constant({ notNull: true as const }),
    ...(name === 'income' || name === 'since' || name === 'children'
      ? [fc.constant({ isNull: true as const })]
      : [value]),
  )
}

for (const [at, method] of METHODS.entries()) {
  t.test(
    `${method}: every record meets the conditions, or they are refused as impossible or rare`,
    async (t) => {
      let served = 0
      fc.assert(
        fc.property(arbitrary, fc.nat(), (conditions, seed) => {
          try {
            const made = models[at]!.generate(60, { conditions, seed, minAcceptance: 0.005 })
            served++
            return made.length === 60 && made.every((row) => meets(row, conditions))
          } catch (error) {
            const { code } = error as { code: string }
            return code === 'ERR_MILLRACE_CONDITION_RARE' || code === 'ERR_MILLRACE_CONDITION_IMPOSSIBLE'
          }
        }),
        { numRuns: 40 },
      )
      t.ok(served > 12, `${served} of 40 served`)
    },
  )

  t.test(`${method}: what is held to conditions is distributed as what happens to meet them`, async (t) => {
    const conditions = {
      age: { gte: 45 },
      region: { in: ['West', 'North'] },
      income: { between: [3000, 4800] as [number, number] },
    }
    const model = models[at]!
    const found = model.generate(60_000, { seed: 8 }).filter((row) => meets(row, conditions))
    const made = model.generate(4000, { seed: 9, conditions })
    t.ok(found.length > 1000)
    const tests: ((row: Row) => boolean)[] = [
      ({ isMember }) => isMember === true,
      ({ age }) => (age as number) > 55,
      ({ region }) => region === 'West',
      ({ country }) => country === 'FR',
      ({ income }) => (income as number) > 4000,
      ({ children }) => children === 2,
    ]
    for (const test of tests) {
      const share = found.filter(test).length / found.length
      const count = made.filter(test).length
      // both vary, and a chain repeats itself a little
      const slack = 6 * Math.sqrt(share * (1 - share) * (1 / found.length + 2 / made.length)) + 0.005
      t.ok(
        Math.abs(count / made.length - share) < slack,
        `${String(test)}: ${count / made.length}, expected ${share}`,
      )
    }
  })

  t.test(`${method}: records under conditions follow from the seed alone`, async (t) => {
    const options = { seed: 1, conditions: { age: { gte: 40 }, isMember: true, income: { lt: 4000 } } }
    const whole = models[at]!.generate(3000, options)
    for (const [skip, count] of [
      [0, 10],
      [1000, 100],
      [1023, 2],
      [2500, 500],
    ] as const) {
      t.strictSame(models[at]!.generate(count, { ...options, skip }), whole.slice(skip, skip + count))
    }
  })
}

t.test(
  'gaussian_copula: draws what is rare, where the others give up with the share they found',
  async (t) => {
    const rare = { age: { gte: 70 }, isMember: false, region: 'East', income: { lt: 4200 } }
    const made = models[1]!.generate(2000, { conditions: rare, seed: 3 })
    t.ok(made.every((row) => meets(row, rare)))
    t.throws(() => models[0]!.generate(2000, { conditions: { ...rare, children: 3 }, minAcceptance: 0.5 }), {
      code: 'ERR_MILLRACE_CONDITION_RARE',
      expected: 0.5,
    })
    // contradictions of columns that the copula can say are far apart
    t.ok(made.some((row, i) => i > 0 && row['age'] !== made[i - 1]!['age']))
  },
)

t.test('conditions: texts and nulls', async (t) => {
  for (const model of models) {
    const texts = model.generate(200, { conditions: { name: { like: 'A%' } } })
    t.ok(texts.every(({ name }) => (name as string).startsWith('A')))
    t.ok(
      model
        .generate(200, { conditions: { children: { isNull: true } } })
        .every(({ children }) => children === null),
    )
    const notTwo = model.generate(3000, { conditions: { children: { ne: 2 } } })
    t.equal(notTwo.filter(({ children }) => children === null).length, 0, 'a null meets isNull only')
    t.ok(
      isChance(notTwo.filter(({ children }) => children === 1).length, 1 / 3, 1500) || notTwo.length === 3000,
    )
  }
})

t.test('conditions: texts of a shape that came no more when the model learnt on', async (t) => {
  const first = Array.from({ length: 400 }, (_, i) => ({
    name: i % 2 ? `${1_000_000 + i * 7919}` : `ab ${(i * 7919) % 1000}`,
    n: i % 7,
  }))
  const later = Array.from({ length: 200 }, (_, i) => ({
    name: `zz-${String.fromCharCode(97 + (i % 26))}${i % 10}`,
    n: i % 7,
  }))
  const model = (await fit(first)).partialFit(later, { weight: 1 })
  for (const [pattern, expected] of [
    ['ab %', /^ab /],
    ['1______', /^1\d{6}$/],
    ['__-%', /^[a-z]{2}-/],
  ] as const) {
    const records = model.generate(50, { conditions: { name: { like: pattern } } })
    t.ok(
      records.every(({ name }) => expected.test(name as string)),
      pattern,
    )
  }
})

t.test('parseConditions: objects and texts say the same', async (t) => {
  const names = ['age', 'age group', 'region', 'name', 'd e']
  const same: [Conditions, Conditions][] = [
    [{ age: { gte: '21' } }, 'age>=21'],
    [{ age: { lt: '3' } }, '  age < 3 '],
    [{ 'age group': 'a b' }, "age group = 'a b'"],
    [{ 'd e': { ne: 'x' } }, '"d e" != x'],
    [{ region: { in: ['West', 'a, b'] } }, 'region in West, "a, b"'],
    [{ region: { notIn: ['West'] } }, 'region notIn West'],
    [{ age: { between: ['1', '5'] } }, 'age between 1,5'],
    [{ name: { like: 'A%' } }, 'name like A%'],
    [{ name: { isNull: true } }, 'name isNull'],
    [{ name: { notNull: true } }, ['name notNull']],
    [{ age: { gt: '1' }, name: 'x AND y' }, 'age>1 AND name="x AND y"'],
    [{ age: { gt: '1', lte: '9' } }, ['age>1', 'age <= 9']],
    [{ name: "it's" }, "name=it's"],
  ]
  const plain = (conditions: Conditions) =>
    parseConditions(conditions, names).map(({ column, operator, operand }) => ({ column, operator, operand }))
  for (const [object, text] of same) t.strictSame(plain(text), plain(object), JSON.stringify(text))
})

t.test(
  'conditions: unknown columns and operators, and operands that make no sense, are errors',
  async (t) => {
    const refuse = (conditions: unknown, name: string, expected?: RegExp) =>
      t.throws(() => models[0]!.generate(1, { conditions: conditions as Conditions }), {
        ...option(name),
        ...(expected && { message: expected }),
      })
    refuse({ nobody: 1 }, 'conditions', /age, region/)
    refuse('nobody>1', 'conditions', /age, region/)
    refuse('age ~ 3', 'conditions', /such as age=1/)
    refuse({ age: { above: 3 } }, 'conditions.age', /between/)
    refuse('age above 3', 'conditions.age')
    refuse({ age: { between: [3] } }, 'conditions.age.between')
    refuse('age between 3', 'conditions.age.between')
    refuse({ age: { in: [] } }, 'conditions.age.in')
    refuse({ age: { in: 3 } }, 'conditions.age.in')
    refuse({ age: { gte: Number.NaN } }, 'conditions.age.gte')
    refuse({ age: null }, 'conditions.age')
    refuse({ age: { isNull: false } }, 'conditions.age.isNull')
    refuse('age isNull 3', 'conditions.isNull')
    refuse({ age: { gte: 'old' } }, 'conditions.age.gte', /number/)
    refuse('age>=old', 'conditions.age.gte')
    refuse({ since: { gte: 'some day' } }, 'conditions.since.gte', /YYYY-MM-DD/)
    refuse({ at: { gte: 3 } }, 'conditions.at.gte')
    refuse({ name: { like: 'x'.repeat(1001) } }, 'conditions.name.like')
    refuse({ id: { gte: 3 } }, 'conditions.id', /no id/)
    refuse(5, 'conditions')
    const impossible = (conditions: Conditions, message: RegExp) =>
      t.throws(() => models[1]!.generate(1, { conditions }), {
        code: 'ERR_MILLRACE_CONDITION_IMPOSSIBLE',
        message,
      })
    impossible({ age: { gt: 900 } }, /18 to 7/)
    impossible({ income: { gt: 1e6 } }, / to /)
    impossible({ at: { lt: '1999-01-01 00:00' } }, /2020/)
    impossible({ region: 'Nowhere' }, /"East"/)
    impossible({ age: { isNull: true } }, /isNull/)
    impossible({ name: { like: '#' } }, /random letters/)
    t.equal(OPERATORS.length, 12)
    // a date as JSON writes it is understood by every column of dates
    const made = models[1]!.generate(50, { conditions: { at: { gte: '2020-03-01T00:00:00Z' } } })
    t.ok(made.every(({ at }) => (at as string) >= '2020-03-01 00:00'))
    t.ok(
      models[0]!
        .generate(20, { conditions: 'isMember=true AND age>30' })
        .every(({ isMember }) => isMember === true),
    )
  },
)

t.test('isLike: as SQL has it, and linear whatever the pattern', async (t) => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 })
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '%', '_'), maxLength: 6 })
  fc.assert(
    fc.property(text, pattern, (text, pattern) => {
      return (
        isLike(text, pattern) ===
        new RegExp(`^${pattern.replaceAll('%', '.*').replaceAll('_', '.')}$`).test(text)
      )
    }),
  )
  t.notOk(isLike('a'.repeat(50_000), `${'a%'.repeat(400)}b`))
})

import fc from 'fast-check'
import t from 'tap'
import { fit, type Model } from '../../src/records/index.ts'
import { openRecordKernel, sharedRecordKernel } from '../../src/records/record-kernel.ts'
import type { RecordFormat } from '../../src/records/record-writer.ts'
import { Renderer } from '../../src/records/render.ts'

const FORMATS = ['ndjson', 'json', 'csv'] as const

/** Text and records of a range, with the kernel or with its JavaScript twin. */
function made(model: Model, kernel: ReturnType<typeof openRecordKernel>, from: number, to: number) {
  const renderer = new Renderer(model.toJSON(), { seed: 5 }, kernel)
  const texts = FORMATS.map((format) => renderer.text({ from, to }, format).toString())
  return { texts, records: renderer.records({ from, to }) }
}

const rare = <T>(i: number, value: T) => (i % 11 === 0 ? null : value)
/** Every kind of column there is. */
const mixed = Array.from({ length: 1500 }, (_, i) => ({
  id: `ORD-${String(i).padStart(5, '0')}`,
  word: ['a\u007fb', 'ünï', 'plain, "quoted"', '𝄞', ''][i % 5]!,
  flag: i % 3 === 0,
  level: i % 40,
  wide: i * 7919 - 400_000,
  price: rare(i, ((i * 7_654_321) % 1_000_003) / 100),
  small: (i * 0.000_37 - 0.2).toFixed(6),
  decimal: Math.round(i * 370 - 200_000) / 1e6,
  tiny: ((i * 31) % 1009) / 1e9,
  float: Math.sqrt(i * 12.345_678_9) * 1e-3,
  huge: i * 2e14 + 1,
  at: new Date(1.6e12 + i * 86_400_000 * 3).toISOString().slice(0, 10),
  note: rare(i, `${i.toString(36)} ${'x'.repeat(i % 30)} ${(i * 7919).toString(36)}`),
  long: `${'long '.repeat(40)}${i % 3}`,
  end: rare(i + 1, i * i),
}))

t.test('RecordKernel: draws and writes what its JavaScript twin does', async (t) => {
  const kernel = sharedRecordKernel()
  t.not(kernel, null)
  for (const method of ['bayes_net', 'cart', 'gaussian_copula'] as const) {
    const model = await fit(mixed, { method })
    for (const [from, to] of [
      [0, 3000],
      [700, 701],
      [1024, 2048],
      [5, 5],
    ] as const) {
      const [ours, twin] = [made(model, kernel, from, to), made(model, null, from, to)]
      for (const [i, format] of FORMATS.entries())
        t.equal(ours.texts[i], twin.texts[i], `${method} ${format} ${from}`)
      t.strictSame(ours.records, twin.records)
    }
  }
})

t.test('RecordKernel: any table is made alike, with conditions of texts or none', async () => {
  const value = fc.oneof(
    fc.constantFrom('x', 'yy', 'zzz'),
    fc.integer({ min: -1e6, max: 1e6 }),
    fc.constant(null),
    fc.string(),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.integer(), value, fc.integer({ min: -500, max: 500 }), fc.boolean()), {
        minLength: 2,
        maxLength: 400,
      }),
      fc.constantFrom<RecordFormat>(...FORMATS),
      fc.nat({ max: 2000 }),
      async (rows, format, from) => {
        const model = await fit(
          rows.map(([a, b, c, d]) => ({ a, b, c: c / 8, d })),
          { minCellCount: 2 },
        )
        const text = (kernel: ReturnType<typeof openRecordKernel>) =>
          new Renderer(model.toJSON(), { seed: 1 }, kernel).text({ from, to: from + 1100 }, format)
        return text(sharedRecordKernel()).equals(text(null))
      },
    ),
    { numRuns: 40 },
  )
})

t.test('RecordKernel: many columns, of many parents, and conditions of texts', async (t) => {
  const rows = Array.from({ length: 600 }, (_, i) => {
    const bits = Array.from(
      { length: 70 },
      (_, k) => [`c${k}`, ((i * 2_654_435_761) >>> (k % 31)) & 3] as const,
    )
    return { ...Object.fromEntries(bits), text: `${(i * 7919).toString(36)}-${i}-${i % 7}` }
  })
  const model = await fit(rows, { maxParents: 8, minCellCount: 5, columns: { text: 'text' } })
  const take = (kernel: ReturnType<typeof openRecordKernel>, conditions = {}) =>
    new Renderer(model.toJSON(), { seed: 2, conditions }, kernel)
      .text({ from: 0, to: 2000 }, 'ndjson')
      .toString()
  t.equal(take(sharedRecordKernel()), take(null))
  const conditions = { text: { like: '%-%' } }
  t.equal(take(sharedRecordKernel(), conditions), take(null, conditions))
})

t.test(
  'RecordKernel: models take turns, also where memory is too small to keep the tables of both',
  async (t) => {
    const models = [
      await fit(mixed),
      await fit(mixed.map(({ level, wide, word }) => ({ level, wide, word }))),
    ]
    for (const kernel of [openRecordKernel(0), openRecordKernel()]) {
      const pairs = models.map((model) => [
        new Renderer(model.toJSON(), {}, kernel),
        new Renderer(model.toJSON(), {}, kernel),
        new Renderer(model.toJSON(), {}, null),
      ])
      for (let from = 0; from < 5000; from += 500) {
        for (const renderers of pairs) {
          const [a, b, twin] = renderers.map((one) => one.text({ from, to: from + 500 }, 'ndjson').toString())
          t.equal(a, twin)
          t.equal(b, twin)
        }
      }
    }
  },
)

t.test('RecordKernel: what would fill its memory is made by the twin', async (t) => {
  const rows = Array.from({ length: 300 }, (_, i) => ({
    n: i % 10,
    text: `${i}${'y'.repeat(3000 + (i % 50))}${i * 7}`,
  }))
  const model = await fit(rows, { columns: { text: 'text' } })
  t.equal(made(model, sharedRecordKernel(), 0, 50).texts[0], made(model, null, 0, 50).texts[0])
})

t.test('RecordKernel: there is none without WebAssembly', async (t) => {
  t.equal(openRecordKernel(undefined, ''), null)
})

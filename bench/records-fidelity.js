// How alike synthetic records are to real ones, and how much they copy: the mean over many splits of real tables into a half that is
// learnt from and one that is held out. Not a bench of speed, and not run with them:
//   node bench/records-fidelity.js [--seeds 20] [--table NAME] [--min-cell-count N] [--max-parents N]
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { BatchIterator, Table, evaluate, fit } from 'millrace/records'
import { machine } from './harness.js'

const at = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url))
const vega = (/** @type {string} */ name) => at(`../node_modules/vega-datasets/data/${name}`)

/** @type {Record<string, { path: string, target: string, maxRows?: number }>} */
const tables = {
  adult: { path: at('../../shared/data/adult.csv'), target: 'income' },
  flights: { path: vega('flights-200k.json'), target: 'delay', maxRows: 60_000 },
  birdstrikes: { path: vega('birdstrikes.csv'), target: 'Phase of flight' },
  weather: { path: vega('seattle-weather.csv'), target: 'weather' },
}
const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '20' },
    table: { type: 'string' },
    'min-cell-count': { type: 'string' },
    'max-parents': { type: 'string' },
  },
})
const options = {
  ...(values['min-cell-count'] !== undefined && { minCellCount: Number(values['min-cell-count']) }),
  ...(values['max-parents'] !== undefined && { maxParents: Number(values['max-parents']) }),
}

/** A half of the rows by lot: Fisher and Yates with a small generator. @param {number} rows @param {number} seed */
function half(rows, seed) {
  let state = seed * 2_654_435_761 + 1
  const next = () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0
    return (state >>> 0) / 2 ** 32
  }
  const order = Array.from({ length: rows }, (_, i) => i)
  for (let i = rows - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1))
    ;[order[i], order[j]] = [/** @type {number} */ (order[j]), /** @type {number} */ (order[i])]
  }
  return new Set(order.slice(0, rows >> 1))
}

const columns = [
  'against training',
  'held out',
  'shapes',
  'pairs',
  'copies %',
  'by chance %',
  'points above',
  'distance',
  'held out',
  'predicts',
  'real',
]
console.log(`${machine()}; means of ${values.seeds} splits\n`)
for (const [name, { path, target, maxRows }] of Object.entries(tables)) {
  if ((values.table !== undefined && values.table !== name) || !existsSync(path)) continue
  const table = await Table.read(path, maxRows === undefined ? {} : { maxRows })
  /** @type {Map<string, number[][]>} */
  const rows = new Map()
  for (let seed = 1; seed <= Number(values.seeds); seed++) {
    const train = half(table.rows, seed)
    const real = table.filter((row) => train.has(row))
    const held = table.filter((row) => !train.has(row))
    for (const method of /** @type {const} */ (['real rows', 'bayes_net', 'cart', 'gaussian_copula'])) {
      /** @type {import('millrace/records').Table | object[]} */
      let made = held
      if (method !== 'real rows') {
        const batches = new BatchIterator(await fit(real, { method, ...options }), {
          totalRecords: real.rows,
        })
        made = [...batches].flatMap(({ records }) => /** @type {object[]} */ (records))
      }
      const { overall, privacy, utility } = evaluate(real, made, { holdout: held, target, seed })
      const out = method === 'real rows' ? evaluate(held, real) : evaluate(held, made)
      const figures = [
        overall,
        out.overall,
        out.shapes,
        out.pairs,
        100 * privacy.exactCopies,
        100 * (privacy.holdoutCopies ?? 0),
        100 * (privacy.exactCopies - (privacy.holdoutCopies ?? 0)),
        privacy.closestDistance,
        privacy.holdoutDistance ?? 0,
        utility?.synthetic ?? 0,
        utility?.real ?? 0,
      ]
      rows.set(method, [...(rows.get(method) ?? []), figures])
    }
  }
  console.log(`### ${name}: ${table.rows} rows of ${table.schema.columns.length} columns\n`)
  console.log(`| | ${columns.join(' | ')} |\n|---|${'--:|'.repeat(columns.length)}`)
  for (const [method, all] of rows) {
    const mean = columns.map(
      (_, i) => all.reduce((sum, figures) => sum + /** @type {number} */ (figures[i]), 0) / all.length,
    )
    const cells = mean.map((x, i) => x.toFixed(i >= 4 && i <= 6 ? 2 : 4))
    console.log(`| ${method} | ${cells.join(' | ')} |`)
  }
  console.log('')
}

// A real table is learnt, a condition is met, and the copy is compared with the original.
//   node examples/synthetic-records.js
import { fileURLToPath } from 'node:url'
import { Table, evaluate, fit } from 'millrace'

const real = await Table.read(
  fileURLToPath(new URL('../node_modules/vega-datasets/data/penguins.json', import.meta.url)),
)
const model = await fit(real)

const gentoos = model.generate(1000, {
  seed: 7,
  conditions: { Species: 'Gentoo', 'Body Mass (g)': { gte: 5000 } },
})
const { overall } = evaluate(real, model.generate(real.rows, { seed: 7 }))
const heavy = gentoos.filter((row) => row['Species'] === 'Gentoo' && Number(row['Body Mass (g)']) >= 5000)

console.log(`overall score ${overall.toFixed(2)} against the penguins that were learnt from`)
console.log(`${heavy.length} of ${gentoos.length} are heavy gentoos`)

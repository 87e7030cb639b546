import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { BlockRandom } from '../../src/records/random.ts'
import type { Row } from '../../src/records/index.ts'

/** A table of every kind of column, in which some depend on others. */
export function people(count: number, seed = 1): Row[] {
  const random = new BlockRandom(seed).begin(0)
  return Array.from({ length: count }, (_, i) => {
    const age = 18 + Math.floor(60 * random.uniform() ** 1.5)
    const region = ['West', 'East', 'North', 'Süd, "far"'][random.below(4)]!
    const isMember = random.uniform() < (age > 50 ? 0.8 : 0.2)
    const income = Math.round((1000 + age * 40 + 2000 * random.uniform()) * 100) / 100
    const day = new Date(Date.UTC(2020, 0, 1) + random.below(900) * 86_400_000).toISOString().slice(0, 10)
    return {
      id: i + 100,
      age,
      region,
      country: region === 'West' ? 'FR' : region === 'East' ? 'PL' : 'DE',
      isMember,
      income: random.uniform() < 0.1 ? null : income,
      since: isMember ? day : null,
      children: random.uniform() < 0.05 ? null : random.below(4),
      name: `${'AEIOU'[random.below(5)]}${'bcdfg'[random.below(5)]!.repeat(1 + random.below(3))}${'aeiou'[random.below(5)]} ${1000 + i}`,
      unit: 'EUR',
    }
  })
}

/** A real table, where it is at hand. */
export const adult = fileURLToPath(new URL('../../../shared/data/adult.csv', import.meta.url))
export const hasAdult = existsSync(adult)
export const vega = fileURLToPath(new URL('../../node_modules/vega-datasets/data/', import.meta.url))

/** Whether shares of a sample are those that were expected, but for what chance does in one of a million cases. */
export function isChance(count: number, expected: number, rows: number): boolean {
  return Math.abs(count - expected * rows) <= 5 * Math.sqrt(rows * expected * (1 - expected)) + 1
}

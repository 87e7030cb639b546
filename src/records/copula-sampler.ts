import { ConditionError } from '../errors.ts'
import type { Constraint } from './constraint.ts'
import { factor, type Copula } from './copula.ts'
import { fillNormals, normalMass, normalQuantile, normalWithin } from './normal.ts'
import { BlockRandom } from './random.ts'

/** Cells of the table that says at which code to begin to look, over scores from -6 to 6. */
const GUIDE = 2048
const REACH = 6
/** Steps of a block's chain before its first record. */
const BURN_IN = 32
/** Steps that are tried to learn how many a record needs. */
const PILOT = 500
const MAX_STEPS = 16

/** A run of codes that meet a condition equally. */
interface Interval {
  readonly first: number
  readonly last: number
  readonly low: number
  readonly high: number
  readonly share: number
}

/** Draws blocks of codes from a copula; rare conditions are met by drawing within them, not by waiting for them. */
export class CopulaSampler {
  /** Columns in the order of the factor: those with conditions first. */
  readonly #order: readonly number[]
  readonly #lower: readonly Float64Array[]
  readonly #thresholds: readonly Float64Array[]
  readonly #guides: readonly Uint16Array[]
  readonly #normals: readonly Float64Array[]
  readonly #intervals: readonly (readonly Interval[])[]
  /** By conditioned column and row: which interval was drawn. */
  readonly #picks: readonly Uint16Array[]
  readonly #steps: number
  readonly #free: Float64Array

  constructor({ columns, counts, correlations }: Copula, constraints: readonly Constraint[], rows: number) {
    const constrained = constraints.map(({ column }) => columns.indexOf(column))
    const order = [...constrained, ...columns.keys()].filter((at, i, all) => all.indexOf(at) === i)
    this.#order = order.map((at) => columns[at]!)
    this.#lower = factor(correlations, order)
    this.#thresholds = order.map((at) => thresholdsOf(counts[at]!))
    this.#guides = this.#thresholds.map(guideOf)
    this.#normals = order.map(() => new Float64Array(rows))
    this.#intervals = constraints.map(({ share }, j) => intervalsOf(share, this.#thresholds[j]!))
    this.#picks = constraints.map(() => new Uint16Array(rows))
    this.#free = new Float64Array(rows)
    this.#steps = constraints.length === 0 ? 0 : this.#pilot(constraints)
  }

  /** Writes `rows` codes to each column. */
  draw(codes: readonly Uint16Array[], random: BlockRandom, rows: number): void {
    const bound = this.#intervals.length
    if (bound > 0) this.#drawChain(random, rows)
    for (let j = bound; j < this.#order.length; j++) fillNormals(random, this.#normals[j]!, rows)
    const scores = this.#free
    for (let j = 0; j < this.#order.length; j++) {
      const row = this.#lower[j]!
      const own = this.#normals[j]!
      const diagonal = row[j]!
      for (let i = 0; i < rows; i++) scores[i] = diagonal * own[i]!
      for (let k = 0; k < j; k++) {
        const weight = row[k]!
        const other = this.#normals[k]!
        for (let i = 0; i < rows; i++) scores[i]! += weight * other[i]!
      }
      this.#lookUp(j, scores, codes[this.#order[j]!]!, rows)
      if (j < bound) this.#clamp(j, codes[this.#order[j]!]!, rows)
    }
  }

  #lookUp(j: number, scores: Float64Array, out: Uint16Array, rows: number): void {
    const thresholds = this.#thresholds[j]!
    const guide = this.#guides[j]!
    for (let i = 0; i < rows; i++) {
      const z = scores[i]!
      const cell = ((z + REACH) * (GUIDE / (2 * REACH))) | 0
      let code = guide[cell < 0 ? 0 : cell >= GUIDE ? GUIDE - 1 : cell]!
      // below the first cell the guide begins too far on
      if (z < -REACH) code = 0
      while (z > thresholds[code]!) code++
      out[i] = code
    }
  }

  /** Rounding must not carry a score out of its interval. */
  #clamp(j: number, out: Uint16Array, rows: number): void {
    const intervals = this.#intervals[j]!
    const picks = this.#picks[j]!
    for (let i = 0; i < rows; i++) {
      const { first, last } = intervals[picks[i]!]!
      out[i] = Math.min(last, Math.max(first, out[i]!))
    }
  }

  /**
   * An independence chain: each step draws the conditioned columns one after another within what they may be, and is taken
   * with the odds of its weight to that of where the chain stands. Its limit is the exact conditional distribution.
   */
  #drawChain(random: BlockRandom, rows: number): void {
    const bound = this.#intervals.length
    const [now, next] = [new Float64Array(bound), new Float64Array(bound)]
    const [nowPicks, nextPicks] = [new Uint16Array(bound), new Uint16Array(bound)]
    let weight = 0
    for (let i = -BURN_IN; i < rows; i++) {
      for (let step = 0; step < (i < 0 ? 1 : this.#steps) || weight === 0; step++) {
        const proposed = this.#propose(random, next, nextPicks)
        if (random.uniform() * weight < proposed) {
          weight = proposed
          now.set(next)
          nowPicks.set(nextPicks)
        }
      }
      if (i < 0) continue
      for (let j = 0; j < bound; j++) {
        this.#normals[j]![i] = now[j]!
        this.#picks[j]![i] = nowPicks[j]!
      }
    }
  }

  /** Draws the conditioned columns, and returns the probability of what they were held to. */
  #propose(random: BlockRandom, normals: Float64Array, picks: Uint16Array): number {
    let weight = 1
    for (let j = 0; j < normals.length; j++) {
      const row = this.#lower[j]!
      let mean = 0
      for (let k = 0; k < j; k++) mean += row[k]! * normals[k]!
      const deviation = row[j]!
      const intervals = this.#intervals[j]!
      let total = 0
      for (const { low, high, share } of intervals) {
        total += share * normalMass((low - mean) / deviation, (high - mean) / deviation)
      }
      if (!(total > 0)) return 0
      let left = random.uniform() * total
      let pick = 0
      for (; pick < intervals.length - 1; pick++) {
        const { low, high, share } = intervals[pick]!
        const mass = share * normalMass((low - mean) / deviation, (high - mean) / deviation)
        if (left < mass) break
        left -= mass
      }
      const { low, high } = intervals[pick]!
      picks[j] = pick
      normals[j] = normalWithin((low - mean) / deviation, (high - mean) / deviation, random.uniform())
      weight *= total
    }
    return weight
  }

  /** How many steps a record needs until it mostly is another one than the record before. */
  #pilot(constraints: readonly Constraint[]): number {
    const random = new BlockRandom(0).begin(0)
    const normals = new Float64Array(constraints.length)
    const picks = new Uint16Array(constraints.length)
    let [weight, taken] = [0, 0]
    for (let i = 0; i < PILOT; i++) {
      const proposed = this.#propose(random, normals, picks)
      if (proposed > 0 && random.uniform() * weight < proposed) {
        weight = proposed
        taken++
      }
    }
    /* v8 ignore start -- weights are 0 by underflow only: no conditions of a test are that rare */
    if (taken === 0) {
      const message = 'conditions: together they are so rare that no record could be drawn'
      throw new ConditionError('ERR_MILLRACE_CONDITION_RARE', message, { attempts: PILOT, actual: 0 })
    }
    /* v8 ignore stop */
    return Math.min(MAX_STEPS, Math.round(PILOT / taken))
  }
}

/** The scores at which codes end; the last has no end. */
function thresholdsOf(counts: readonly number[]): Float64Array {
  const total = counts.reduce((sum, count) => sum + count, 0)
  let below = 0
  const thresholds = Float64Array.from(counts, (count) => normalQuantile((below += count) / total))
  // codes after the last that came must never be reached
  const last = counts.findLastIndex((count) => count > 0)
  thresholds[last] = Infinity
  return thresholds
}

function guideOf(thresholds: Float64Array): Uint16Array {
  let code = 0
  return Uint16Array.from({ length: GUIDE }, (_, cell) => {
    const z = (cell * 2 * REACH) / GUIDE - REACH
    while (z > thresholds[code]!) code++
    return code
  })
}

function intervalsOf(share: Float64Array, thresholds: Float64Array): Interval[] {
  const intervals: Interval[] = []
  for (let first = 0; first < share.length; first++) {
    if (share[first] === 0) continue
    let last = first
    while (share[first] === 1 && share[last + 1] === 1) last++
    const low = first === 0 ? -Infinity : thresholds[first - 1]!
    const high = thresholds[last]!
    if (low < high) intervals.push({ first, last, low, high, share: share[first]! })
    first = last
    if (high === Infinity) break
  }
  return intervals
}

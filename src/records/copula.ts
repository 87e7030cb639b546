import { normalQuantile } from './normal.ts'
import { BlockRandom } from './random.ts'

/** A Gaussian copula over codes: how often each code came, and how the columns go together. */
export interface Copula {
  /** The columns that it is over. */
  readonly columns: readonly number[]
  /** For each of them, how often each code came. */
  readonly counts: readonly (readonly number[])[]
  /** Correlations of the normal scores, row by row below the diagonal: `[1][0]`, `[2][0]`, `[2][1]`, … */
  readonly correlations: readonly number[]
}

/** Learns a copula from codes, one array a column. O(rows · columns²). */
export function learnCopula(
  columns: readonly number[],
  codes: readonly Uint16Array[],
  codeCounts: readonly number[],
): Copula {
  const counts = codes.map((column, i) => countCodes(column, codeCounts[i]!))
  return { columns, counts, correlations: correlate(scoresOf(codes, counts)) }
}

export function countCodes(codes: Uint16Array, size: number): number[] {
  const counts = Array.from<number>({ length: size }).fill(0)
  for (const code of codes) counts[code]!++
  return counts
}

/**
 * Normal scores: each code is an interval of the probability, and each row a random point of its code's interval, so that
 * codes which come often do not flatten the score.
 */
export function scoresOf(
  codes: readonly Uint16Array[],
  counts: readonly (readonly number[])[],
): Float64Array[] {
  const random = new BlockRandom(0)
  return codes.map((column, i) => {
    random.begin(i)
    const total = counts[i]!.reduce((sum, count) => sum + count, 0)
    let below = 0
    const lows = counts[i]!.map((count) => (below += count) - count)
    return Float64Array.from(column, (code) =>
      normalQuantile((lows[code]! + random.uniform() * counts[i]![code]!) / total),
    )
  })
}

export function correlate(scores: readonly Float64Array[]): number[] {
  const rows = scores[0]?.length ?? 0
  const centred = scores.map((column) => {
    const mean = column.reduce((sum, z) => sum + z, 0) / rows
    const away = column.map((z) => z - mean)
    const length = Math.sqrt(away.reduce((sum, z) => sum + z * z, 0))
    return length === 0 ? away : away.map((z) => z / length)
  })
  const correlations: number[] = []
  for (let i = 1; i < centred.length; i++) {
    for (let j = 0; j < i; j++) {
      const [a, b] = [centred[i]!, centred[j]!]
      let sum = 0
      for (let row = 0; row < rows; row++) sum += a[row]! * b[row]!
      correlations.push(sum)
    }
  }
  return correlations
}

/**
 * The lower factor of the correlations, with the columns in `order`. Where rounding or an exact dependency leaves them
 * without one, they are drawn towards independence by the least step that helps.
 */
export function factor(correlations: readonly number[], order: readonly number[]): Float64Array[] {
  const at = (i: number, j: number): number =>
    i === j ? 1 : i > j ? correlations[(i * (i - 1)) / 2 + j]! : at(j, i)
  for (let shrink = 0; ; shrink = shrink === 0 ? 1e-10 : shrink * 10) {
    const lower = cholesky(order.length, (i, j) => at(order[i]!, order[j]!) * (i === j ? 1 : 1 - shrink))
    if (lower !== undefined) return lower
  }
}

function cholesky(size: number, at: (i: number, j: number) => number): Float64Array[] | undefined {
  const lower: Float64Array[] = []
  for (let i = 0; i < size; i++) {
    const row = new Float64Array(size)
    for (let j = 0; j <= i; j++) {
      let sum = at(i, j)
      const other = j === i ? row : lower[j]!
      for (let k = 0; k < j; k++) sum -= row[k]! * other[k]!
      if (i === j) {
        if (sum <= 1e-12) return undefined
        row[i] = Math.sqrt(sum)
      } else row[j] = sum / lower[j]![j]!
    }
    lower.push(row)
  }
  return lower
}

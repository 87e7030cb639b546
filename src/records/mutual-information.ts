import { MAX_GROUPS, type TreeColumn } from './grow-tree.ts'

/** Mutual information of every two columns, in nats, less what chance alone gives (the correction of Miller and Madow). */
export function mutualInformation(columns: readonly TreeColumn[]): Float64Array[] {
  const size = columns.length
  const matrix = columns.map(() => new Float64Array(size))
  const counts = new Float64Array(MAX_GROUPS * MAX_GROUPS)
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < i; j++) {
      matrix[i]![j] = matrix[j]![i] = informationOf(columns[i]!, columns[j]!, counts)
    }
  }
  return matrix
}

function informationOf(a: TreeColumn, b: TreeColumn, counts: Float64Array): number {
  const rows = a.groups.length
  const [width, height] = [b.groupCount, a.groupCount]
  counts.fill(0, 0, width * height)
  for (let row = 0; row < rows; row++) counts[a.groups[row]! * width + b.groups[row]!]!++
  const across = new Float64Array(height)
  const down = new Float64Array(width)
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      across[i]! += counts[i * width + j]!
      down[j]! += counts[i * width + j]!
    }
  }
  let sum = 0
  let cells = 0
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      const count = counts[i * width + j]!
      if (count === 0) continue
      cells++
      sum += (count / rows) * Math.log((count * rows) / (across[i]! * down[j]!))
    }
  }
  const used = (margin: Float64Array) => margin.reduce((n, count) => (count > 0 ? n + 1 : n), 0)
  const bias = (cells - used(across) - used(down) + 1) / (2 * rows)
  return Math.max(0, sum - bias)
}

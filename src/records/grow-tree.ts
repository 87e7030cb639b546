/** Groups of codes that a parent is cut into at most. */
export const MAX_GROUPS = 48

/** A column as the trees see it: each row's code, put into at most {@link MAX_GROUPS} groups. */
export interface TreeColumn {
  readonly codes: Uint16Array
  readonly groups: Uint8Array
  readonly groupCount: number
  /** The group of each code. */
  readonly groupOf: Uint8Array
  readonly isOrdered: boolean
}

/** A node: a leaf, or a question whether the group of column `on` is in `left`. */
export type TreeNode =
  | { readonly codes: readonly number[]; readonly counts: readonly number[] }
  | { readonly on: number; readonly left: readonly number[]; readonly yes: TreeNode; readonly no: TreeNode }

/** Limits of a tree. */
export interface TreeLimits {
  /** Rows of a leaf at least. */
  readonly minRows: number
  /** Different columns that it may ask about. */
  readonly maxParents: number
  /** Cells that its questions may cut the parents into, all in all. */
  readonly maxCells: number
}

/** Cuts codes into groups of about as many rows; what comes often has a group of its own. The code of null does always. */
export function groupCodes(
  codes: Uint16Array,
  codeCount: number,
  nullCode: number,
  isOrdered: boolean,
): TreeColumn {
  const counts = new Float64Array(codeCount)
  for (const code of codes) counts[code]!++
  const groupOf = new Uint8Array(codeCount)
  const values = nullCode >= 0 ? codeCount - 1 : codeCount
  const limit = MAX_GROUPS - (nullCode >= 0 ? 1 : 0)
  let group = 0
  if (values <= limit) {
    for (let code = 0; code < values; code++) groupOf[code] = code
    group = values
  } else {
    let left = 0
    for (let code = 0; code < values; code++) left += counts[code]!
    let held = 0
    for (let code = 0; code < values; code++) {
      const target = left / (limit - group)
      if (held > 0 && group < limit - 1 && held + counts[code]! / 2 > target) {
        left -= held
        held = 0
        group++
      }
      groupOf[code] = group
      held += counts[code]!
    }
    group++
  }
  if (nullCode >= 0) groupOf[nullCode] = group++
  const groups = new Uint8Array(codes.length)
  for (let row = 0; row < codes.length; row++) groups[row] = groupOf[codes[row]!]!
  return { codes, groups, groupCount: Math.max(1, group), groupOf, isOrdered }
}

interface Split {
  readonly on: number
  readonly left: readonly number[]
  readonly gain: number
}

interface Pending {
  readonly rows: Uint32Array
  readonly place: (node: TreeNode) => void
  split: Split | undefined
}

/**
 * Grows a tree that tells the distribution of `target` from `parents`, the best question first (the gain is the fall of the
 * Gini index, summed over rows). Every split is of groups in the order of their mean, as CART does it.
 *
 * @see Breiman, Friedman, Olshen, Stone: Classification and Regression Trees (1984); Friedman, Goldszmidt: Learning Bayesian
 * Networks with Local Structure (1996)
 */
export function growTree(
  target: TreeColumn,
  parents: ReadonlyMap<number, TreeColumn>,
  { minRows, maxParents, maxCells }: TreeLimits,
): TreeNode {
  const asked = new Map<number, Uint8Array>()
  const counts = new Float64Array(MAX_GROUPS * MAX_GROUPS)
  let root: TreeNode | undefined
  const pending: Pending[] = []

  /** Classes of groups of a parent that no question tells apart, were this one asked too. */
  const classesWith = ({ on, left }: Split): Uint8Array => {
    const column = parents.get(on)!
    const now = asked.get(on) ?? new Uint8Array(column.groupCount)
    const next = new Uint8Array(column.groupCount)
    const names = new Map<number, number>()
    for (let group = 0; group < column.groupCount; group++) {
      const key = now[group]! * 2 + (left.includes(group) ? 1 : 0)
      if (!names.has(key)) names.set(key, names.size)
      next[group] = names.get(key)!
    }
    return next
  }
  const classCount = (classes: Uint8Array) => classes.reduce((max, k) => Math.max(max, k + 1), 1)
  const fits = (split: Split): boolean => {
    if (!asked.has(split.on) && asked.size >= maxParents) return false
    if (maxCells === Infinity) return true
    let cells = classCount(classesWith(split))
    for (const [on, classes] of asked) if (on !== split.on) cells *= classCount(classes)
    return cells <= maxCells
  }
  const bestSplit = (rows: Uint32Array): Split | undefined => {
    if (rows.length < 2 * minRows) return undefined
    let best: Split | undefined
    for (const [on, column] of parents) {
      if (!asked.has(on) && asked.size >= maxParents) continue
      const split = splitOn(on, column, target, rows, minRows, counts)
      if (split !== undefined && (best === undefined || split.gain > best.gain) && fits(split)) best = split
    }
    return best
  }

  pending.push({
    rows: Uint32Array.from({ length: target.codes.length }, (_, row) => row),
    place: (node) => (root = node),
    split: undefined,
  })
  pending[0]!.split = bestSplit(pending[0]!.rows)
  while (pending.length > 0) {
    let at = 0
    for (let i = 1; i < pending.length; i++) {
      if ((pending[i]!.split?.gain ?? -1) > (pending[at]!.split?.gain ?? -1)) at = i
    }
    const [node] = pending.splice(at, 1) as [Pending]
    let { split } = node
    // what was asked since may have used up parents or cells
    if (split !== undefined && !fits(split)) {
      split = bestSplit(node.rows)
      if (split !== undefined) {
        pending.push({ ...node, split })
        continue
      }
    }
    if (split === undefined) {
      node.place(leafOf(target, node.rows))
      continue
    }
    const { on, left } = split
    asked.set(on, classesWith(split))
    const column = parents.get(on)!
    const isLeft = new Uint8Array(column.groupCount)
    for (const group of left) isLeft[group] = 1
    const inner = { on, left, yes: undefined as unknown as TreeNode, no: undefined as unknown as TreeNode }
    node.place(inner)
    for (const side of [1, 0] as const) {
      const rows = node.rows.filter((row) => isLeft[column.groups[row]!] === side)
      pending.push({
        rows,
        place: (child) => {
          if (side === 1) inner.yes = child
          else inner.no = child
        },
        split: bestSplit(rows),
      })
    }
  }
  return root!
}

/** The best cut of one parent's groups in two, or undefined if none leaves enough rows on both sides and helps. */
function splitOn(
  on: number,
  { groups, groupCount, isOrdered }: TreeColumn,
  target: TreeColumn,
  rows: Uint32Array,
  minRows: number,
  counts: Float64Array,
): Split | undefined {
  const kinds = target.groupCount
  counts.fill(0, 0, groupCount * kinds)
  const targetGroups = target.groups
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!
    counts[groups[row]! * kinds + targetGroups[row]!]!++
  }
  const sizes = new Float64Array(groupCount)
  const means = new Float64Array(groupCount)
  const total = new Float64Array(kinds)
  for (let group = 0; group < groupCount; group++) {
    let [size, sum] = [0, 0]
    for (let kind = 0; kind < kinds; kind++) {
      const count = counts[group * kinds + kind]!
      size += count
      sum += count * kind
      total[kind]! += count
    }
    sizes[group] = size
    means[group] = size === 0 ? 0 : sum / size
  }
  const order: number[] = []
  for (let group = 0; group < groupCount; group++) if (sizes[group]! > 0) order.push(group)
  if (order.length < 2) return undefined
  if (!isOrdered) order.sort((a, b) => means[a]! - means[b]! || a - b)

  let totalSquares = 0
  for (let kind = 0; kind < kinds; kind++) totalSquares += total[kind]! * total[kind]!
  const whole = totalSquares / rows.length
  const left = new Float64Array(kinds)
  let [leftSize, leftSquares, rightSquares] = [0, 0, totalSquares]
  let [bestGain, bestAt] = [chanceGain(total, rows.length, whole), -1]
  for (let i = 0; i < order.length - 1; i++) {
    const group = order[i]!
    for (let kind = 0; kind < kinds; kind++) {
      const count = counts[group * kinds + kind]!
      if (count === 0) continue
      const before = left[kind]!
      leftSquares += count * (2 * before + count)
      const right = total[kind]! - before
      rightSquares += count * (count - 2 * right)
      left[kind] = before + count
    }
    leftSize += sizes[group]!
    const rightSize = rows.length - leftSize
    if (leftSize < minRows || rightSize < minRows) continue
    const gain = leftSquares / leftSize + rightSquares / rightSize - whole
    if (gain > bestGain) {
      bestGain = gain
      bestAt = i
    }
  }
  if (bestAt < 0) return undefined
  return { on, left: order.slice(0, bestAt + 1).toSorted((a, b) => a - b), gain: bestGain }
}

/** Standard deviations that a gain must be above what chance gives one question; the best of many questions is searched for. */
const SIGNIFICANCE = 3

/**
 * The gain that a question about something unrelated could have: questions that gain less would only remember rows.
 *
 * @see Light, Margolin: An Analysis of Variance for Categorical Data (1971)
 */
function chanceGain(total: Float64Array, rows: number, whole: number): number {
  const freedom = total.reduce((n, count) => (count > 0 ? n + 1 : n), 0) - 1
  if (freedom < 1) return rows
  return ((rows - whole) / ((rows - 1) * freedom)) * (freedom + SIGNIFICANCE * Math.sqrt(2 * freedom))
}

function leafOf({ codes }: TreeColumn, rows: Uint32Array): TreeNode {
  const counts = new Map<number, number>()
  for (const row of rows) {
    const code = codes[row]!
    counts.set(code, (counts.get(code) ?? 0) + 1)
  }
  const sorted = [...counts].sort(([a], [b]) => a - b)
  return { codes: sorted.map(([code]) => code), counts: sorted.map(([, count]) => count) }
}

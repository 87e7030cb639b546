import { growTree, type TreeColumn, type TreeLimits, type TreeNode } from './grow-tree.ts'
import { mutualInformation } from './mutual-information.ts'

/** Columns in the order in which they are drawn, each with the tree that tells its distribution from those before it. */
export interface TreeNetwork {
  readonly nodes: readonly { readonly column: number; readonly tree: TreeNode }[]
  /** For each column, the group of each code, by which the trees ask. */
  readonly groups: readonly (readonly number[])[]
}

/**
 * Learns a directed network: the order of the columns by how much they tell of each other, and for each a tree over those
 * before it. With few parents and cells it is a Bayesian network with local structure, whose trees can be laid out as
 * tables; without such limits it is what is called sequential CART.
 */
export function learnTreeNetwork(columns: readonly TreeColumn[], limits: TreeLimits): TreeNetwork {
  const order = orderColumns(columns)
  const before = new Map<number, TreeColumn>()
  const nodes = order.map((column) => {
    const tree = growTree(columns[column]!, before, limits)
    before.set(column, columns[column]!)
    return { column, tree }
  })
  return { nodes, groups: columns.map(({ groupOf }) => [...groupOf]) }
}

/** The column that tells most of all others first, then always the one of which those that are there tell most. */
function orderColumns(columns: readonly TreeColumn[]): number[] {
  const information = mutualInformation(columns)
  const left = new Set(columns.keys())
  const order: number[] = []
  const score = columns.map((_, i) => information[i]!.reduce((sum, bits) => sum + bits, 0))
  while (left.size > 0) {
    let best = -1
    for (const i of left) if (best < 0 || score[i]! > score[best]!) best = i
    if (order.length === 0) score.fill(0)
    order.push(best)
    left.delete(best)
    for (const i of left) score[i] = Math.max(score[i]!, information[best]![i]!)
  }
  return order
}

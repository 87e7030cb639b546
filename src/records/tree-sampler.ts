import { CodeTables, type LeafCounts, type PlacedTables } from './code-tables.ts'
import type { RecordKernel } from './record-kernel.ts'
import { MAX_GROUPS, type TreeNode } from './grow-tree.ts'
import type { TreeNetwork } from './tree-network.ts'

/** Cells up to which a tree is laid out as a table: 128 KiB of leaf numbers. */
export const MAX_TABLE_CELLS = 65_536

/** Draws one column of a block, given the codes of those before it. */
export interface ColumnSampler {
  readonly column: number
  /** Writes the codes of `order.length` rows, which are numbered from 0, from as many random words. See {@link CodeTables.drawEvenly}. */
  draw(codes: readonly Uint16Array[], words: Uint32Array, order: Uint16Array): void
}

/** Readies a network for drawing: each tree becomes a table, or is walked where the table would be too large. */
export function treeSamplers({ nodes, groups }: TreeNetwork, rows: number): ColumnSampler[] {
  return nodes.map(({ column, tree }) => {
    const leaves: LeafCounts[] = []
    collect(tree, leaves)
    const tables = new CodeTables(leaves)
    const classes = classesOf(tree, groups)
    const cells = [...classes.values()].reduce((product, { count }) => product * count, 1)
    if (cells <= MAX_TABLE_CELLS) return new TableColumn(column, tree, tables, classes, groups, rows)
    return new WalkedColumn(column, tree, tables, groups, rows)
  })
}

function collect(node: TreeNode, leaves: LeafCounts[]): void {
  if (!('on' in node)) leaves.push(node)
  else {
    collect(node.yes, leaves)
    collect(node.no, leaves)
  }
}

interface Classes {
  /** The class of each group: groups of a class are never told apart. */
  readonly of: Uint8Array
  readonly count: number
}

function classesOf(tree: TreeNode, groups: TreeNetwork['groups']): Map<number, Classes> {
  const classes = new Map<number, { of: Uint8Array; count: number }>()
  const visit = (node: TreeNode): void => {
    if (!('on' in node)) return
    const now = classes.get(node.on) ?? { of: new Uint8Array(groupCountOf(groups[node.on]!)), count: 1 }
    classes.set(node.on, refine(now, node.left))
    visit(node.yes)
    visit(node.no)
  }
  visit(tree)
  return classes
}

export function groupCountOf(groupOf: readonly number[]): number {
  return groupOf.reduce((max, group) => Math.max(max, group + 1), 1)
}

function refine({ of }: Classes, left: readonly number[]): { of: Uint8Array; count: number } {
  const names = new Map<number, number>()
  const next = of.map((now, group) => {
    const key = now * 2 + (left.includes(group) ? 1 : 0)
    if (!names.has(key)) names.set(key, names.size)
    return names.get(key)!
  })
  return { of: next, count: names.size }
}

/** A column in the memory of a kernel: addresses. */
export interface PlacedColumn extends PlacedTables {
  readonly column: number
  readonly leafOf: number
  /** By parent. */
  readonly steps: readonly { readonly column: number; readonly address: number }[]
}

/** The leaf of a row is looked up: each parent's code gives its part of the cell's number. */
export class TableColumn implements ColumnSampler {
  readonly column: number
  readonly #tables: CodeTables
  readonly #parents: { readonly column: number; readonly step: Uint16Array }[] = []
  readonly #leafOf: Uint16Array
  readonly #cells: Uint16Array
  readonly #leaves: Uint16Array

  constructor(
    column: number,
    tree: TreeNode,
    tables: CodeTables,
    classes: ReadonlyMap<number, Classes>,
    groups: TreeNetwork['groups'],
    rows: number,
  ) {
    this.column = column
    this.#tables = tables
    this.#cells = new Uint16Array(rows)
    this.#leaves = new Uint16Array(rows)
    let stride = 1
    const places = new Map<number, number>()
    const box: number[][] = []
    for (const [parent, { of, count }] of classes) {
      places.set(parent, box.length)
      box.push(Array.from({ length: count }, (_, one) => one * stride))
      this.#parents.push({
        column: parent,
        step: Uint16Array.from(groups[parent]!, (group) => of[group]! * stride),
      })
      stride *= count
    }
    this.#leafOf = new Uint16Array(stride)
    let leaves = 0
    const whole = box
    const paint = (node: TreeNode, box: readonly (readonly number[])[]): void => {
      if (!('on' in node)) {
        fillBox(this.#leafOf, leaves++, box, box.length - 1, 0)
        return
      }
      const place = places.get(node.on)!
      const { of } = classes.get(node.on)!
      const by = whole[place]![1] ?? 0
      const left = new Set(node.left.map((group) => of[group]! * by))
      const half = (side: boolean) =>
        box.map((steps, at) => (at === place ? steps.filter((step) => left.has(step) === side) : steps))
      paint(node.yes, half(true))
      paint(node.no, half(false))
    }
    paint(tree, box)
  }

  draw(codes: readonly Uint16Array[], words: Uint32Array, order: Uint16Array): void {
    const [parents, cells, leaves, leafOf] = [this.#parents, this.#cells, this.#leaves, this.#leafOf]
    const count = order.length
    cells.fill(0, 0, count)
    for (const { column, step } of parents) {
      const of = codes[column]!
      for (let row = 0; row < count; row++) cells[row]! += step[of[row]!]!
    }
    for (let row = 0; row < count; row++) leaves[row] = leafOf[cells[row]!]!
    this.#tables.drawEvenly(leaves, order, words, codes[this.column]!)
  }

  /** Bytes of its tables. */
  get bytes(): number {
    const steps = this.#parents.reduce((sum, { step }) => sum + step.byteLength, 0)
    return steps + this.#leafOf.byteLength + this.#tables.bytes
  }

  /** Puts the tables where a kernel draws from them. */
  place(kernel: RecordKernel): PlacedColumn {
    return {
      ...this.#tables.place(kernel),
      column: this.column,
      leafOf: kernel.put(this.#leafOf),
      steps: this.#parents.map(({ column, step }) => ({ column, address: kernel.put(step) })),
    }
  }
}

/** Writes the leaf to all cells of a box: the sums of one step of each parent. Every cell is written once, whatever the depth of the tree. */
function fillBox(
  cells: Uint16Array,
  leaf: number,
  box: readonly (readonly number[])[],
  at: number,
  base: number,
): void {
  if (at < 0) cells[base] = leaf
  else if (at === 0) for (const step of box[0]!) cells[base + step] = leaf
  else for (const step of box[at]!) fillBox(cells, leaf, box, at - 1, base + step)
}

/** The leaf of a row is found question by question. */
class WalkedColumn implements ColumnSampler {
  readonly column: number
  readonly #tables: CodeTables
  readonly #leaves: Uint16Array
  readonly #groups: readonly Uint8Array[]
  /** By node: the column asked about, and the next node of each answer; -1 - leaf for a leaf. */
  readonly #on: number[] = []
  readonly #yes: number[] = []
  readonly #no: number[] = []
  readonly #left: Uint8Array
  readonly #root: number

  constructor(
    column: number,
    tree: TreeNode,
    tables: CodeTables,
    groups: TreeNetwork['groups'],
    rows: number,
  ) {
    this.column = column
    this.#tables = tables
    this.#leaves = new Uint16Array(rows)
    this.#groups = groups.map((of) => Uint8Array.from(of))
    const lefts: (readonly number[])[] = []
    let leaves = 0
    const place = (node: TreeNode): number => {
      if (!('on' in node)) return -1 - leaves++
      const at = this.#on.push(node.on) - 1
      lefts.push(node.left)
      this.#yes[at] = place(node.yes)
      this.#no[at] = place(node.no)
      return at
    }
    this.#root = place(tree)
    this.#left = new Uint8Array(lefts.length * MAX_GROUPS)
    for (const [at, left] of lefts.entries())
      for (const group of left) this.#left[at * MAX_GROUPS + group] = 1
  }

  draw(codes: readonly Uint16Array[], words: Uint32Array, order: Uint16Array): void {
    for (let row = 0; row < order.length; row++) {
      let node = this.#root
      while (node >= 0) {
        const on = this.#on[node]!
        const group = this.#groups[on]![codes[on]![row]!]!
        node = (this.#left[node * MAX_GROUPS + group] === 1 ? this.#yes : this.#no)[node]!
      }
      this.#leaves[row] = -1 - node
    }
    this.#tables.drawEvenly(this.#leaves, order, words, codes[this.column]!)
  }
}

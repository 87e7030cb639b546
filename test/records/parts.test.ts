// The numerical parts: random words, discrete and normal distributions, trees, correlations.
import fc from 'fast-check'
import t from 'tap'
import { CodeTables } from '../../src/records/code-tables.ts'
import { factor, learnCopula } from '../../src/records/copula.ts'
import { groupCodes, growTree, MAX_GROUPS, type TreeNode } from '../../src/records/grow-tree.ts'
import { mutualInformation } from '../../src/records/mutual-information.ts'
import { fillNormals, normalCdf, normalMass, normalQuantile, normalWithin } from '../../src/records/normal.ts'
import { BlockRandom } from '../../src/records/random.ts'
import { RowOrders } from '../../src/records/row-orders.ts'
import { treeSamplers } from '../../src/records/tree-sampler.ts'

/** Upper bound of a chi-square that a true hypothesis passes in all but one of a million cases (Wilson and Hilferty). */
const bound = (freedom: number) =>
  freedom * (1 - 2 / (9 * freedom) + 4.75 * Math.sqrt(2 / (9 * freedom))) ** 3

t.test('BlockRandom: words follow from seed, block and purpose, in any order and by any route', async (t) => {
  const take = (seed: number | string, block: number, purpose?: number) => {
    const random = new BlockRandom(seed).begin(block, purpose)
    return Array.from({ length: 600 }, () => random.next())
  }
  t.strictSame(take(1, 5), take(1, 5))
  const random = new BlockRandom(1)
  random.begin(9).next()
  random.begin(5)
  const filled = new Uint32Array(600)
  random.fillWords(filled, 600)
  t.strictSame([...filled], take(1, 5))
  const others = [
    take(2, 5),
    take(1, 6),
    take(1, 5, 1),
    take('1', 5),
    take(1, 5 + 2 ** 32),
    take(1, 5 + 2 ** 33),
  ]
  const firsts = new Set([take(1, 5), ...others].flatMap((words) => words.slice(0, 100)))
  t.equal(firsts.size, 700, 'no two streams have a word in common at their beginning')
})

t.test('BlockRandom: bits of words are even, across near blocks too', async (t) => {
  const random = new BlockRandom(3)
  const counts = new Float64Array(256)
  for (let block = 0; block < 4096; block++) {
    const word = random.begin(block).next()
    counts[word >>> 24]!++
    counts[word & 255]!++
  }
  const chi = counts.reduce((sum, count) => sum + (count - 32) ** 2 / 32, 0)
  t.ok(chi < bound(255), `chi-square ${chi}`)
  for (let i = 0; i < 1000; i++) {
    const u = random.uniform()
    t.ok(u > 0 && u < 1 && random.below(7) < 7)
  }
})

t.test('CodeTables: draws each code as often as it was counted, and nothing else', async () => {
  const random = new BlockRandom(1).begin(0)
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 50 }), { minLength: 1, maxLength: 40 }), (raw) => {
      const kept = raw.map((count, code) => ({ code: code * 3, count })).filter(({ count }) => count > 0)
      fc.pre(kept.length > 0)
      const tables = new CodeTables([
        { codes: [999], counts: [1] },
        { codes: kept.map(({ code }) => code), counts: kept.map(({ count }) => count) },
      ])
      const total = kept.reduce((sum, { count }) => sum + count, 0)
      const drawn = new Map(kept.map(({ code }) => [code, 0]))
      const draws = 4000
      for (let i = 0; i < draws; i++) {
        const code = tables.draw(1, random.next())
        if (!drawn.has(code)) return false
        drawn.set(code, drawn.get(code)! + 1)
      }
      const chi = kept.reduce((sum, { code, count }) => {
        const expected = (count / total) * draws
        return sum + (drawn.get(code)! - expected) ** 2 / expected
      }, 0)
      return tables.draw(0, 123) === 999 && chi < bound(Math.max(1, kept.length - 1)) + 20
    }),
    { numRuns: 30, seed: 1 },
  )
})

t.test('CodeTables: a word picks the first code whose share and those before it exceed it', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 60 }),
      fc.array(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { maxLength: 50 }),
      (counts, words) => {
        const tables = new CodeTables([
          { codes: [999, 998], counts: [1, 2] },
          { codes: [...counts.keys()], counts },
        ])
        const total = counts.reduce((sum, count) => sum + count, 0)
        let below = 0
        const ends = counts.map((count) => (below += count) / total)
        // where a code ends, and just before, is where a guide can go wrong
        const edges = ends.flatMap((end) => [Math.floor(end * 2 ** 32) - 1, Math.ceil(end * 2 ** 32)])
        return [...words, ...edges.filter((word) => word < 2 ** 32)].every(
          (word) => tables.draw(1, word) === ends.findIndex((end) => word * 2 ** -32 < end),
        )
      },
    ),
  )
})

t.test(
  'CodeTables: rows of one distribution share it out evenly, and each alone is drawn by its word',
  async (t) => {
    const random = new BlockRandom(5).begin(0)
    const words = new Uint32Array(1024)
    const codes = new Uint16Array(1024)
    const order = Uint16Array.from({ length: 1024 }, (_, i) => (i * 5) % 1024)
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 50 }), { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 1, max: 3 }),
        (raw, bits, leafCount) => {
          const counts = raw.map((count) => count + 0.25)
          const total = counts.reduce((sum, count) => sum + count, 0)
          const one = { codes: [...counts.keys()], counts }
          const tables = new CodeTables(Array.from({ length: leafCount }, () => one))
          const rows = 1 << bits
          const own = order.filter((row) => row < rows)
          random.fillWords(words, 1024)
          const leaves = Uint16Array.from({ length: rows }, (_, row) => row % leafCount)
          tables.drawEvenly(leaves, own, words, codes)
          for (let leaf = 0; leaf < leafCount; leaf++) {
            const drawn = [...codes.subarray(0, rows)].filter((_, row) => leaves[row] === leaf)
            // a beginning of the sequence is at worst as many whole powers of two as it has bits
            const slack = leafCount === 1 ? 2 : 2 * bits
            for (const code of one.codes) {
              const expected = (drawn.length * counts[code]!) / total
              if (Math.abs(drawn.filter((other) => other === code).length - expected) > slack) return false
            }
          }
          return true
        },
      ),
      { numRuns: 50, seed: 2 },
    )
    const tables = new CodeTables([{ codes: [0, 1, 2], counts: [1, 5, 2] }])
    for (const at of [0, 1, 7, 300]) {
      const counts = [0, 0, 0]
      for (let i = 0; i < 4000; i++) {
        random.fillWords(words, 1024)
        tables.drawEvenly(new Uint16Array(1024), order, words, codes)
        counts[codes[order[at]!]!]!++
      }
      const chi = [500, 2500, 1000].reduce(
        (sum, expected, i) => sum + (counts[i]! - expected) ** 2 / expected,
        0,
      )
      t.ok(chi < bound(2), `the row drawn as number ${at}: ${counts.join()}`)
    }
  },
)

t.test('RowOrders: a shuffle for each column, which tells nothing of that of another', async (t) => {
  const random = new BlockRandom(8).begin(0)
  const orders = new RowOrders(1024)
  const seen = new Set<string>()
  let agree = 0
  for (let block = 0; block < 60; block++) {
    orders.begin(random)
    let before: Uint16Array | undefined
    for (let column = 0; column < 130; column++) {
      const count = column % 3 === 0 ? 1024 : 1 + ((block * 131 + column) % 1024)
      const order = orders.next(count).slice()
      if (block < 3) {
        t.strictSame(
          [...order].sort((a, b) => a - b),
          [...Array(count).keys()],
        )
        t.notOk(seen.has(order.join()) && count > 5)
        seen.add(order.join())
      }
      if (count < 1024) continue
      // how often the same rows come at even places of two orders
      const places = new Uint16Array(1024)
      for (const [place, row] of order.entries()) places[row] = place
      if (before !== undefined)
        for (let row = 0; row < 1024; row++) if ((before[row]! ^ places[row]!) % 2 === 0) agree++
      before = places
    }
  }
  const all = 60 * 43 * 1024
  // never at the same place, so 31 of the 63 others; what scatters a block takes away even that
  t.ok(Math.abs(agree / all - 31 / 63) < 0.006, `${agree} of ${all}`)
})

t.test('normal: distribution function, quantile and masses agree, in the tails too', async (t) => {
  for (const [x, p] of [
    [0, 0.5],
    [1, 0.841_344_746_068_543],
    [-3, 0.001_349_898_031_630_095],
    [-8, 6.220_960_574_271_785e-16],
    [40, 1],
    [-40, 0],
  ] as const) {
    t.ok(Math.abs(normalCdf(x) - p) <= 1e-13 * Math.max(p, 1e-3), `Φ(${x})`)
  }
  t.strictSame([normalQuantile(0), normalQuantile(1), normalQuantile(0.5)], [-Infinity, Infinity, 0])
  for (let p = 0.001; p < 1; p += 0.001) t.ok(Math.abs(normalCdf(normalQuantile(p)) - p) < 1e-9)
  fc.assert(
    fc.property(
      fc.double({ min: -9, max: 9, noNaN: true }),
      fc.double({ min: 0.001, max: 5, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (low, width, u) => {
        const high = low + width
        const x = normalWithin(low, high, u)
        return x >= low && x <= high && normalMass(low, high) >= 0
      },
    ),
  )
  t.ok(Math.abs(normalMass(6, 7) / normalMass(-7, -6) - 1) < 1e-12, 'both tails alike')
  t.equal(normalMass(-Infinity, Infinity), 1)
})

t.test('normal: the ziggurat draws standard normals, tails included', async (t) => {
  const n = 400_000
  const drawn = new Float64Array(n)
  fillNormals(new BlockRandom(4).begin(0), drawn, n)
  const bins = 40
  const counts = new Float64Array(bins)
  for (const z of drawn) counts[Math.min(bins - 1, Math.floor(normalCdf(z) * bins))]!++
  const chi = counts.reduce((sum, count) => sum + (count - n / bins) ** 2 / (n / bins), 0)
  t.ok(chi < bound(bins - 1), `chi-square ${chi}`)
  const beyond = drawn.filter((z) => Math.abs(z) > 3.5).length
  const expected = n * 2 * normalCdf(-3.5)
  t.ok(Math.abs(beyond - expected) < 5 * Math.sqrt(expected), `${beyond} of ${expected} beyond 3.5`)
})

t.test(
  'copula: the factor gives the correlations back in any order, and is there for dependent columns too',
  async (t) => {
    const random = new BlockRandom(2).begin(0)
    const codes = [0, 1, 2].map(() => Uint16Array.from({ length: 500 }, () => random.below(20)))
    codes.push(
      Uint16Array.from(codes[0]!),
      Uint16Array.from(codes[0]!, (code) => 19 - code),
    )
    const { correlations, counts } = learnCopula([0, 1, 2, 3, 4], codes, [20, 20, 20, 20, 20])
    t.equal(
      counts[0]!.reduce((a, b) => a + b),
      500,
    )
    for (const order of [
      [0, 1, 2, 3, 4],
      [4, 2, 0, 3, 1],
    ]) {
      const lower = factor(correlations, order)
      for (const [i, a] of order.entries()) {
        for (const [j, b] of order.entries()) {
          const product = lower[i]!.reduce((sum, x, k) => sum + x * lower[j]![k]!, 0)
          const [high, low] = [Math.max(a, b), Math.min(a, b)]
          const expected = a === b ? 1 : correlations[(high * (high - 1)) / 2 + low]!
          t.ok(Math.abs(product - expected) < 1e-3, `${a}, ${b}`)
        }
      }
    }
    // exactly dependent, so that there is no factor at all
    t.ok(factor([1, 1, 1], [0, 1, 2]).every((row) => row.every(Number.isFinite)))
  },
)

t.test('groupCodes: keeps the order, at most as many groups as there may be, null apart', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.boolean(),
      fc.array(fc.nat({ max: 299 }), { minLength: 1 }),
      (size, nullable, raw) => {
        const codes = Uint16Array.from(raw, (code) => code % size)
        const nullCode = nullable ? size - 1 : -1
        const { groupOf, groupCount, groups } = groupCodes(codes, size, nullCode, true)
        const values = [...groupOf].slice(0, nullable ? -1 : undefined)
        return (
          groupCount <= MAX_GROUPS &&
          values.every((group, i) => i === 0 || (group >= values[i - 1]! && group <= values[i - 1]! + 1)) &&
          (!nullable || !values.includes(groupOf[nullCode]!)) &&
          groups.every((group, row) => group === groupOf[codes[row]!])
        )
      },
    ),
  )
})

t.test('growTree: leaves have rows enough, limits are kept, and what depends is found', async (t) => {
  const random = new BlockRandom(5).begin(0)
  const rows = 4000
  const column = (size: number, of: (row: number) => number) =>
    groupCodes(
      Uint16Array.from({ length: rows }, (_, row) => of(row)),
      size,
      -1,
      false,
    )
  const parents = [4, 5, 6, 7].map((size) => column(size, () => random.below(size)))
  const target = column(
    8,
    (row) => (parents[0]!.codes[row]! + parents[1]!.codes[row]! + (random.below(10) === 0 ? 1 : 0)) % 8,
  )
  const all = new Map(parents.entries())
  const leaves = (node: TreeNode): number[] =>
    'on' in node ? [...leaves(node.yes), ...leaves(node.no)] : [node.counts.reduce((a, b) => a + b)]
  const asked = (node: TreeNode): number[] =>
    'on' in node ? [node.on, ...asked(node.yes), ...asked(node.no)] : []
  const free = growTree(target, all, { minRows: 50, maxParents: Infinity, maxCells: Infinity })
  t.equal(
    leaves(free).reduce((a, b) => a + b),
    rows,
  )
  t.ok(leaves(free).every((count) => count >= 50))
  t.ok(
    [0, 1].every((on) => asked(free).includes(on)),
    'the parents that matter',
  )
  t.strictSame(
    new Set(asked(growTree(target, all, { minRows: 50, maxParents: 1, maxCells: Infinity }))).size,
    1,
  )
  t.strictSame(asked(growTree(target, all, { minRows: 50, maxParents: 0, maxCells: Infinity })), [])
  t.ok(leaves(growTree(target, all, { minRows: 1, maxParents: 9, maxCells: 6 })).length <= 6)
  t.strictSame(leaves(growTree(target, all, { minRows: rows, maxParents: 9, maxCells: 99 })), [rows])

  t.test('a table and a walk draw the same', async (t) => {
    const groups = [...parents, target].map(({ groupOf }) => [...groupOf])
    const nodes = [{ column: 4, tree: free }]
    const codes = [...parents.map(({ codes }) => codes.slice(0, 1000)), new Uint16Array(1000)]
    const words = new Uint32Array(1000)
    random.fillWords(words, 1000)
    const [table] = treeSamplers({ nodes, groups }, 1000)
    const order = Uint16Array.from({ length: 1000 }, (_, i) => (i * 7) % 1000)
    table!.draw(codes, words, order)
    const byTable = codes[4]!.slice()
    // groups that no code has make the table too large, so that the tree is walked
    const big = (node: TreeNode): TreeNode => {
      if (!('on' in node)) return node
      return { ...node, yes: big(node.yes), no: big(node.no) }
    }
    const wide = [0, 1, 2, 3].reduce<TreeNode>(
      (tree, on) =>
        Array.from({ length: 40 }, (_, i) => i).reduce<TreeNode>(
          (inner, i) => ({ on, left: [i + 8], yes: { codes: [0], counts: [1] }, no: inner }),
          tree,
        ),
      big(free),
    )
    const wideGroups = groups.map((of) => [
      ...of,
      ...Array.from({ length: 48 - of.length }, (_, i) => of.length + i),
    ])
    const [walk] = treeSamplers({ nodes: [{ column: 4, tree: wide }], groups: wideGroups }, 1000)
    t.not(walk!.constructor.name, table!.constructor.name)
    // leaves are numbered in another order there, which the words do not care about
    walk!.draw(codes, words, order)
    t.strictSame(codes[4], byTable)
  })
})

t.test('mutualInformation: none between what is independent, all of it between what is equal', async (t) => {
  const random = new BlockRandom(6).begin(0)
  const codes = [0, 1].map(() => Uint16Array.from({ length: 5000 }, () => random.below(8)))
  codes.push(Uint16Array.from(codes[0]!, (code) => 7 - code))
  const matrix = mutualInformation(codes.map((column) => groupCodes(column, 8, -1, false)))
  t.ok(matrix[0]![1]! < 0.01)
  t.ok(Math.abs(matrix[0]![2]! - Math.log(8)) < 0.02)
})

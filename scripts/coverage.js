// After `npm test`: fails if a line of the core is reached by no test, and names the lines. The command line is tested by
// running it, in processes of its own that the figures do not see; the same goes for worker threads.
// With the reports of other runs as arguments, a line counts that any of them has reached: what only a current Node can do, or an older one.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { relative } from 'node:path'
import zlib from 'node:zlib'

const root = fileURLToPath(new URL('..', import.meta.url))
const outside = [/^src\/cli\//, /\.worker\.ts$/, /\.wasm\.ts$/]
const others = process.argv.slice(2)
// without zstd (before Node 22.15), or Kafka's client (22.22), nothing of these can run
if (!('zstdCompressSync' in zlib) && others.length === 0)
  outside.push(
    /^src\/codec\/zstd-(map|reader|writer)\.ts$/,
    /^src\/kafka\/(group-reader|kafka-(client|position|source)|partition-offsets|visible-records)\.ts$/,
  )

/** @typedef {{ statementMap: Record<string, { start: { line: number } }>, s: Record<string, number> }} FileCoverage */
/** @type {Record<string, FileCoverage>[]} */
const reports = [`${root}.tap/report/coverage-final.json`, ...others].map((path) =>
  JSON.parse(readFileSync(path, 'utf8')),
)
/** @type {Map<string, { lines: Set<number>, reached: Set<number> }>} */
const files = new Map()
for (const report of reports) {
  for (const [path, { statementMap, s }] of Object.entries(report)) {
    const file = relative(root, path)
    const { lines, reached } = files.get(file) ?? { lines: new Set(), reached: new Set() }
    for (const [id, count] of Object.entries(s)) {
      const line = statementMap[id]?.start.line ?? 0
      lines.add(line)
      if (count > 0) reached.add(line)
    }
    files.set(file, { lines, reached })
  }
}

let total = 0
let missed = 0
for (const [file, { lines, reached }] of files) {
  if (!file.startsWith('src/') || outside.some((pattern) => pattern.test(file))) continue
  const unreached = [...lines].filter((line) => !reached.has(line)).toSorted((a, b) => a - b)
  total += lines.size
  missed += unreached.length
  if (unreached.length > 0) console.error(`${file}: ${ranges(unreached)}`)
}
console.log(`${total - missed} of ${total} lines of the core are covered`)
process.exitCode = missed > 0 ? 1 : 0

/** `1-3, 7`. @param {number[]} numbers */
function ranges(numbers) {
  /** @type {[number, number][]} */
  const runs = []
  for (const n of numbers) {
    const last = runs.at(-1)
    if (last !== undefined && n === last[1] + 1) last[1] = n
    else runs.push([n, n])
  }
  return runs.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(', ')
}

// After `npm test`: fails if a line of the core is reached by no test, and names the lines. The command line is tested by
// running it, in processes of its own that the figures do not see; the same goes for worker threads.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { relative } from 'node:path'
import zlib from 'node:zlib'

const root = fileURLToPath(new URL('..', import.meta.url))
const outside = [/^src\/cli\//, /\.worker\.ts$/, /\.wasm\.ts$/]
// without zstd (before Node 22.15) nothing of these can run; the suite also runs on a Node that has it
if (!('zstdCompressSync' in zlib)) outside.push(/^src\/codec\/zstd-(map|reader|writer)\.ts$/)

/** @typedef {{ statementMap: Record<string, { start: { line: number } }>, s: Record<string, number> }} FileCoverage */
/** @type {Record<string, FileCoverage>} */
const report = JSON.parse(readFileSync(`${root}.tap/report/coverage-final.json`, 'utf8'))

let lines = 0
let missed = 0
for (const [path, { statementMap, s }] of Object.entries(report)) {
  const file = relative(root, path)
  if (!file.startsWith('src/') || outside.some((pattern) => pattern.test(file))) continue
  const uncovered = Object.keys(s).filter((id) => s[id] === 0)
  lines += Object.keys(s).length
  missed += uncovered.length
  if (uncovered.length > 0)
    console.error(`${file}: ${ranges(uncovered.map((id) => statementMap[id]?.start.line ?? 0))}`)
}
console.log(`${lines - missed} of ${lines} lines of the core are covered`)
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

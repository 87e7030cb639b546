import { fileURLToPath } from 'node:url'
import { dataFile } from './data.js'
import { times } from './harness.js'

export const title = 'millrace map: parse, map, stringify NDJSON; whole command with start-up'

const FN = 'r => ({ id: r.id, name: r.name, lat: r.place.lat, tags: r.tags })'
const bin = fileURLToPath(new URL('../dist/cli/bin.js', import.meta.url))

/** What people write by hand. */
const readline = `
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { stdout } from 'node:process'
import { once } from 'node:events'
const fn = ${FN}
for await (const line of createInterface({ input: process.argv[1] ? createReadStream(process.argv[1]) : process.stdin, crlfDelay: Infinity })) {
  if (!stdout.write(JSON.stringify(fn(JSON.parse(line))) + '\\n')) await once(stdout, 'drain')
}`
/** The same with blocks of lines and one write a block: as good as one thread gets. */
const blocks = `
import { createReadStream } from 'node:fs'
import { once } from 'node:events'
const fn = ${FN}
let rest = ''
for await (const chunk of createReadStream(process.argv[1], { encoding: 'utf8', highWaterMark: 1 << 18 })) {
  const lines = (rest + chunk).split('\\n')
  rest = lines.pop()
  let out = ''
  for (const line of lines) out += JSON.stringify(fn(JSON.parse(line))) + '\\n'
  if (!process.stdout.write(out)) await once(process.stdout, 'drain')
}`

/** @param {string} script */
const quoted = (script) => `'${script.replaceAll("'", String.raw`'\''`)}'`
const node = `'${process.execPath}'`

/** @typedef {{ path: string }} File */

const group = {
  name: '128 MB of NDJSON, 219-byte records, output to a file',
  unit: /** @type {const} */ ('MB/s'),
  input: () => dataFile('medium', 'ndjson', 128e6),
  candidates: [
    {
      name: 'millrace map -j 2',
      ours: true,
      command: (/** @type {File} */ { path }) =>
        `${node} '${bin}' map -j 2 ${quoted(FN)} '${path}' > /tmp/millrace-bench-out`,
    },
    {
      name: 'millrace map -j 2, ordered, stdin',
      command: (/** @type {File} */ { path }) =>
        `cat '${path}' | ${node} '${bin}' map -j 2 ${quoted(FN)} > /tmp/millrace-bench-out`,
    },
    {
      name: 'millrace map -j 0 (one thread)',
      command: (/** @type {File} */ { path }) =>
        `${node} '${bin}' map -j 0 ${quoted(FN)} '${path}' > /tmp/millrace-bench-out`,
    },
    {
      name: 'node: readline script',
      command: (/** @type {File} */ { path }) =>
        `${node} --input-type=module -e ${quoted(readline)} '${path}' > /tmp/millrace-bench-out`,
    },
    {
      name: 'node: hand-tuned blocks of lines',
      command: (/** @type {File} */ { path }) =>
        `${node} --input-type=module -e ${quoted(blocks)} '${path}' > /tmp/millrace-bench-out`,
    },
    {
      name: 'GNU parallel --pipepart -k, two such scripts',
      needs: 'parallel',
      command: (/** @type {File} */ { path }) =>
        `export SCRIPT=${quoted(readline)}; parallel --will-cite -j2 -k --block -1 --pipepart -a '${path}' ${node} --input-type=module -e '"$SCRIPT"' > /tmp/millrace-bench-out`,
    },
    {
      name: 'jq -c',
      needs: 'jq',
      command: (/** @type {File} */ { path }) =>
        `jq -c '{id, name, lat: .place.lat, tags}' '${path}' > /tmp/millrace-bench-out`,
    },
  ],
  targets: (/** @type {(name: string) => { ms: number }} */ row) => {
    const over = (/** @type {string} */ name) => times(row(name).ms, row('millrace map -j 2').ms)
    return [
      ['against a readline script', '≥ 1.7×', over('node: readline script')],
      ['against GNU parallel, ordered', '≥ 1.1×', over('GNU parallel --pipepart -k, two such scripts')],
      ['against jq -c', '≥ 8×', over('jq -c')],
    ]
  },
}

export const groups = [group]

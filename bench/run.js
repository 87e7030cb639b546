// npm run bench [-- NAME … [--only GROUP] [--rounds N]]: measures bench/NAME.js (default: all) and prints Markdown.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { machine, measure } from './harness.js'

const here = fileURLToPath(new URL('.', import.meta.url))
const notBenches = new Set([
  'harness.js',
  'child.js',
  'run.js',
  'data.js',
  'http-server.js',
  'websocket-clients.js',
  'records-fidelity.js',
])
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, rounds: { type: 'string' } },
})

if (!existsSync(`${here}/node_modules`)) spawnSync('npm', ['ci', '--prefix', here], { stdio: 'inherit' })
const all = readdirSync(here).filter((file) => file.endsWith('.js') && !notBenches.has(file))
const names = positionals.length > 0 ? positionals : all.map((file) => file.slice(0, -3))

process.stdout.write(`${machine()}\n\n`)
for (const name of names) {
  const text = await measure(`${here}${name}.js`, {
    ...(values.only !== undefined && { only: values.only }),
    ...(values.rounds !== undefined && { rounds: Number(values.rounds) }),
  })
  process.stdout.write(`${text}\n`)
}

// Compiles src/ to dist/. Skips the work when dist/ is newer than everything it is made from, so that
// `npm start`, `npm test` and `npm run check` can each ask for a build and pay for one.
import { spawnSync } from 'node:child_process'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
process.chdir(root)

/** @param {string} path */
const mtime = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
const sources = readdirSync('src', { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() || entry.isDirectory())
  .map((entry) => `${entry.parentPath}/${entry.name}`)
const newest = Math.max(...[...sources, 'tsconfig.json', 'tsconfig.build.json', 'package.json'].map(mtime))
const stamp = 'dist/index.js'

if (mtime(stamp) <= newest) {
  rmSync('dist', { recursive: true, force: true })
  const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url))
  const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
  process.exitCode = status ?? 1
}

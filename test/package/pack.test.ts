// What npm would publish, installed in an empty folder and used from there.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { asUser } from '../helpers/as-user.ts'

const exec = promisify(execFile)
const root = fileURLToPath(new URL('../../', import.meta.url))
const npm = (args: string[], cwd: string) => exec(...asUser('npm', ...args), { cwd, timeout: 120_000 })

t.test('the packed package works where it is installed', { timeout: 240_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-pack-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }')
  const packed = await npm(['pack', '--ignore-scripts', '--json', '--pack-destination', folder], root)
  const [{ filename, files }] = JSON.parse(packed.stdout) as [{ filename: string; files: { path: string }[] }]
  await npm(['install', '--no-audit', '--no-fund', '--prefer-offline', join(folder, filename)], folder)

  t.test('it holds code, types, licence and readme, and no tests', async (t) => {
    const paths = files.map(({ path }) => path)
    for (const path of [
      'LICENSE',
      'README.md',
      'CHANGELOG.md',
      'dist/index.js',
      'dist/index.d.ts',
      'src/index.ts',
    ]) {
      t.ok(paths.includes(path), path)
    }
    t.notOk(paths.some((path) => /^(test|bench|examples|scripts)\//.test(path)))
  })

  t.test('every subpath can be imported', async (t) => {
    const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: object }
    // millrace/testing needs fast-check, which whoever writes such tests has
    const names = Object.keys(exports).filter((name) => name !== './package.json' && name !== './testing')
    const script = names.map((name) => `await import('${join('millrace', name)}')`).join('\n')
    writeFileSync(join(folder, 'imports.js'), `${script}\nconsole.log('ok')`)
    t.equal((await exec(...asUser(process.execPath, 'imports.js'), { cwd: folder })).stdout, 'ok\n')
  })

  t.test('a worker runs', async (t) => {
    writeFileSync(
      join(folder, 'upper.js'),
      'export default (bytes) => Buffer.from(String(bytes).toUpperCase())',
    )
    const script = `
      import { Readable } from 'node:stream'
      import { offload } from 'millrace'
      const stage = Readable.from([Buffer.from('a'), Buffer.from('b')]).pipe(offload(new URL('./upper.js', import.meta.url), { workers: 1 }))
      let text = ''
      for await (const chunk of stage) text += chunk
      console.log(text)`
    writeFileSync(join(folder, 'worker.js'), script)
    t.equal((await exec(...asUser(process.execPath, 'worker.js'), { cwd: folder })).stdout, 'AB\n')
  })

  t.test('the bin maps JSON', async (t) => {
    writeFileSync(join(folder, 'in.json'), '[{"a":1},{"a":2}]')
    const bin = join(folder, 'node_modules/.bin/millrace')
    const { stdout } = await exec(...asUser(bin, 'map', 'r => r.a * 10', 'in.json'), { cwd: folder })
    t.equal(stdout, '10\n20\n')
  })
})

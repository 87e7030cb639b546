// The house rules that no compiler checks: which room may import which, what is exported, and that the map is true.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('../../', import.meta.url))
const src = join(root, 'src')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const manifest = JSON.parse(read('package.json')) as {
  exports: Record<string, string | { types: string; default: string }>
  dependencies: Record<string, string>
  peerDependencies: Record<string, string>
}

/** A room may import the rooms before it, itself, and what stands at the top of src. */
const ROOMS = [
  'wasm',
  'flow',
  'framing',
  'json',
  'workers',
  'bytes',
  'codec',
  'records',
  'http',
  'kafka',
  'websocket',
  's3',
  'store',
  'testing',
  'cli',
]

const files = readdirSync(src, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.parentPath.includes('assembly'))
  .map((entry) => join(entry.parentPath, entry.name))

function importsOf(file: string): string[] {
  const code = readFileSync(file, 'utf8').replace(/\/\*[^]*?\*\//g, '')
  return [...code.matchAll(/(?:(?<![\w'-])from\s+|import\(\s*)'([^']+)'/g)].map((match) => match[1] as string)
}

t.test('every room is known', async (t) => {
  const rooms = readdirSync(src, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  t.strictSame(rooms.map(({ name }) => name).toSorted(), ROOMS.toSorted())
})

t.test('a room imports only from rooms that stand above it', async (t) => {
  for (const file of files) {
    const room = relative(src, file).split('/')[0] as string
    if (!ROOMS.includes(room)) continue
    for (const specifier of importsOf(file).filter((name) => name.startsWith('.'))) {
      const target = relative(src, resolve(dirname(file), specifier)).split('/')[0] as string
      if (!ROOMS.includes(target)) continue
      t.ok(ROOMS.indexOf(target) <= ROOMS.indexOf(room), `${relative(root, file)} imports ${specifier}`)
    }
  }
})

t.test('packages are imported only where their room owns them', async (t) => {
  const owners: Record<string, string[]> = {
    piscina: ['workers'],
    'stream-json': ['json'],
    'stream-chain': ['json', 'records'],
    'fast-check': ['testing'],
    cockatiel: ['flow'],
    '@aws-sdk/client-s3': ['s3'],
    '@aws-sdk/lib-storage': ['s3'],
    '@platformatic/kafka': ['kafka'],
    avsc: ['kafka'],
    protobufjs: ['kafka'],
    '@msgpack/msgpack': ['http'],
    'csv-parse': ['records', 'http'],
    uplot: ['records'],
    ws: ['websocket'],
    '@grpc/grpc-js': ['store'],
    commander: ['cli'],
    'cli-progress': ['cli'],
  }
  for (const file of files) {
    const room = relative(src, file).split('/')[0] as string
    for (const specifier of importsOf(file)) {
      if (specifier.startsWith('.') || specifier.startsWith('node:')) continue
      const name = specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/')
      t.ok(owners[name]?.includes(room), `${relative(root, file)} imports ${specifier}`)
    }
  }
  const declared = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)]
  t.strictSame(
    declared.toSorted(),
    Object.keys(owners).toSorted(),
    'declared dependencies are the owned ones',
  )
})

t.test('a worker file only names its function', async (t) => {
  const workers = files.filter((file) => file.endsWith('.worker.ts'))
  t.ok(workers.length > 0)
  for (const file of workers) {
    const lines = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '' && !line.startsWith('//'))
    t.ok(lines.length <= 5, `${relative(root, file)} has ${lines.length} lines`)
  }
})

t.test('every room of the library has a subpath, and every subpath a file', async (t) => {
  const subpaths = Object.keys(manifest.exports).filter((name) => name !== '.' && name !== './package.json')
  const rooms = ROOMS.filter((room) => room !== 'cli' && room !== 'wasm')
  t.strictSame(subpaths.toSorted(), rooms.map((room) => `./${room}`).toSorted())
  for (const target of Object.values(manifest.exports)) {
    for (const path of typeof target === 'string' ? [target] : [target.types, target.default]) {
      t.ok(existsSync(join(root, path)), path)
    }
  }
})

t.test('every path that the documents name exists', async (t) => {
  for (const document of ['ARCHITECTURE.md', 'README.md', 'CONTRIBUTING.md', 'bench/README.md']) {
    const named = read(document).matchAll(
      /(?<![\w/.-])((?:src|test|examples|bench|docs|scripts)\/[\w./-]*[\w/])/g,
    )
    for (const [, path] of named) t.ok(existsSync(join(root, path as string)), `${document}: ${path}`)
  }
})

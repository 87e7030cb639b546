// Documentation that is checked: public symbols are described, and every example in the docs runs.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'
import { asUser } from '../helpers/as-user.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** What the examples of the http room show it with. */
const HTTP_PEERS = ['@msgpack/msgpack', 'fastify', 'protobufjs']

interface Example {
  readonly name: string
  readonly code: string
}

function examplesIn(path: string): Example[] {
  const isSource = path.endsWith('.ts')
  const text = readFileSync(path, 'utf8')
  const blocks = isSource
    ? [...text.matchAll(/\/\*\*(?:[^*]|\*(?!\/))*\*\//g)].flatMap(([comment]) => [
        ...comment.replace(/^\s*\* ?/gm, '').matchAll(/```ts\n([\s\S]*?)```/g),
      ])
    : [...text.matchAll(/```(?:ts|js)\n([\s\S]*?)```/g)]
  return blocks.map((match, i) => ({ name: `${relative(root, path)} #${i + 1}`, code: match[1] as string }))
}

function sources(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter(
      (entry) => entry.isFile() && entry.name.endsWith(ending) && !entry.parentPath.includes('assembly'),
    )
    .map((entry) => join(entry.parentPath, entry.name))
}

t.test('every example in the documentation runs', { jobs: 2, timeout: 580_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-docs-'))
  t.teardown(() => import('node:fs').then(({ rmSync }) => rmSync(folder, { recursive: true })))
  // a folder that is a package by itself: whatever stands above it is none of its business
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules/millrace'))
  for (const name of [
    'fast-check',
    'stream-chain',
    'stream-json',
    'piscina',
    'vega-datasets',
    'ws',
    ...HTTP_PEERS,
    '@grpc/grpc-js',
  ]) {
    mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  }
  const files = [...sources('src', '.ts'), join(root, 'README.md'), ...sources('docs', '.md')]
  const examples = files.flatMap(examplesIn)
  t.ok(examples.length > 10, `${examples.length} examples`)
  for (const [i, { name, code }] of examples.entries()) {
    t.test(name, async (t) => {
      const own = join(folder, `example-${i}`)
      mkdirSync(own)
      const { outputText } = ts.transpileModule(code, {
        compilerOptions: {
          module: ts.ModuleKind.ESNext,
          target: ts.ScriptTarget.ES2022,
          verbatimModuleSyntax: true,
        },
      })
      writeFileSync(join(own, 'example.mjs'), outputText)
      const child = spawn(...asUser(process.execPath, 'example.mjs'), {
        cwd: own,
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      let stderr = ''
      child.stderr.setEncoding('utf8').on('data', (data: string) => (stderr += data))
      const [code_] = await once(child, 'close')
      t.equal(code_, 0, stderr)
    })
  }
})

t.test('every public symbol is described, and every class and function has an example', async (t) => {
  const rooms = readdirSync(join(root, 'src'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== 'cli' && entry.name !== 'wasm')
    .map((entry) => join(root, 'src', entry.name, 'index.ts'))
  const entries = [join(root, 'src/index.ts'), ...rooms]
  const config = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config,
    ts.sys,
    root,
  )
  const program = ts.createProgram(entries, config.options)
  const checker = program.getTypeChecker()
  const seen = new Set<ts.Symbol>()
  for (const entry of entries) {
    const module = checker.getSymbolAtLocation(program.getSourceFile(entry) as ts.SourceFile)
    for (const exported of checker.getExportsOfModule(module as ts.Symbol)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
      if (seen.has(symbol)) continue
      seen.add(symbol)
      const name = symbol.getName()
      t.not(ts.displayPartsToString(symbol.getDocumentationComment(checker)), '', `${name} is described`)
      const declaration = symbol.declarations?.[0]
      if (
        declaration === undefined ||
        !(ts.isClassDeclaration(declaration) || ts.isFunctionDeclaration(declaration))
      )
        continue
      // one example shows all errors; each of them has its cause described instead
      if (declaration.getSourceFile().fileName.endsWith('src/errors.ts')) continue
      const hasExample = symbol.getJsDocTags(checker).some((tag) => tag.name === 'example')
      t.ok(hasExample, `${name} has an example`)
    }
  }
})

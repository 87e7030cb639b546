// Compiles the kernels of src/wasm/assembly/ (AssemblyScript) to src/wasm/*.wasm.ts: the module in base64, so that the
// package needs no file access and no bundler setting to load it. The result is committed; `--check` compiles again and
// fails when the committed file is not what the source gives.
import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { main } from 'assemblyscript/asc'

/** One row a kernel: its memory in pages of 64 KiB, whether it may grow, and the optimisation that measured best for it. */
const kernels = [
  { name: 'json-scan', pages: 2, grows: false, optimize: '-O1' },
  { name: 'byte-fill', pages: 2, grows: true, optimize: '-O1' },
  { name: 'records', pages: 2, grows: true, optimize: '-O1' },
]

const root = fileURLToPath(new URL('..', import.meta.url))
process.chdir(root)
const isCheck = process.argv.includes('--check')

/** @param {{ name: string, pages: number, grows: boolean, optimize: string }} kernel */
async function compile({ name, pages, grows, optimize }) {
  /** @type {Uint8Array | undefined} */
  let binary
  const { error } = await main(
    [
      `src/wasm/assembly/${name}.ts`,
      `--outFile=kernel.wasm`,
      optimize,
      '--runtime=stub',
      '--noAssert',
      '--enable=simd',
      '--use=abort=',
      `--initialMemory=${pages}`,
      ...(grows ? [] : [`--maximumMemory=${pages}`]),
    ],
    {
      stderr: process.stderr,
      writeFile(_file, data) {
        if (data instanceof Uint8Array) binary = data
      },
    },
  )
  if (error || binary === undefined) {
    throw new Error(`cannot compile ${name}`, { cause: error })
  }
  const text = Buffer.from(binary).toString('base64')
  const lines = text.match(/.{1,100}/g) ?? []
  return `// Generated from assembly/${name}.ts by scripts/build-wasm.js (${binary.length} bytes); do not edit.
export const wasm = [
${lines.map((line) => `  '${line}',`).join('\n')}
].join('')
`
}

for (const kernel of kernels) {
  const file = `src/wasm/${kernel.name}.wasm.ts`
  const source = await compile(kernel)
  const committed = await readFile(file, 'utf8').catch(() => '')
  if (source === committed) continue
  if (isCheck) {
    console.error(`${file} is not what assembly/${kernel.name}.ts gives: run npm run build:wasm`)
    process.exitCode = 1
  } else {
    await writeFile(file, source)
    console.log(`${file}: written`)
  }
}

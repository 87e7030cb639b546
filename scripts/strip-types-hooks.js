// Module hooks: types become spaces, so lines and columns, and with them coverage and stacks, are those of the source.
// What was stripped once is kept under the hash of its source; the next `npm ci` takes it away.
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { threadId } from 'node:worker_threads'

const folder = fileURLToPath(new URL('../node_modules/.cache/strip-types/', import.meta.url))
mkdirSync(folder, { recursive: true })

/** @type {import('node:module').LoadHook} */
export async function load(url, context, nextLoad) {
  const { protocol, pathname } = new URL(url)
  if (protocol !== 'file:' || !pathname.endsWith('.ts')) return nextLoad(url, context)
  const source = await stripped(readFileSync(fileURLToPath(url), 'utf8'))
  return { format: 'module', source, shortCircuit: true }
}

/** @param {string} source */
async function stripped(source) {
  const kept = folder + createHash('sha256').update(source).digest('hex')
  try {
    return readFileSync(kept, 'utf8')
  } catch {
    // only now: it loads the compiler
    const { default: blankTypes } = await import('ts-blank-space')
    const result = blankTypes(source)
    // whole or not at all: other processes look for it, too
    const partial = `${kept}.${process.pid}.${threadId}`
    writeFileSync(partial, result)
    renameSync(partial, kept)
    return result
  }
}

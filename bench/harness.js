// The measuring of every bench: each candidate runs in a process of its own, the candidates of a group take turns
// (A B C, A B C, …), and what is printed is the median and the ratio of medians. On a shared machine ratios hold, absolute
// numbers do not.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'

/**
 * @typedef {object} Input
 * @property {number} bytes  what one run goes through
 * @property {string} [path]
 * @property {number} [records]
 *
 * @typedef {object} Candidate
 * @property {string} name
 * @property {boolean} [ours]
 * @property {string[]} [loads]  packages that are loaded before the clock starts
 * @property {(input: any) => unknown} [prepare]  runs before the clock; what it returns goes to `run`
 * @property {(input: any) => unknown} [run]  runs in a child process; returns what every candidate must agree on
 * @property {(input: any) => string} [command]  or: a shell command, timed whole
 * @property {string[]} [nodeOptions]
 * @property {string} [needs]  a program that must be installed, or the candidate is left out
 *
 * @typedef {object} Group
 * @property {string} name
 * @property {'MB/s' | 'GB/s' | 'krec/s' | 's' | 'none'} unit
 * @property {() => Input | Promise<Input>} input
 * @property {Candidate[]} candidates
 * @property {number} [rounds]
 * @property {(row: (name: string) => Row) => [string, string, string][]} [targets]  [what, asked, reached]
 *
 * @typedef {{ name: string, ours: boolean, ms: number, spread: [number, number], rate: number, rss: number, result: unknown }} Row
 */

const childFile = fileURLToPath(new URL('./child.js', import.meta.url))

/** @param {number[]} values */
export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

/**
 * Measures all groups of a bench file and returns them as Markdown.
 * @param {string} file
 * @param {{ only?: string, rounds?: number }} [options]
 */
export async function measure(file, { only, rounds: forced } = {}) {
  const { title, groups } = /** @type {{ title: string, groups: Group[] }} */ (await import(file))
  const out = [`## ${title}`, '']
  for (const [g, group] of groups.entries()) {
    if (only !== undefined && !group.name.includes(only)) continue
    process.stderr.write(`${title}: ${group.name}\n`)
    const input = await group.input()
    const candidates = group.candidates.filter(({ needs }) => needs === undefined || installed(needs))
    const missing = group.candidates.filter((candidate) => !candidates.includes(candidate))
    /** @type {Map<string, { ms: number[], rss: number[], result: unknown }>} */
    const runs = new Map(candidates.map(({ name }) => [name, { ms: [], rss: [], result: undefined }]))
    for (let round = 0; round < (forced ?? group.rounds ?? 5); round++) {
      for (const candidate of candidates) {
        const { ms, rss, result } = await runOnce(file, g, candidate, input)
        const run = /** @type {{ ms: number[], rss: number[], result: unknown }} */ (runs.get(candidate.name))
        run.ms.push(ms)
        run.rss.push(rss)
        run.result = result
        process.stderr.write(`  ${candidate.name}: ${ms.toFixed(0)} ms\n`)
      }
    }
    const rows = candidates.map(({ name, ours = false }) => {
      const { ms, rss, result } = /** @type {{ ms: number[], rss: number[], result: unknown }} */ (
        runs.get(name)
      )
      const middle = median(ms)
      /** @type {Row} */
      const row = {
        name,
        ours,
        ms: middle,
        spread: [Math.min(...ms), Math.max(...ms)],
        rate: toRate(group.unit, input, middle),
        rss: Math.max(...rss),
        result,
      }
      return row
    })
    assertAgreement(group, rows)
    out.push(...table(group, rows), '')
    if (missing.length > 0)
      out.push(`Left out, not installed: ${missing.map(({ needs }) => needs).join(', ')}.`, '')
    const byName = (/** @type {string} */ name) => {
      const row = rows.find((candidate) => candidate.name === name)
      return (
        row ?? {
          name,
          ours: false,
          ms: Number.NaN,
          spread: [0, 0],
          rate: Number.NaN,
          rss: Number.NaN,
          result: undefined,
        }
      )
    }
    const targets = group.targets?.(byName) ?? []
    if (targets.length > 0) {
      out.push('| target | asked | reached |', '|---|--:|--:|')
      for (const [what, asked, reached] of targets) out.push(`| ${what} | ${asked} | **${reached}** |`)
      out.push('')
    }
  }
  return out.join('\n')
}

/** @param {number} a @param {number} b */
export const times = (a, b) => `${(a / b).toFixed(2)}×`

/** @param {string} unit @param {Input} input @param {number} ms */
function toRate(unit, input, ms) {
  if (unit === 'MB/s') return input.bytes / 1e3 / ms
  if (unit === 'GB/s') return input.bytes / 1e6 / ms
  if (unit === 'krec/s') return (input.records ?? 0) / ms
  if (unit === 's') return 1000 / ms
  return 0
}

/** @param {Group} group @param {Row[]} rows */
function table(group, rows) {
  const best = rows.find(({ ours }) => ours) ?? rows[0]
  const rated = group.unit !== 'none' && group.unit !== 's'
  const head = ['', 'median ms', 'min–max', ...(rated ? [group.unit] : []), 'millrace is', 'peak RSS MB']
  const lines = [`### ${group.name}`, '', `| ${head.join(' | ')} |`, `|---|${'--:|'.repeat(head.length - 1)}`]
  for (const row of rows) {
    const { ms, spread, rate, rss, ours } = row
    const name = ours ? `**${row.name}**` : row.name
    const ratio = best === undefined || row === best ? '' : times(ms, best.ms)
    const digits = ms < 20 ? 1 : 0
    const cells = [
      name,
      ms.toFixed(digits),
      `${spread[0].toFixed(digits)}–${spread[1].toFixed(digits)}`,
      ...(rated ? [rate.toPrecision(3)] : []),
      ratio,
      rss > 0 ? (rss / 1e6).toFixed(0) : '',
    ]
    lines.push(`| ${cells.join(' | ')} |`)
  }
  return lines
}

/** Candidates that did different work must not be compared. @param {Group} group @param {Row[]} rows */
function assertAgreement(group, rows) {
  const results = new Map()
  for (const { name, result } of rows) {
    if (result === undefined || result === null) continue
    const key = JSON.stringify(result)
    results.set(key, [...(results.get(key) ?? []), name])
  }
  if (results.size > 1) {
    throw new Error(
      `${group.name}: candidates disagree: ${JSON.stringify(Object.fromEntries(results), undefined, 1)}`,
    )
  }
}

/** @param {string} file @param {number} g @param {Candidate} candidate @param {Input} input */
async function runOnce(file, g, candidate, input) {
  if (candidate.command !== undefined) return runCommand(candidate.command(input))
  const args = [
    ...(candidate.nodeOptions ?? []),
    childFile,
    file,
    String(g),
    candidate.name,
    JSON.stringify(input),
  ]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ data) => (text += data))
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${candidate.name} ended with code ${code}`)
  return /** @type {{ ms: number, rss: number, result: unknown }} */ (JSON.parse(text))
}

/** A whole command with its start-up; its peak RSS is the sum over its processes, polled, so short peaks may be missed. @param {string} command */
async function runCommand(command) {
  const startedAt = performance.now()
  const child = spawn('bash', ['-o', 'pipefail', '-c', command], { stdio: ['ignore', 'ignore', 'inherit'] })
  let rss = 0
  const timer = setInterval(() => (rss = Math.max(rss, treeRss(/** @type {number} */ (child.pid)))), 20)
  const [code] = await once(child, 'close')
  const ms = performance.now() - startedAt
  clearInterval(timer)
  if (code !== 0) throw new Error(`ended with code ${code}: ${command}`)
  return { ms, rss, result: undefined }
}

/** Resident bytes of a process and all below it. @param {number} pid @returns {number} */
export function treeRss(pid) {
  try {
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1])
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)
    return pages * 4096 + children.reduce((sum, child) => sum + treeRss(Number(child)), 0)
  } catch {
    return 0
  }
}

/** @param {string} program */
function installed(program) {
  return (process.env['PATH'] ?? '').split(':').some((folder) => {
    try {
      return readFileSync(`${folder}/${program}`).length > 0
    } catch {
      return false
    }
  })
}

export function machine() {
  const date = new Date().toISOString().slice(0, 10)
  return `${date} · ${cpus().length} cores, ${cpus()[0]?.model.trim() ?? 'unknown'} · Node ${process.versions.node}`
}

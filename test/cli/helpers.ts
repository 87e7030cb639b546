import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { asUser } from '../helpers/as-user.ts'

export const root = fileURLToPath(new URL('../../', import.meta.url))
export const bin = `${root}dist/cli/bin.js`
export const data = `${root}node_modules/vega-datasets/data/`

export interface Outcome {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** The environment of a user at a terminal. */
export function userEnv(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { CI: _, ...env } = process.env
  return { ...env, ...extra }
}

export function start(args: readonly string[], options: SpawnOptions = {}): ChildProcess {
  return spawn(...asUser(process.execPath, bin, ...args), { env: userEnv(), stdio: 'pipe', ...options })
}

/** Runs the bin to its end, with `input` on stdin. */
export async function millrace(
  args: readonly string[],
  input: string | Uint8Array = '',
  options: SpawnOptions = {},
): Promise<Outcome> {
  const child = start(args, options)
  child.stdin?.on('error', () => {}) // a bin that stops early closes it
  child.stdin?.end(input)
  return outcome(child)
}

/** Runs a line of bash in which `millrace` is the bin. */
export async function shell(line: string): Promise<Outcome> {
  const script = `set -o pipefail; millrace() { "${process.execPath}" "${bin}" "$@"; }; ${line}`
  return outcome(
    spawn(...asUser('bash', '-c', script), { env: userEnv(), stdio: ['ignore', 'pipe', 'pipe'] }),
  )
}

export async function outcome(child: ChildProcess): Promise<Outcome> {
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return {
    status,
    signal,
    stdout: Buffer.concat(stdout).toString(),
    stderr: Buffer.concat(stderr).toString(),
  }
}

import { readFileSync } from 'node:fs'
import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { StoreError } from '../errors.ts'

interface Holder {
  readonly pid: number
  readonly host: string
  /** When the process began, in the kernel's count: a number that is given to a process is given again one day. */
  readonly started: string
}

/**
 * Takes the lock of a folder, and gives what releases it. A lock whose process is dead is taken over.
 *
 * @throws {@link StoreError} `ERR_MILLRACE_STORE_LOCKED` if its process lives, or is on another machine.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, 'lock')
  const own = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`
  const holder: Holder = { pid: process.pid, host: hostname(), started: startOf(process.pid) ?? '' }
  await writeFile(own, JSON.stringify(holder))
  try {
    for (let attempt = 0; attempt < 100; attempt++) {
      try {
        // of two that link at the same time, one fails
        await link(own, path)
        return () => unlink(path)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      const text = await readFile(path, 'utf8').catch(() => undefined)
      if (text === undefined) continue
      const other = parse(text)
      if (other !== undefined && isAlive(other)) throw locked(folder, other)
      await removeStale(path, `${own}.stale`, text)
    }
    /* v8 ignore next 2 -- somebody would have to die in each of a hundred races */
    throw new StoreError(
      'ERR_MILLRACE_STORE_LOCKED',
      'connection',
      `${folder}: expected a lock, got into a race`,
    )
  } finally {
    await unlink(own)
  }
}

/** Moves the lock away, and back if it was no longer the one that was looked at: another process may have been faster. */
async function removeStale(path: string, aside: string, text: string): Promise<void> {
  try {
    await rename(path, aside)
    /* v8 ignore next 3 -- another process was faster */
  } catch {
    return
  }
  /* v8 ignore next 2 -- the race is between two processes */
  if ((await readFile(aside, 'utf8')) !== text) await link(aside, path).catch(() => {})
  await unlink(aside)
}

function parse(text: string): Holder | undefined {
  try {
    const { pid, host, started } = JSON.parse(text) as Partial<Holder>
    if (typeof pid === 'number' && typeof host === 'string' && typeof started === 'string')
      return { pid, host, started }
  } catch {
    // cut short by a power cut
  }
  return undefined
}

function isAlive({ pid, host, started }: Holder): boolean {
  if (host !== hostname()) return true
  const actual = startOf(pid)
  if (actual !== undefined) return started === '' || actual === started
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** From /proc, where there is one. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // the name in brackets may hold spaces and brackets of its own
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function locked(folder: string, { pid, host }: Holder): StoreError {
  return new StoreError(
    'ERR_MILLRACE_STORE_LOCKED',
    'connection',
    `${folder}: expected to be the only process, got one that has it open: ${pid} on ${host}`,
    { actual: pid },
  )
}

import { MillraceError } from '../errors.ts'
import type { StreamStats } from '../flow/index.ts'
import { formatBytes } from './units.ts'

/** One line on stderr: what went wrong, without a stack. */
export function tell(error: unknown): void {
  process.stderr.write(`millrace: ${messageOf(error)}\n`)
}

/** What went wrong, with the code of the system's errors. */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const code = MillraceError.is(error) ? '' : ((error as { code?: unknown } | null)?.code ?? '')
  const known = typeof code === 'string' && code !== '' && !message.includes(code) ? `${code}: ` : ''
  return `${known}${message}`
}

/** What only the command line knows of a run. */
export interface RunFacts {
  readonly outputClosed?: boolean
  readonly seed?: number | string
}

/** One line on stderr: what was done, as an object or for people. */
export function printStats(stats: StreamStats, facts: RunFacts, format: true | 'json'): void {
  const all = { ...stats, ...facts, peakRssBytes: process.resourceUsage().maxRSS * 1024 }
  if (format === 'json') {
    process.stderr.write(`${JSON.stringify(all)}\n`)
    return
  }
  const { bytesIn, bytesOut, recordsIn, recordsOut, elapsedMs } = all
  const count = (n: number) => n.toLocaleString('en-US')
  const rate = elapsedMs === 0 ? 0 : ((bytesIn || bytesOut) / elapsedMs) * 1000
  const parts = [
    ...(facts.seed === undefined ? [] : [`seed ${facts.seed}`]),
    ...(bytesIn > 0 ? [`${formatBytes(bytesIn)} in`] : []),
    ...(bytesOut > 0 || bytesIn === 0 ? [`${formatBytes(bytesOut)} out`] : []),
    ...(recordsIn > 0 ? [`${count(recordsIn)} → ${count(recordsOut)} records`] : []),
    // gen: what goes out are objects, made of nothing
    ...(recordsIn === 0 && recordsOut > 1 ? [`${count(recordsOut)} objects`] : []),
  ]
  process.stderr.write(
    `millrace: ${parts.join(', ')} in ${(elapsedMs / 1000).toFixed(2)} s (${formatBytes(rate)}/s), ` +
      `${formatBytes(all.peakRssBytes)} of memory\n`,
  )
}

import { MillraceError } from '../errors.ts'
import type { StreamStats } from '../flow/index.ts'
import { EXIT } from './exit-codes.ts'
import { formatBytes } from './units.ts'

const watched = new Set<NodeJS.WriteStream>()

/** Text on stdout, such as help. Data goes another way, see `fd-sink`. */
export function print(text: string): void {
  write(process.stdout, text)
}

/** Text on stderr, for people. */
export function warn(text: string): void {
  write(process.stderr, text)
}

/** A reader that has gone, as in `--help | head`, has read enough. Anything else is a failure, of which a person hears on stderr. */
function write(stream: NodeJS.WriteStream, text: string): void {
  if (!watched.has(stream)) {
    watched.add(stream)
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') return
      process.once('exit', (status) => (process.exitCode = status || EXIT.failed))
      if (stream !== process.stderr) tell(error)
    })
  }
  stream.write(text)
}

/** One line on stderr: what went wrong, without a stack. */
export function tell(error: unknown): void {
  warn(`millrace: ${messageOf(error)}\n`)
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
    warn(`${JSON.stringify(all)}\n`)
    return
  }
  const { bytesIn, bytesOut, recordsIn, recordsOut, elapsedMs } = all
  const count = (n: number) => n.toLocaleString('en-US')
  const rate = elapsedMs === 0 ? 0 : ((bytesIn || bytesOut) / elapsedMs) * 1000
  const parts = [
    ...(facts.seed === undefined ? [] : [`seed ${facts.seed}`]),
    ...(bytesIn > 0 ? [`${formatBytes(bytesIn)} in`] : []),
    ...(bytesOut > 0 || bytesIn === 0 ? [`${formatBytes(bytesOut)} out`] : []),
    ...(all.ratio ? [`ratio ${all.ratio.toFixed(3)}`] : []),
    ...(all.blocks ? [`${count(all.blocks)} blocks (${count(all.storedBlocks ?? 0)} stored)`] : []),
    ...(all.gaps ? [`${count(all.gaps)} gaps`] : []),
    ...(recordsIn > 0 ? [`${count(recordsIn)} → ${count(recordsOut)} records`] : []),
    // gen: what goes out are objects, made of nothing
    ...(recordsIn === 0 && recordsOut > 1 ? [`${count(recordsOut)} objects`] : []),
  ]
  warn(
    `millrace: ${parts.join(', ')} in ${(elapsedMs / 1000).toFixed(2)} s (${formatBytes(rate)}/s), ` +
      `${formatBytes(all.peakRssBytes)} of memory\n`,
  )
}

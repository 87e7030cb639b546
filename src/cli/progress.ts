import { formatBytes, formatDuration } from './units.ts'

export interface ProgressSource {
  /** Bytes to go through, where that is known. */
  readonly size: number | undefined
  /** Bytes gone through so far. */
  readonly bytesRead: number
}

export interface Progress {
  stop(): void
}

/** How often the line is drawn, and how long a run must last before it is drawn at all, in milliseconds. */
const INTERVAL_MS = 250
const DELAY_MS = 1000

export interface ProgressOptions {
  readonly progress?: boolean
  readonly quiet?: boolean
}

/** Starts to show progress if that is asked for, or if there is a terminal to show it on and nobody minds. */
export function showProgress(
  source: ProgressSource,
  { progress, quiet }: ProgressOptions,
): Progress | undefined {
  if (quiet === true) return undefined
  const drawable = process.stderr.isTTY && process.env['TERM'] !== 'dumb' && process.env['CI'] === undefined
  if (progress !== true && !drawable) return undefined
  return startProgress(source, { force: progress === true })
}

/**
 * A line on stderr: bytes, time, rate, and percent and time to go where the size is known. Drawn only on a terminal, or a
 * line a second if it is forced.
 */
function startProgress(source: ProgressSource, { force }: { readonly force: boolean }): Progress {
  const startedAt = performance.now()
  let draw: ((text: string) => void) | undefined
  let stop = () => {}
  let stopped = false
  const timer = setTimeout(async () => {
    // the package costs 13 ms of start-up, so it is loaded only when a line will be drawn
    const { default: cliProgress } = await import('cli-progress')
    if (stopped) return
    const bar = new cliProgress.SingleBar({
      format: (_options, _params, payload: { text: string }) => payload.text,
      stream: process.stderr,
      // false would switch the terminal's own wrapping off and, if we are killed, leave it so
      linewrap: true,
      clearOnComplete: true,
      noTTYOutput: force,
      notTTYSchedule: 1000,
      fps: 1000 / INTERVAL_MS,
    })
    bar.start(1, 0, { text: describe(source, startedAt) })
    const interval = setInterval(() => draw?.(describe(source, startedAt)), INTERVAL_MS)
    draw = (text) => bar.update(0, { text })
    stop = () => {
      clearInterval(interval)
      bar.update(0, { text: describe(source, startedAt) })
      bar.stop()
    }
  }, DELAY_MS)
  return {
    stop() {
      stopped = true
      clearTimeout(timer)
      stop()
    },
  }
}

/** One line as `pv` would write it. */
export function describe({ size, bytesRead }: ProgressSource, startedAt: number): string {
  const elapsedMs = performance.now() - startedAt
  const rate = (bytesRead / elapsedMs) * 1000
  const parts = [formatBytes(bytesRead), formatDuration(elapsedMs), `${formatBytes(rate)}/s`]
  if (size !== undefined && size > 0) {
    const share = Math.min(1, bytesRead / size)
    const filled = Math.round(share * 20)
    parts.push(`[${'='.repeat(filled)}${' '.repeat(20 - filled)}]`, `${Math.floor(share * 100)} %`)
    if (rate > 0) parts.push(`ETA ${formatDuration(((size - bytesRead) / rate) * 1000)}`)
  }
  return parts.join('  ')
}

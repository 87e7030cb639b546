const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const
type Signal = keyof typeof SIGNALS
const names = Object.keys(SIGNALS) as Signal[]

/** What the shell asked of us so far. */
export interface Signals {
  /** Exit status by the signal that came, if one came. */
  readonly status: number | undefined
  /** Signals do again what they do by default. */
  unlisten(): void
}

/** Calls `stop` at the first SIGINT or SIGTERM; a second one kills. */
export function listenToSignals(stop: () => void): Signals {
  let status: number | undefined
  const onSignal = (signal: Signal) => {
    if (status !== undefined) {
      unlisten()
      process.kill(process.pid, signal)
      return
    }
    status = SIGNALS[signal]
    stop()
  }
  const unlisten = () => {
    for (const signal of names) process.off(signal, onSignal)
  }
  for (const signal of names) process.on(signal, onSignal)
  return {
    get status() {
      return status
    },
    unlisten,
  }
}

import { setTimeout as delay } from 'node:timers/promises'

/** Time as the policies see it. A test gives one of its own, so that hours pass in no time. */
export interface Clock {
  /** Milliseconds since 1970. Must never run backwards. */
  now(): number
  /** Resolves after `ms` milliseconds; rejects, and leaves no timer, when the signal is aborted before. */
  sleep(ms: number, signal: AbortSignal | undefined): Promise<void>
}

/** Longest time that a timer of Node can take, in milliseconds: one that is longer fires at once. */
export const MAX_TIMER = 2 ** 31 - 1

/** The clock of the machine, taken from the monotonic one: a corrected date neither prolongs nor ends a pause. */
export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  async sleep(ms, signal) {
    for (let left = ms; left > 0; left -= MAX_TIMER) {
      await delay(Math.min(left, MAX_TIMER), undefined, { ...(signal && { signal }) })
    }
  },
}

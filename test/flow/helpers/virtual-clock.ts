import type { Clock } from '../../../src/flow/clock.ts'

/** A clock on which a pause takes no time, and which remembers all pauses. */
export class VirtualClock implements Clock {
  readonly pauses: number[] = []
  #now = Date.UTC(2026, 0, 1)

  now(): number {
    return this.#now
  }

  advance(ms: number): void {
    this.#now += ms
  }

  async sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    this.pauses.push(ms)
    this.#now += ms
  }
}

/** A failure that is worth another try. */
export function down(message = 'down'): Error {
  return Object.assign(new Error(message), { code: 'ECONNREFUSED' })
}

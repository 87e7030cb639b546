import { threadId } from 'node:worker_threads'
import { TaskRunner } from './task-runner.ts'
import type { TaskMessage } from './task-protocol.ts'

/** What the pool calls in a worker with every task. */
export function workerEntry(): (message: TaskMessage) => Promise<unknown> {
  const runner = new TaskRunner(threadId)
  return async (message) => {
    const { reply, move } = await runner.run(message)
    if (move.length === 0) return reply
    // loaded only now: it costs 11 ms of start-up, and most stages never move anything
    const { Piscina } = await import('piscina')
    return Piscina.move({
      [Piscina.transferableSymbol]: move,
      [Piscina.valueSymbol]: reply,
    } as unknown as ArrayBuffer)
  }
}

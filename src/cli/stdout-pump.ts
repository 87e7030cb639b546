// Standard output at the speed of a pipe: synchronous writes, in a thread of their own. In the main thread a reader that
// sleeps would keep signals from being heard for as long as it sleeps.
import { once } from 'node:events'
import { extname } from 'node:path'
import { Worker, parentPort, workerData } from 'node:worker_threads'
// not the index of the room, which would load what makes objects in several threads
import { DataGenerator } from '../bytes/data-generator.ts'
import type { ObjectIdentity } from '../bytes/object-gen.ts'
import { pumpToDescriptor } from '../bytes/pump-to-descriptor.ts'
import { StatsCounter, type StreamStats } from '../flow/index.ts'

/** What the thread has to know. */
interface PumpPlan {
  readonly identity: ObjectIdentity
  readonly start: number
  readonly end: number
  /** One number: bytes written so far. */
  readonly written: SharedArrayBuffer
}

/** What it tells in the end. */
interface PumpResult {
  readonly stats: StreamStats
  /** Plain fields: a cloned error would arrive without its code. */
  readonly failure:
    | { readonly message: string; readonly code?: unknown; readonly syscall?: unknown }
    | undefined
}

/** What was done, and what went wrong. */
interface Pumped {
  readonly stats: StreamStats
  readonly error: unknown
}

const workerFile = new URL(`./stdout-pump.worker${extname(import.meta.url)}`, import.meta.url)

/** Writes a range of an object to stdout. Never rejects: what went wrong is in the result, with what was done until then. */
export class StdoutPump {
  readonly #worker: Worker
  readonly #written: Float64Array<SharedArrayBuffer>
  readonly #result: Promise<Pumped>

  constructor(identity: ObjectIdentity, { start, end }: { readonly start: number; readonly end: number }) {
    const written = new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT)
    this.#written = new Float64Array(written)
    this.#worker = new Worker(workerFile, {
      // Otherwise Node looks at `process.stdout` for what the thread may print on either, which stops the pipe from
      // blocking: a write then fails when the pipe is full, and has to be tried again.
      stdout: true,
      stderr: true,
      workerData: { identity, start, end, written } satisfies PumpPlan,
    })
    this.#result = once(this.#worker, 'message').then(
      ([result]) => {
        const { stats, failure } = result as PumpResult
        return { stats, error: failure && Object.assign(new Error(failure.message), failure) }
      },
      (error: unknown) => ({ stats: new StatsCounter('gen').snapshot(), error }),
    )
  }

  get bytesWritten(): number {
    return this.#written[0] as number
  }

  /** Ends it after the write that is under way. */
  stop(): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#worker.postMessage('stop')
  }

  result(): Promise<Pumped> {
    return this.#result
  }
}

/** The side in the thread. */
export async function servePump(): Promise<void> {
  const { identity, start, end, written } = workerData as PumpPlan
  const abort = new AbortController()
  parentPort?.once('message', () => abort.abort())
  const object = new DataGenerator({ seed: identity.seed }).beginObject(identity)
  const counter = new StatsCounter('gen')
  const progress = new Float64Array(written)
  let failure: PumpResult['failure']
  try {
    await pumpToDescriptor(object, 1, {
      start,
      end,
      signal: abort.signal,
      onChunk({ bytes }) {
        counter.sent(bytes)
        progress[0] = counter.bytesOut
      },
    })
    counter.recordsOut = 1
  } catch (error) {
    const { message, code, syscall } = error as NodeJS.ErrnoException
    if (!abort.signal.aborted) failure = { message, code, syscall }
  }
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage({ stats: counter.snapshot(), failure } satisfies PumpResult)
  parentPort?.close()
}

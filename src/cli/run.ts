import { Readable } from 'node:stream'
import type { Duplex } from 'node:stream'
import { finished } from 'node:stream/promises'
import { MillraceError } from '../errors.ts'
import type { StreamStats } from '../flow/index.ts'
import type { Input, Output } from './endpoint.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import { showProgress } from './progress.ts'
import { listenToSignals } from './signals.ts'
import { printStats, tell, warn } from './tell.ts'

/** The options that every verb shares. */
export interface CommonOptions {
  readonly stats?: boolean | 'json'
  readonly progress?: boolean
  readonly quiet?: boolean
}

/** Where the bytes of a job are from. */
export type JobInput = Pick<Input, 'content' | 'stop' | 'size' | 'bytesRead'> & Partial<Pick<Input, 'close'>>

/** One verb's work: bytes from `input` through `stage` to `output`; or from a `stage` that has them by itself, until it is stopped. */
export interface Job {
  readonly input: JobInput | { readonly size: undefined; readonly bytesRead: number; stop(): void }
  readonly stage: Readable & { stats(): StreamStats; free?(chunk: Buffer): void }
  readonly output: Output
  /** What a run with the same result needs. */
  readonly seed?: number | string
  /** Items that failed one by one while the rest went on. */
  readonly failedItems?: () => number
}

/**
 * Runs a job as a shell expects it and returns the exit status. The first SIGINT or SIGTERM ends the input and lets the
 * rest flush, a second one kills. A reader that has enough is a normal end. Whatever was made before an error is written
 * before the error is told.
 */
export async function run(job: Job, options: CommonOptions): Promise<number> {
  const { input, stage, output } = job
  let inputError: unknown
  let stageError: unknown
  let sinkError: NodeJS.ErrnoException | undefined

  const signals = listenToSignals(() => input.stop())
  output.stream.on('error', (error: NodeJS.ErrnoException) => (sinkError ??= error))
  const progress = showProgress(input, options)

  // an input that fails ends like one that is over, so that what came before it is still worked on
  const content =
    'content' in input &&
    Readable.from(
      untilError(input.content(), (error) => (inputError = error)),
      { highWaterMark: 2 },
    )
  stage.on('error', () => {}) // told below
  if (content) content.pipe(stage as unknown as Duplex)
  const sinkFailed = new Promise((resolve) => output.stream.once('error', resolve))
  try {
    await Promise.race([forward(stage, output), sinkFailed])
  } catch (error) {
    stageError = error
  }
  stage.destroy()
  input.stop()
  if (content) content.destroy()
  // an input that was cut short, by a signal or a failure, mostly ends inside a record: that is no fault of its own
  const cutShort = signals.status !== undefined || inputError !== undefined
  const fault = inputError ?? (cutShort && isTruncation(stageError) ? undefined : stageError)
  await output
    .finish(fault === undefined && signals.status === undefined)
    .catch((error: NodeJS.ErrnoException) => (sinkError ??= error))
  signals.unlisten()
  progress?.stop()

  const outputClosed = isClosedOutput(sinkError)
  const error = outputClosed ? undefined : (sinkError ?? fault)
  const failedItems = job.failedItems?.() ?? 0
  if (error === undefined && signals.status === undefined) await output.commit()
  if ('close' in input) await input.close?.()
  if (error !== undefined) {
    tell(error)
    if (output.leftover !== undefined) warn(`millrace: what was written before is in ${output.leftover}\n`)
  }
  if (options.stats !== undefined && options.stats !== false)
    printStats(
      stage.stats(),
      { outputClosed, ...(job.seed !== undefined && { seed: job.seed }) },
      options.stats,
    )

  if (error !== undefined) return exitCodeOf(error)
  if (signals.status !== undefined) return signals.status
  return failedItems > 0 ? EXIT.someFailed : EXIT.ok
}

/** True if the reader of a pipe has gone: it has enough. A store that ends a connection is something else. */
export function isClosedOutput(error: unknown): boolean {
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException
  return code === 'EPIPE' && syscall === 'write' && !MillraceError.is(error)
}

/**
 * Writes all that comes, and settles like the stage. By events, since the iterator of a stream joins what waits, by a copy.
 */
function forward(stage: Job['stage'], output: Output): Promise<void> {
  const free = output.keepsChunks ? undefined : stage.free?.bind(stage)
  stage.on('data', (chunk: Buffer) => {
    if (output.write(chunk, free && (() => free(chunk)))) return
    stage.pause()
    void writable(output).then(() => stage.resume())
  })
  return finished(stage, { writable: false })
}

async function* untilError(
  content: AsyncIterable<Buffer>,
  onError: (error: unknown) => void,
): AsyncIterable<Buffer> {
  try {
    yield* content
  } catch (error) {
    onError(error)
  }
}

/** Resolves when the output takes more, or never will. */
export function writable({ stream }: Output): Promise<void> {
  if (stream.destroyed || !stream.writableNeedDrain) return Promise.resolve()
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done)
      resolve()
    }
    // after an error there is never a drain
    stream.on('drain', done).on('close', done)
  })
}

function isTruncation(error: unknown): boolean {
  return MillraceError.is(error) && (error.code.endsWith('_TRUNCATED') || error.code.endsWith('_EMPTY'))
}

import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { offload, type Offload, type OffloadOptions } from '../workers/index.ts'
import { checkCodec, type BlockCodec } from './block-codec.ts'
import { writeTask, type CodecModule, type CodecTask } from './codec-task.ts'

const HANDLER = new URL(`./codec-task.worker${extname(import.meta.url)}`, import.meta.url)

/** Options of {@link workerCodec}. */
export interface WorkerCodecOptions {
  /** What the container calls it: 1 to 15 characters of ASCII. */
  readonly name: string
  /** Most bytes of context that it can use. @defaultValue 0 */
  readonly contextBytes?: number
  /** Number of threads. @defaultValue `os.availableParallelism()` */
  readonly workers?: number
  /** A pool to share, see `createPool`; it decides the number of threads. */
  readonly pool?: Exclude<OffloadOptions['pool'], undefined>
}

/**
 * Takes a module that exports `pack` and `unpack` as a {@link BlockCodec} has them, gives a codec that runs them in worker threads: for
 * packages that only work synchronously. What has an asynchronous API of its own needs no worker.
 *
 * @remarks The threads start with the first block, and end when a stage that used the codec has ended and no block is in work. A block crosses through shared memory.
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { writeFile } from 'node:fs/promises'
 * import { Readable } from 'node:stream'
 * import { text } from 'node:stream/consumers'
 * import { StreamingDecoder, StreamingEncoder, workerCodec } from 'millrace'
 *
 * await writeFile('raw-zlib.mjs', `
 *   import { deflateSync, inflateSync } from 'node:zlib'
 *   export const pack = (bytes, { level }) => deflateSync(bytes, { level })
 *   export const unpack = (bytes, { rawLength }) => inflateSync(bytes, { maxOutputLength: rawLength })
 * `)
 * const codec = workerCodec('raw-zlib.mjs', { name: 'raw-zlib', workers: 1 })
 * const packed = Readable.from([Buffer.from('so far '.repeat(100))]).pipe(new StreamingEncoder({ codec, level: 9 }))
 * assert.match(await text(packed.pipe(new StreamingDecoder({ codecs: [codec] }))), /^(so far ){100}$/)
 * ```
 */
export function workerCodec(module: string | URL, options: WorkerCodecOptions): BlockCodec {
  const { name, contextBytes = 0, workers, pool } = options
  const url = module instanceof URL ? module.href : pathToFileURL(resolve(module)).href
  const lane = new Lane({
    workerData: { module: url } satisfies CodecModule,
    ...(workers !== undefined && { workers }),
    ...(pool !== undefined && { pool }),
  })
  return checkCodec('codec', {
    name,
    contextBytes,
    pack: (bytes, { level, context }) => lane.run({ kind: 'pack', bytes, level, rawLength: 0, context }),
    unpack: (bytes, { rawLength, context }) =>
      lane.run({ kind: 'unpack', bytes, level: undefined, rawLength, context }),
    close: () => lane.close(),
  })
}

interface Waiting {
  readonly resolve: (bytes: Buffer) => void
  readonly reject: (error: Error) => void
}

/** A stage of workers as a function: its answers come in the order of what was asked. */
class Lane {
  readonly #options: OffloadOptions
  #stage: Offload | undefined
  #waiting: Waiting[] = []
  #onIdle: () => void = () => {}

  constructor(options: OffloadOptions) {
    this.#options = options
  }

  run(task: CodecTask): Promise<Buffer> {
    const stage = (this.#stage ??= this.#open())
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      stage.write(writeTask(task))
    })
  }

  async close(): Promise<void> {
    // what is in work may be that of another stage
    while (this.#waiting.length > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    const stage = this.#stage
    if (stage === undefined) return
    this.#stage = undefined
    const closed = new Promise((resolve) => stage.once('close', resolve))
    stage.destroy()
    await closed
  }

  #open(): Offload {
    const stage = offload(HANDLER, this.#options)
    stage.on('data', (answer: Buffer) => {
      const { resolve, reject } = this.#waiting.shift()!
      const bytes = answer.subarray(1)
      if (answer[0] === 0) resolve(bytes)
      else reject(new Error(bytes.toString()))
      if (this.#waiting.length === 0) this.#onIdle()
    })
    stage.on('error', (error: Error) => {
      const waiting = this.#waiting
      this.#waiting = []
      if (this.#stage === stage) this.#stage = undefined
      for (const { reject } of waiting) reject(error)
      this.#onIdle()
    })
    return stage
  }
}

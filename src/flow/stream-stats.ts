import diagnostics from 'node:diagnostics_channel'
import { checkFunction } from '../options.ts'

/** What a stage has done so far. Times are milliseconds, sizes bytes. Stages may add counters of their own. */
export interface StreamStats {
  readonly bytesIn: number
  readonly bytesOut: number
  readonly recordsIn: number
  readonly recordsOut: number
  /** Chunks, blocks or batches that the stage has sent on. */
  readonly chunks: number
  readonly errors: number
  /** From the first chunk in to now, or to the end. */
  readonly elapsedMs: number
  /** `bytesOut`, or `bytesIn` for a stage that sends no bytes, per second of `elapsedMs`. */
  readonly bytesPerSecond: number
  /** `recordsOut`, or `recordsIn` for a stage that sends no records, per second of `elapsedMs`. */
  readonly recordsPerSecond: number
  /** Stages that pack or unpack: raw bytes for every packed byte so far; 0 before there is one. */
  readonly ratio?: number
  /** Stages that pack or unpack: blocks of data. */
  readonly blocks?: number
  /** Stages that pack or unpack: blocks among them that are kept as they are, since packing would not make them smaller. */
  readonly storedBlocks?: number
  /** Stages that recover damaged input: stretches of it that are lost. */
  readonly gaps?: number
}

/** What stages that pack or unpack count beside the rest. */
export interface PackCounters {
  blocks: number
  storedBlocks: number
  gaps: number
  /** Whether raw bytes come in, or go out. */
  readonly packs: boolean
}

/** What a hook learns of one chunk. */
export interface ChunkInfo {
  /** Class name of the stage. */
  readonly stage: string
  readonly bytes: number
  readonly records: number
  /** Number of the chunk, from 0. */
  readonly index: number
  /** Time since the chunk before it was sent on, or since the first chunk came in, in milliseconds. */
  readonly latencyMs: number
}

/** Hooks that every stage takes among its options. A hook that throws fails the stage with what it threw. */
export interface StatsHooks {
  /** Called once a chunk that is sent on; never per record. */
  readonly onChunk?: (chunk: ChunkInfo) => void
  readonly onError?: (error: unknown) => void
  readonly onComplete?: (stats: StreamStats) => void
}

const chunkChannel = diagnostics.channel('millrace:chunk')
const errorChannel = diagnostics.channel('millrace:error')
const completeChannel = diagnostics.channel('millrace:complete')

/**
 * The counters behind `stats()`. Plain fields that the owning stage adds to (4 ns a call); the clock is read once a chunk.
 * Publishes to the `node:diagnostics_channel` names `millrace:chunk`, `millrace:error` and `millrace:complete`.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import diagnostics from 'node:diagnostics_channel'
 * import { Transform } from 'node:stream'
 * import { StatsCounter } from 'millrace/flow'
 *
 * const counter = new StatsCounter('Shout', { onChunk: ({ bytes }) => sizes.push(bytes) })
 * const sizes: number[] = []
 * const stages = new Set()
 * diagnostics.subscribe('millrace:chunk', (chunk) => stages.add((chunk as { stage: string }).stage))
 *
 * const shout = new Transform({
 *   transform(chunk, _encoding, done) {
 *     counter.received(chunk.length)
 *     counter.sent(chunk.length + 1)
 *     done(null, `${chunk}!`)
 *   },
 * })
 * shout.end('hey')
 * assert.equal(String(await shout.toArray()), 'hey!')
 * assert.deepEqual(counter.snapshot().bytesOut, 4)
 * assert.deepEqual(sizes, [4])
 * assert(stages.has('Shout'))
 * ```
 */
export class StatsCounter {
  bytesIn = 0
  bytesOut = 0
  recordsIn = 0
  recordsOut = 0
  chunks = 0
  errors = 0
  /** Set by stages that pack or unpack. */
  packing: PackCounters | undefined
  readonly #stage: string
  readonly #hooks: StatsHooks
  #startedAt = 0
  #endedAt = 0
  #sentAt = 0

  constructor(stage: string, { onChunk, onError, onComplete }: StatsHooks = {}) {
    checkFunction('onChunk', onChunk)
    checkFunction('onError', onError)
    checkFunction('onComplete', onComplete)
    this.#stage = stage
    this.#hooks = {
      ...(onChunk && { onChunk }),
      ...(onError && { onError }),
      ...(onComplete && { onComplete }),
    }
  }

  /** Counts what came in, and starts the clock at the first call. */
  received(bytes: number, records = 0): void {
    if (this.#startedAt === 0) this.#startedAt = performance.now()
    this.bytesIn += bytes
    this.recordsIn += records
  }

  /** Counts one chunk that is sent on, and tells the hooks. */
  sent(bytes: number, records = 0): void {
    if (this.#startedAt === 0) this.#startedAt = performance.now()
    this.bytesOut += bytes
    this.recordsOut += records
    const index = this.chunks++
    if (this.#hooks.onChunk === undefined && !chunkChannel.hasSubscribers) return
    // the clock is read only where someone wants to know: 40 ns
    const now = performance.now()
    const latencyMs = now - (this.#sentAt || this.#startedAt)
    this.#sentAt = now
    const info: ChunkInfo = { stage: this.#stage, bytes, records, index, latencyMs }
    this.#hooks.onChunk?.(info)
    if (chunkChannel.hasSubscribers) chunkChannel.publish(info)
  }

  failed(error: unknown): void {
    this.errors++
    this.#stop()
    this.#hooks.onError?.(error)
    if (errorChannel.hasSubscribers) errorChannel.publish({ stage: this.#stage, error })
  }

  completed(): void {
    this.#stop()
    if (this.#hooks.onComplete === undefined && !completeChannel.hasSubscribers) return
    const stats = this.snapshot()
    this.#hooks.onComplete?.(stats)
    if (completeChannel.hasSubscribers) completeChannel.publish({ stage: this.#stage, stats })
  }

  snapshot(): StreamStats {
    const { bytesIn, bytesOut, recordsIn, recordsOut, chunks, errors, packing } = this
    const elapsedMs = this.#startedAt === 0 ? 0 : (this.#endedAt || performance.now()) - this.#startedAt
    const perSecond = (count: number) => (elapsedMs === 0 ? 0 : (count * 1000) / elapsedMs)
    return {
      bytesIn,
      bytesOut,
      recordsIn,
      recordsOut,
      chunks,
      errors,
      elapsedMs,
      bytesPerSecond: perSecond(bytesOut || bytesIn),
      recordsPerSecond: perSecond(recordsOut || recordsIn),
      ...(packing && packingStats(packing, bytesIn, bytesOut)),
    }
  }

  #stop(): void {
    if (this.#endedAt === 0 && this.#startedAt !== 0) this.#endedAt = performance.now()
  }
}

function packingStats(
  { blocks, storedBlocks, gaps, packs }: PackCounters,
  bytesIn: number,
  bytesOut: number,
) {
  const [raw, packed] = packs ? [bytesIn, bytesOut] : [bytesOut, bytesIn]
  return { ratio: packed === 0 ? 0 : raw / packed, blocks, storedBlocks, gaps }
}

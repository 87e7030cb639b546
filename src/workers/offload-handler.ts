import type { BlockPosition } from '../flow/index.ts'

/** What a handler is told beside the block. */
export interface OffloadContext<D = unknown> {
  /** Number of the block's first record, or of the block where it is bytes. */
  readonly index: number
  /**
   * Number in the input of the block's record `i`: `index + i`, unless something before it in the block was left out. In
   * NDJSON the number of its line, from 0: blank lines count.
   */
  recordIndex(i: number): number
  /** Where the block came from. A line of 0 means that it is not known. */
  readonly position: BlockPosition
  /** The option `workerData`. */
  readonly workerData: D
  /**
   * Shared memory that the output may be written to, from its start: what is returned as a view of it is not copied. Undefined where
   * output does not travel through shared memory. It is as long as the block that a stage takes, and longer; what may be too long for it
   * goes elsewhere.
   */
  readonly target: Buffer | undefined
  /** Sends something small beside the output; the option `onReport` gets it, in order, before the output of the block. */
  report(data: unknown): void
}

/** The function that a module exports for {@link offload}. What it takes and gives depends on `in` and `out`. */
export type OffloadHandler<I = never, O = unknown, D = unknown> = (
  block: I,
  context: OffloadContext<D>,
) => O | PromiseLike<O>

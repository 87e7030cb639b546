const position = Symbol.for('millrace.position')

/**
 * Where a block came from. It travels with the block through every stage that keeps blocks apart, so that an error can
 * name the place and a source can commit what a sink has made durable.
 */
export interface BlockPosition {
  /** Number of the block's first frame or record in its input, from 0. */
  readonly index: number
  /** Offset of the block's first byte in its input, in bytes. */
  readonly offset: number
  /** Line of that byte, from 1. */
  readonly line: number
  /** Column of that byte in its line, in bytes, from 1. */
  readonly column: number
  /** What the source needs to commit this block, e.g. a Kafka partition and offset. Opaque to all stages between. */
  readonly source?: unknown
}

/**
 * Marks a block with its position and returns it.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { positionOf, withPosition } from 'millrace'
 *
 * const block = withPosition(Buffer.from('two\n'), { index: 1, offset: 4, line: 2, column: 1 })
 * assert.equal(positionOf(block)?.line, 2)
 * assert.equal(positionOf(Buffer.from('two\n')), undefined)
 * ```
 */
export function withPosition<T extends object>(block: T, at: BlockPosition): T {
  Object.defineProperty(block, position, { value: at, configurable: true })
  return block
}

/**
 * The position of a block, if the stage that made it gave one.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { BoundaryHandler, positionOf } from 'millrace'
 *
 * const lines = Readable.from([Buffer.from('one\ntwo\n')]).pipe(new BoundaryHandler('lines', { emit: 'frames' }))
 * const offsets = []
 * for await (const line of lines) offsets.push(positionOf(line)?.offset)
 * assert.deepEqual(offsets, [0, 4])
 * ```
 */
export function positionOf(block: object): BlockPosition | undefined {
  return (block as { [position]?: BlockPosition })[position]
}

/** What a source can put into {@link BlockPosition.source}, so that sinks can tell it how far they are. */
export interface DurablePosition {
  /** All blocks up to this one are where they should be, for good. */
  durable(): void
}

/**
 * Tells the source of a block that the block, and all before it, is durable: written, acknowledged, not to be read again.
 * Sinks call it in the order of the blocks; so does a loop that is itself the end of a stream. Without a source that wants to
 * know, it does nothing.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { reportDurable, withPosition } from 'millrace'
 *
 * let committed = 0
 * const source = { durable: () => (committed = 8) }
 * const block = withPosition(Buffer.from('8 bytes.'), { index: 0, offset: 0, line: 1, column: 1, source })
 * reportDurable(block)
 * assert.equal(committed, 8)
 * ```
 */
export function reportDurable(block: object): void {
  const source = positionOf(block)?.source as Partial<DurablePosition> | null | undefined
  if (typeof source?.durable === 'function') source.durable()
}

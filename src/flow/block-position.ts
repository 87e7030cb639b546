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

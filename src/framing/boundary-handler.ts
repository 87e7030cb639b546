import { StatsCounter, type StatsHooks } from '../flow/stream-stats.ts'
import { PullStage, type PullCore } from '../flow/pull-stage.ts'
import { withPosition } from '../flow/block-position.ts'
import { OptionError } from '../errors.ts'
import { checkChoice, checkInteger, checkLimit, checkMethods, checkSignal } from '../options.ts'
import { FrameCutter } from './frame-cutter.ts'
import type { FrameScanner } from './frame-scanner.ts'
import { GlyphScanner } from './glyph-scanner.ts'
import { JsonScanner, type JsonScannerOptions } from './json-scanner.ts'
import { DEFAULT_BOUNDARY_BLOCK_SIZE, DEFAULT_MAX_FRAME_LENGTH } from './limits.ts'
import { LineScanner } from './line-scanner.ts'
import { SeqScanner } from './seq-scanner.ts'
import { SigmaGlyphScanner } from './sigma-glyph-scanner.ts'

/** How the input is framed: by a scanner of ours, or by one of your own. */
export type Framing = 'lines' | 'json' | 'seq' | 'glyph' | 'sigma-glyph' | FrameScanner

/**
 * Where the input stands. `IDLE`: the last byte ended a frame, or nothing came yet. `PARTIAL_HEADER`: inside a header
 * that tells the frame's length. `PARTIAL_PAYLOAD`: inside a frame whose length is known, or that has no header.
 */
export type BoundaryState = 'IDLE' | 'PARTIAL_HEADER' | 'PARTIAL_PAYLOAD'

/** Options of {@link BoundaryHandler}. */
export interface BoundaryHandlerOptions extends StatsHooks, JsonScannerOptions {
  /**
   * Runs of whole frames of about `blockSize` bytes, or each frame by itself.
   *
   * @defaultValue 'blocks'
   */
  readonly emit?: 'blocks' | 'frames'
  /**
   * Most bytes of a block; a longer frame is a block alone. Not for `emit: 'frames'`.
   *
   * @defaultValue 64 KiB
   */
  readonly blockSize?: number
  /**
   * Most bytes of a frame, or `Infinity`. Checked before the memory is taken.
   *
   * @defaultValue 64 MiB
   */
  readonly maxFrameLength?: number
  /** Destroys the stage when it is aborted. */
  readonly signal?: AbortSignal
  /**
   * How many blocks or frames wait for the reader before the stage takes no more bytes.
   *
   * @defaultValue 2 blocks, 16 frames
   */
  readonly highWaterMark?: number
}

const SCANNERS = {
  lines: () => new LineScanner(),
  json: (options: JsonScannerOptions) => new JsonScanner(options),
  seq: () => new SeqScanner(),
  glyph: () => new GlyphScanner(),
  'sigma-glyph': () => new SigmaGlyphScanner(),
}

class BoundaryCore implements PullCore<Uint8Array, Buffer> {
  readonly #cutter: FrameCutter
  readonly #counter: StatsCounter
  crossings = 0

  constructor(cutter: FrameCutter, counter: StatsCounter) {
    this.#cutter = cutter
    this.#counter = counter
  }

  write(chunk: Uint8Array): void {
    // the bytes of the last chunk are all seen: did its edge cut a frame?
    if (chunk.length > 0 && this.#cutter.openBytes > 0) this.crossings++
    this.#counter.received(chunk.length)
    this.#cutter.write(chunk)
  }

  end(): void {
    this.#cutter.end()
  }

  next(): Buffer | undefined {
    const block = this.#cutter.next()
    if (block === undefined) return undefined
    const { bytes, index, offset, line, column, frames } = block
    this.#counter.recordsIn += frames
    this.#counter.sent(bytes.length, frames)
    return withPosition(bytes, { index, offset, line, column })
  }
}

/**
 * Bytes in, cut anywhere; blocks of whole frames out, or single frames. Each is a `Buffer` that nobody uses again, and
 * carries where it came from ({@link positionOf}). What the cut–work–join idea rests on: any worker can take any block.
 *
 * A block starts where the previous one ended and holds as many whole frames as fit in `blockSize` bytes, at least one.
 * So block edges follow from the bytes and `blockSize` alone. The delimiter behind the last frame of a block is part of it
 * for lines; for the elements of a JSON array the comma between two blocks is dropped, like the brackets around.
 *
 * @remarks
 * Linear time for chunks of any size. Memory: one block or frame in the making, and `highWaterMark` blocks. The end of the
 * input inside a frame is an error, and an error comes after all frames before it. The readable side is in object mode, so
 * that block edges survive.
 *
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { BoundaryHandler, positionOf } from 'millrace'
 *
 * const source = Readable.from([Buffer.from('one\ntw'), Buffer.from('o\nthree\n')])
 * const lines = []
 * for await (const line of source.pipe(new BoundaryHandler('lines', { emit: 'frames' }))) {
 *   lines.push([positionOf(line)?.offset, line.toString()])
 * }
 * assert.deepEqual(lines, [[0, 'one\n'], [4, 'two\n'], [8, 'three\n']])
 * ```
 */
export class BoundaryHandler extends PullStage<Uint8Array, Buffer> {
  readonly #core: BoundaryCore
  readonly #cutter: FrameCutter
  readonly #scanner: FrameScanner
  readonly #counter: StatsCounter

  constructor(framing: Framing, options: BoundaryHandlerOptions = {}) {
    const {
      emit = 'blocks',
      blockSize = DEFAULT_BOUNDARY_BLOCK_SIZE,
      maxFrameLength = DEFAULT_MAX_FRAME_LENGTH,
      signal,
      highWaterMark = emit === 'frames' ? 16 : 2,
      ...rest
    } = options
    checkChoice('emit', emit, ['blocks', 'frames'])
    if (emit === 'frames' && options.blockSize !== undefined) {
      throw new OptionError('blockSize', blockSize, "no blockSize with emit: 'frames'")
    }
    checkInteger('blockSize', blockSize, 1)
    checkLimit('maxFrameLength', maxFrameLength)
    checkSignal('signal', signal)
    checkInteger('highWaterMark', highWaterMark)
    const scanner =
      typeof framing === 'string'
        ? SCANNERS[checkChoice('framing', framing, ['lines', 'json', 'seq', 'glyph', 'sigma-glyph'])](rest)
        : checkMethods('framing', framing, ['scan', 'finish'])
    const counter = new StatsCounter('BoundaryHandler', rest)
    const cutter = new FrameCutter(scanner, {
      blockSize: emit === 'frames' ? 1 : blockSize,
      maxFrameLength,
      fresh: true,
    })
    const core = new BoundaryCore(cutter, counter)
    super(core, counter, {
      readableObjectMode: true,
      readableHighWaterMark: highWaterMark,
      ...(signal && { signal }),
    })
    this.#core = core
    this.#cutter = cutter
    this.#scanner = scanner
    this.#counter = counter
  }

  /** Whether the bytes so far end with a frame, inside its header, or inside its payload. */
  get state(): BoundaryState {
    if (this.#cutter.openBytes === 0) return 'IDLE'
    return this.#scanner.openLength === 0 ? 'PARTIAL_HEADER' : 'PARTIAL_PAYLOAD'
  }

  /** Bytes that came and are not sent on yet: whole frames that wait for their block to fill, and the open frame. */
  get pendingBytes(): number {
    return this.#cutter.pendingBytes
  }

  /** How many edges between two chunks fell inside a frame. */
  get crossings(): number {
    return this.#core.crossings
  }

  /** Frames that were sent on. */
  get frames(): number {
    return this.#counter.recordsOut
  }
}

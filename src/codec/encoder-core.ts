import type { StatsCounter } from '../flow/index.ts'
import type { BlockCodec } from './block-codec.ts'
import type { BlockCore, BlockTask } from './block-stage.ts'
import { BlockCutter } from './block-cutter.ts'
import { contextOf } from './zlib-codecs.ts'

/** A block on its way into a file. */
export interface RawBlock {
  /** Lent until the block is joined. */
  readonly bytes: Buffer
  /** Number of the block, from 0. */
  readonly index: number
  /** Raw bytes before it. */
  readonly offset: number
  /** What its reader will know before it unpacks the block. */
  readonly context: Buffer | undefined
}

/** Pieces of output, and what is counted of them. */
export interface JoinedBlock {
  readonly output: Buffer[]
  readonly stored: boolean
  /** Whether the raw bytes themselves are part of the output. */
  readonly keepsRaw?: boolean
}

/** One format to be written: how a block is packed, and what stands around it. */
export interface FormatWriter {
  /** Context for a block. Called for one block after the other, before any of them is packed. */
  contextFor?(index: number, bytes: Buffer): Buffer | undefined
  pack(block: RawBlock): Buffer | Promise<Buffer>
  join(block: RawBlock, packed: Buffer): JoinedBlock
  end(): Buffer[]
  close?(): void | Promise<void>
}

/** Remembers the end of each raw block for the next one. A copy, since the block's memory may be used again before that one is packed. */
export class TailContext {
  readonly #codec: BlockCodec
  readonly #restartEvery: number
  #tail: Buffer | undefined

  constructor(codec: BlockCodec, restartEvery: number) {
    this.#codec = codec
    this.#restartEvery = restartEvery
  }

  /** The context of block `index`, whose own end is kept for the next. */
  take(index: number, bytes: Buffer): Buffer | undefined {
    const context = index % this.#restartEvery === 0 ? undefined : this.#tail
    const end = contextOf(this.#codec, bytes)
    this.#tail = end && Buffer.from(end)
    return context
  }
}

/** Cuts raw bytes into blocks of one size, packs them side by side, and joins them as a {@link FormatWriter} says. */
export class EncoderCore implements BlockCore {
  readonly cutter: BlockCutter
  readonly #writer: FormatWriter
  readonly #counter: StatsCounter
  #index = 0
  #offset = 0

  constructor(writer: FormatWriter, blockSize: number, counter: StatsCounter) {
    this.#writer = writer
    this.#counter = counter
    this.cutter = new BlockCutter(blockSize)
  }

  write(chunk: Buffer): void {
    this.cutter.write(chunk)
  }

  end(): void {
    this.cutter.end()
  }

  next(): BlockTask<Buffer> | undefined {
    const bytes = this.cutter.next()
    if (bytes === undefined) return undefined
    const context = this.#writer.contextFor?.(this.#index, bytes)
    const block: RawBlock = { bytes, index: this.#index++, offset: this.#offset, context }
    this.#offset += bytes.length
    return {
      run: () => this.#writer.pack(block),
      join: (packed) => {
        const { output, stored, keepsRaw = false } = this.#writer.join(block, packed)
        const { packing } = this.#counter
        packing!.blocks++
        if (stored) packing!.storedBlocks++
        if (!keepsRaw) this.cutter.recycle(bytes)
        return output
      },
    }
  }

  finish(): Buffer[] {
    return this.#writer.end()
  }

  async close(): Promise<void> {
    await this.#writer.close?.()
  }
}

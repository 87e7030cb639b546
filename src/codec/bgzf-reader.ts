import zlib from 'node:zlib'
import { CodecError } from '../errors.ts'
import type { StatsCounter } from '../flow/index.ts'
import type { BlockCore, BlockTask } from './block-stage.ts'
import { GZIP_TRAILER_BYTES } from './bgzf-writer.ts'
import { crc32 } from './crc32.ts'
import { hex } from './decode-block.ts'
import { bgzfBlockLength, gzipHeaderLength } from './gzip-header.ts'
import { callZlib } from './zlib-codecs.ts'

/** Most bytes of a BGZF block, packed or raw. */
export const MAX_BGZF_BYTES = 65_536

/** Unpacks a whole BGZF block. @throws {@link CodecError} if it is damaged. */
export async function unpackBgzf(block: Buffer, offset: number): Promise<Buffer> {
  const size = block.readUInt32LE(block.length - 4)
  const checksum = block.readUInt32LE(block.length - 8)
  if (size > MAX_BGZF_BYTES) {
    throw new CodecError(
      'ERR_MILLRACE_CODEC_LIMIT',
      `byte ${offset}: a BGZF block of ${size} raw bytes, where at most ${MAX_BGZF_BYTES} can be`,
      { offset, expected: MAX_BGZF_BYTES, actual: size },
    )
  }
  const packed = block.subarray(gzipHeaderLength(block), block.length - GZIP_TRAILER_BYTES)
  let raw
  try {
    raw = await callZlib(zlib.inflateRaw, packed, {
      chunkSize: size + 64,
      maxOutputLength: Math.max(1, size),
    })
  } catch (cause) {
    const message = `byte ${offset}: a BGZF block is damaged: ${(cause as Error).message}`
    throw new CodecError('ERR_MILLRACE_CODEC_CHECKSUM', message, { offset, cause })
  }
  const actual = crc32(raw)
  if (raw.length === size && actual === checksum) return raw
  throw new CodecError(
    'ERR_MILLRACE_CODEC_CHECKSUM',
    `byte ${offset}: a BGZF block is damaged: ${raw.length} bytes with CRC-32 ${hex(actual)}, not ${size} with ${hex(checksum)}`,
    { offset, expected: checksum, actual },
  )
}

/** Reads BGZF: every block says how long it is, so they can be unpacked side by side. */
export class BgzfReader implements BlockCore {
  readonly window: number
  readonly #counter: StatsCounter
  readonly #block = Buffer.alloc(MAX_BGZF_BYTES)
  #filled = 0
  #length = 0
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  #offset = 0
  #ended = false
  /** Whether the last block was an empty one, which is the end mark. */
  #isClosed = false

  constructor(workers: number, counter: StatsCounter) {
    // a block takes no longer than a call of the pool does: more of them must wait there
    this.window = 8 * workers
    this.#counter = counter
  }

  write(chunk: Buffer): void {
    this.#chunk = chunk
    this.#at = 0
  }

  end(): void {
    this.#ended = true
  }

  next(): BlockTask | undefined {
    while (this.#at < this.#chunk.length) {
      this.#fill(this.#length === 0 ? this.#filled + 1 : this.#length)
      if (this.#length === 0) {
        this.#length = bgzfBlockLength(this.#block.subarray(0, this.#filled))
        if (this.#length === -1) {
          throw this.#error(
            'INVALID',
            `expected a BGZF block, got ${this.#block.toString('hex', 0, Math.min(4, this.#filled))}`,
          )
        }
      }
      if (this.#length === 0 || this.#filled < this.#length) continue
      return this.#task(Buffer.from(this.#block.subarray(0, this.#length)))
    }
    if (!this.#ended) return undefined
    if (this.#filled > 0)
      throw this.#error('TRUNCATED', 'the input ends inside of a BGZF block', this.#filled)
    if (!this.#isClosed)
      throw this.#error('TRUNCATED', 'the input ends without the empty block that ends a BGZF file')
    return undefined
  }

  /** Takes bytes until the block has that many. */
  #fill(length: number): void {
    const copied = this.#chunk.copy(this.#block, this.#filled, this.#at, this.#at + length - this.#filled)
    this.#filled += copied
    this.#at += copied
  }

  #task(block: Buffer): BlockTask {
    const offset = this.#offset
    this.#offset += block.length
    this.#filled = this.#length = 0
    this.#isClosed = block.readUInt32LE(block.length - 4) === 0
    const packing = this.#counter.packing!
    const task: BlockTask<Buffer> = {
      run: () => unpackBgzf(block, offset),
      join(raw) {
        if (raw.length > 0) packing.blocks++
        return [raw]
      },
    }
    return task
  }

  #error(code: string, message: string, behind = 0): CodecError {
    const offset = this.#offset + behind
    return new CodecError(`ERR_MILLRACE_CODEC_${code}`, `byte ${offset}: ${message}`, { offset })
  }
}

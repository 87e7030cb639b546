import { once } from 'node:events'
import type { Transform } from 'node:stream'
import zlib from 'node:zlib'
import { FrameError, NodeVersionError } from '../errors.ts'
import { ZstdFrameWalker } from '../framing/zstd-frame-walker.ts'

type Bytes = AsyncIterable<Buffer>

/** Compressed bytes that a decoder gets at once; bounds what one write can expand to. */
const FEED_BYTES = 16 * 1024

/** What the first bytes of an input say that it is. */
function compressionOf(start: Buffer): 'gzip' | 'zstd' | undefined {
  if (start.length >= 3 && start.readUIntBE(0, 3) === 0x1f8b08) return 'gzip'
  if (start.length >= 4 && start.readUInt32LE(0) === 0xfd2fb528) return 'zstd'
  return undefined
}

/** The bytes as they are, or decompressed if their first ones are the magic of gzip or zstd. */
export async function* decompress(source: Bytes): Bytes {
  const chunks = source[Symbol.asyncIterator]()
  let start: Buffer = Buffer.alloc(0)
  let first = await chunks.next()
  while (!first.done && start.length + first.value.length < 4) {
    start = Buffer.concat([start, first.value])
    first = await chunks.next()
  }
  if (!first.done) start = start.length === 0 ? first.value : Buffer.concat([start, first.value])
  if (start.length === 0) return

  const all = prepend(start, chunks)
  const compression = compressionOf(start)
  if (compression === undefined) yield* all
  else if (compression === 'gzip') yield* gunzip(all)
  else yield* unzstd(all)
}

async function* prepend(first: Buffer, rest: AsyncIterator<Buffer>): Bytes {
  try {
    yield first
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value
  } finally {
    await rest.return?.()
  }
}

async function* gunzip(source: Bytes): Bytes {
  const decoder = new Decoder(zlib.createGunzip({ chunkSize: 1 << 16 }))
  for await (const chunk of source) yield* decoder.feed(chunk)
  yield* decoder.end()
}

/** Frame by frame, each with a decoder of its own: see {@link ZstdFrameWalker}. */
async function* unzstd(source: Bytes): Bytes {
  if (typeof zlib.createZstdDecompress !== 'function') {
    throw new NodeVersionError(
      'ERR_MILLRACE_NODE_VERSION',
      `zstd input needs Node 22.15 or later, this is ${process.version}; use: zstd -dc FILE | millrace …`,
      { expected: '22.15.0', actual: process.versions.node },
    )
  }
  const walker = new ZstdFrameWalker()
  let decoder: Decoder | undefined
  let offset = 0
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length;) {
      const end = walker.walk(chunk, at)
      const piece = chunk.subarray(at, end === -1 ? chunk.length : end)
      decoder ??= new Decoder(zlib.createZstdDecompress({ chunkSize: 1 << 16 }))
      yield* decoder.feed(piece)
      if (end !== -1) {
        yield* decoder.end()
        decoder = undefined
      }
      at += piece.length
    }
    offset += chunk.length
  }
  if (!walker.atBoundary) {
    if (decoder !== undefined) yield* decoder.flushed()
    throw new FrameError(
      'ERR_MILLRACE_FRAME_TRUNCATED',
      `zstd input ended inside a frame at byte ${offset}`,
      { offset },
    )
  }
}

/**
 * A zlib stream that gives up everything it decoded before an error: as a plain stream it would drop what its own queue
 * still holds. While the consumer works on what one write gave, the next is being decoded.
 */
class Decoder {
  readonly #stream: Transform & { bytesWritten: number }
  #decoded: Buffer[] = []
  #error: Error | undefined
  #writing: Promise<void> = Promise.resolve()
  #written: () => void = () => {}

  constructor(stream: Transform & { bytesWritten: number }) {
    this.#stream = stream
    stream.on('data', (chunk: Buffer) => this.#decoded.push(chunk))
    stream.on('error', (error) => (this.#error = error))
    // a write that fails is never called back
    stream.on('close', () => this.#written())
  }

  async *feed(bytes: Buffer): Bytes {
    for (let at = 0; at < bytes.length; at += FEED_BYTES) {
      const before = await this.#take()
      this.#writing = new Promise((resolve) => {
        this.#written = resolve
        this.#stream.write(bytes.subarray(at, at + FEED_BYTES), () => resolve())
      })
      yield* before
      if (this.#error !== undefined) break
    }
    if (this.#error !== undefined) yield* this.#fail()
  }

  async *end(): Bytes {
    yield* await this.#take()
    if (this.#error === undefined) {
      this.#stream.end()
      await Promise.race([once(this.#stream, 'end'), once(this.#stream, 'error')]).catch(() => {})
    }
    yield* this.#decoded
    if (this.#error !== undefined) yield* this.#fail()
  }

  /** What has been decoded of an input that stops here. */
  async *flushed(): Bytes {
    yield* await this.#take()
    this.#stream.destroy()
  }

  async #take(): Promise<Buffer[]> {
    await this.#writing
    const decoded = this.#decoded
    this.#decoded = []
    return decoded
  }

  async *#fail(): Bytes {
    yield* await this.#take()
    const error = this.#error as Error & { code?: string }
    const offset = this.#stream.bytesWritten
    throw new FrameError(
      'ERR_MILLRACE_FRAME_INVALID',
      `compressed input is damaged near byte ${offset}: ${error.message}`,
      {
        offset,
        cause: error,
      },
    )
  }
}

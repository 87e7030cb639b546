import { Readable, type Duplex } from 'node:stream'
import zlib from 'node:zlib'
import * as fc from 'fast-check'
import { StreamingDecoder, type StreamingDecoderOptions } from '../../../src/codec/streaming-decoder.ts'
import { StreamingEncoder, type StreamingEncoderOptions } from '../../../src/codec/streaming-encoder.ts'

export const hasZstd = typeof zlib.createZstdCompress === 'function'

/** All that came out of a stage, and the error after it. */
export async function through(
  stage: Duplex,
  chunks: readonly Uint8Array[],
): Promise<{ bytes: Buffer; error: unknown }> {
  const out: Buffer[] = []
  const source = Readable.from(chunks, { objectMode: false })
  source.pipe(stage)
  try {
    for await (const chunk of stage as AsyncIterable<Buffer>) out.push(chunk)
    return { bytes: Buffer.concat(out), error: undefined }
  } catch (error) {
    return { bytes: Buffer.concat(out), error }
  } finally {
    source.destroy()
  }
}

export async function pack(
  raw: Uint8Array | readonly Uint8Array[],
  options: StreamingEncoderOptions = {},
): Promise<Buffer> {
  const { bytes, error } = await through(
    new StreamingEncoder({ workers: 2, ...options }),
    raw instanceof Uint8Array ? [raw] : raw,
  )
  if (error !== undefined) throw error
  return bytes
}

export async function unpack(
  packed: Uint8Array | readonly Uint8Array[],
  options: StreamingDecoderOptions = {},
): Promise<Buffer> {
  const { bytes, error } = await through(
    new StreamingDecoder({ workers: 2, ...options }),
    packed instanceof Uint8Array ? [packed] : packed,
  )
  if (error !== undefined) throw error
  return bytes
}

/** The error that a decoder ends with, and what came before it. */
export function decodeAll(packed: Uint8Array | readonly Uint8Array[], options: StreamingDecoderOptions = {}) {
  return through(
    new StreamingDecoder({ workers: 2, ...options }),
    packed instanceof Uint8Array ? [packed] : packed,
  )
}

/** Bytes that do not compress, the same for the same seed. */
export function noise(length: number, seed = 1): Buffer {
  let x = seed
  return Buffer.from(
    Array.from({ length }, () => {
      x ^= x << 13
      x ^= x >>> 17
      x ^= x << 5
      return x
    }),
  )
}

/** Lines that compress, the same for the same seed. */
export function lines(length: number, seed = 1): Buffer {
  const random = noise(length >> 3, seed)
  let text = ''
  for (let i = 0; text.length < length; i++)
    text += `line ${i} of ${seed}: ${random[i % random.length]} and so on\n`
  return Buffer.from(text.slice(0, length))
}

/** Raw bytes of every texture: repeated, noisy, short, empty. */
export const anyRaw = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.tuple(fc.nat(3000), fc.integer({ min: 1, max: 1e6 })).map(([length, seed]) => lines(length, seed)),
  fc.tuple(fc.nat(2000), fc.integer({ min: 1, max: 1e6 })).map(([length, seed]) => noise(length, seed)),
  fc
    .tuple(fc.nat(1500), fc.nat(1500), fc.integer({ min: 1, max: 1e6 }))
    .map(([a, b, seed]) => Buffer.concat([lines(a, seed), noise(b, seed), Buffer.alloc(a)])),
)

/** Ways to write a container, with small blocks so that there are many. */
export const anyContainer: fc.Arbitrary<StreamingEncoderOptions> = fc
  .record({
    codec: fc.constantFrom(
      ...(['deflate', 'brotli', 'store', ...(hasZstd ? (['zstd'] as const) : [])] as const),
    ),
    context: fc.constantFrom('none' as const, 'previous' as const, 'dictionary' as const),
    restartEvery: fc.integer({ min: 1, max: 4 }),
    blockSize: fc.oneof(fc.integer({ min: 50, max: 500 }), fc.constant(4096)),
    level: fc.constantFrom(undefined, 1, 9),
    workers: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ level, codec, context, ...rest }) => ({
    ...rest,
    codec,
    context: codec === 'brotli' || codec === 'store' ? 'none' : context,
    ...(level !== undefined && codec !== 'store' && { level }),
  }))

import { pipeline } from 'node:stream/promises'
import type { ReadableStream } from 'node:stream/web'
import { ObjectVerifier, type ObjectVerifierOptions } from './object-verifier.ts'
import type { ObjectGen } from './object-gen.ts'
import type { VerifyReport } from './range-verifier.ts'

/** Bytes from wherever: a buffer, chunks, a stream of Node or of the web. */
export type ByteInput =
  | Uint8Array
  | Iterable<Uint8Array>
  | AsyncIterable<Uint8Array>
  | NodeJS.ReadableStream
  | ReadableStream<Uint8Array>

/** Options of {@link verify}. */
export type VerifyOptions = Omit<ObjectVerifierOptions, 'passThrough' | 'highWaterMark'>

/**
 * Reads bytes to their end, compares them with an object or a range of it, and gives a report.
 *
 * @remarks Constant memory; see {@link ObjectVerifier}, which does the work. A stream is destroyed when it was found wrong.
 *
 * @throws {@link VerifyError} at the first fault, unless `onMismatch` is `'report'`; {@link OptionError} for a range outside
 * the object; the input's own error if it fails.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { DataGenerator, verify } from 'millrace'
 *
 * const object = new DataGenerator({ seed: 42 }).beginObject({ key: 'a', size: 1_000_000 })
 * await verify(object.stream(), object)
 * await verify(object.stream({ start: 5000, end: 9000 }), object, { start: 5000, end: 9000 })
 *
 * const holed = object.read(0, 1_000_000).fill(0, 8192, 12_288).fill(0, 99_000, 99_100)
 * const { ok, badRanges } = await verify(holed, object, { onMismatch: 'report' })
 * assert(!ok)
 * assert.deepEqual(badRanges.map(({ start, end, found }) => [start, end, found.kind]), [[8192, 12_288, 'zeros'], [99_000, 99_100, 'zeros']])
 * ```
 */
export async function verify(
  input: ByteInput,
  object: ObjectGen,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const verifier = new ObjectVerifier(object, { ...options, passThrough: false })
  // a buffer is an iterable of its bytes
  const source = input instanceof Uint8Array ? [input] : input
  await pipeline(source as AsyncIterable<Uint8Array>, verifier)
  return verifier.report()
}

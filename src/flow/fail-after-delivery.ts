import type { Readable } from 'node:stream'

/**
 * Ends a readable with an error at its position: all chunks that were pushed are read first, then the stream is
 * destroyed with `error`. (`destroy(error)`, and the callback of a Transform called with an error, drop what is
 * buffered.) Push nothing afterwards, and do not call the callback that is pending.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Readable } from 'node:stream'
 * import { failAfterDelivery } from 'millrace/flow'
 *
 * const source = new Readable({ objectMode: true, read() {} })
 * source.push('first')
 * source.push('second')
 * failAfterDelivery(source, new Error('the third is missing'))
 *
 * const got: string[] = []
 * await assert.rejects(async () => {
 *   for await (const chunk of source) got.push(chunk)
 * }, /the third is missing/)
 * assert.deepEqual(got, ['first', 'second'])
 * ```
 */
export function failAfterDelivery(stream: Readable, error: Error): void {
  if (stream.readableLength === 0) {
    stream.destroy(error)
    return
  }
  const read = stream.read.bind(stream)
  stream.read = (size?: number) => {
    const chunk: unknown = read(size)
    // a reader that gets nothing has taken all there was, and wants more
    if (chunk === null && stream.readableLength === 0) stream.destroy(error)
    return chunk
  }
}

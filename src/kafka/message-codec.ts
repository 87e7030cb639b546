import { SchemaError } from '../errors.ts'

/** Which half of which topic's messages a codec is for: from these follows the subject of a schema. */
export interface CodecUse {
  readonly topic: string
  readonly part: 'key' | 'value'
}

/** Between records and the bytes of messages. */
export interface MessageCodec<T = any> {
  /** Called once before the first `encode`: loads what is needed, makes schemas known. */
  prepare?(use: CodecUse): Promise<void>
  /** @throws when the record does not fit; only that record fails. */
  encode(record: T): Buffer
  decode(bytes: Uint8Array): T | Promise<T>
}

/**
 * A codec for JSON: UTF-8, nothing before or after. What `JSON.stringify` has no text for does not fit.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { jsonCodec } from 'millrace/kafka'
 *
 * const codec = jsonCodec()
 * assert.equal(String(codec.encode({ id: 1 })), '{"id":1}')
 * assert.deepEqual(codec.decode(Buffer.from('[1,2]')), [1, 2])
 * assert.throws(() => codec.encode(undefined), { code: 'ERR_MILLRACE_SCHEMA' })
 * ```
 */
export function jsonCodec<T = any>(): MessageCodec<T> {
  return {
    encode(record) {
      const text = JSON.stringify(record) as string | undefined
      if (text === undefined) throw new SchemaError('ERR_MILLRACE_SCHEMA', 'JSON has no text for this record')
      return Buffer.from(text)
    },
    decode: (bytes) =>
      JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()) as T,
  }
}

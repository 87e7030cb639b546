import { SchemaError } from '../errors.ts'

const MAGIC = 0
const HEADER_BYTES = 5
/** No file nests deeper; a count beyond is damage, and must not cost memory. */
const MAX_INDEXES = 64

/** A message in the Confluent wire format, taken apart. */
export interface RegistryFrame {
  readonly schemaId: number
  /** Protobuf: which message type of the file it is, from the outermost in. */
  readonly indexes: readonly number[]
  /** A view of the encoded record. */
  readonly body: Buffer
}

/**
 * The bytes that stand before an encoded record: 0, the schema's id in four bytes, and for Protobuf where in its file the message
 * type is.
 *
 * @see https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { readRegistryFrame, registryHeader } from 'millrace/kafka'
 *
 * const message = Buffer.concat([registryHeader(7, [1, 0]), Buffer.from('body')])
 * assert.equal(message.toString('hex'), '0000000007' + '040200' + '626f6479')
 * const { schemaId, indexes, body } = readRegistryFrame(message, 'protobuf')
 * assert.deepEqual([schemaId, indexes, String(body)], [7, [1, 0], 'body'])
 * ```
 */
export function registryHeader(schemaId: number, indexes?: readonly number[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeInt32BE(schemaId, 1)
  if (indexes === undefined) return header
  // the first type of a file, by far the most common, is one byte
  if (indexes.length === 1 && indexes[0] === 0) return Buffer.concat([header, Buffer.from([0])])
  return Buffer.concat([header, zigZag(indexes.length), ...indexes.map(zigZag)])
}

/**
 * Takes a message apart.
 *
 * @throws {@link SchemaError} when it does not start as the format does.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { readRegistryFrame } from 'millrace/kafka'
 *
 * assert.equal(readRegistryFrame(Buffer.from('000000002a02', 'hex'), 'avro').schemaId, 42)
 * assert.throws(() => readRegistryFrame(Buffer.from('{}'), 'avro'), { code: 'ERR_MILLRACE_SCHEMA_FRAME' })
 * ```
 */
export function readRegistryFrame(bytes: Uint8Array, format: 'avro' | 'protobuf'): RegistryFrame {
  const message = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (message.length < HEADER_BYTES || message[0] !== MAGIC) {
    const got = message.length === 0 ? 'nothing' : `${message.length} bytes that start with ${message[0]}`
    throw frameError(`expected 0 and a schema id of four bytes, got ${got}`)
  }
  const schemaId = message.readInt32BE(1)
  if (format === 'avro') return { schemaId, indexes: [], body: message.subarray(HEADER_BYTES) }
  const reader = { at: HEADER_BYTES }
  const count = readZigZag(message, reader)
  if (count < 0 || count > MAX_INDEXES)
    throw frameError(`expected at most ${MAX_INDEXES} message indexes, got ${count}`)
  const indexes = count === 0 ? [0] : Array.from({ length: count }, () => readZigZag(message, reader))
  return { schemaId, indexes, body: message.subarray(reader.at) }
}

function zigZag(value: number): Buffer {
  const bytes: number[] = []
  let rest = value * 2
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest & 0x7f) | 0x80)
  bytes.push(rest)
  return Buffer.from(bytes)
}

function readZigZag(bytes: Buffer, reader: { at: number }): number {
  let value = 0
  for (let scale = 1; scale <= 2 ** 28; scale *= 128) {
    const byte = bytes[reader.at++]
    if (byte === undefined) throw frameError('the message ends inside its message indexes')
    value += (byte & 0x7f) * scale
    if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
  throw frameError('a message index is longer than five bytes')
}

function frameError(message: string): SchemaError {
  return new SchemaError('ERR_MILLRACE_SCHEMA_FRAME', `wire format: ${message}`)
}

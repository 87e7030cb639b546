import type { Type } from 'avsc'
import { OptionError, SchemaError, asError } from '../errors.ts'
import { loadPeer } from '../load-peer.ts'
import type { MessageCodec } from './message-codec.ts'
import type { SchemaRegistry } from './schema-registry.ts'
import { readRegistryFrame, registryHeader } from './wire-format.ts'

/** Options of {@link avroCodec}. */
export interface AvroCodecOptions {
  /** What is written, as Avro's JSON. Without it the codec only reads, and only what a registry knows. */
  readonly schema?: object | string
  /** Then messages carry the schema's id (Confluent wire format); without it they are the bare record, for readers that know the schema. */
  readonly registry?: SchemaRegistry
  /** @defaultValue `<topic>-value`, or `-key` */
  readonly subject?: string
}

/** Bytes of the scratch buffer at the start; it grows to what the largest record takes. */
const FIRST_SCRATCH = 4096

/**
 * A codec for Avro. With a registry, messages are read by the schema that they were written with, resolved to `schema` where
 * that is given.
 *
 * @throws {@link OptionError} when there is neither a schema nor a registry.
 * @see https://avro.apache.org/docs/1.12.0/specification/
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { avroCodec } from 'millrace/kafka'
 *
 * const schema = { type: 'record', name: 'Click', fields: [{ name: 'page', type: 'string' }, { name: 'ms', type: 'int' }] }
 * const codec = avroCodec({ schema })
 * await codec.prepare({ topic: 'clicks', part: 'value' })
 * const bytes = codec.encode({ page: '/a', ms: 3 })
 * assert.equal(bytes.toString('hex'), '042f6106')
 * // records that were read are of a class of the schema
 * assert.deepEqual({ ...(await codec.decode(bytes)) }, { page: '/a', ms: 3 })
 * ```
 */
export function avroCodec<T = any>({
  schema,
  registry,
  subject,
}: AvroCodecOptions): MessageCodec<T> & Required<Pick<MessageCodec, 'prepare'>> {
  if (schema === undefined && registry === undefined)
    throw new OptionError('schema', schema, 'an Avro schema, or a registry')
  let own: Type | undefined
  let header: Buffer = Buffer.alloc(0)
  let scratch = Buffer.allocUnsafeSlow(FIRST_SCRATCH)
  const readers = new Map<number, (body: Buffer) => T>()

  async function parse(text: object | string): Promise<Type> {
    const avro = await loadPeer('Avro', ['avsc'], async () => (await import('avsc')).default)
    try {
      const parsed: unknown = typeof text === 'string' ? JSON.parse(text) : text
      return avro.Type.forSchema(parsed as Parameters<typeof avro.Type.forSchema>[0])
    } catch (error) {
      throw new SchemaError('ERR_MILLRACE_SCHEMA', `Avro schema: ${asError(error).message}`, { cause: error })
    }
  }

  async function readerFor(id: number): Promise<(body: Buffer) => T> {
    const known = readers.get(id)
    if (known !== undefined) return known
    if (schema !== undefined) own ??= await parse(schema)
    const writer = await parse((await (registry as SchemaRegistry).schema(id)).schema)
    const resolver = own?.createResolver(writer)
    const read = (body: Buffer) =>
      (own === undefined ? writer.fromBuffer(body) : own.fromBuffer(body, resolver)) as T
    readers.set(id, read)
    return read
  }

  return {
    async prepare({ topic, part }) {
      if (schema === undefined) return
      own ??= await parse(schema)
      if (registry === undefined) return
      header = registryHeader(
        await registry.register(subject ?? `${topic}-${part}`, JSON.stringify(own.schema()), 'AVRO'),
      )
    },
    encode(record) {
      if (own === undefined)
        throw new SchemaError('ERR_MILLRACE_SCHEMA', 'Avro: expected a schema to write with')
      // avsc writes what it can of a record that does not fit, so it is asked first what is wrong
      own.isValid(record, { errorHook: (path, value, type) => unfit(path, value, type) })
      let end = own.encode(record, scratch, header.length)
      if (end < 0) {
        scratch = Buffer.allocUnsafeSlow((scratch.length - end) * 2)
        end = own.encode(record, scratch, header.length)
      }
      header.copy(scratch)
      return Buffer.from(scratch.subarray(0, end))
    },
    decode(bytes) {
      const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      if (registry === undefined) {
        if (own === undefined)
          return parse(schema as object).then((type) => (own = type).fromBuffer(buffer) as T)
        return own.fromBuffer(buffer) as T
      }
      const { schemaId, body } = readRegistryFrame(buffer, 'avro')
      const read = readers.get(schemaId)
      return read === undefined ? readerFor(schemaId).then((found) => found(body)) : read(body)
    },
  }
}

function unfit(path: string[], value: unknown, type: Type): never {
  const where = path.length === 0 ? 'the record' : path.join('.')
  let got: string
  try {
    got = JSON.stringify(value) ?? String(value)
  } catch {
    got = String(value)
  }
  throw new SchemaError(
    'ERR_MILLRACE_SCHEMA',
    `Avro: ${where}: expected ${type.toString()}, got ${got.slice(0, 80)}`,
  )
}

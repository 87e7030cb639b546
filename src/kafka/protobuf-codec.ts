import type { Namespace, ReflectionObject, Type } from 'protobufjs'
import { SchemaError, asError, describe } from '../errors.ts'
import { loadPeer } from '../load-peer.ts'
import { checkString } from '../options.ts'
import type { MessageCodec } from './message-codec.ts'
import type { SchemaRegistry } from './schema-registry.ts'
import { readRegistryFrame, registryHeader } from './wire-format.ts'

/** Options of {@link protobufCodec}. */
export interface ProtobufCodecOptions {
  /** The text of a `.proto` file, without imports. */
  readonly schema: string
  /**
   * Full name of the message type, such as `shop.Order.Line`.
   * @defaultValue the first of the file
   */
  readonly type?: string
  /** Then messages carry the schema's id and the place of the type (Confluent wire format); without it they are the bare record. */
  readonly registry?: SchemaRegistry
  /** @defaultValue `<topic>-value`, or `-key` */
  readonly subject?: string
}

/**
 * A codec for Protobuf. Fields keep the names of the file; numbers of 64 bits are numbers, and those that a number cannot hold are refused.
 *
 * @see https://protobuf.dev/programming-guides/encoding/
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { protobufCodec } from 'millrace/kafka'
 *
 * const codec = protobufCodec({ schema: 'syntax = "proto3"; message Click { string page = 1; int32 ms = 2; }' })
 * await codec.prepare({ topic: 'clicks', part: 'value' })
 * const bytes = codec.encode({ page: '/a', ms: 3 })
 * assert.equal(bytes.toString('hex'), '0a022f611003')
 * assert.deepEqual(await codec.decode(bytes), { page: '/a', ms: 3 })
 * ```
 */
export function protobufCodec<T extends object = any>({
  schema,
  type,
  registry,
  subject,
}: ProtobufCodecOptions): MessageCodec<T> & Required<Pick<MessageCodec, 'prepare'>> {
  checkString('schema', schema)
  if (type !== undefined) checkString('type', type)
  let loaded: { own: Type; file: Namespace } | undefined
  let header: Buffer | undefined
  const writers = new Map<number, Namespace>()

  async function load(): Promise<{ own: Type; file: Namespace }> {
    if (loaded !== undefined) return loaded
    const file = await parse(schema)
    const own = type === undefined ? messagesOf(file)[0] : find(file, type)
    if (own === undefined) throw schemaError(`expected a message type ${type ?? ''}, found none`)
    return (loaded = { own, file })
  }

  async function decodeFramed(id: number, indexes: readonly number[], body: Buffer): Promise<T> {
    let file = writers.get(id)
    if (file === undefined) {
      file = await parse((await (registry as SchemaRegistry).schema(id)).schema)
      writers.set(id, file)
    }
    return decodeWith(typeAt(file, indexes), body)
  }

  return {
    async prepare({ topic, part }) {
      const { own, file } = await load()
      if (registry === undefined) return
      const id = await registry.register(subject ?? `${topic}-${part}`, schema, 'PROTOBUF')
      header = registryHeader(id, indexesOf(file, own))
    },
    encode(record) {
      if (loaded === undefined) throw schemaError('expected prepare() before encode()')
      const { own } = loaded
      const problem =
        typeof record === 'object' && record !== null ? own.verify(record) : `got ${describe(record)}`
      if (problem !== null) throw schemaError(`${own.fullName.slice(1)}: ${problem}`)
      const body = own.encode(record).finish()
      const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
      return header === undefined ? bytes : Buffer.concat([header, bytes])
    },
    decode(bytes) {
      const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      if (registry === undefined) {
        return loaded === undefined
          ? load().then(({ own }) => decodeWith(own, buffer))
          : decodeWith(loaded.own, buffer)
      }
      const { schemaId, indexes, body } = readRegistryFrame(buffer, 'protobuf')
      const file = writers.get(schemaId)
      return file === undefined
        ? decodeFramed(schemaId, indexes, body)
        : decodeWith(typeAt(file, indexes), body)
    },
  }
}

async function parse(text: string): Promise<Namespace> {
  const protobuf = await loadPeer(
    'Protobuf',
    ['protobufjs'],
    async () => (await import('protobufjs')).default,
  )
  try {
    const { root } = protobuf.parse(text, { keepCase: true })
    return root.resolveAll()
  } catch (error) {
    throw new SchemaError('ERR_MILLRACE_SCHEMA', `Protobuf: ${asError(error).message}`, { cause: error })
  }
}

function find(file: Namespace, name: string): Type | undefined {
  try {
    return file.lookupType(name)
  } catch {
    return undefined
  }
}

/** Message types of a file or of a message, in the order of the text, whatever package they are in. */
function messagesOf(at: Namespace): Type[] {
  return at.nestedArray.flatMap((inner) => {
    if (isType(inner)) return [inner]
    // a package is a namespace around the file's messages; an enum or a service holds none
    return 'nestedArray' in inner && !isType(at) && inner.constructor.name === 'Namespace'
      ? messagesOf(inner as Namespace)
      : []
  })
}

function isType(at: ReflectionObject): at is Type {
  return 'fieldsArray' in at
}

/** Where a type is: the number of the outermost message, then of the one in it, and so on. */
function indexesOf(file: Namespace, type: Type): number[] {
  const chain: Type[] = [type]
  for (let up = type.parent; up !== null && isType(up); up = up.parent) chain.unshift(up)
  return chain.map((inner, depth) =>
    messagesOf(depth === 0 ? file : (chain[depth - 1] as Type)).indexOf(inner),
  )
}

function typeAt(file: Namespace, indexes: readonly number[]): Type {
  let at: Namespace = file
  for (const index of indexes) {
    const next = messagesOf(at)[index]
    if (next === undefined) throw schemaError(`the schema has no message type at ${indexes.join('.')}`)
    at = next
  }
  return at as Type
}

function decodeWith(type: Type, body: Buffer): any {
  return type.toObject(type.decode(body), { longs: Number, enums: String, defaults: true, arrays: true })
}

function schemaError(message: string): SchemaError {
  return new SchemaError('ERR_MILLRACE_SCHEMA', `Protobuf: ${message}`)
}

// The messages of agntcy.dir.core.v1 that the store service speaks, and the extension for errors in-band.
//   Record { Struct data = 1 }   RecordRef { string cid = 1 }
//   RecordMeta { string cid = 1; map<string, string> annotations = 2; string schema_version = 3; string created_at = 4 }
//   Fault { uint32 code = 1; string message = 2; uint32 index = 3 } in the field 1000 of an answer: who does not know it, skips it
import type { JsonObject } from './canonical-json.ts'
import { ProtoReader, corrupt } from './proto-reader.ts'
import { ProtoWriter, tooLong } from './proto-writer.ts'
import { readStruct, writeStruct } from './struct-codec.ts'

/** Longest message that agntcy/dir takes and gives, in bytes: 4 MiB. */
export const DEFAULT_MAX_MESSAGE_LENGTH = 4 * 1024 * 1024

/** What is known of a record besides its content, as agntcy/dir has it. */
export interface RecordMeta {
  readonly cid: string
  readonly annotations: Readonly<Record<string, string>>
  readonly schemaVersion: string
  /** RFC 3339. */
  readonly createdAt: string
}

/** What went wrong with one item, told in-band. */
export interface Fault {
  readonly code: number
  readonly message: string
  /** Number of the item in its sub-stream; only in the answer to a delete. */
  readonly index: number
}

const DATA = 0x0a
const FIRST = 0x0a
const SECOND = 0x12
const THIRD = 0x1a
const FOURTH = 0x22
const FAULT = (1000 << 3) | 2

let writer = new ProtoWriter(DEFAULT_MAX_MESSAGE_LENGTH)
let writerLimit = DEFAULT_MAX_MESSAGE_LENGTH

/**
 * Writes one message with a writer that all share.
 *
 * @throws {@link StoreError} `ERR_MILLRACE_STORE_TOO_LARGE` if it becomes longer than `maxLength`.
 */
function encode(maxLength: number, write: (writer: ProtoWriter) => void): Buffer {
  if (maxLength !== writerLimit) {
    writer = new ProtoWriter(maxLength)
    writerLimit = maxLength
  }
  try {
    write(writer)
    if (writer.length > maxLength) throw tooLong('send', maxLength, writer.length)
    return writer.take()
  } catch (error) {
    writer = new ProtoWriter(maxLength)
    throw error
  }
}

export function encodeRecord(record: unknown, maxLength = DEFAULT_MAX_MESSAGE_LENGTH): Buffer {
  return encode(maxLength, (writer) => {
    writeStruct(writer, record)
    writer.prefix(DATA, 0)
  })
}

/** @throws {@link StoreError} if the message is damaged, or has no data. */
export function decodeRecord(bytes: Buffer): JsonObject {
  const reader = new ProtoReader(bytes)
  let record: JsonObject | undefined
  while (reader.at < reader.end) {
    const tag = reader.varint()
    if (tag === DATA) record = readStruct(reader, reader.lengthEnd(reader.end))
    else reader.skip(tag, reader.end)
  }
  if (record === undefined) throw corrupt('expected a record, got one without data')
  return record
}

export function encodeRef(cid: string): Buffer {
  return encode(DEFAULT_MAX_MESSAGE_LENGTH, (writer) => {
    if (cid !== '') writer.string(cid, FIRST)
  })
}

export function decodeRef(bytes: Buffer): string {
  const reader = new ProtoReader(bytes)
  let cid = ''
  while (reader.at < reader.end) {
    const tag = reader.varint()
    if (tag === FIRST) cid = reader.string(reader.end)
    else reader.skip(tag, reader.end)
  }
  return cid
}

export function encodeMeta({ cid, annotations, schemaVersion, createdAt }: RecordMeta): Buffer {
  return encode(DEFAULT_MAX_MESSAGE_LENGTH, (writer) => {
    if (createdAt !== '') writer.string(createdAt, FOURTH)
    if (schemaVersion !== '') writer.string(schemaVersion, THIRD)
    for (const [key, value] of Object.entries(annotations).toReversed()) {
      const end = writer.length
      writer.string(value, SECOND)
      writer.string(key, FIRST)
      writer.prefix(SECOND, end)
    }
    if (cid !== '') writer.string(cid, FIRST)
  })
}

export function decodeMeta(bytes: Buffer): RecordMeta {
  const reader = new ProtoReader(bytes)
  const annotations: [string, string][] = []
  let cid = ''
  let schemaVersion = ''
  let createdAt = ''
  while (reader.at < reader.end) {
    const tag = reader.varint()
    if (tag === FIRST) cid = reader.string(reader.end)
    else if (tag === SECOND) annotations.push(readEntry(reader, reader.lengthEnd(reader.end)))
    else if (tag === THIRD) schemaVersion = reader.string(reader.end)
    else if (tag === FOURTH) createdAt = reader.string(reader.end)
    else reader.skip(tag, reader.end)
  }
  return { cid, annotations: Object.fromEntries(annotations), schemaVersion, createdAt }
}

function readEntry(reader: ProtoReader, end: number): [string, string] {
  let key = ''
  let value = ''
  while (reader.at < end) {
    const tag = reader.varint()
    if (tag === FIRST) key = reader.string(end)
    else if (tag === SECOND) value = reader.string(end)
    else reader.skip(tag, end)
  }
  return [key, value]
}

/** An answer that is nothing but faults: one of an item, or all of a delete. */
export function encodeFaults(faults: readonly Fault[]): Buffer {
  return encode(DEFAULT_MAX_MESSAGE_LENGTH, (writer) => {
    for (const { code, message, index } of faults.toReversed()) {
      const end = writer.length
      writer.varint(index)
      writer.varint(0x18)
      // of a long message the beginning says enough
      writer.string(Buffer.from(message.slice(0, 1000)).toString(), SECOND)
      writer.varint(code)
      writer.varint(0x08)
      writer.prefix(FAULT, end)
    }
  })
}

/** The faults in an answer, if there are any. */
export function decodeFaults(bytes: Buffer): Fault[] {
  const reader = new ProtoReader(bytes)
  const faults: Fault[] = []
  while (reader.at < reader.end) {
    const tag = reader.varint()
    if (tag === FAULT) faults.push(readFault(reader, reader.lengthEnd(reader.end)))
    else reader.skip(tag, reader.end)
  }
  return faults
}

/** True for an answer that begins with a fault: cheap enough to ask of every answer. */
export function isFault(bytes: Buffer): boolean {
  return bytes[0] === ((FAULT & 127) | 128) && bytes[1] === FAULT >> 7
}

function readFault(reader: ProtoReader, end: number): Fault {
  const fault = { code: 0, message: '', index: 0 }
  while (reader.at < end) {
    const tag = reader.varint()
    if (tag === 0x08) fault.code = reader.varint()
    else if (tag === SECOND) fault.message = reader.string(end)
    else if (tag === 0x18) fault.index = reader.varint()
    else reader.skip(tag, end)
  }
  return fault
}

/** Metadata as it follows from a record: `schema_version`, `created_at` and those `annotations` that are text. */
export function metaOf(cid: string, record: JsonObject): RecordMeta {
  const { schema_version: schemaVersion, created_at: createdAt, annotations } = record
  const texts =
    typeof annotations === 'object' && annotations !== null && !Array.isArray(annotations)
      ? Object.entries(annotations).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
      : []
  return {
    cid,
    annotations: Object.fromEntries(texts),
    schemaVersion: typeof schemaVersion === 'string' ? schemaVersion : '',
    createdAt: typeof createdAt === 'string' ? createdAt : '',
  }
}

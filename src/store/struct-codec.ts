// google.protobuf.Struct, written by hand: a message is a few tags around JSON.
//   Struct { map<string, Value> fields = 1 }   entry { string key = 1; Value value = 2 }   ListValue { repeated Value values = 1 }
//   Value { oneof { NullValue null = 1; double number = 2; string string = 3; bool bool = 4; Struct struct = 5; ListValue list = 6 } }
import { describe } from '../errors.ts'
import { MAX_RECORD_DEPTH, invalid, plain, type JsonObject, type JsonValue } from './canonical-json.ts'
import { ProtoReader, corrupt } from './proto-reader.ts'
import { ProtoWriter } from './proto-writer.ts'
import { BOOL, FIELDS, KEY, LIST, NULL, NUMBER, STRING, STRUCT, VALUE, VALUES } from './struct-tags.ts'

/** Writes a record as a Struct, without tag and length. @throws {@link StoreError} as `canonicalJson` does. */
export function writeStruct(writer: ProtoWriter, record: unknown): void {
  const value = plain(record)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`expected an object, got ${describe(record)}`)
  }
  writeFields(writer, value as Record<string, unknown>, 1)
}

function writeFields(writer: ProtoWriter, object: Record<string, unknown>, depth: number): void {
  const keys = Object.keys(object)
  // the writer goes from the end to the beginning
  for (let i = keys.length - 1; i >= 0; i--) {
    const key = keys[i]!
    let value = object[key]
    if (typeof value === 'object') value = plain(value)
    if (value === undefined) continue
    const end = writer.length
    writeValue(writer, value, depth)
    writer.prefix(VALUE, end)
    writer.string(key, KEY)
    writer.prefix(FIELDS, end)
  }
}

function writeValue(writer: ProtoWriter, value: unknown, depth: number): void {
  if (typeof value === 'string') return writer.string(value, STRING)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw invalid(`expected a finite number, got ${value}`)
    return writer.double(value, NUMBER)
  }
  if (value === null) return writer.twoBytes(NULL, 0)
  if (typeof value === 'boolean') return writer.twoBytes(BOOL, value ? 1 : 0)
  if (typeof value !== 'object') throw invalid(`expected JSON, got ${describe(value)}`)
  if (depth >= MAX_RECORD_DEPTH) throw invalid(`expected at most ${MAX_RECORD_DEPTH} levels, got more`)
  const end = writer.length
  if (Array.isArray(value)) {
    for (let i = value.length - 1; i >= 0; i--) {
      const itemEnd = writer.length
      writeValue(writer, plain(value[i]), depth + 1)
      writer.prefix(VALUES, itemEnd)
    }
    writer.prefix(LIST, end)
  } else {
    writeFields(writer, value as Record<string, unknown>, depth + 1)
    writer.prefix(STRUCT, end)
  }
}

/** Reads a Struct that ends at `end`. @throws {@link StoreError} `ERR_MILLRACE_STORE_CORRUPT` if it is none. */
export function readStruct(reader: ProtoReader, end: number, depth = 1): JsonObject {
  const object: JsonObject = {}
  if (depth > MAX_RECORD_DEPTH) throw corrupt(`expected at most ${MAX_RECORD_DEPTH} levels, got more`)
  while (reader.at < end) {
    const tag = reader.varint()
    if (tag === FIELDS) readEntry(reader, reader.lengthEnd(end), object, depth)
    else reader.skip(tag, end)
  }
  return object
}

function readEntry(reader: ProtoReader, end: number, object: JsonObject, depth: number): void {
  let key = ''
  let value: JsonValue = null
  while (reader.at < end) {
    const tag = reader.varint()
    if (tag === KEY) key = reader.key(end)
    else if (tag === VALUE) value = readValue(reader, reader.lengthEnd(end), depth)
    else reader.skip(tag, end)
  }
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, configurable: true, enumerable: true, writable: true })
  } else object[key] = value
}

function readValue(reader: ProtoReader, end: number, depth: number): JsonValue {
  let value: JsonValue = null
  while (reader.at < end) {
    const tag = reader.varint()
    if (tag === STRING) value = reader.string(end)
    else if (tag === NUMBER) {
      value = reader.double(end)
      if (!Number.isFinite(value)) throw corrupt(`expected a finite number, got ${value}`)
    } else if (tag === BOOL) value = reader.varint() !== 0
    else if (tag === NULL) {
      reader.varint()
      value = null
    } else if (tag === STRUCT) value = readStruct(reader, reader.lengthEnd(end), depth + 1)
    else if (tag === LIST) value = readList(reader, reader.lengthEnd(end), depth + 1)
    else reader.skip(tag, end)
  }
  return value
}

function readList(reader: ProtoReader, end: number, depth: number): JsonValue[] {
  const list: JsonValue[] = []
  if (depth > MAX_RECORD_DEPTH) throw corrupt(`expected at most ${MAX_RECORD_DEPTH} levels, got more`)
  while (reader.at < end) {
    const tag = reader.varint()
    if (tag === VALUES) list.push(readValue(reader, reader.lengthEnd(end), depth))
    else reader.skip(tag, end)
  }
  return list
}

import { hash } from 'node:crypto'
import {
  canonicalJson,
  keyOrder,
  parseCanonical,
  writeNumber,
  writeString,
  type JsonObject,
} from './canonical-json.ts'
import { digestOf } from './cid.ts'
import { decodeRecord } from './messages.ts'
import { ProtoReader } from './proto-reader.ts'
import { BOOL, FIELDS, KEY, LIST, NULL, NUMBER, STRING, STRUCT, VALUE, VALUES } from './struct-tags.ts'

/** Tag of the Struct in a Record. */
const DATA = 0x0a

/** Levels that are written here; what is deeper takes the other way. */
const MAX_DEPTH = 64
/** Keys of an object that are remembered, and positions of their values. */
const MAX_KEYS = 256
/** Bytes of a message up to which it is turned from text to text. */
const MAX_LENGTH = 256 * 1024
/** An escape is six bytes for one, a number at most 24 for nine. */
const OUT_LENGTH = 6 * MAX_LENGTH + 64

/** True for the bytes that Go's encoder writes as they are. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) =>
  Number(byte >= 0x20 && byte < 0x7f && !'"\\<>&'.includes(String.fromCharCode(byte))),
)

/** A record whose canonical JSON and digest are known already. Stands for the record wherever one may. */
export class CanonicalRecord {
  readonly text: string
  readonly digest: string

  constructor(text: string, digest: string) {
    this.text = text
    this.digest = digest
  }

  toJSON(): JsonObject {
    return parseCanonical(this.text)
  }
}

/**
 * A `Record` message in, its canonical JSON and digest out. Most messages are turned from one text into the other without an
 * object between; what is unusual about the others is left to `decodeRecord` and `canonicalJson`.
 *
 * @throws {@link StoreError} as these do.
 */
export function canonicalOfMessage(message: Buffer): CanonicalRecord {
  const length = transcode(message)
  if (length > 0) {
    const bytes = out.subarray(0, length)
    const text = isAscii ? bytes.toString('latin1') : bytes.toString()
    return new CanonicalRecord(text, hash('sha256', bytes, 'latin1' as 'binary'))
  }
  const text = canonicalJson(decodeRecord(message))
  return new CanonicalRecord(text, digestOf(text))
}

let out = Buffer.alloc(0)
let at = 0
let isAscii = true
/** Starts and ends of values, of all objects that are open. */
let places = new Uint32Array(8 * MAX_KEYS)

/** What makes a message unusual; no error, since the other way will tell. */
const UNUSUAL = new Error('unusual')

/** Bytes written to `out`; 0 if the message is unusual. */
function transcode(message: Buffer): number {
  if (message.length > MAX_LENGTH) return 0
  if (out.length === 0) out = Buffer.allocUnsafeSlow(OUT_LENGTH)
  at = 0
  isAscii = true
  const reader = new ProtoReader(message)
  try {
    if (reader.varint() !== DATA) return 0
    const end = reader.lengthEnd(reader.end)
    if (end !== reader.end) return 0
    writeFields(message, reader, end, 1, 0)
    return at
  } catch {
    return 0
  }
}

function writeFields(message: Buffer, reader: ProtoReader, end: number, depth: number, base: number): void {
  if (depth > MAX_DEPTH) throw UNUSUAL
  const keys: string[] = []
  let next = base
  if (next + 2 * MAX_KEYS > places.length) {
    const larger = new Uint32Array(places.length * 2)
    larger.set(places)
    places = larger
  }
  while (reader.at < end) {
    if (reader.varint() !== FIELDS || keys.length === MAX_KEYS) throw UNUSUAL
    const entryEnd = reader.lengthEnd(end)
    if (reader.varint() !== KEY) throw UNUSUAL
    keys.push(reader.key(entryEnd))
    if (reader.varint() !== VALUE || reader.lengthEnd(entryEnd) !== entryEnd) throw UNUSUAL
    places[next++] = reader.at
    places[next++] = entryEnd
    reader.at = entryEnd
  }
  if (reader.at !== end) throw UNUSUAL
  out[at++] = 0x7b
  const { from, names, isUnique } = keyOrder(keys)
  if (!isUnique) throw UNUSUAL
  for (let i = 0; i < from.length; i++) {
    if (i > 0) out[at++] = 0x2c
    const name = names[i]!
    isAscii &&= name.isAscii
    out.set(name.bytes, at)
    at += name.bytes.length
    const place = base + 2 * from[i]!
    reader.at = places[place]!
    writeValue(message, reader, places[place + 1]!, depth, next)
  }
  out[at++] = 0x7d
  reader.at = end
}

function writeValue(message: Buffer, reader: ProtoReader, end: number, depth: number, base: number): void {
  const tag = reader.varint()
  if (tag === STRING) {
    const start = reader.at
    const textEnd = reader.lengthEnd(end)
    if (textEnd !== end) throw UNUSUAL
    if (!writePlain(message, reader.at, end)) {
      reader.at = start
      writeText(writeString(reader.string(end)))
    }
    reader.at = end
  } else if (tag === NUMBER) {
    const value = reader.double(end)
    const text = writeNumber(value)
    for (let i = 0; i < text.length; i++) out[at++] = text.charCodeAt(i)
  } else if (tag === STRUCT) {
    writeFields(message, reader, reader.lengthEnd(end), depth + 1, base)
  } else if (tag === LIST) {
    writeList(message, reader, reader.lengthEnd(end), depth + 1, base)
  } else if (tag === BOOL) {
    writeText(reader.varint() === 0 ? 'false' : 'true')
  } else if (tag === NULL) {
    reader.varint()
    writeText('null')
  } else throw UNUSUAL
  if (reader.at !== end) throw UNUSUAL
}

function writeList(message: Buffer, reader: ProtoReader, end: number, depth: number, base: number): void {
  if (depth > MAX_DEPTH) throw UNUSUAL
  out[at++] = 0x5b
  for (let i = 0; reader.at < end; i++) {
    if (reader.varint() !== VALUES) throw UNUSUAL
    if (i > 0) out[at++] = 0x2c
    writeValue(message, reader, reader.lengthEnd(end), depth, base)
  }
  out[at++] = 0x5d
}

/** Copies a text that needs no escapes, between quotes. Gives false, having written nothing, if it is none. */
function writePlain(message: Buffer, start: number, end: number): boolean {
  const bytes = out
  let to = at
  bytes[to++] = 0x22
  for (let i = start; i < end; i++) {
    const byte = message[i]!
    if (PLAIN[byte] === 0) return false
    bytes[to++] = byte
  }
  bytes[to++] = 0x22
  at = to
  return true
}

function writeText(text: string): void {
  const length = out.write(text, at)
  if (length !== text.length) isAscii = false
  at += length
}

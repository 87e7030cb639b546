// How canonical records cross from a worker: one after another, each a head, and its text. The head is the length of the text, what
// it is, and the digest. A problem stands in the place of a record that is none; its text is the message.
import { StoreError, asError } from '../errors.ts'
import { CanonicalRecord, canonicalOf } from './canonical-record.ts'

/** Length (4 bytes), kind, digest. */
const HEAD_LENGTH = 37

const OTHER = 0
const ASCII = 1
const PROBLEM = 2

/** What stands in the place of a record that is none: a store says what is wrong with it, in the result of its item. */
export interface UnusableRecord {
  toJSON(): never
}

/** An item that fails with this message wherever its content is asked for. */
export function unusable(error: unknown): UnusableRecord {
  const { message } = asError(error)
  return {
    toJSON() {
      throw new StoreError('ERR_MILLRACE_STORE_INVALID', 'item', message)
    },
  }
}

/** Records in, a block out; written to `target` where it is long enough. */
export function writeCanonicalBlock(records: readonly unknown[], target: Buffer | undefined): Buffer {
  const entries: { readonly kind: number; readonly digest: string; readonly bytes: Buffer }[] = []
  let length = 0
  for (const record of records) {
    let kind = PROBLEM
    let digest = ''
    let bytes: Buffer
    try {
      const canonical = canonicalOf(record)
      kind = canonical.isAscii ? ASCII : OTHER
      ;({ digest, bytes } = canonical)
    } catch (error) {
      bytes = Buffer.from(asError(error).message)
    }
    entries.push({ kind, digest, bytes })
    length += HEAD_LENGTH + bytes.length
  }
  const block =
    target !== undefined && target.length >= length ? target.subarray(0, length) : Buffer.allocUnsafe(length)
  let at = 0
  for (const { kind, digest, bytes } of entries) {
    block.writeUInt32LE(bytes.length, at)
    block[at + 4] = kind
    block.write(digest, at + 5, 'latin1')
    block.set(bytes, at + HEAD_LENGTH)
    at += HEAD_LENGTH + bytes.length
  }
  return block
}

/** A block in, its records out. They are views of it. */
export function readCanonicalBlock(block: Buffer): (CanonicalRecord | UnusableRecord)[] {
  const records: (CanonicalRecord | UnusableRecord)[] = []
  for (let at = 0; at < block.length;) {
    const kind = block[at + 4]!
    const textStart = at + HEAD_LENGTH
    const end = textStart + block.readUInt32LE(at)
    const bytes = block.subarray(textStart, end)
    records.push(
      kind === PROBLEM
        ? unusable(new Error(bytes.toString()))
        : new CanonicalRecord(block.toString('latin1', at + 5, textStart), bytes, kind === ASCII),
    )
    at = end
  }
  return records
}

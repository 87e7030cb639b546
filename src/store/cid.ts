import { hash } from 'node:crypto'
import { StoreError, describe } from '../errors.ts'

/** Version 1, the codec 0x01 that agntcy/dir writes, and a sha2-256 multihash of 32 bytes. */
const PREFIX = Buffer.from([0x01, 0x01, 0x12, 0x20])

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** Characters of a CID: the multibase letter, and 36 bytes in base32. */
export const CID_LENGTH = 59

/** Two characters for every ten bits: 1.7 times as fast as five bits at a time. */
const PAIRS = Array.from({ length: 1024 }, (_, i) => ALPHABET[i >> 5]! + ALPHABET[i & 31]!)

const VALUES = new Uint8Array(128).fill(255)
for (let i = 0; i < 32; i++) VALUES[ALPHABET.charCodeAt(i)] = i

/**
 * The canonical JSON of a record in, its CID out, as agntcy/dir computes it: CIDv1, codec 0x01, sha2-256, base32.
 *
 * @see https://github.com/multiformats/cid
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { canonicalJson, cidOf } from 'millrace/store'
 *
 * assert.equal(cidOf(canonicalJson({})), 'baeareicecnx2gvntm6fbcrvnc336qze6st5u7qq7457igegamd3bzkx7ri')
 * ```
 */
export function cidOf(canonical: string): string {
  return cidOfDigest(digestOf(canonical))
}

/** The sha2-256 of a text, in UTF-8, a character for each byte: strings come out of `crypto` faster than buffers. */
export function digestOf(canonical: string | Uint8Array): string {
  return hash('sha256', canonical, 'latin1' as 'binary')
}

/** A digest as {@link digestOf} gives it, as a CID. */
export function cidOfDigest(digest: string): string {
  // the prefix has 32 bits: six characters, and two bits (both 0) of the seventh
  let text = 'baearei'
  let bits = 0
  let count = 2
  for (let i = 0; i < 32; i++) {
    bits = (bits << 8) | digest.charCodeAt(i)
    count += 8
    if (count < 10) continue
    count -= 10
    text += PAIRS[bits >> count]!
    bits &= (1 << count) - 1
  }
  // 258 bits are 25 pairs and eight bits
  return text + PAIRS[bits << 2]!
}

/**
 * A CID in, its sha2-256 digest out, a character for each byte.
 *
 * @throws {@link StoreError} `ERR_MILLRACE_STORE_INVALID` if it is no CID as {@link cidOf} makes them.
 */
export function digestOfCid(cid: unknown): string {
  const digest = typeof cid === 'string' ? decode(cid) : undefined
  if (digest !== undefined) return digest
  throw new StoreError(
    'ERR_MILLRACE_STORE_INVALID',
    'item',
    `CID: expected version 1, codec 0x01, sha2-256 in base32 (${CID_LENGTH} characters), got ${describe(cid)}`,
    { actual: cid, ...(typeof cid === 'string' && { cid }) },
  )
}

function decode(cid: string): string | undefined {
  if (cid.length !== CID_LENGTH || cid.charCodeAt(0) !== 0x62) return undefined
  let digest = ''
  let bits = 0
  let count = 0
  let bytes = 0
  for (let i = 1; i < CID_LENGTH; i++) {
    const value = VALUES[cid.charCodeAt(i)] ?? 255
    if (value === 255) return undefined
    bits = (bits << 5) | value
    count += 5
    if (count < 8) continue
    count -= 8
    const byte = bits >> count
    bits &= (1 << count) - 1
    if (bytes < PREFIX.length) {
      if (byte !== PREFIX[bytes]) return undefined
    } else digest += String.fromCharCode(byte)
    bytes++
  }
  // bits that are left over must be zero, or one digest would have several names
  return bits === 0 ? digest : undefined
}

const M = 0x5bd1e995
const SEED = 0x9747b28c

/**
 * The hash by which Kafka's Java client finds the partition of a key, as a number of 31 bits: `murmur2(key) % partitions`.
 *
 * @see https://sites.google.com/site/murmurhash/ MurmurHash2, 32 bits
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { murmur2 } from 'millrace/kafka'
 *
 * assert.equal(murmur2(Buffer.from('21')), 0x7fffffff & -973932308)
 * ```
 */
export function murmur2(key: Uint8Array): number {
  const view = Buffer.from(key.buffer, key.byteOffset, key.byteLength)
  const whole = key.byteLength & ~3
  let hash = SEED ^ key.byteLength
  for (let at = 0; at < whole; at += 4) {
    let word = Math.imul(view.readInt32LE(at), M)
    word = Math.imul(word ^ (word >>> 24), M)
    hash = Math.imul(hash, M) ^ word
  }
  let rest = 0
  for (let at = key.byteLength - 1; at >= whole; at--) rest = (rest << 8) | (view[at] as number)
  if (whole < key.byteLength) hash = Math.imul(hash ^ rest, M)
  hash = Math.imul(hash ^ (hash >>> 13), M)
  return (hash ^ (hash >>> 15)) & 0x7fffffff
}

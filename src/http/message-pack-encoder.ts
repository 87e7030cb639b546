import { loadPeer } from '../load-peer.ts'
import type { RecordEncoder, RecordEncoding } from './record-encoder.ts'

/** Media type of MessagePack. */
export const MESSAGE_PACK = 'application/vnd.msgpack'

/**
 * Gives an encoder of records as MessagePack values, one after the other: `application/vnd.msgpack`. Needs `@msgpack/msgpack`.
 *
 * @see {@link https://github.com/msgpack/msgpack/blob/master/spec.md | MessagePack specification}
 * @throws {@link MissingPeerError} if `@msgpack/msgpack` is not installed.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { messagePackEncoder } from 'millrace/http'
 *
 * const encoding = (await messagePackEncoder()).start()
 * assert.deepEqual(Buffer.from(encoding.encode([1, 'a'], 0)), Buffer.from([0x01, 0xa1, 0x61]))
 * ```
 */
export async function messagePackEncoder(): Promise<RecordEncoder<unknown>> {
  const { Encoder } = await loadPeer('MessagePack', ['@msgpack/msgpack'], () => import('@msgpack/msgpack'))
  return {
    contentType: MESSAGE_PACK,
    aliases: ['application/msgpack', 'application/x-msgpack'],
    start() {
      const encoder = new Encoder()
      const encoding: RecordEncoding<unknown> = {
        encode: (records) => Buffer.concat(records.map((record) => encoder.encode(record))),
      }
      return encoding
    },
  }
}

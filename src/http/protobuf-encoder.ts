import { HttpError } from '../errors.ts'
import { checkBoolean, checkMethods } from '../options.ts'
import type { RecordEncoder, RecordEncoding } from './record-encoder.ts'

/** Media type of delimited protobuf messages, as metrics scrapers use it. */
export const PROTOBUF = 'application/vnd.google.protobuf'

/** What is used of a message type of protobufjs (`root.lookupType(…)`, or a generated class). */
export interface ProtobufType {
  readonly fullName?: string
  encodeDelimited(message: never, writer?: never): { finish(): Uint8Array }
  decode(reader: Uint8Array): object
  /** Says what is wrong with a message, or null. */
  verify?(message: never): string | null
}

/** Options of {@link protobufEncoder}. */
export interface ProtobufEncoderOptions {
  /**
   * Whether each record is checked before it is encoded: protobufjs would write zero for a text in a field of numbers.
   *
   * @defaultValue true
   */
  readonly verify?: boolean
}

/**
 * Messages in, each with its length before it out: `application/vnd.google.protobuf; encoding=delimited`.
 *
 * @see {@link https://protobuf.dev/programming-guides/techniques/#streaming | streaming multiple messages}
 * @throws {@link OptionError} if an option is wrong.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import protobuf from 'protobufjs'
 * import { protobufEncoder } from 'millrace/http'
 *
 * const Point = protobuf.parse('syntax = "proto3"; message Point { int32 x = 1; }').root.lookupType('Point')
 * const encoding = protobufEncoder(Point).start()
 * assert.deepEqual(Buffer.from(encoding.encode([{ x: 5 }], 0)), Buffer.from([2, 8, 5]))
 * ```
 */
export function protobufEncoder<T extends object = object>(
  type: ProtobufType,
  { verify = true }: ProtobufEncoderOptions = {},
): RecordEncoder<T> {
  checkType(type)
  checkBoolean('verify', verify)
  const encoding: RecordEncoding<T> = {
    encode(records, index) {
      const messages = records.map((record, i) => {
        const fault = verify ? type.verify?.(record as never) : null
        if (fault !== null && fault !== undefined) {
          throw new HttpError(
            'ERR_MILLRACE_HTTP_ENCODE',
            `record ${index + i} cannot be protobuf: ${fault}`,
            {
              index: index + i,
            },
          )
        }
        return type.encodeDelimited(record as never).finish()
      })
      return messages.length === 1 ? (messages[0] as Uint8Array) : Buffer.concat(messages)
    },
  }
  const proto = type.fullName === undefined ? '' : `; proto=${type.fullName.replace(/^\./, '')}`
  return {
    contentType: `${PROTOBUF}${proto}; encoding=delimited`,
    aliases: ['application/x-protobuf', 'application/protobuf'],
    start: () => encoding,
  }
}

/** @throws {@link OptionError} unless it is a message type. */
export function checkType(type: ProtobufType): ProtobufType {
  // generated classes are functions
  return typeof type === 'function' ? type : checkMethods('type', type, ['encodeDelimited', 'decode'])
}

import { stringifyBlock, type JsonTextFormat, type Stringify } from '../json/index.ts'
import { checkBoolean, checkFunction } from '../options.ts'
import type { RecordEncoder, RecordEncoding } from './record-encoder.ts'

/** Parameter of the NDJSON content type that announces a terminator line. */
export const TERMINATED = 'terminator=true'

/** Options of {@link jsonEncoder} and {@link jsonSeqEncoder}. */
export interface JsonEncoderOptions {
  /**
   * Gives the text of one record, such as a serializer of fast-json-stringify.
   *
   * @defaultValue `JSON.stringify`, called once for many records
   */
  readonly stringify?: Stringify
}

/** Options of {@link ndjsonEncoder}. */
export interface NdjsonEncoderOptions extends JsonEncoderOptions {
  /**
   * Whether a last line tells the outcome, `{"$end":{"count":n}}` or `{"$error":{"message":…}}`: for clients that cannot see a broken
   * connection, as behind some proxies. The content type says so; a reader that knows nothing of it sees one more record.
   *
   * @defaultValue false
   */
  readonly terminator?: boolean
}

/**
 * Records in, one JSON array out: `application/json`.
 *
 * @throws {@link OptionError} if an option is wrong.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { jsonEncoder } from 'millrace/http'
 *
 * const encoding = jsonEncoder().start()
 * assert.equal(encoding.encode([{ a: 1 }, null], 0), '{"a":1},null')
 * assert.deepEqual([encoding.begin(), encoding.separator, encoding.end(2)], ['[', ',', ']'])
 * ```
 */
export function jsonEncoder({ stringify }: JsonEncoderOptions = {}): RecordEncoder<unknown> {
  checkFunction('stringify', stringify)
  const encoding: RecordEncoding<unknown> = {
    separator: ',',
    encode: encodeAs('array', stringify),
    begin: () => '[',
    end: () => ']',
  }
  return { contentType: 'application/json', start: () => encoding }
}

/**
 * Records in, a line of JSON each out: `application/x-ndjson`.
 *
 * @throws {@link OptionError} if an option is wrong.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { ndjsonEncoder } from 'millrace/http'
 *
 * const { contentType, start } = ndjsonEncoder({ terminator: true })
 * assert.equal(contentType, 'application/x-ndjson; terminator=true')
 * assert.equal(start().encode([{ a: 1 }, 2], 0), '{"a":1}\n2\n')
 * assert.equal(start().end(2), '{"$end":{"count":2}}\n')
 * ```
 */
export function ndjsonEncoder({
  stringify,
  terminator = false,
}: NdjsonEncoderOptions = {}): RecordEncoder<unknown> {
  checkFunction('stringify', stringify)
  checkBoolean('terminator', terminator)
  const encode = encodeAs('ndjson', stringify)
  const encoding: RecordEncoding<unknown> = !terminator
    ? { encode }
    : {
        encode,
        end: (count) => `{"$end":{"count":${count}}}\n`,
        // what went wrong is for the log of the server: no more than for a status of 500
        fail: (_error, count) => `{"$error":{"message":"the source failed","count":${count}}}\n`,
      }
  return {
    contentType: terminator ? `application/x-ndjson; ${TERMINATED}` : 'application/x-ndjson',
    aliases: ['application/ndjson', 'application/jsonl', 'application/x-jsonlines'],
    start: () => encoding,
  }
}

/**
 * Records in, a JSON text sequence out: `application/json-seq`. Its reader finds the next record after one that is cut off.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7464 | RFC 7464}
 * @throws {@link OptionError} if an option is wrong.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { jsonSeqEncoder } from 'millrace/http'
 *
 * assert.equal(jsonSeqEncoder().start().encode([1, 2], 0), '\u001e1\n\u001e2\n')
 * ```
 */
export function jsonSeqEncoder({ stringify }: JsonEncoderOptions = {}): RecordEncoder<unknown> {
  checkFunction('stringify', stringify)
  const encoding: RecordEncoding<unknown> = { encode: encodeAs('seq', stringify) }
  return { contentType: 'application/json-seq', start: () => encoding }
}

function encodeAs(format: JsonTextFormat, stringify: Stringify | undefined) {
  const options = { stringify }
  return (records: readonly unknown[], index: number): string => {
    const { text, error } = stringifyBlock(records, format, index, options)
    if (error) throw error
    return text
  }
}

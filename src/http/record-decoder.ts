import { Readable, pipeline } from 'node:stream'
import { HttpError, OptionError } from '../errors.ts'
import { readJson } from '../json/index.ts'
import { FrameSplitter, findDelimited, findMessagePack } from './frame-splitter.ts'
import { TERMINATED } from './json-encoder.ts'
import { loadPeer } from '../load-peer.ts'
import { MESSAGE_PACK } from './message-pack-encoder.ts'
import { mediaTypeOf } from './negotiate.ts'
import { PROTOBUF, type ProtobufType } from './protobuf-encoder.ts'

/** Longest message or value that is decoded unless told otherwise, in bytes. */
export const DEFAULT_MAX_RECORD_BYTES = 64 * 1024 * 1024

/** Bytes of a body in, some records at a time out. */
export type RecordDecoder = (
  bytes: AsyncIterable<Uint8Array>,
  contentType: string,
) => AsyncIterable<readonly unknown[]>

/** What decoding needs to know. */
export interface DecoderOptions {
  readonly type: ProtobufType | undefined
  readonly maxRecordBytes: number
  readonly decoders: Readonly<Record<string, RecordDecoder>>
}

const JSON_FORMATS = {
  'application/json': 'array',
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
  'application/jsonl': 'ndjson',
  'application/json-seq': 'seq',
} as const

/**
 * Gives what decodes a content type.
 *
 * @throws {@link HttpError} `ERR_MILLRACE_HTTP_TYPE` if nothing does.
 */
export function decoderFor(
  contentType: string,
  { type, maxRecordBytes, decoders }: DecoderOptions,
): RecordDecoder {
  const media = mediaTypeOf(contentType)
  const own = decoders[media]
  if (own) return own
  if (media in JSON_FORMATS) {
    const format = JSON_FORMATS[media as keyof typeof JSON_FORMATS]
    return (bytes) =>
      decodeJson(bytes, format, maxRecordBytes, format === 'ndjson' && contentType.includes(TERMINATED))
  }
  if (media === 'text/csv') return (bytes) => decodeCsv(bytes, contentType, maxRecordBytes)
  if (media === MESSAGE_PACK || media === 'application/msgpack' || media === 'application/x-msgpack') {
    return (bytes) => decodeMessagePack(bytes, maxRecordBytes)
  }
  if (media === PROTOBUF || media === 'application/x-protobuf') {
    if (type === undefined) throw new OptionError('type', type, `a message type, for ${media}`)
    return (bytes) => decodeProtobuf(bytes, type, maxRecordBytes)
  }
  throw new HttpError(
    'ERR_MILLRACE_HTTP_TYPE',
    `no decoder for ${contentType || 'a response without content type'}`,
    {
      actual: contentType,
    },
  )
}

async function* decodeJson(
  bytes: AsyncIterable<Uint8Array>,
  format: 'array' | 'ndjson' | 'seq',
  maxValueBytes: number,
  terminated: boolean,
) {
  const batches = readJson(bytes, {
    format,
    batches: true,
    allowEmpty: format !== 'array',
    maxValueBytes,
    eager: true,
  })
  if (!terminated) {
    for await (const { records } of batches) yield records
    return
  }
  let count = 0
  let isEnded = false
  for await (const { records } of batches) {
    const last = records.at(-1) as
      | { $end?: { count: number }; $error?: { message: string } }
      | null
      | undefined
    const told =
      typeof last === 'object' && last !== null && ('$end' in last || '$error' in last) ? last : undefined
    const data = told ? records.slice(0, -1) : records
    count += data.length
    if (data.length > 0) yield data
    if (told?.$error) {
      throw new HttpError(
        'ERR_MILLRACE_HTTP_FAILED',
        `the server failed after record ${count - 1}: ${told.$error.message}`,
        {
          actual: told.$error,
        },
      )
    }
    if (told?.$end && told.$end.count !== count) {
      throw truncated(`expected ${told.$end.count} records, got ${count}`)
    }
    isEnded = told !== undefined
  }
  if (!isEnded) throw truncated('the last line, which tells the number of records, is missing')
}

async function* decodeCsv(bytes: AsyncIterable<Uint8Array>, contentType: string, maxRecordBytes: number) {
  // when it is needed: whoever imports the package for something else should not wait for it
  const { parse } = await import('csv-parse')
  const parser = parse({
    columns: !contentType.includes('header=absent'),
    max_record_size: maxRecordBytes,
    bom: true,
  })
  pipeline(Readable.from(bytes), parser, () => {})
  for await (const record of parser) yield [record as unknown]
}

async function* decodeMessagePack(bytes: AsyncIterable<Uint8Array>, maxLength: number) {
  const { decode } = await loadPeer('MessagePack', ['@msgpack/msgpack'], () => import('@msgpack/msgpack'))
  yield* decodeFrames(bytes, new FrameSplitter(findMessagePack, maxLength), (value) => decode(value))
}

function decodeProtobuf(bytes: AsyncIterable<Uint8Array>, type: ProtobufType, maxLength: number) {
  return decodeFrames(bytes, new FrameSplitter(findDelimited, maxLength), (message) => type.decode(message))
}

async function* decodeFrames(
  bytes: AsyncIterable<Uint8Array>,
  splitter: FrameSplitter,
  decode: (frame: Uint8Array) => unknown,
) {
  for await (const chunk of bytes) {
    const frames = splitter.push(chunk)
    if (frames.length > 0) yield frames.map(decode)
  }
  splitter.end()
}

/** A response that ended early. */
export function truncated(why: string, cause?: unknown): HttpError {
  return new HttpError('ERR_MILLRACE_HTTP_TRUNCATED', `the response is not complete: ${why}`, { cause })
}

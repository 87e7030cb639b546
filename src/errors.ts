/** The facts an error can carry. Byte offsets count from the start of the stage's input; lines and columns from 1. */
export interface ErrorFacts {
  /** Where in the input, in bytes from its start. */
  readonly offset?: number
  /** Line of that byte, from 1. */
  readonly line?: number
  /** Column of that byte in its line, in bytes, from 1. */
  readonly column?: number
  /** Number of the frame, record or block, from 0. */
  readonly index?: number
  /** How often it was tried. */
  readonly attempts?: number
  readonly expected?: unknown
  readonly actual?: unknown
  readonly cause?: unknown
}

const brand = Symbol.for('millrace.error')

/**
 * The base of every error that millrace raises. `message` says what, where, expected and got; the same facts are fields.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { MillraceError, ChunkedReader } from 'millrace'
 *
 * try {
 *   new ChunkedReader('data.bin', { chunkSize: -1 })
 * } catch (error) {
 *   assert(MillraceError.is(error))
 *   assert.equal(error.code, 'ERR_MILLRACE_OPTION')
 * }
 * ```
 */
export class MillraceError extends Error {
  /** `ERR_MILLRACE_…`; stable across versions, unlike the message. */
  readonly code: string
  declare readonly offset?: number
  declare readonly line?: number
  declare readonly column?: number
  declare readonly index?: number
  declare readonly attempts?: number
  declare readonly expected?: unknown
  declare readonly actual?: unknown

  constructor(code: string, message: string, { cause, ...facts }: ErrorFacts = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    Object.assign(this, facts)
  }

  static {
    Object.defineProperty(MillraceError.prototype, brand, { value: true })
    // `name` belongs on the prototype: an own property would print twice in a stack
    Object.defineProperty(MillraceError.prototype, 'name', {
      configurable: true,
      get(this: Error) {
        return this.constructor.name
      },
    })
  }

  /** True for any millrace error, from any copy of the package (`instanceof` fails across two installed copies). */
  static is(error: unknown): error is MillraceError {
    return typeof error === 'object' && error !== null && brand in error
  }
}

/** An option has a value that is not allowed. Thrown by the constructor, before anything is opened. Mend the call. */
export class OptionError extends MillraceError {
  /** Name of the option, as in `options.chunkSize`. */
  readonly option: string

  constructor(option: string, actual: unknown, expected: string) {
    super('ERR_MILLRACE_OPTION', `option ${option}: expected ${expected}, got ${describe(actual)}`, {
      actual,
      expected,
    })
    this.option = option
  }
}

/**
 * The input cannot be cut into frames. All frames before `offset` have been delivered.
 *
 * - `ERR_MILLRACE_FRAME_TRUNCATED`: the input ended inside a frame.
 * - `ERR_MILLRACE_FRAME_TOO_LONG`: a frame is longer than `maxFrameLength`; raise it if such frames are meant.
 * - `ERR_MILLRACE_FRAME_INVALID`: these bytes cannot be a frame.
 */
export class FrameError extends MillraceError {}

/**
 * The input is not the JSON it should be. All records before `index` have been delivered.
 *
 * - `ERR_MILLRACE_JSON_SYNTAX`: the text is not JSON; `cause` is the parser's own error where there is one.
 * - `ERR_MILLRACE_JSON_TRUNCATED`: the input ended inside a value or before the closing bracket.
 * - `ERR_MILLRACE_JSON_TRAILING`: there is data after the end of the document.
 * - `ERR_MILLRACE_JSON_DEPTH`: nested deeper than `maxDepth`.
 * - `ERR_MILLRACE_JSON_TOO_LONG`: a value is longer than `maxValueBytes`.
 * - `ERR_MILLRACE_JSON_UTF8`: the bytes are not UTF-8.
 * - `ERR_MILLRACE_JSON_EMPTY`: there is no value at all (see `allowEmpty`).
 * - `ERR_MILLRACE_JSON_PATH`: `path` leads to nothing, or to something that holds no records.
 * - `ERR_MILLRACE_JSON_REVIVER`: the `reviver` threw on a record; `cause` is what it threw.
 * - `ERR_MILLRACE_JSON_NULL`: a `null` record cannot travel alone in an object stream (`batches: true` or `nulls: 'skip'`).
 * - `ERR_MILLRACE_JSON_VALUE`: a record holds what JSON cannot (writer side).
 */
export class JsonError extends MillraceError {}

/**
 * A file is not what it was when it was opened.
 *
 * - `ERR_MILLRACE_FILE_SHRUNK`: it has become shorter, with `offset`, `expected` and `actual` size.
 * - `ERR_MILLRACE_FILE_REPLACED`: another file stands at its path, with `expected` and `actual` inode.
 */
export class FileError extends MillraceError {}

/**
 * Something was used in a way that its state does not allow. Mend the calls.
 *
 * - `ERR_MILLRACE_READER_IN_USE`: a reader is read twice, or as a stream and borrowed.
 * - `ERR_MILLRACE_READER_DESTROYED`: a reader was destroyed while its borrowed chunks were iterated over.
 * - `ERR_MILLRACE_NOT_FITTED`: a generator of records has no model yet: `fit()` or `load()` one.
 * - `ERR_MILLRACE_GENERATOR`: a generator of the user's own gave no array of records, or a promise to a loop that cannot wait.
 * - `ERR_MILLRACE_STORE_CLOSED`: a store or server is used after its `close()`, or a stream of results is read twice.
 * - `ERR_MILLRACE_POOL`: a buffer was put that is not out (check mode of a `BufferPool`).
 * - `ERR_MILLRACE_RESPONSE_USED`: a response is sent twice, or its head had already been sent.
 */
export class StateError extends MillraceError {}

/** A bounded stage is full and its strategy is `'error'`: `ERR_MILLRACE_BUFFER_FULL`. */
export class BufferFullError extends MillraceError {}

/**
 * Work on a block failed. `index` is the block, and all blocks before it have been delivered.
 *
 * - `ERR_MILLRACE_OFFLOAD_HANDLER`: the handler threw; `cause` is its error with name, code, own fields and causes.
 * - `ERR_MILLRACE_OFFLOAD_CRASH`: the worker died while it ran this block, `attempts` times.
 * - `ERR_MILLRACE_OFFLOAD_TIMEOUT`: the handler ran longer than `timeout` milliseconds; its worker was ended.
 * - `ERR_MILLRACE_OFFLOAD_RESULT`: the handler returned what cannot be sent on.
 * - `ERR_MILLRACE_OFFLOAD_INPUT`: the block holds a record that cannot be sent to a worker, such as a function, or is no
 *   range of a file where one is expected.
 * - `ERR_MILLRACE_OFFLOAD_WORKER`: a worker could not be started, or its module not loaded.
 */
export class OffloadError extends MillraceError {}

/**
 * Bytes that were read back are not the bytes of the object. `offset` is the first wrong one, in bytes from the start of the
 * object; all before it are right and have been delivered.
 *
 * - `ERR_MILLRACE_VERIFY_MISMATCH`: bytes differ; `expected` and `actual` are the two bytes, the message says what stands there.
 * - `ERR_MILLRACE_VERIFY_TRUNCATED`: the bytes end at `offset`, before `expected`.
 * - `ERR_MILLRACE_VERIFY_TOO_LONG`: there are more bytes after `offset`, where the range ends.
 */
export class VerifyError extends MillraceError {
  /** Number of the 64 KiB block that `offset` lies in, from 0. */
  declare readonly block?: number
  /** Number of the unique block that belongs there, from 0. */
  declare readonly uniqueBlock?: number
  /** Number of the 4 KiB page in the block, from 0. */
  declare readonly page?: number
  /** What stands there instead, as far as it could be told: a `Finding` of the bytes room. */
  declare readonly found?: unknown

  // oxlint-disable-next-line no-useless-constructor -- it says which facts there are
  constructor(
    code: string,
    message: string,
    facts: ErrorFacts & {
      readonly block?: number
      readonly uniqueBlock?: number
      readonly page?: number
      readonly found?: unknown
    },
  ) {
    super(code, message, facts)
  }
}

/**
 * A policy ended a call. What the call itself threw and is not worth another try passes a policy unchanged.
 *
 * - `ERR_MILLRACE_RETRIES`: it failed at every one of `attempts` attempts; `cause` is the last failure.
 * - `ERR_MILLRACE_RETRY_AFTER`: the remote asks for a longer pause than `maxRetryAfter`; `actual` is that pause in ms.
 * - `ERR_MILLRACE_CIRCUIT_OPEN`: not called, since the remote has failed too often; `cause` is its last failure,
 *   `retryAfterMs` the time until a call is let through again.
 * - `ERR_MILLRACE_TIMEOUT`: it took longer than `timeout` milliseconds (`expected`).
 * - `ERR_MILLRACE_BULKHEAD_FULL`: not called, since as many calls run and wait as may.
 */
export class PolicyError extends MillraceError {
  /** When another try may help, in milliseconds from now. */
  declare readonly retryAfterMs?: number

  constructor(
    code: string,
    message: string,
    { retryAfterMs, ...facts }: ErrorFacts & { retryAfterMs?: number } = {},
  ) {
    super(code, message, facts)
    if (retryAfterMs !== undefined) this.retryAfterMs = retryAfterMs
  }
}

/**
 * An object store did not do what it was asked. `cause` is what it answered, `attempts` how often it was asked.
 *
 * - `ERR_MILLRACE_S3_WRITE`: an upload failed and was aborted; `acknowledgedBytes` of it had been acknowledged.
 * - `ERR_MILLRACE_S3_READ`: an object cannot be read from `offset` on; all bytes before it have been delivered.
 * - `ERR_MILLRACE_S3_CHANGED`: the object was replaced while it was read; `expected` and `actual` are the ETags.
 * - `ERR_MILLRACE_S3_RANGE`: the range lies outside of the object; `actual` is the size of the object.
 * - `ERR_MILLRACE_S3_SIZE`: there are more or fewer bytes than `expected`: given to a writer, or stored.
 * - `ERR_MILLRACE_S3_CHECKSUM`: the stored bytes are not those that were written.
 */
export class S3Error extends MillraceError {
  /** The object, as `s3://bucket/key`. */
  readonly url: string
  /** Writing: bytes in parts that the store had acknowledged before the upload was given up. */
  declare readonly acknowledgedBytes?: number
  /** Writing: the multipart upload that could not be aborted; its parts are still stored. */
  declare readonly uploadId?: string

  constructor(
    code: string,
    url: string,
    message: string,
    facts: ErrorFacts & { acknowledgedBytes?: number; uploadId?: string } = {},
  ) {
    super(code, `${url}: ${message}`, facts)
    this.url = url
  }
}

/**
 * Packed input is not what it should be, or something cannot be packed. `offset` counts the bytes of the packed input, `rawOffset` those
 * that come out of it. All that comes before has been delivered.
 *
 * - `ERR_MILLRACE_CODEC_INVALID`: these bytes are not of the format, or not what its decoder takes.
 * - `ERR_MILLRACE_CODEC_TRUNCATED`: the input ends before its own end mark.
 * - `ERR_MILLRACE_CODEC_CHECKSUM`: what came out is not what went in; `expected` and `actual` are the checksums.
 * - `ERR_MILLRACE_CODEC_LIMIT`: a block or window is larger than is allowed, or unpacks to more than it says; raise the limit if it is meant.
 * - `ERR_MILLRACE_CODEC_UNKNOWN`: a codec, a version or a dictionary that is not at hand.
 * - `ERR_MILLRACE_CODEC_UNSEEKABLE`: this input can only be read from its start.
 * - `ERR_MILLRACE_CODEC_RANGE`: a range that lies outside of the content; `actual` is its size.
 * - `ERR_MILLRACE_CODEC_FAILED`: a codec failed on a block; `cause` is what it threw.
 */
export class CodecError extends MillraceError {
  /** Where in the unpacked bytes, from their start. */
  declare readonly rawOffset?: number

  // oxlint-disable-next-line no-useless-constructor -- it says which facts there are
  constructor(code: string, message: string, facts: ErrorFacts & { readonly rawOffset?: number } = {}) {
    super(code, message, facts)
  }
}

/**
 * A table cannot be read, or not be learnt from.
 *
 * - `ERR_MILLRACE_TABLE_CSV`: the text is not CSV as RFC 4180 has it, or a row has more or fewer fields than the header; `line` says where.
 * - `ERR_MILLRACE_TABLE_ROW`: a record is not a flat object; `index` is its number.
 * - `ERR_MILLRACE_TABLE_EMPTY`: there is no row, or no column.
 * - `ERR_MILLRACE_TABLE_VALUE`: a value is none that its column can have by the schema; `index` is the number of its row.
 * - `ERR_MILLRACE_TABLE_SCHEMA`: this is no schema, or not one of this table.
 */
export class TableError extends MillraceError {}

/**
 * A model cannot be made, loaded, or sampled from.
 *
 * - `ERR_MILLRACE_MODEL_METHOD`: this method is not there; the message says which to use instead.
 * - `ERR_MILLRACE_MODEL_FORMAT`: this is no model, or one of another version.
 * - `ERR_MILLRACE_MODEL_IDS`: a column of ids has given all ids of its form.
 * - `ERR_MILLRACE_MODEL_UPDATE`: new rows cannot be added to this model.
 */
export class ModelError extends MillraceError {}

/**
 * No record, or hardly any, meets the conditions.
 *
 * - `ERR_MILLRACE_CONDITION_IMPOSSIBLE`: no value that a column can have meets its condition. Raised before the first record.
 * - `ERR_MILLRACE_CONDITION_RARE`: so few candidates meet them that sampling was given up; `actual` is their share, `attempts`
 *   how many were tried. Use the method `gaussian_copula`, which draws rare records directly, or wider conditions.
 */
export class ConditionError extends MillraceError {}

/**
 * A response could not be made or read to its end. All records before `index` have been delivered.
 *
 * - `ERR_MILLRACE_HTTP_STATUS`: the server answered with an error; `status`, and `body` as far as it was read.
 * - `ERR_MILLRACE_HTTP_TRUNCATED`: the response ended early, at record `index`; `cause` says how.
 * - `ERR_MILLRACE_HTTP_FAILED`: the server says in its last line that it failed; `actual` is what it says.
 * - `ERR_MILLRACE_HTTP_CHANGED`: what is to be resumed is not what it was, or the server starts over.
 * - `ERR_MILLRACE_HTTP_TYPE`: no decoder for this content type or encoding (`actual`).
 * - `ERR_MILLRACE_HTTP_NOT_ACCEPTABLE`: no encoder for what the client accepts; it gets status 406.
 * - `ERR_MILLRACE_HTTP_ENCODE`: record `index` cannot be written in this format.
 * - `ERR_MILLRACE_HTTP_DISCONNECTED`: the client went away; the reason of the signal that fetchers get.
 */
export class HttpError extends MillraceError {
  /** The status that was received, or that goes with this error. */
  declare readonly status?: number
  /** Start of the body of an answer that is an error. */
  declare readonly body?: string

  constructor(
    code: string,
    message: string,
    { status, body, ...facts }: ErrorFacts & { status?: number; body?: string } = {},
  ) {
    super(code, message, facts)
    if (status !== undefined) this.status = status
    if (body !== undefined) this.body = body
  }
}

/**
 * Kafka did not do what it was asked, or a record and a message could not become each other. `cause` is what the client threw.
 *
 * - `ERR_MILLRACE_KAFKA_CONNECT`: no broker answered in time.
 * - `ERR_MILLRACE_KAFKA_AUTH`: the broker refuses the credentials.
 * - `ERR_MILLRACE_KAFKA_TOPIC`: the topic does not exist.
 * - `ERR_MILLRACE_KAFKA_RECORD`: record `index` cannot become a message; all before it have been delivered.
 * - `ERR_MILLRACE_KAFKA_SEND`: messages from record `index` on were refused, or it is not known what became of them.
 * - `ERR_MILLRACE_KAFKA_TIMEOUT`: nothing was acknowledged for `writeTimeout` ms, while `bufferedBytes` waited; `cause` is what failed at last.
 * - `ERR_MILLRACE_KAFKA_TRANSACTION`: a transaction could not be ended; nothing of it is visible, nor is its position committed.
 * - `ERR_MILLRACE_KAFKA_MESSAGE`: the message at `topic`, `partition`, `messageOffset` cannot be decoded; all before it were read.
 * - `ERR_MILLRACE_KAFKA_READ`: messages cannot be read any further.
 * - `ERR_MILLRACE_KAFKA_OFFSET`: the broker no longer holds the offset that is to be read next.
 */
export class KafkaError extends MillraceError {
  declare readonly topic?: string
  declare readonly partition?: number
  /** Offset of the message in its partition. */
  declare readonly messageOffset?: bigint
  /** Writing: records that the broker has acknowledged, which is all before the first one that failed. */
  declare readonly acknowledged?: number
  /** Writing: bytes that waited when it failed. */
  declare readonly bufferedBytes?: number

  // oxlint-disable-next-line no-useless-constructor -- it says which facts there are
  constructor(code: string, message: string, facts: KafkaFacts = {}) {
    super(code, message, facts)
  }
}

/** The facts that a {@link KafkaError} can carry. */
export interface KafkaFacts extends ErrorFacts {
  readonly topic?: string
  readonly partition?: number
  readonly messageOffset?: bigint
  readonly acknowledged?: number
  readonly bufferedBytes?: number
}

/**
 * Bytes and records could not become each other, or the schema between them is missing.
 *
 * - `ERR_MILLRACE_SCHEMA_REGISTRY`: the registry refused, or did not answer; `actual` is its status.
 * - `ERR_MILLRACE_SCHEMA`: the schema is none, or does not have what is asked of it.
 * - `ERR_MILLRACE_SCHEMA_FRAME`: the bytes do not start as the wire format does.
 */
export class SchemaError extends MillraceError {}

/**
 * A WebSocket, or a message on it, is not what it should be.
 *
 * - `ERR_MILLRACE_WEBSOCKET_REQUEST`: a client asks for something that is not served; it is told, and stays connected.
 * - `ERR_MILLRACE_WEBSOCKET_CONNECT`: a server refuses the handshake; `status` is its answer.
 * - `ERR_MILLRACE_WEBSOCKET_CLOSED`: the connection broke `attempts` times in a row; `actual` is the code of the last close.
 * - `ERR_MILLRACE_WEBSOCKET_MESSAGE`: message `index` cannot be read or written.
 */
export class WebSocketError extends MillraceError {
  /** Of the request that is wrong. */
  declare readonly id?: string | number
  /** Status of HTTP that a handshake was answered with. */
  declare readonly status?: number

  // oxlint-disable-next-line no-useless-constructor -- it says which facts there are
  constructor(
    code: string,
    message: string,
    facts: ErrorFacts & { readonly id?: string | number; readonly status?: number } = {},
  ) {
    super(code, message, facts)
  }
}
/** At which point an operation of a store failed, see {@link StoreError}. */
export type StoreErrorCategory = 'connection' | 'send' | 'receive' | 'aborted' | 'item'

/**
 * A store did not do what it was asked for one item; `index` is its number in the stream. `category` says where it failed:
 * `'connection'`: the server cannot be reached, or does not go on; `'send'`: the item could not be sent or written;
 * `'receive'`: what came back, or what is stored, cannot be read; `'aborted'`: the signal was; `'item'`: the store refuses it.
 *
 * - `ERR_MILLRACE_STORE_NOT_FOUND`: there is no record of that CID.
 * - `ERR_MILLRACE_STORE_INVALID`: the record is no JSON object that can be stored, or the CID is none.
 * - `ERR_MILLRACE_STORE_REFUSED`: the server refused the item; `status` is its gRPC code.
 * - `ERR_MILLRACE_STORE_TOO_LARGE`: a message is longer than may be sent or received.
 * - `ERR_MILLRACE_STORE_CORRUPT`: what is stored or was answered is damaged.
 * - `ERR_MILLRACE_STORE_WRITE`: the record could not be written; `cause` is the system's error.
 * - `ERR_MILLRACE_STORE_UNAVAILABLE`: the server could not be reached, or failed at each of `attempts` attempts.
 * - `ERR_MILLRACE_STORE_ABORTED`: the signal was aborted; `cause` is its reason.
 * - `ERR_MILLRACE_STORE_LOCKED`: another process has the folder of the store open for writing.
 */
export class StoreError extends MillraceError {
  readonly category: StoreErrorCategory
  /** CID of the item, where it is known. */
  declare readonly cid?: string
  /** gRPC status code, where a server gave one. */
  declare readonly status?: number

  constructor(
    code: string,
    category: StoreErrorCategory,
    message: string,
    facts: ErrorFacts & { readonly cid?: string; readonly status?: number } = {},
  ) {
    super(code, message, facts)
    this.category = category
  }
}

/** A package that this feature needs is not installed: `ERR_MILLRACE_MISSING_PEER`; the message says what to install. */
export class MissingPeerError extends MillraceError {}

/** This Node lacks what the feature needs: `ERR_MILLRACE_NODE_VERSION`; `expected` is the first version that has it. */
export class NodeVersionError extends MillraceError {}

/** What was thrown, as an error: a callback of the user may throw anything. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(`not an error: ${describe(thrown)}`, { cause: thrown })
}

/** A value as a person would recognise it in a message, cut to a length that keeps the message one line. */
export function describe(value: unknown): string {
  let text: string
  if (typeof value === 'string') text = JSON.stringify(value)
  else if (typeof value === 'bigint') text = `${value}n`
  else if (typeof value === 'function') text = `function ${value.name || '(anonymous)'}`
  else if (Array.isArray(value)) text = `an array of ${value.length}`
  else if (typeof value === 'object' && value !== null)
    text = `an instance of ${value.constructor?.name ?? 'Object'}`
  else text = String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

import type { StoreError } from '../errors.ts'
import type { RecordBatch, StatsHooks } from '../flow/index.ts'
import type { JsonObject } from './canonical-json.ts'
import type { RecordMeta } from './messages.ts'
import type { StoreStream } from './store-stream.ts'

/** Items that one stream may have under way unless told otherwise. */
export const DEFAULT_WINDOW = 64

/** A record that is stored, by its content. */
export interface RecordRef {
  readonly cid: string
}

/** Names a record: its CID, or anything that has one, such as the result of a push. */
export type RefLike = string | RecordRef

/** Items as they come: a Readable, a generator, an array; single ones or batches. */
export type ItemSource<T> = AsyncIterable<T | RecordBatch<T>> | Iterable<T | RecordBatch<T>>

/** What became of one item: what `Done` says, or `error`. `index` is its number in the input, from 0. */
export type ItemResult<Done> =
  | ({ readonly index: number; readonly error?: undefined } & Done)
  | ({ readonly index: number; readonly error: StoreError } & { readonly [Key in keyof Done]?: undefined })

/** Of a push or a delete. */
export type RefResult = ItemResult<{ readonly ref: RecordRef }>
/** Of a pull. */
export type RecordResult = ItemResult<{ readonly record: JsonObject }>
/** Of a lookup. */
export type MetaResult = ItemResult<{ readonly meta: RecordMeta }>

/** Options of one stream. */
export interface StoreStreamOptions extends StatsHooks {
  /**
   * Items that one sub-stream may have under way, between the source and the reader.
   * @defaultValue 64
   */
  readonly window?: number
  /**
   * Sub-streams at once; results stay in the order of the input. An embedded store works in one thread and has no use for more
   * than one.
   * @defaultValue 1
   */
  readonly concurrency?: number
  /** Ends the stream with a `StoreError` of the category `'aborted'`. */
  readonly signal?: AbortSignal
}

/**
 * A content-addressed store of JSON records. Streams in, streams out: every item of the input gives one result, in the order of
 * the input, whatever fails; what concerns one item is an `error` in its result and no exception.
 */
export interface Store {
  /** Records in, the refs under which they are stored out. Pushing what is there already is no error. */
  pushStream(records: ItemSource<unknown>, options?: StoreStreamOptions): StoreStream<RefResult>
  /** Refs in, records out. */
  pullStream(refs: ItemSource<RefLike>, options?: StoreStreamOptions): StoreStream<RecordResult>
  /** Refs in, metadata out. */
  lookupStream(refs: ItemSource<RefLike>, options?: StoreStreamOptions): StoreStream<MetaResult>
  /** Refs in; out come the refs under which nothing is stored any more, whether or not something was. */
  deleteStream(refs: ItemSource<RefLike>, options?: StoreStreamOptions): StoreStream<RefResult>
  /** Stores one record. @throws {@link StoreError} what `pushStream` would give as its error. */
  push(record: unknown, options?: StoreStreamOptions): Promise<RecordRef>
  /** Gives one record. @throws {@link StoreError} what `pullStream` would give as its error. */
  pull(ref: RefLike, options?: StoreStreamOptions): Promise<JsonObject>
  /** Gives the metadata of one record. @throws {@link StoreError} what `lookupStream` would give as its error. */
  lookup(ref: RefLike, options?: StoreStreamOptions): Promise<RecordMeta>
  /** Deletes one record. @throws {@link StoreError} what `deleteStream` would give as its error. */
  delete(ref: RefLike, options?: StoreStreamOptions): Promise<void>
  /** Ends the store: what is under way is finished, files are closed. */
  close(): Promise<void>
}

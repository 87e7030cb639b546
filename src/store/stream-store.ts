import type { JsonObject } from './canonical-json.ts'
import type { RecordMeta } from './messages.ts'
import { only, type StoreStream } from './store-stream.ts'
import type {
  ItemSource,
  MetaResult,
  RecordRef,
  RecordResult,
  RefLike,
  RefResult,
  Store,
  StoreStreamOptions,
} from './store.ts'

/** What every store has in common: the calls for one item, by its streams. */
export abstract class StreamStore implements Store {
  abstract pushStream(records: ItemSource<unknown>, options?: StoreStreamOptions): StoreStream<RefResult>
  abstract pullStream(refs: ItemSource<RefLike>, options?: StoreStreamOptions): StoreStream<RecordResult>
  abstract lookupStream(refs: ItemSource<RefLike>, options?: StoreStreamOptions): StoreStream<MetaResult>
  abstract deleteStream(refs: ItemSource<RefLike>, options?: StoreStreamOptions): StoreStream<RefResult>
  abstract close(): Promise<void>

  async push(record: unknown, options?: StoreStreamOptions): Promise<RecordRef> {
    return (await only(this.pushStream([record], options))).ref!
  }

  async pull(ref: RefLike, options?: StoreStreamOptions): Promise<JsonObject> {
    return (await only(this.pullStream([ref], options))).record!
  }

  async lookup(ref: RefLike, options?: StoreStreamOptions): Promise<RecordMeta> {
    return (await only(this.lookupStream([ref], options))).meta!
  }

  async delete(ref: RefLike, options?: StoreStreamOptions): Promise<void> {
    await only(this.deleteStream([ref], options))
  }
}

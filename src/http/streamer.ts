import type { StatsHooks, StreamStats } from '../flow/index.ts'
import { checkFunction } from '../options.ts'
import type { DataFetcher } from './data-fetcher.ts'
import { StreamResponse, type ResponseOptions, type StreamReport } from './stream-response.ts'
import { checkConfig, type StreamerConfig, type StreamerOptions } from './streamer-config.ts'
import type { BatchTransformer, Transformer } from './transform-items.ts'

/** What a {@link Streamer} has done so far, all its finished responses together. */
export interface StreamerStats extends StreamStats {
  /** Responses begun. */
  readonly responses: number
  /** Responses under way. */
  readonly active: number
  /** Responses that ended with an error. */
  readonly failed: number
  /** Responses whose client went away. */
  readonly disconnected: number
  /** Records dropped by strategies other than `'block'`. */
  readonly dropped: number
}

/**
 * From a source of items to HTTP responses: the items are fetched, transformed, encoded in the format that the client asks for and sent in chunks, no
 * faster than the client takes them.
 *
 * The head of a response waits for its first chunk: a small result is sent whole with its length, and an error before that is a status
 * of 400 or above with a JSON body. An error after that destroys the connection, so that no client takes a part for the whole. When the
 * client goes away, the source is stopped.
 *
 * @remarks
 * A response holds one chunk, `bufferSize` encoded blocks, and the items of a batch; some 100 KB with small records. One Streamer serves any number of
 * responses, and its configuration cannot be changed.
 * @typeParam T - items that are fetched
 * @typeParam U - records that are sent
 * @throws {@link OptionError} if an option is wrong.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { once } from 'node:events'
 * import { createServer } from 'node:http'
 * import { Streamer, receive } from 'millrace'
 *
 * const streamer = new Streamer<number, { n: number }>({ batchSize: 50 })
 * async function* count() {
 *   for (let n = 0; n < 10_000; n++) yield n
 * }
 * const server = createServer((request, response) => {
 *   void streamer.stream(count, (n) => ({ n })).sendTo(response)
 * })
 * await once(server.listen(0), 'listening')
 *
 * let sum = 0
 * for await (const { n } of receive<{ n: number }>(fetch(`http://localhost:${server.address().port}/`))) sum += n
 * assert.equal(sum, 49_995_000)
 * server.close()
 * ```
 */
export class Streamer<T = unknown, U = T> {
  /** The options of this streamer with all defaults; frozen. */
  readonly config: StreamerConfig
  readonly #hooks: StatsHooks
  #responses = 0
  #active = 0
  #failed = 0
  #disconnected = 0
  #dropped = 0
  #recordsIn = 0
  #records = 0
  #bytes = 0
  #chunks = 0
  #elapsedMs = 0

  constructor(options: StreamerOptions = {}) {
    this.config = checkConfig(options)
    const { onChunk, onError, onComplete } = options
    checkFunction('onChunk', onChunk)
    checkFunction('onError', onError)
    checkFunction('onComplete', onComplete)
    this.#hooks = {
      ...(onChunk && { onChunk }),
      ...(onError && { onError }),
      ...(onComplete && { onComplete }),
    }
  }

  /**
   * A response of the items of a fetcher, each transformed by itself. A module as transformer runs on worker threads, as with
   * `offload`: it gets an array of items and gives one of records.
   *
   * @throws {@link OptionError} if something is wrong.
   */
  stream(
    fetcher: DataFetcher<T>,
    transformer?: Transformer<T, U> | URL | string,
    options?: ResponseOptions,
  ): StreamResponse {
    return this.#respond(fetcher, { each: 'item', transformer }, options)
  }

  /**
   * A response of the items of a fetcher, transformed batch by batch. Arrays that the fetcher gives are batches of items; those of a
   * source of single items have `batchSize` at most.
   *
   * @throws {@link OptionError} if something is wrong.
   */
  streamBatch(
    fetcher: DataFetcher<T | readonly T[]>,
    transformer?: BatchTransformer<T, U> | URL | string,
    options?: ResponseOptions,
  ): StreamResponse {
    return this.#respond(fetcher, { each: 'batch', transformer }, options)
  }

  stats(): StreamerStats {
    const perSecond = (count: number) => (this.#elapsedMs === 0 ? 0 : (count * 1000) / this.#elapsedMs)
    return {
      bytesIn: 0,
      bytesOut: this.#bytes,
      recordsIn: this.#recordsIn,
      recordsOut: this.#records,
      chunks: this.#chunks,
      errors: this.#failed,
      elapsedMs: this.#elapsedMs,
      bytesPerSecond: perSecond(this.#bytes),
      recordsPerSecond: perSecond(this.#records),
      responses: this.#responses,
      active: this.#active,
      failed: this.#failed,
      disconnected: this.#disconnected,
      dropped: this.#dropped,
    }
  }

  #respond(fetcher: unknown, work: object, options: ResponseOptions | undefined): StreamResponse {
    return new StreamResponse({
      config: this.config,
      fetcher: fetcher as DataFetcher<unknown>,
      work: work as never,
      options: options ?? {},
      hooks: this.#hooks,
      onStart: () => {
        this.#responses++
        this.#active++
      },
      onEnd: (report) => this.#ended(report),
    })
  }

  #ended({ outcome, dropped, recordsIn, records, bytes, chunks, elapsedMs }: StreamReport): void {
    this.#active--
    if (outcome === 'failed') this.#failed++
    if (outcome === 'disconnected') this.#disconnected++
    this.#dropped += dropped
    this.#recordsIn += recordsIn
    this.#records += records
    this.#bytes += bytes
    this.#chunks += chunks
    this.#elapsedMs += elapsedMs
  }
}

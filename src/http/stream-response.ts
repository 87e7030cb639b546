import { OptionError, StateError, asError } from '../errors.ts'
import { StatsCounter, type StatsHooks } from '../flow/index.ts'
import { checkBoolean, checkInteger, checkSignal, checkString } from '../options.ts'
import { CompressSink } from './compress-sink.ts'
import type { DataFetcher } from './data-fetcher.ts'
import { LateSource } from './item-source.ts'
import { LateAbort } from './late-abort.ts'
import { NodeSink, type NodeRequest, type NodeResponse } from './node-sink.ts'
import { ReadableSink, type ReadyResponse } from './readable-sink.ts'
import { ResponsePump, type PumpOutcome } from './response-pump.ts'
import {
  errorResponse,
  planResponse,
  sendBare,
  type RequestFacts,
  type ResponsePlan,
} from './response-plan.ts'
import type { ResponseSink } from './response-sink.ts'
import { limiterOf, type StreamerConfig } from './streamer-config.ts'
import { workSource, workTransform, type Work } from './transform-items.ts'
import { WebSink } from './web-sink.ts'

/** What is special about one response. */
export interface ResponseOptions {
  /**
   * Status of a response that is not an error.
   *
   * @defaultValue 200, or what the application has set on the response
   */
  readonly status?: number
  /** Headers beside those that follow from format and compression; names in any case. */
  readonly headers?: Readonly<Record<string, string>>
  /**
   * Identifies what is sent, with its quotes. A client that has it already gets status 304, and one that resumes gets the rest only if
   * this has not changed.
   */
  readonly etag?: string
  /**
   * Whether the fetcher, a function, can begin at any item: then a client may ask for the rest by `Range: items=N-`.
   *
   * @defaultValue false
   */
  readonly resumable?: boolean
  /** Ends the response with an error when it is aborted. */
  readonly signal?: AbortSignal
}

/** How a response went. */
export interface StreamReport {
  /**
   * `complete`: all was taken. `disconnected`: the client went away. `failed`: the source, the transformer, the encoder or a hook did; the client
   * was told.
   */
  readonly outcome: 'complete' | 'failed' | 'disconnected'
  /** Status that was sent; 0 if nothing was. */
  readonly status: number
  /** What went wrong. */
  readonly error: Error | undefined
  /** Items fetched. */
  readonly recordsIn: number
  /** Records sent. */
  readonly records: number
  /** Bytes sent, before compression. */
  readonly bytes: number
  readonly chunks: number
  /** Records dropped by a strategy other than `'block'`. */
  readonly dropped: number
  /** From the call to the first byte, in milliseconds; undefined if there was none. */
  readonly firstByteMs: number | undefined
  readonly elapsedMs: number
}

interface StreamResponseInit {
  readonly config: StreamerConfig
  readonly fetcher: DataFetcher<unknown>
  readonly work: Work
  readonly options: ResponseOptions
  readonly hooks: StatsHooks
  readonly onStart: () => void
  readonly onEnd: (report: StreamReport) => void
}

const NO_REQUEST: RequestFacts = {}

/**
 * One response of a {@link Streamer}, to be sent once: to a response of Node's servers or Express, as the `Response` of a fetch handler (Hono
 * and others), to Fastify by its plugin, or as a Readable. Nothing is fetched before that.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Streamer } from 'millrace'
 *
 * const streamer = new Streamer<number>()
 * const request = new Request('http://api/numbers', { headers: { accept: 'application/x-ndjson' } })
 * const response = await streamer.stream([1, 2, 3]).toResponse(request)
 * assert.equal(response.headers.get('content-length'), '6')
 * assert.equal(await response.text(), '1\n2\n3\n')
 * ```
 */
export class StreamResponse {
  readonly #init: StreamResponseInit
  #used = false

  /** Made by a {@link Streamer}. */
  constructor(init: StreamResponseInit) {
    const { fetcher, work, options } = init
    checkResponseOptions(options, fetcher)
    if (typeof fetcher !== 'function' && !isIterable(fetcher)) {
      throw new OptionError('fetcher', fetcher, 'something to iterate over, or a function that gives it')
    }
    const { transformer } = work
    if (
      transformer !== undefined &&
      !['function', 'string'].includes(typeof transformer) &&
      !(transformer instanceof URL)
    ) {
      throw new OptionError('transformer', transformer, 'a function, or the path or URL of a module')
    }
    this.#init = init
  }

  /**
   * Sends it by a response of `node:http`, `node:http2` or Express. Resolves when the last byte was handed to the system or the client is gone;
   * what goes wrong is told to the client, and is in the report. Headers and status that the application has set stand.
   *
   * @throws {@link StateError} `ERR_MILLRACE_RESPONSE_USED` if this or the response was sent before.
   */
  async sendTo(response: NodeResponse, request: NodeRequest = response.req): Promise<StreamReport> {
    if (response.headersSent || response.writableEnded)
      throw usedError('the head of the response has been sent')
    const { options, config } = this.#init
    const sink = new NodeSink(response, config.pool)
    const status = options.status ?? response.statusCode
    return this.#send(sink, { method: request.method, header: headerOf(request) }, status)
  }

  /**
   * Gives a `Response` for a fetch handler. Resolves when its head is known; its body is fetched as it is read.
   *
   * @throws {@link StateError} `ERR_MILLRACE_RESPONSE_USED` if it was sent before.
   */
  async toResponse(request?: Request): Promise<Response> {
    const sink = new WebSink()
    const facts = request && {
      method: request.method,
      header: (name: string) => request.headers.get(name) ?? undefined,
    }
    void this.#send(sink, facts ?? NO_REQUEST, this.#init.options.status ?? 200)
    return sink.response
  }

  /**
   * Gives status, headers and body for a framework that takes streams: what is small comes whole, anything else as a Readable. Rejects
   * with an error that comes before the first byte.
   *
   * @throws {@link StateError} `ERR_MILLRACE_RESPONSE_USED` if it was sent before.
   */
  async toReady(facts: RequestFacts = NO_REQUEST): Promise<ReadyResponse> {
    return new Promise((resolve, reject) => {
      const sink = new ReadableSink({ onReady: resolve, onRefuse: reject })
      this.#send(sink, facts, this.#init.options.status ?? 200).catch(reject)
    })
  }

  /**
   * Sends it to a sink of your own.
   *
   * @throws {@link StateError} `ERR_MILLRACE_RESPONSE_USED` if it was sent before.
   */
  async sendToSink(sink: ResponseSink, facts: RequestFacts = NO_REQUEST): Promise<StreamReport> {
    return this.#send(sink, facts, this.#init.options.status ?? 200)
  }

  async #send(to: ResponseSink, facts: RequestFacts, status: number): Promise<StreamReport> {
    if (this.#used) throw usedError('it is sent already')
    this.#used = true
    const { hooks, onStart, onEnd, options } = this.#init
    const startedAt = performance.now()
    const counter = new StatsCounter('Streamer', hooks)
    const plan = planResponse(this.#init, facts, status)
    onStart()
    let outcome: PumpOutcome
    if (plan.bare) outcome = await sendBare(to, plan.bare)
    else {
      const pump = this.#pump(to, plan, counter)
      const cancel = () => pump.cancel(asError(options.signal?.reason))
      options.signal?.addEventListener('abort', cancel, { once: true })
      if (options.signal?.aborted) cancel()
      outcome = await pump.run()
      options.signal?.removeEventListener('abort', cancel)
    }
    const { outcome: how, status: told, error, dropped, firstByteAt } = outcome
    // named one by one: to spread the outcome took 10 µs, as much as all the rest of this
    const report: StreamReport = {
      outcome: how,
      status: told,
      error,
      dropped,
      recordsIn: counter.recordsIn,
      records: counter.recordsOut,
      bytes: counter.bytesOut,
      chunks: counter.chunks,
      firstByteMs: firstByteAt === undefined ? undefined : firstByteAt - startedAt,
      elapsedMs: performance.now() - startedAt,
    }
    onEnd(report)
    return tellHooks(report, counter)
  }

  /** Puts the stages together. */
  #pump(
    to: ResponseSink,
    { encoder, coding, start, status, headers }: ResponsePlan,
    counter: StatsCounter,
  ): ResponsePump<unknown, unknown> {
    const { config, work, fetcher, options } = this.#init
    const abort = new LateAbort()
    const limiter = limiterOf(config.rateLimit)
    // a rate of items passes them a few at a time: a batch of a hundred would come once in ten seconds at ten a second
    const perPull = limiter?.per === 'items' ? Math.max(1, Math.floor(limiter.rate / 20)) : Infinity
    const { flushInterval, concurrency, workers } = config
    const batchSize = Math.min(config.batchSize, perPull)
    const settings = { batchSize, flushInterval, concurrency, workers, abort }
    const onItem = () => pump.armFlush()
    const source =
      typeof fetcher === 'function'
        ? new LateSource(async () =>
            workSource(
              await fetcher(abort.signal, { start: options.resumable ? start : 0 }),
              work,
              settings,
              onItem,
            ),
          )
        : workSource(fetcher, work, settings, onItem)
    const pump = new ResponsePump<unknown, unknown>({
      source,
      transform: workTransform(work, settings),
      encoding: encoder.start(),
      sink: coding && config.compression ? new CompressSink(to, coding, config.compression.minBytes) : to,
      counter,
      start,
      config,
      batchSize,
      limiter,
      head: { status, headers },
      errorResponse: (error) => errorResponse(error, config.errorBody),
      abort,
    })
    return pump
  }
}

/** A hook that throws fails nothing any more here: the response is over. */
function tellHooks(report: StreamReport, counter: StatsCounter): StreamReport {
  try {
    if (report.outcome === 'complete') counter.completed()
    else if (report.outcome === 'failed') counter.failed(report.error)
    return report
  } catch (error) {
    return { ...report, error: report.error ?? asError(error) }
  }
}

function isIterable(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value)
  )
}

function usedError(why: string): StateError {
  return new StateError('ERR_MILLRACE_RESPONSE_USED', `a response can be sent once: ${why}`, {
    expected: 'a response that was not sent',
  })
}

function checkResponseOptions(options: ResponseOptions, fetcher: unknown): void {
  const { status, headers, etag, resumable = false, signal } = options
  if (status !== undefined) checkInteger('status', status, 200, 299)
  for (const [name, value] of Object.entries(headers ?? {})) checkString(`headers.${name}`, value)
  if (etag !== undefined && !/^(W\/)?"[^"]*"$/.test(checkString('etag', etag))) {
    throw new OptionError('etag', etag, 'a quoted entity tag')
  }
  if (checkBoolean('resumable', resumable) && typeof fetcher !== 'function') {
    throw new OptionError(
      'resumable',
      resumable,
      'false for a fetcher that is no function: it cannot begin elsewhere',
    )
  }
  checkSignal('signal', signal)
}

function headerOf(request: NodeRequest): (name: string) => string | undefined {
  return (name) => {
    const value = request.headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  }
}

import type { EventEmitter } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { WebSocketServer } from 'ws'
import { OptionError, StateError } from '../errors.ts'
import { StatsCounter, type StatsHooks, type StreamStats } from '../flow/index.ts'
import { loadPeer } from '../load-peer.ts'
import { checkInteger, checkMethods, checkString } from '../options.ts'
import {
  Model,
  fit,
  type FitOptions,
  type ModelData,
  type RecordGenerator,
  type Table,
  type TableSource,
} from '../records/index.ts'
import { GeneratorSource, ModelSource, type BatchSource } from './batch-source.ts'
import { CLOSE, ClientSession, type SessionPlan } from './client-session.ts'
import { FULL, refusalOf, refuse } from './upgrade-guard.ts'

/** Port that a server listens on unless told otherwise. */
export const DEFAULT_WEBSOCKET_PORT = 8765

/** Longest message that a client may send unless told otherwise, in bytes: 64 KiB. A request is a few hundred. */
export const DEFAULT_MAX_PAYLOAD = 64 * 1024

/** Longest timer of Node, in milliseconds. */
const MAX_TIMER = 2 ** 31 - 1

/** Options of {@link WebSocketStreamingGenerator}. */
export interface WebSocketStreamingGeneratorOptions extends StatsHooks {
  /**
   * Address to listen on. Beyond this machine only with a `token`.
   * @defaultValue '127.0.0.1'
   */
  readonly host?: string
  /**
   * Port to listen on; 0 takes a free one.
   * @defaultValue 8765
   */
  readonly port?: number
  /**
   * Records of a message where the request does not say.
   * @defaultValue 100
   */
  readonly batchSize?: number
  /**
   * Most records of a message that a request may ask for.
   * @defaultValue 10000
   */
  readonly maxBatchSize?: number
  /**
   * Most records that a request may ask for.
   * @defaultValue 10000000
   */
  readonly maxCount?: number
  /**
   * Clients at a time; the next one is answered with status 503.
   * @defaultValue 100
   */
  readonly maxConnections?: number
  /**
   * Requests of one client that are answered at the same time.
   * @defaultValue 8
   */
  readonly maxRequests?: number
  /**
   * Bytes of a message of a client at most; a longer one closes its connection with 1009.
   * @defaultValue 65536 (64 KiB)
   */
  readonly maxPayload?: number
  /**
   * How long a client may take to receive one message, in milliseconds; then it is closed with 1013.
   * @defaultValue 30000
   */
  readonly stallTimeout?: number
  /**
   * Time between two signs of life of a client, in milliseconds; without one its connection is ended.
   * @defaultValue 30000
   */
  readonly pingInterval?: number
  /**
   * How long a client has to say goodbye when its connection is closed, in milliseconds.
   * @defaultValue 5000
   */
  readonly closeTimeout?: number
  /** What a client must give, as `Authorization: Bearer …` or `?token=…`. */
  readonly token?: string
  /**
   * Pages from elsewhere that may connect, as `https://host:port`. Pages of the same host, and clients that are no browser, always may.
   * @defaultValue none
   */
  readonly origins?: readonly string[]
  /**
   * Whether messages are deflated: 2 to 13 times slower on one core.
   * @defaultValue false
   */
  readonly deflate?: boolean
  /**
   * What the records follow from, for requests without a seed of their own.
   * @defaultValue 0
   */
  readonly seed?: number | string
  /** A generator of your own, in place of a model that is fitted or loaded. */
  readonly generator?: RecordGenerator
}

/** Counters of a {@link WebSocketStreamingGenerator}: of what has gone to all its clients. */
export interface WebSocketServerStats extends StreamStats {
  /** Clients at the moment. */
  readonly connections: number
  /** Handshakes that were refused. */
  readonly refused: number
}

/** What tells of handshakes: a server of Node. */
export type UpgradeSource = Pick<EventEmitter, 'on' | 'off'>

/** Where a server listens. */
export interface WebSocketAddress {
  readonly host: string
  readonly port: number
  /** As a client needs it: `ws://127.0.0.1:8765`. */
  readonly url: string
}

/**
 * A WebSocket server that makes records for whoever asks. Learns a table or loads a model, like `StreamingGenerator`.
 *
 * A client sends `{ action: 'generate', count, batch_size, conditions, seed, skip, id }` and gets `{ records, batch, id }` for each batch, then
 * `{ status: 'complete', records: [] }`. `stats` and `cancel` are the other actions. What a request does wrong is answered with
 * `{ status: 'error', code, message, records: [] }`, and the connection stays open.
 *
 * @remarks
 * Pull, not push: the next batch is made when the kernel has taken the one before, so a slow client costs one batch for each of its
 * requests, and is closed after `stallTimeout`. Needs the package `ws`.
 *
 * @throws {@link OptionError} when an option is out of range, or the server would be open to others without a token.
 * @see https://www.rfc-editor.org/rfc/rfc6455
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { on, once } from 'node:events'
 * import WebSocket from 'ws'
 * import { WebSocketStreamingGenerator } from 'millrace/websocket'
 *
 * const server = new WebSocketStreamingGenerator({ port: 0 })
 * await server.fit(Array.from({ length: 200 }, (_, i) => ({ age: 20 + (i % 50), vip: i % 5 === 0 })))
 * const { url } = await server.start()
 *
 * const client = new WebSocket(url)
 * await once(client, 'open')
 * client.send(JSON.stringify({ action: 'generate', count: 250, conditions: { vip: true } }))
 * const records = []
 * for await (const [data] of on(client, 'message')) {
 *   const message = JSON.parse(String(data))
 *   records.push(...message.records)
 *   if (message.status === 'complete') break
 * }
 * assert.equal(records.length, 250)
 * assert(records.every(({ vip }) => vip === true))
 * client.close()
 * await server.stop()
 * ```
 */
export class WebSocketStreamingGenerator {
  readonly #options: WebSocketStreamingGeneratorOptions
  readonly #host: string
  readonly #port: number
  readonly #maxConnections: number
  readonly #plan: Omit<SessionPlan, 'source' | 'stats'>
  readonly #counter: StatsCounter
  readonly #sessions = new Set<ClientSession>()
  readonly #attached = new Map<
    UpgradeSource,
    (request: IncomingMessage, socket: Duplex, head: Buffer) => void
  >()
  #source: BatchSource | undefined
  #server: Server | undefined
  #sockets: WebSocketServer | undefined
  #pings: NodeJS.Timeout | undefined
  #refused = 0
  /** Handshakes that were let in and are not sessions yet. */
  #arriving = 0
  #stopped = false

  constructor(options: WebSocketStreamingGeneratorOptions = {}) {
    const {
      host = '127.0.0.1',
      port = DEFAULT_WEBSOCKET_PORT,
      batchSize = 100,
      maxBatchSize = 10_000,
    } = options
    const { maxCount = 10_000_000, maxConnections = 100, maxRequests = 8 } = options
    const { stallTimeout = 30_000, pingInterval = 30_000, closeTimeout = 5000, token, generator } = options
    checkString('host', host)
    checkInteger('port', port, 0, 65_535)
    checkInteger('maxBatchSize', maxBatchSize, 1)
    checkInteger('batchSize', batchSize, 1, maxBatchSize)
    checkInteger('maxCount', maxCount, 1)
    checkInteger('maxConnections', maxConnections, 1)
    checkInteger('maxRequests', maxRequests, 1)
    checkInteger('maxPayload', options.maxPayload ?? DEFAULT_MAX_PAYLOAD, 1)
    checkInteger('stallTimeout', stallTimeout, 1, MAX_TIMER)
    checkInteger('pingInterval', pingInterval, 1, MAX_TIMER)
    checkInteger('closeTimeout', closeTimeout, 0, MAX_TIMER)
    if (token !== undefined && checkString('token', token) === '')
      throw new OptionError('token', token, 'some text')
    if (token === undefined && !isLoopback(host)) {
      throw new OptionError(
        'host',
        host,
        'an address of this machine alone, such as 127.0.0.1, unless there is a token',
      )
    }
    if (generator instanceof Model) this.#source = new ModelSource(generator, options.seed)
    else if (generator !== undefined)
      this.#source = new GeneratorSource(checkMethods('generator', generator, ['generate']))
    this.#options = options
    this.#host = host
    this.#port = port
    this.#maxConnections = maxConnections
    this.#counter = new StatsCounter('WebSocketStreamingGenerator', options)
    const limits = { batchSize, maxCount, maxBatchSize }
    this.#plan = { limits, maxRequests, stallTimeout, counter: this.#counter }
  }

  /** Learns a table. */
  async fit(data: Table | TableSource, options: FitOptions = {}): Promise<this> {
    return this.#use(await fit(data, options))
  }

  /** Takes a model that was learnt before: a `Model`, what its `toJSON` gave, or the path of its file. */
  async load(model: Model | ModelData | string): Promise<this> {
    if (typeof model === 'string') return this.#use(await Model.load(model))
    return this.#use(model instanceof Model ? model : Model.fromJSON(model))
  }

  stats(): WebSocketServerStats {
    return { ...this.#counter.snapshot(), connections: this.#sessions.size, refused: this.#refused }
  }

  /**
   * Listens for clients.
   *
   * @throws {@link StateError} before `fit` or `load`, and a second time; {@link MissingPeerError} without the package `ws`; what the system
   * says of a port that is taken.
   */
  async start(): Promise<WebSocketAddress> {
    if (this.#server !== undefined)
      throw new StateError('ERR_MILLRACE_WEBSOCKET_STARTED', 'start(): already called')
    const server = createServer((_request, response) => {
      response
        .writeHead(426, { Upgrade: 'websocket', 'Content-Type': 'text/plain' })
        .end('a WebSocket is served here\n')
    })
    await this.attach(server)
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(this.#port, this.#host, () => {
        server.off('error', reject)
        resolve()
      })
    })
    const { port } = server.address() as AddressInfo
    const name = this.#host.includes(':') ? `[${this.#host}]` : this.#host
    return { host: this.#host, port, url: `ws://${name}:${port}` }
  }

  /** Serves the clients of a server of your own that ask for `path`, and leaves its other upgrades alone. */
  async attach(server: UpgradeSource, path?: string): Promise<void> {
    if (this.#source === undefined) {
      throw new StateError(
        'ERR_MILLRACE_NOT_FITTED',
        'server: expected fit(), load() or a generator before this',
      )
    }
    const { WebSocketServer } = await loadPeer('A WebSocket', ['ws'], () => import('ws'))
    const { maxPayload = DEFAULT_MAX_PAYLOAD, deflate = false, pingInterval = 30_000 } = this.#options
    const { closeTimeout = 5000 } = this.#options
    // the types of ws do not know closeTimeout yet
    const settings = { noServer: true, maxPayload, perMessageDeflate: deflate, closeTimeout }
    this.#sockets ??= new WebSocketServer(settings)
    this.#pings ??= setInterval(
      () => this.#sessions.forEach((session) => session.ping()),
      pingInterval,
    ).unref()
    const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      if (path !== undefined && new URL(request.url ?? '/', 'ws://localhost').pathname !== path) return
      this.#welcome(request, socket, head)
    }
    server.on('upgrade', onUpgrade)
    this.#attached.set(server, onUpgrade)
  }

  /** Ends all answers, says goodbye with 1001, waits for up to `closeTimeout`, and closes the port. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#pings)
    for (const [server, onUpgrade] of this.#attached) server.off('upgrade', onUpgrade)
    this.#attached.clear()
    const sessions = [...this.#sessions]
    for (const session of sessions) session.close(CLOSE.goingAway, 'the server stops')
    const { closeTimeout = 5000 } = this.#options
    const patience = setTimeout(() => sessions.forEach((session) => session.terminate()), closeTimeout)
    const server = this.#server
    if (server?.listening) await new Promise((resolve) => server.close(resolve))
    await this.#empty()
    clearTimeout(patience)
  }

  #use(model: Model): this {
    if (this.#options.generator !== undefined) {
      throw new OptionError('generator', this.#options.generator, 'none, to use a model')
    }
    this.#source = new ModelSource(model, this.#options.seed)
    return this
  }

  #welcome(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { origins = [], token } = this.#options
    const full = this.#sessions.size + this.#arriving >= this.#maxConnections
    const refusal = refusalOf(request, { origins, token }) ?? (full ? FULL : undefined)
    if (refusal !== undefined || this.#stopped) {
      this.#refused++
      return refuse(socket, refusal ?? FULL)
    }
    this.#arriving++
    const left = () => this.#arriving--
    socket.once('close', left)
    this.#sockets!.handleUpgrade(request, socket, head, (client) => {
      socket.off('close', left)
      left()
      const source = this.#source!
      const session = new ClientSession(client, { ...this.#plan, source, stats: () => this.stats() })
      this.#sessions.add(session)
      client.on('close', () => {
        this.#sessions.delete(session)
        this.#onEmpty?.()
      })
    })
  }

  #onEmpty: (() => void) | undefined

  async #empty(): Promise<void> {
    while (this.#sessions.size > 0) await new Promise<void>((resolve) => (this.#onEmpty = resolve))
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

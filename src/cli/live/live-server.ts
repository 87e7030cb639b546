import { EventEmitter } from 'node:events'
import { readFile, readdir } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { asError } from '../../errors.ts'
import { Streamer } from '../../http/index.ts'
import type { Model } from '../../records/index.ts'
import { plotFile } from '../../records/report.ts'
import { refusalOf, refuse, type Refusal } from '../../websocket/upgrade-guard.ts'
import { WebSocketStreamingGenerator } from '../../websocket/index.ts'
import { liveColumns } from './live-columns.ts'
import { readRecordsRequest } from './records-request.ts'

export interface LiveServerOptions {
  readonly model: Model
  /** What the model is called on the page. */
  readonly name: string
  readonly host: string
  readonly port: number
  readonly token?: string
  readonly origins?: readonly string[]
  readonly seed?: number | string
  readonly batchSize?: number
  readonly maxCount?: number
  readonly maxConnections?: number
}

/** Records of a request at most, unless told otherwise, and clients at a time. */
const DEFAULT_MAX_COUNT = 10_000_000
const DEFAULT_MAX_CONNECTIONS = 100

/** A file of the page: its type, and its bytes once they have been read. */
interface PageFile {
  readonly type: string
  readonly content: Buffer | string
}

const folder = new URL('../../../src/cli/live/page/', import.meta.url)
const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' } as const

/**
 * One port for a model: a page that shows its records as they arrive, the records over HTTP (`/records`), and over a WebSocket (any other
 * path, as clients of the protocol expect it).
 */
export class LiveServer {
  readonly #options: LiveServerOptions
  readonly #sockets: WebSocketStreamingGenerator
  readonly #streamer: Streamer
  readonly #server: Server
  readonly #upgrades = new EventEmitter()
  readonly #stopping = new AbortController()
  #files = new Map<string, PageFile>()
  #model = ''

  constructor(options: LiveServerOptions) {
    const { model: _, name: _name, ...shared } = options
    this.#options = options
    this.#sockets = new WebSocketStreamingGenerator(shared)
    this.#streamer = new Streamer({ compression: true })
    this.#server = createServer((request, response) => this.#answer(request, response))
  }

  /** Listens; gives the address of the page. */
  async start(): Promise<string> {
    const { model, name, host, port, maxCount = DEFAULT_MAX_COUNT } = this.#options
    this.#files = await readPage()
    const { method, rows } = model
    this.#model = JSON.stringify({ name, method, rows, maxCount, columns: liveColumns(model.toJSON()) })
    await this.#sockets.load(model)
    await this.#sockets.attach(this.#upgrades)
    this.#server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      const refusal = this.#foreignHost(request)
      if (refusal) refuse(socket, refusal)
      else this.#upgrades.emit('upgrade', request, socket, head)
    })
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject).listen(port, host, () => resolve())
    })
    const { port: taken } = this.#server.address() as AddressInfo
    return `http://${host.includes(':') ? `[${host}]` : host}:${taken}/`
  }

  /** Of all that has gone out, by HTTP and WebSocket. */
  stats() {
    const [sockets, http] = [this.#sockets.stats(), this.#streamer.stats()]
    return {
      ...sockets,
      bytesOut: sockets.bytesOut + http.bytesOut,
      recordsOut: sockets.recordsOut + http.recordsOut,
      chunks: sockets.chunks + http.chunks,
      errors: sockets.errors + http.errors,
    }
  }

  /** Ends all answers, says goodbye to the clients, and closes the port. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    const closed = new Promise((resolve) => this.#server.close(resolve))
    await this.#sockets.stop()
    this.#server.closeIdleConnections()
    this.#server.closeAllConnections()
    await closed
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const refusal = this.#foreignHost(request)
    if (refusal) return sendError(response, refusal.status, refusal.reason)
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD')
      return sendError(response, 405, `${request.method}: only GET and HEAD are answered`)
    }
    response.setHeader('X-Content-Type-Options', 'nosniff')
    response.setHeader('Referrer-Policy', 'no-referrer')
    response.setHeader('Cross-Origin-Resource-Policy', 'same-origin')
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    const file = this.#files.get(pathname)
    if (file !== undefined) return this.#sendFile(request, response, file)
    if (pathname !== '/model' && pathname !== '/records')
      return sendError(response, 404, `${pathname}: there are /, /model, /records, and a WebSocket`)
    const { token, origins = [] } = this.#options
    const denied = refusalOf(request, { origins, token })
    if (denied) {
      for (const [name, value] of Object.entries(denied.headers ?? {})) response.setHeader(name, value)
      return sendError(response, denied.status, denied.reason)
    }
    response.setHeader('Cache-Control', 'no-store')
    if (pathname === '/model') {
      response.setHeader('Content-Type', 'application/json')
      response.end(request.method === 'HEAD' ? '' : this.#model)
    } else this.#sendRecords(response, searchParams)
  }

  #sendFile(
    { method, headers }: IncomingMessage,
    response: ServerResponse,
    { type, content }: PageFile,
  ): void {
    if (type === TYPES.html) {
      const { host = '' } = headers
      // not all browsers take 'self' for sockets of the same host
      const sockets = /^[\w.:[\]-]+$/.test(host) ? ` ws://${host} wss://${host}` : ''
      response.setHeader(
        'Content-Security-Policy',
        `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'${sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      )
    }
    response.setHeader('Content-Type', `${type}; charset=utf-8`)
    response.setHeader('Cache-Control', 'no-cache')
    response.end(method === 'HEAD' ? '' : content)
  }

  #sendRecords(response: ServerResponse, parameters: URLSearchParams): void {
    const { model, maxCount = DEFAULT_MAX_COUNT, maxConnections = DEFAULT_MAX_CONNECTIONS } = this.#options
    if (this.#streamer.stats().active >= maxConnections) {
      response.setHeader('Retry-After', '1')
      return sendError(response, 503, 'as many clients are served as may be')
    }
    let records
    try {
      const request = readRecordsRequest(parameters, maxCount)
      records = model.stream({ seed: this.#options.seed ?? 0, ...request, batches: true })
    } catch (error) {
      return sendError(response, 400, asError(error).message)
    }
    void this.#streamer.stream(records, undefined, { signal: this.#stopping.signal }).sendTo(response)
  }

  /**
   * A page from elsewhere whose name was made to lead here would count as one of this host. So where only this machine may ask, the
   * name must be one of this machine.
   */
  #foreignHost({ headers }: IncomingMessage): Refusal | undefined {
    if (this.#options.token !== undefined) return undefined
    const name = (headers.host ?? '').replace(/:\d+$/, '')
    if (/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/i.test(name)) return undefined
    return { status: 403, reason: `${name || 'no host'}: only localhost is served without a token` }
  }
}

async function readPage(): Promise<Map<string, PageFile>> {
  const names = await readdir(folder)
  const own = names.map((name): [string, Promise<Buffer | string>] => [
    name === 'live.html' ? '/' : `/${name}`,
    readFile(new URL(name, folder)),
  ])
  const files = new Map([
    ...own,
    ['/uplot.js', plotFile('uPlot.iife.min.js')],
    ['/uplot.css', plotFile('uPlot.min.css')],
    // the page reads dates as the model does
    ['/date-format.js', readFile(new URL('../../records/date-format.js', import.meta.url))],
  ])
  const read = [...files].map(async ([path, content]): Promise<[string, PageFile]> => {
    const ending = path === '/' ? 'html' : path.slice(path.lastIndexOf('.') + 1)
    return [path, { type: TYPES[ending as keyof typeof TYPES], content: await content }]
  })
  return new Map(await Promise.all(read))
}

function sendError(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify({ error: message }))
}

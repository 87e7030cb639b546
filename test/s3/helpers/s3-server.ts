import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
// @ts-expect-error -- it has no types
import S3rver from 's3rver'
import type { S3ConnectionOptions } from '../../../src/s3/index.ts'

interface S3rverApp {
  configureBuckets(): Promise<unknown>
  callback(): RequestListener
}
const App = S3rver as unknown as new (options: object) => S3rverApp

export const BUCKET = 'bench'
export const CREDENTIALS = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' }

/** True: the request has been dealt with. */
export type Intercept = (request: IncomingMessage, response: ServerResponse) => boolean

/**
 * s3rver on loopback, over a folder of its own, with what it lacks and S3 has: AbortMultipartUpload, ListParts, If-Match, and
 * the refusal of parts for an upload that is no more, and ranges of the first byte. Can die at any time, and come back on the same port.
 */
export class S3Server {
  readonly directory = folderUntilExit()
  readonly requests: string[] = []
  intercept: Intercept = () => false
  honoursIfMatch = true
  port = 0
  readonly #aborted = new Set<string>()
  #handler: RequestListener | undefined
  #server: Server | undefined

  async start(): Promise<this> {
    if (this.#handler === undefined) {
      const app = new App({
        directory: this.directory,
        silent: true,
        vhostBuckets: false,
        configureBuckets: [{ name: BUCKET }],
      })
      await app.configureBuckets()
      this.#handler = app.callback()
    }
    this.#server = createServer((request, response) => this.#handle(request, response))
    this.#server.listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
    return this
  }

  /** Ends at once, in the middle of whatever it does. */
  async die(): Promise<void> {
    const closed = once(this.#server!, 'close')
    this.#server!.close()
    this.#server!.closeAllConnections()
    await closed
  }

  options(port = this.port): S3ConnectionOptions {
    return { endpoint: `http://127.0.0.1:${port}`, region: 'us-east-1', credentials: CREDENTIALS }
  }

  /** Ids of the uploads that are neither completed nor aborted. (s3rver may store a part that was on its way even after an abort.) */
  uploads(): string[] {
    const directory = join(this.directory, BUCKET, '._S3rver_uploads')
    return existsSync(directory) ? readdirSync(directory).filter((id) => !this.#aborted.has(id)) : []
  }

  object(key: string): Buffer | undefined {
    const file = join(this.directory, BUCKET, `${key}._S3rver_object`)
    return existsSync(file) ? readFileSync(file) : undefined
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url!, 'http://s3')
    const uploadId = url.searchParams.get('uploadId')
    const what = [...url.searchParams.keys()].filter((name) => name !== 'x-id').join(',')
    this.requests.push(`${request.method} ${what}`.trim())
    if (this.intercept(request, response)) return
    if (uploadId !== null && request.method !== 'POST' && this.#aborted.has(uploadId)) {
      return refuse(request, response, 404, 'NoSuchUpload')
    }
    if (uploadId !== null && request.method === 'DELETE') {
      // its files stay until the end: s3rver may be about to open one, and throws where nobody can catch it if it cannot
      this.#aborted.add(uploadId)
      response.writeHead(204).end()
      return
    }
    if (uploadId !== null && request.method === 'GET') {
      response
        .writeHead(200, { 'content-type': 'application/xml' })
        .end('<ListPartsResult></ListPartsResult>')
      return
    }
    const { 'if-match': ifMatch } = request.headers
    if (ifMatch !== undefined && this.honoursIfMatch) {
      const key = decodeURIComponent(url.pathname.slice(BUCKET.length + 2))
      const md5 = readFileSync(join(this.directory, BUCKET, `${key}._S3rver_object.md5`), 'utf8')
      if (ifMatch !== `"${md5}"`) return refuse(request, response, 412, 'PreconditionFailed')
    }
    // s3rver takes an end of 0 for none
    if (request.headers.range === 'bytes=0-0') return this.#sendFirstByte(url, response)
    this.#handler!(request, response)
  }

  #sendFirstByte(url: URL, response: ServerResponse): void {
    const key = decodeURIComponent(url.pathname.slice(BUCKET.length + 2))
    const content = this.object(key)!
    const md5 = readFileSync(join(this.directory, BUCKET, `${key}._S3rver_object.md5`), 'utf8')
    const range = `bytes 0-0/${content.length}`
    response.writeHead(206, { 'content-length': 1, 'content-range': range, etag: `"${md5}"` })
    response.end(content.subarray(0, 1))
  }
}

/** A folder that is removed when nothing can be about to write to it. */
function folderUntilExit(): string {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-s3-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  code: string,
): void {
  request.resume()
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`)
}

/** Between a client and a server: cuts a connection when it has brought so many bytes from the server; -1 lets it be. */
export class CutProxy {
  readonly #server = createTcpServer((socket) => this.#serve(socket))
  readonly #sockets = new Set<Socket>()
  readonly #target: number
  readonly #cuts: (connection: number) => number
  connections = 0

  constructor(target: number, cuts: (connection: number) => number) {
    this.#target = target
    this.#cuts = cuts
  }

  async start(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #serve(socket: Socket): void {
    let left = this.#cuts(this.connections++)
    const server = connect(this.#target, '127.0.0.1')
    for (const end of [socket, server]) {
      this.#sockets.add(end)
      end.on('error', () => {})
      end.on('close', () => {
        this.#sockets.delete(end)
        socket.destroy()
        server.destroy()
      })
    }
    socket.pipe(server)
    server.on('data', (chunk: Buffer) => {
      if (left < 0) return void socket.write(chunk)
      const part = chunk.subarray(0, left)
      left -= part.byteLength
      socket.write(part, () => left === 0 && socket.resetAndDestroy())
    })
  }
}

import {
  createSecureServer,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { MAX_FRAME_SIZE, SESSION_MEMORY, SESSION_WINDOW, STREAM_WINDOW } from './http2-limits.ts'
import { decodeTimeout, encodeMessage, isGrpc, type CallMetadata } from './grpc-headers.ts'
import { FramingError, MessageReader, frameMessages, type MessageEncoding } from './message-framing.ts'
import {
  MessageFault,
  type CallEnd,
  type Carrier,
  type CarrierOptions,
  type ServeCall,
  type ServerCall,
} from './server-call.ts'
import { STATUS } from './store-status.ts'

/** Bytes of messages that wait for the store before the connection is held back. */
const HELD_BYTES = 1024 * 1024

/** Connections do not all end at once: how much shorter or longer than asked one may live. */
const AGE_JITTER = 0.1

/** Listens for calls of gRPC by `node:http2`. */
export async function listenByHttp2(
  services: ReadonlyMap<string, ServeCall>,
  { host, port, tls, maxMessageLength, maxStreams, maxConnectionAge, maxConnectionAgeGrace }: CarrierOptions,
): Promise<Carrier> {
  const options = {
    settings: {
      initialWindowSize: STREAM_WINDOW,
      maxFrameSize: MAX_FRAME_SIZE,
      maxConcurrentStreams: maxStreams,
    },
    maxSessionMemory: SESSION_MEMORY,
  }
  const server =
    tls === undefined
      ? createServer(options)
      : createSecureServer({
          ...options,
          cert: tls.cert,
          key: tls.key,
          ...(tls.clientCa !== undefined && {
            ca: tls.clientCa,
            requestCert: true,
            rejectUnauthorized: true,
          }),
        })
  const sessions = new Set<ServerHttp2Session>()
  server.on('session', (session) => {
    sessions.add(session)
    session.setLocalWindowSize(SESSION_WINDOW)
    const stopAging = age(session, maxConnectionAge, maxConnectionAgeGrace)
    // what went wrong is told by its streams
    session
      .on('error', () => {})
      .once('close', () => {
        stopAging()
        sessions.delete(session)
      })
  })
  server.on('stream', (stream, headers) => {
    // a stream that was reset is told by its end
    stream.on('error', () => {})
    if (headers[':method'] !== 'POST' || !isGrpc(headers)) {
      stream.respond({ ':status': headers[':method'] === 'POST' ? 415 : 405 }, { endStream: true })
      return
    }
    const call = new Http2Call(stream, headers, maxMessageLength)
    const serve = services.get(headers[':path'] ?? '')
    if (serve === undefined) {
      call.end({
        code: STATUS.UNIMPLEMENTED,
        details: `expected a method that is served, got ${headers[':path']}`,
      })
    } else if (!call.canRead) {
      call.end({
        code: STATUS.UNIMPLEMENTED,
        details: `expected identity or gzip, got ${call.header('grpc-encoding')}`,
      })
    } else void serve(call)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  return {
    port: (server.address() as AddressInfo).port,
    async stop(grace) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const session of sessions) session.close()
      const timer = setTimeout(() => {
        for (const session of sessions) session.destroy()
      }, grace)
      await closed
      clearTimeout(timer)
    },
  }
}

/** Asks a connection to go when it is old, and ends it when it does not. */
function age(session: ServerHttp2Session, maxAge: number, grace: number): () => void {
  if (maxAge === Infinity) return () => {}
  const asked = maxAge * (1 + AGE_JITTER * (2 * Math.random() - 1))
  let timer = setTimeout(() => {
    session.close()
    timer = setTimeout(() => session.destroy(), Math.min(grace, 2 ** 31 - 1))
    timer.unref()
  }, asked)
  timer.unref()
  return () => clearTimeout(timer)
}

/** A call over a stream of HTTP/2. */
class Http2Call implements ServerCall {
  readonly #stream: ServerHttp2Stream
  readonly #headers: IncomingHttpHeaders
  readonly #maxMessageLength: number
  readonly #abort = new AbortController()
  readonly #timer: NodeJS.Timeout | undefined
  /** As the client's, if it reads that. */
  readonly #encoding: MessageEncoding
  #metadata: CallMetadata = {}

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, maxMessageLength: number) {
    this.#stream = stream
    this.#headers = headers
    this.#maxMessageLength = maxMessageLength
    const reads = this.header('grpc-accept-encoding') ?? ''
    this.#encoding = this.header('grpc-encoding') === 'gzip' && /\bgzip\b/.test(reads) ? 'gzip' : 'identity'
    stream.once('close', () => {
      clearTimeout(this.#timer)
      this.#abort.abort()
    })
    const timeout = decodeTimeout(headers['grpc-timeout'])
    if (timeout !== undefined) {
      this.#timer = setTimeout(
        () => {
          this.end({ code: STATUS.DEADLINE_EXCEEDED, details: 'the deadline is over' })
          this.#abort.abort()
        },
        Math.min(timeout, 2 ** 31 - 1),
      )
    }
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** False if the client's messages are compressed in a way that is not known. */
  get canRead(): boolean {
    return ['identity', 'gzip'].includes(this.header('grpc-encoding') ?? 'identity')
  }

  header(name: string): string | undefined {
    const value = this.#headers[name]
    return typeof value === 'string' ? value : undefined
  }

  sendHeaders(metadata: CallMetadata): void {
    this.#metadata = metadata
    this.#respond()
  }

  async *messages(): AsyncGenerator<readonly Buffer[], void, undefined> {
    const stream = this.#stream
    const reader = new MessageReader(this.#maxMessageLength, this.header('grpc-encoding'))
    let held: Buffer[] = []
    let heldBytes = 0
    let ended = false
    let fault: MessageFault | undefined
    let wake = () => {}
    const onData = (chunk: Buffer) => {
      try {
        reader.push(chunk, held)
      } catch (error) {
        const { code, message } = (error as FramingError).status
        fault = new MessageFault(code, message)
        ended = true
        stream.off('data', onData)
      }
      heldBytes += chunk.length
      if (heldBytes >= HELD_BYTES) stream.pause()
      if (held.length > 0 || ended) wake()
    }
    const onEnd = () => {
      if (!ended && !reader.isEmpty)
        fault = new MessageFault(STATUS.INTERNAL, 'message: expected its end, got the end of the stream')
      ended = true
      wake()
    }
    stream.on('data', onData).on('end', onEnd).on('close', onEnd)
    try {
      for (;;) {
        if (held.length > 0) {
          const run = held
          held = []
          heldBytes = 0
          if (stream.isPaused()) stream.resume()
          yield run
        } else if (fault !== undefined) throw fault
        else if (ended) return
        else await new Promise<void>((resolve) => (wake = resolve))
      }
    } finally {
      stream.off('data', onData).off('end', onEnd).off('close', onEnd)
      // what still comes is of no use, and must not keep the call from ending
      stream.resume()
    }
  }

  write(answers: readonly Buffer[]): Promise<void> | void {
    const stream = this.#stream
    if (stream.destroyed || stream.writableEnded) return
    this.#respond()
    if (stream.write(frameMessages(answers, this.#encoding))) return
    return new Promise((resolve) => {
      const done = () => {
        stream.off('drain', done).off('close', done)
        resolve()
      }
      stream.on('drain', done).on('close', done)
    })
  }

  end({ code, details }: CallEnd = { code: STATUS.OK, details: '' }): void {
    const stream = this.#stream
    if (stream.destroyed || stream.writableEnded) return
    clearTimeout(this.#timer)
    const trailers = {
      'grpc-status': code,
      ...(details !== '' && { 'grpc-message': encodeMessage(details) }),
    }
    if (!stream.headersSent) {
      stream.respond(
        { ...responseHeaders(this.#encoding), ...this.#metadata, ...trailers },
        { endStream: true },
      )
    } else {
      stream.once('wantTrailers', () => stream.sendTrailers(trailers))
      stream.end()
    }
    // the rest of what the client sends is of no use
    stream.resume()
  }

  #respond(): void {
    if (this.#stream.headersSent || this.#stream.destroyed) return
    this.#stream.respond({ ...responseHeaders(this.#encoding), ...this.#metadata }, { waitForTrailers: true })
  }
}

function responseHeaders(encoding: MessageEncoding): Record<string, string | number> {
  return {
    ':status': 200,
    'content-type': 'application/grpc',
    'grpc-accept-encoding': 'identity,gzip',
    ...(encoding !== 'identity' && { 'grpc-encoding': encoding }),
  }
}

import { constants, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import { asError } from '../errors.ts'
import { isGrpc, statusIn, statusOfHttp } from './grpc-headers.ts'
import { FramingError, MessageReader, frameMessages, type MessageEncoding } from './message-framing.ts'
import type { CallEvents, OperationCall } from './operation-lane.ts'
import { STATUS, type CallStatus } from './store-status.ts'

/** Bytes of messages that are written at once, without waiting for the turn of the event loop to end. */
const WRITE_LENGTH = 32 * 1024

/** One call on the wire. */
export class ChannelCall implements OperationCall<Buffer> {
  readonly #stream: ClientHttp2Stream
  readonly #encoding: MessageEncoding
  readonly #events: CallEvents<Buffer>
  readonly #leave: () => void
  readonly #timer: NodeJS.Timeout | undefined
  #reader: MessageReader
  #held: Buffer[] = []
  #heldLength = 0
  #flushing = false
  #ended = false
  #over = false
  #status: CallStatus | undefined

  constructor(
    stream: ClientHttp2Stream,
    encoding: MessageEncoding,
    maxMessageLength: number,
    timeout: number | undefined,
    events: CallEvents<Buffer>,
    leave: () => void,
  ) {
    this.#stream = stream
    this.#encoding = encoding
    this.#events = events
    this.#leave = leave
    this.#reader = new MessageReader(maxMessageLength)
    if (timeout !== undefined) {
      const message = `expected the end of the call within ${timeout} ms`
      this.#timer = setTimeout(() => {
        this.#give({ code: STATUS.DEADLINE_EXCEEDED, message, fromServer: false })
        leave()
      }, timeout)
    }
    stream
      .on('response', (headers: IncomingHttpHeaders) => this.#begin(headers, maxMessageLength))
      .on('data', (chunk: Buffer) => this.#read(chunk))
      .on('trailers', (headers: IncomingHttpHeaders) => (this.#status ??= statusIn(headers)))
      .on('drain', () => events.onDrain())
      // what came has been read
      .on('end', () => this.#end())
      .on('error', (error: NodeJS.ErrnoException) => {
        // a reset has a code of its own
        if (error.code !== 'ERR_HTTP2_STREAM_ERROR') this.#status ??= lost(asError(error).message)
      })
      .on('close', () => this.#give(this.#status ?? statusOfReset(stream.rstCode)))
  }

  send(message: Buffer): boolean {
    this.#held.push(message)
    this.#heldLength += message.length
    if (this.#heldLength >= WRITE_LENGTH) this.#flush()
    else if (!this.#flushing) {
      this.#flushing = true
      // not sooner: what one chunk of answers brings about is one write
      setImmediate(() => {
        this.#flushing = false
        this.#flush()
      })
    }
    return !this.#stream.writableNeedDrain
  }

  end(): void {
    this.#ended = true
    if (!this.#flushing) this.#flush()
  }

  cancel(isSilent = false): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#held = []
    this.#stream.close(constants.NGHTTP2_CANCEL)
    if (isSilent) this.#leave()
  }

  #flush(): void {
    const stream = this.#stream
    if (this.#over || stream.destroyed || stream.writableEnded) return
    if (this.#held.length > 0) {
      const bytes = frameMessages(this.#held, this.#encoding)
      this.#held = []
      this.#heldLength = 0
      if (this.#ended) stream.end(bytes)
      else stream.write(bytes)
    } else if (this.#ended) stream.end()
  }

  #begin(headers: IncomingHttpHeaders, maxMessageLength: number): void {
    this.#status = statusIn(headers)
    if (this.#status === undefined && !isGrpc(headers)) this.#give(statusOfHttp(headers))
    this.#reader = new MessageReader(maxMessageLength, String(headers['grpc-encoding'] ?? 'identity'))
  }

  #read(chunk: Buffer): void {
    if (this.#over) return
    const answers: Buffer[] = []
    let fault: FramingError | undefined
    try {
      this.#reader.push(chunk, answers)
    } catch (error) {
      fault = error as FramingError
    }
    for (const answer of answers) {
      // an answer may bring about that it is given up
      // oxlint-disable-next-line typescript/no-unnecessary-condition -- by `cancel`
      if (this.#over) return
      this.#events.onAnswer(answer)
    }
    if (fault !== undefined) this.#give(fault.status)
  }

  #end(): void {
    if (this.#status === undefined) return
    this.#give(this.#reader.isEmpty ? this.#status : lost('it ended in the middle of a message'))
  }

  /** Tells the status, once. */
  #give(status: CallStatus): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#held = []
    // a server may end the call before it has heard all
    if (!this.#stream.closed) this.#stream.close(constants.NGHTTP2_CANCEL)
    this.#events.onEnd(status)
  }
}

function lost(message: string): CallStatus {
  return { code: STATUS.UNAVAILABLE, message: `connection lost: ${message.trim()}`, fromServer: false }
}

/** Codes of HTTP/2 for which gRPC has its own; the others are faults of one side. */
function statusOfReset(code: number | undefined): CallStatus {
  const codes: Record<number, number> = {
    [constants.NGHTTP2_NO_ERROR]: STATUS.UNAVAILABLE,
    [constants.NGHTTP2_REFUSED_STREAM]: STATUS.UNAVAILABLE,
    [constants.NGHTTP2_CANCEL]: STATUS.CANCELLED,
    [constants.NGHTTP2_ENHANCE_YOUR_CALM]: STATUS.RESOURCE_EXHAUSTED,
  }
  return {
    code: codes[code ?? 0] ?? STATUS.INTERNAL,
    message: `the call was cut off (HTTP/2 code ${String(code)})`,
    fromServer: false,
  }
}

import { Readable } from 'node:stream'
import { failAfterDelivery } from '../flow/index.ts'
import type { ResponseHeaders, ResponseSink, SinkListener } from './response-sink.ts'

/** The head of a response, and its body: whole, or as a stream. */
export interface ReadyResponse {
  readonly status: number
  readonly headers: ResponseHeaders
  readonly body: string | Uint8Array | Readable
}

/** What a {@link ReadableSink} tells when it knows how the response begins. */
export interface ReadableSinkOptions {
  readonly onReady: (response: ReadyResponse) => void
  /** Takes errors before the head in place of a response. */
  readonly onRefuse?: (error: Error) => void
  /** Bytes that the stream holds. */
  readonly highWaterMark?: number
}

/** A sink for frameworks that want a body or a stream: what is small comes whole, anything else as a Readable of bytes. */
export class ReadableSink implements ResponseSink {
  readonly #onReady: (response: ReadyResponse) => void
  readonly #highWaterMark: number | undefined
  #listener: SinkListener | undefined
  #stream: Readable | undefined
  #wanted = false
  readonly refuse?: (error: Error) => void

  constructor({ onReady, onRefuse, highWaterMark }: ReadableSinkOptions) {
    this.#onReady = onReady
    this.#highWaterMark = highWaterMark
    if (onRefuse) {
      this.refuse = (error) => {
        onRefuse(error)
        this.#listener?.onClose(false)
      }
    }
  }

  listen(listener: SinkListener): void {
    this.#listener = listener
  }

  whole(status: number, headers: ResponseHeaders, body: string | Uint8Array): void {
    this.#onReady({ status, headers, body })
    this.#listener?.onClose(true)
  }

  head(status: number, headers: ResponseHeaders): void {
    const body = new Readable({
      ...(this.#highWaterMark !== undefined && { highWaterMark: this.#highWaterMark }),
      read: () => {
        if (this.#wanted) return
        this.#wanted = true
        this.#listener?.onDrain()
      },
    })
    body.on('end', () => this.#listener?.onClose(true))
    body.on('close', () => this.#listener?.onClose(body.readableEnded))
    this.#stream = body
    this.#wanted = true
    this.#onReady({ status, headers, body })
  }

  write(data: string | Uint8Array): boolean {
    this.#wanted = this.#stream?.push(data) ?? false
    return this.#wanted
  }

  end(data: string | Uint8Array): void {
    if (data.length > 0) this.#stream?.push(data)
    this.#stream?.push(null)
  }

  flush(): void {}

  fail(error: Error): void {
    if (this.#stream) failAfterDelivery(this.#stream, error)
  }
}

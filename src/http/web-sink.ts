import type { ResponseHeaders, ResponseSink, SinkListener } from './response-sink.ts'

/** Makes the `Response` of fetch handlers. A stream is read from only as fast as its consumer pulls. */
export class WebSink implements ResponseSink {
  readonly response: Promise<Response>
  #answer: (response: Response) => void = () => {}
  #listener: SinkListener | undefined
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined
  #fault: Error | undefined

  constructor() {
    this.response = new Promise((resolve) => (this.#answer = resolve))
  }

  listen(listener: SinkListener): void {
    this.#listener = listener
  }

  whole(status: number, headers: ResponseHeaders, body: string | Uint8Array): void {
    const length = String(Buffer.byteLength(body))
    this.#answer(new Response(asBytes(body), { status, headers: { ...headers, 'content-length': length } }))
    this.#listener?.onClose(true)
  }

  head(status: number, headers: ResponseHeaders): void {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller
      },
      pull: (controller) => {
        if (this.#fault) controller.error(this.#fault)
        else this.#listener?.onDrain()
      },
      cancel: () => this.#listener?.onClose(false),
    })
    this.#answer(new Response(stream, { status, headers }))
  }

  write(data: string | Uint8Array): boolean {
    this.#controller?.enqueue(asBytes(data))
    return (this.#controller?.desiredSize ?? 0) > 0
  }

  end(data: string | Uint8Array): void {
    if (data.length > 0) this.#controller?.enqueue(asBytes(data))
    this.#controller?.close()
    this.#listener?.onClose(true)
  }

  flush(): void {}

  fail(error: Error): void {
    this.#fault = error
    // error() drops what is queued: otherwise it waits for the next pull
    if ((this.#controller?.desiredSize ?? 0) > 0) this.#controller?.error(error)
    this.#listener?.onClose(false)
  }
}

const asBytes = (data: string | Uint8Array): Uint8Array<ArrayBuffer> =>
  typeof data === 'string' ? Buffer.from(data) : (data as Uint8Array<ArrayBuffer>)

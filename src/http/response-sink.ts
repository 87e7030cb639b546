/** Names in lower case. */
export type ResponseHeaders = Readonly<Record<string, string>>

/** What a sink tells the pump. */
export interface SinkListener {
  /** After a `write` that answered false: there is room again. */
  onDrain(): void
  /** The response is over: `complete` if its last byte was taken, otherwise the other side is gone. */
  onClose(complete: boolean): void
}

/**
 * Where a response goes: the seven things that every server can do, whatever its framework. Give your own to
 * `StreamResponse.sendToSink` for one that is not here.
 */
export interface ResponseSink {
  /** Called once, before anything else. */
  listen(listener: SinkListener): void
  /** The whole response at once: of known length, then. */
  whole(status: number, headers: ResponseHeaders, body: string | Uint8Array): void
  /** The response begins; `write` and `end` follow. */
  head(status: number, headers: ResponseHeaders): void
  /** False: wait for `onDrain`. */
  write(data: string | Uint8Array): boolean
  /** The response ends well. */
  end(data: string | Uint8Array): void
  /** What was written is to leave now. */
  flush(): void
  /** Ends the response so that the other side sees that it is not whole, after what was written has left. */
  fail(error: Error): void
  /** Takes an error before anything was sent in place of a response, as frameworks with error handlers of their own do. */
  refuse?(error: Error): void
}

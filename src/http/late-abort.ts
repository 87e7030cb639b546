/**
 * An AbortController that is made when somebody asks for its signal: most responses have nobody who does, and it costs 8 µs, as much as the
 * rest of what a small response is put together from.
 */
export class LateAbort {
  #controller: AbortController | undefined
  #aborted: { readonly reason: unknown } | undefined

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#aborted) this.#controller.abort(this.#aborted.reason)
    }
    return this.#controller.signal
  }

  /** Only the first reason counts. */
  abort(reason: unknown): void {
    this.#aborted ??= { reason }
    this.#controller?.abort(reason)
  }
}

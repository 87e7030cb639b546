import zlib from 'node:zlib'
import { promisify } from 'node:util'
import type { ResponseHeaders, ResponseSink, SinkListener } from './response-sink.ts'

/** Content codings, best first. */
export const CODINGS = ['zstd', 'br', 'gzip'] as const

/** A content coding that this room can write. */
export type ContentCoding = (typeof CODINGS)[number]

/** Bodies that are known to be smaller are sent as they are, in bytes. */
export const DEFAULT_MIN_COMPRESSED = 1024

type Compressor = zlib.Gzip | zlib.BrotliCompress

/** What Node has from 22.15 on, and its types from there too. */
type WithZstd = typeof zlib & {
  createZstdCompress?: (options?: object) => Compressor
}

/** Whether this Node can write the coding. */
export const canCompress = (coding: ContentCoding): boolean =>
  coding !== 'zstd' || (zlib as WithZstd).createZstdCompress !== undefined

/**
 * Levels for bytes that are sent once, lower than the defaults (gzip 6, brotli 11), and a small window to bound memory. A choice, not measured.
 */
const BROTLI_OPTIONS = {
  params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4, [zlib.constants.BROTLI_PARAM_LGWIN]: 18 },
}
const GZIP_OPTIONS = { level: 4 }

function createCompressor(coding: ContentCoding): Compressor {
  if (coding === 'gzip') return zlib.createGzip(GZIP_OPTIONS)
  if (coding === 'br') return zlib.createBrotliCompress(BROTLI_OPTIONS)
  /* v8 ignore start -- coverage is measured on a Node that has no zstd; the tests run on one that has, too */
  return (zlib as WithZstd).createZstdCompress()
}
/* v8 ignore stop */

const gzip = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.gzip)
const brotli = promisify<Uint8Array, zlib.BrotliOptions, Buffer>(zlib.brotliCompress)

async function compressWhole(coding: ContentCoding, body: Uint8Array): Promise<Uint8Array> {
  if (coding === 'gzip') return gzip(body, GZIP_OPTIONS)
  if (coding === 'br') return brotli(body, BROTLI_OPTIONS)
  /* v8 ignore start -- as above */
  const compressor = createCompressor(coding)
  compressor.end(body)
  return Buffer.concat(await compressor.toArray())
}
/* v8 ignore stop */

/**
 * A sink that compresses on the way to another. `flush` has the compressor give what it holds, or a slow source would arrive all at once at
 * the end. Errors are sent as they are.
 */
export class CompressSink implements ResponseSink, SinkListener {
  readonly #to: ResponseSink
  readonly #coding: ContentCoding
  readonly #minBytes: number
  #listener: SinkListener | undefined
  #compressor: Compressor | undefined
  #closed = false
  readonly refuse?: (error: Error) => void

  constructor(to: ResponseSink, coding: ContentCoding, minBytes: number) {
    this.#to = to
    this.#coding = coding
    this.#minBytes = minBytes
    if (to.refuse) this.refuse = (error) => to.refuse?.(error)
  }

  listen(listener: SinkListener): void {
    this.#listener = listener
    this.#to.listen(this)
  }

  onDrain(): void {
    this.#compressor?.resume()
  }

  onClose(complete: boolean): void {
    this.#closed = true
    this.#compressor?.destroy()
    this.#listener?.onClose(complete)
  }

  whole(status: number, headers: ResponseHeaders, body: string | Uint8Array): void {
    if (status >= 400 || Buffer.byteLength(body) < this.#minBytes)
      return this.#to.whole(status, headers, body)
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    void compressWhole(this.#coding, bytes).then((compressed) => {
      if (!this.#closed) this.#to.whole(status, this.#headers(headers), compressed)
    })
  }

  head(status: number, headers: ResponseHeaders): void {
    this.#to.head(status, this.#headers(headers))
    const compressor = createCompressor(this.#coding)
    compressor.on('data', (data: Buffer) => {
      if (!this.#to.write(data)) compressor.pause()
    })
    compressor.on('drain', () => this.#listener?.onDrain())
    compressor.on('end', () => this.#to.end(''))
    // it fails only when it is destroyed with work under way
    compressor.on('error', () => {})
    this.#compressor = compressor
  }

  write(data: string | Uint8Array): boolean {
    return this.#compressor?.write(data) ?? false
  }

  end(data: string | Uint8Array): void {
    this.#compressor?.end(data)
  }

  flush(): void {
    this.#flush(() => this.#to.flush())
  }

  fail(error: Error): void {
    const tell = () => {
      if (this.#closed) return
      // what the other side has not taken yet comes before the error
      if (this.#compressor?.readableLength) this.#compressor.once('data', () => setImmediate(tell))
      else this.#to.fail(error)
    }
    this.#flush(tell)
  }

  #flush(then: () => void): void {
    const done = () => {
      if (!this.#closed) then()
    }
    // the default of gzip would forget what it has seen
    if (this.#coding === 'gzip') (this.#compressor as zlib.Gzip).flush(zlib.constants.Z_SYNC_FLUSH, done)
    else this.#compressor?.flush(done)
  }

  #headers(headers: ResponseHeaders): ResponseHeaders {
    return { ...headers, 'content-encoding': this.#coding }
  }
}

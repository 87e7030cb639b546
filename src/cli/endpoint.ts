// The one place where a FILE on the command line becomes a stage, in and out.
import { createReadStream, fstatSync } from 'node:fs'
import { open, rename, stat } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { isatty } from 'node:tty'
import type { RangeSource } from '../codec/index.ts'
import { reportDurable } from '../flow/index.ts'
import type { ChunkAllocator } from '../framing/chunk-allocator.ts'
import { ChunkedReader } from '../framing/chunked-reader.ts'
import type { KafkaSource } from '../kafka/index.ts'
import { decompress } from './decompress.ts'
import { UsageError } from './exit-codes.ts'
import { FdSink } from './fd-sink.ts'
import {
  type TopicInputHints,
  type TopicOutputHints,
  firstRecords,
  isTopic,
  noRecords,
  openTopicSink,
  openTopicSource,
} from './topic.ts'

export interface InputHints extends TopicInputHints {
  /** A stage that lends the memory of its blocks: a file is read into it. */
  readonly blocks?: ChunkAllocator & { readonly blockSize: number }
}

/** A FILE that is read: its bytes, decompressed where needed, and how far it is. */
export class Input {
  readonly #stream: Readable
  readonly #size: () => number | undefined
  /** The group by which a topic is read. */
  readonly group: string | undefined
  readonly #count: number | undefined
  #bytesRead = 0
  #stopped = false

  private constructor(
    stream: Readable,
    size: () => number | undefined,
    { group, count }: { group?: string | undefined; count?: number | undefined } = {},
  ) {
    this.#stream = stream
    this.#size = size
    this.group = group
    this.#count = count
  }

  /** Opens FILE, s3://bucket/key or kafka://host/topic; `-` and none are stdin. */
  static async open(file: string | undefined, hints: InputHints = {}): Promise<Input> {
    if (file === undefined || file === '-') {
      const info = fstatSync(0)
      if (!info.isFile()) return new Input(new ChunkedReader(0), () => undefined)
      // a shell may have read the beginning already: unlike a ChunkedReader this goes on from there
      const stream = createReadStream('', { fd: 0, autoClose: false, highWaterMark: 1 << 18 })
      return new Input(stream, () => info.size)
    }
    if (isS3(file)) {
      const { ObjectSource } = await loadS3()
      const source = new ObjectSource(file)
      return new Input(source, () => source.size)
    }
    if (isTopic(file)) {
      const { source, ...rest } = await openTopicSource(file, hints)
      return new Input(source, () => undefined, rest)
    }
    const info = await stat(file)
    if (info.isDirectory()) throw new UsageError(`${file} is a directory`)
    const { blocks } = hints
    const reader = blocks ? { chunkSize: blocks.blockSize, into: blocks } : {}
    return new Input(new ChunkedReader(file, reader), () => (info.isFile() ? info.size : undefined))
  }

  /** Bytes that are there, once that is known. */
  get size(): number | undefined {
    return this.#size()
  }

  /** Bytes read so far, as they are stored. */
  get bytesRead(): number {
    return this.#bytesRead
  }

  /** Whether the content is batches of records, not bytes. */
  get isRecords(): boolean {
    return this.#stream.readableObjectMode
  }

  /**
   * The content, decompressed if it is compressed; batches of records where it {@link isRecords}. Ends early, without an error, after
   * {@link stop}.
   */
  content(): AsyncIterable<Buffer> {
    const chunks = this.#counted(this.#stream as AsyncIterable<Buffer>)
    if (!this.isRecords) return decompress(chunks)
    return this.#count === undefined ? chunks : firstRecords(chunks, this.#count)
  }

  /** The bytes as they are stored. Ends like {@link content}. */
  stored(): AsyncIterable<Buffer> {
    return this.#counted(this.#stream as AsyncIterable<Buffer>)
  }

  /** The bytes as they are stored; a chunk is valid until the next one is asked for. Ends like {@link content}. */
  borrowed(): AsyncIterable<Buffer> {
    const stream = this.#stream
    return this.#counted(stream instanceof ChunkedReader ? stream.borrowed() : stream)
  }

  /** Ends the input here; what has been read goes on. */
  stop(): void {
    this.#stopped = true
    // a topic is read by a member of a group, which is to stay until what it has read is done with
    if (this.isRecords) (this.#stream as KafkaSource).stop()
    else this.#stream.destroy()
  }

  /** Lets go of it. Called once the output is finished. */
  async close(): Promise<void> {
    const stream = this.#stream
    const closed = new Promise((resolve) => stream.once('close', resolve))
    stream.destroy()
    if (this.isRecords && !stream.closed) await closed
  }

  async *#counted(chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
    try {
      for await (const chunk of chunks) {
        if (!this.isRecords) this.#bytesRead += chunk.byteLength
        yield chunk
        if (this.isRecords) this.#bytesRead = (this.#stream as KafkaSource).stats().bytesIn
      }
    } catch (error) {
      if (!this.#stopped) throw error
    }
  }
}

/** FILE or s3://bucket/key to be read anywhere; undefined for what can only be read once. */
export async function openAnywhere(file: string | undefined): Promise<string | RangeSource | undefined> {
  if (file === undefined || file === '-') return undefined
  if (isTopic(file)) throw noRecords(file)
  if (!isS3(file)) return (await stat(file)).isFile() ? file : undefined
  const { ObjectSource } = await loadS3()
  const first = new ObjectSource(file, { start: 0, end: 1 })
  await first.toArray()
  const size = first.size ?? 0
  return {
    size,
    read: async (start, end) =>
      start === end ? Buffer.alloc(0) : Buffer.concat(await new ObjectSource(file, { start, end }).toArray()),
  }
}

/** Refuses to write what nobody can read to a terminal. */
export function checkTerminal(output: string | undefined, force: boolean | undefined): void {
  if (isStdout(output) && isatty(1) && force !== true)
    throw new UsageError('stdout is a terminal: use -o FILE, a pipe, or --force')
}

export interface OutputHints extends TopicOutputHints {
  /** Bytes that will be written, if that is known: from them follows the part size of an S3 object. */
  readonly size?: number
}

/**
 * Where results go: stdout, FILE by way of `FILE.partial`, which becomes FILE when all went well, an object on S3, which
 * comes into being when all went well, or a topic.
 */
export class Output {
  readonly stream: Writable
  readonly #file: string | undefined
  readonly #partial: string | undefined
  readonly #allOrNothing: boolean
  #last: Buffer | undefined

  private constructor(stream: Writable, file?: string, partial?: string, allOrNothing = false) {
    this.stream = stream
    this.#file = file
    this.#partial = partial
    this.#allOrNothing = allOrNothing
  }

  static async open(file: string | undefined, hints: OutputHints = {}): Promise<Output> {
    if (isStdout(file)) return new Output(new FdSink(1, { isFile: fstatSync(1).isFile() }))
    if (isS3(file)) {
      const { ObjectWriter } = await loadS3()
      return new Output(new ObjectWriter(file, hints), undefined, undefined, true)
    }
    if (isTopic(file)) return new Output(await openTopicSink(file, hints))
    const existing = await stat(file).catch(() => undefined)
    if (existing?.isDirectory()) throw new UsageError(`-o ${file} is a directory`)
    // a device or FIFO cannot be replaced by renaming; it is written to
    const partial = existing === undefined || existing.isFile() ? `${file}.partial` : undefined
    const handle = await open(partial ?? file, 'w')
    const isFile = partial !== undefined
    return new Output(new FdSink(handle.fd, { isFile, close: () => handle.close() }), file, partial)
  }

  /** Whether a chunk may still be needed when its write is over, as for a part of an object on S3. */
  get keepsChunks(): boolean {
    return this.#allOrNothing
  }

  /**
   * Writes what is left, and ends the stream; an object on S3 is given up unless it is complete. Rejects with what prevented it,
   * even if its event has not come yet.
   */
  async finish(isComplete: boolean): Promise<void> {
    const { stream } = this
    if (stream.errored) throw stream.errored
    if (this.#allOrNothing && !isComplete) {
      const closed = new Promise((resolve) => stream.once('close', resolve))
      if (!stream.destroyed) stream.destroy()
      if (!stream.closed) await closed
      return
    }
    stream.end()
    await finished(stream)
  }

  /** Whether it takes batches of records, not bytes. */
  get isRecords(): boolean {
    return this.stream.writableObjectMode
  }

  /** Writes a chunk. Its source hears when it is durable: a sink of a topic tells that by itself, and FILE or an object is only when it is whole. */
  write(chunk: Buffer, free?: () => void): boolean {
    const isKept = this.isRecords || this.#allOrNothing || this.#partial !== undefined
    if (isKept) {
      this.#last = chunk
      return this.stream.write(chunk, free)
    }
    return this.stream.write(chunk, (error) => {
      if (error === null || error === undefined) reportDurable(chunk)
      free?.()
    })
  }

  /** Puts FILE in its place. Called once all is written and nothing failed. */
  async commit(): Promise<void> {
    if (this.#partial !== undefined) await rename(this.#partial, this.#file as string)
    if (!this.isRecords && this.#last !== undefined) reportDurable(this.#last)
  }

  /** Where an unfinished output was left, if there is such a place. */
  get leftover(): string | undefined {
    return this.#partial
  }
}

export function isStdout(file: string | undefined): file is undefined | '-' {
  return file === undefined || file === '-'
}

function isS3(file: string): boolean {
  return /^s3:\/\//i.test(file)
}

/** Loaded when it is needed: the SDK costs more to load than all the rest. */
async function loadS3(): Promise<typeof import('../s3/index.ts')> {
  // a warning to those who write programs with the SDK, which is nothing to tell those who run one
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'
  return await import('../s3/index.ts')
}

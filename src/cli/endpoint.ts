// The one place where a FILE on the command line becomes a stage, in and out.
import { hostname } from 'node:os'
import { createReadStream, fstatSync } from 'node:fs'
import { open, rename, stat } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { reportDurable } from '../flow/index.ts'
import { ChunkedReader } from '../framing/chunked-reader.ts'
import type { KafkaAddress, KafkaSource, KafkaSourceOptions } from '../kafka/index.ts'
import { decompress } from './decompress.ts'
import { UsageError } from './exit-codes.ts'
import { FdSink } from './fd-sink.ts'

export interface InputHints {
  /** The verb takes batches of records as well as bytes: only then kafka:// is an input. */
  readonly records?: boolean
  /** What becomes of messages that are not JSON. */
  readonly onInvalid?: NonNullable<KafkaSourceOptions['onInvalid']>
}

/** A FILE that is read: its bytes, decompressed where needed, and how far it is. */
export class Input {
  readonly #stream: Readable
  readonly #size: () => number | undefined
  /** The group by which a topic is read. */
  readonly group: string | undefined
  #bytesRead = 0
  #stopped = false

  private constructor(stream: Readable, size: () => number | undefined, group?: string) {
    this.#stream = stream
    this.#size = size
    this.group = group
  }

  /** Opens FILE, s3://bucket/key or kafka://host/topic; `-` and none are stdin. */
  static async open(file: string | undefined, { records, onInvalid }: InputHints = {}): Promise<Input> {
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
    if (isKafka(file)) {
      if (records !== true) throw noRecords(file)
      const { KafkaSource, parseKafkaUrl } = await import('../kafka/index.ts')
      const address = parseKafkaUrl(file)
      const { group, from, until } = checkParameters(address, ['group', 'from', 'until', 'mechanism'])
      const source = new KafkaSource({
        ...connectionOf(address),
        topic: address.topic,
        batches: true,
        ...(group !== undefined && { groupId: group }),
        ...(from !== undefined && { from: startOf(from) }),
        ...(until !== undefined && { until: until as 'end' }),
        ...(onInvalid && { onInvalid }),
      })
      return new Input(source, () => undefined, group)
    }
    const info = await stat(file)
    if (info.isDirectory()) throw new UsageError(`${file} is a directory`)
    return new Input(new ChunkedReader(file), () => (info.isFile() ? info.size : undefined))
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
    const chunks = this.#count(this.#stream as AsyncIterable<Buffer>)
    return this.isRecords ? chunks : decompress(chunks)
  }

  /** The bytes as they are stored; a chunk is valid until the next one is asked for. Ends like {@link content}. */
  borrowed(): AsyncIterable<Buffer> {
    const stream = this.#stream
    return this.#count(stream instanceof ChunkedReader ? stream.borrowed() : stream)
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

  async *#count(chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
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

export interface OutputHints {
  /** Bytes that will be written, if that is known: from them follows the part size of an S3 object. */
  readonly size?: number
  /** The verb can give batches of records in place of bytes: only then kafka:// is an output. */
  readonly records?: boolean
  /** The group by which the input is read: a topic that results go to commits its position. */
  readonly group?: string | undefined
  /** Told each record that a topic does not take; without it, the first one is an error. */
  readonly onRecordError?: (failed: { readonly index: number; readonly error: Error }) => void
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
    if (isStdout(file)) return new Output(new FdSink(1))
    if (isS3(file)) {
      const { ObjectWriter } = await loadS3()
      return new Output(new ObjectWriter(file, hints), undefined, undefined, true)
    }
    if (isKafka(file)) {
      if (hints.records !== true) throw noRecords(file)
      return new Output(await openTopic(file, hints))
    }
    const existing = await stat(file).catch(() => undefined)
    if (existing?.isDirectory()) throw new UsageError(`-o ${file} is a directory`)
    // a device or FIFO cannot be replaced by renaming; it is written to
    const partial = existing === undefined || existing.isFile() ? `${file}.partial` : undefined
    const handle = await open(partial ?? file, 'w')
    return new Output(handle.createWriteStream({ highWaterMark: 1 << 20 }), file, partial)
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
  write(chunk: Buffer): boolean {
    const isKept = this.isRecords || this.#allOrNothing || this.#partial !== undefined
    if (isKept) {
      this.#last = chunk
      return this.stream.write(chunk)
    }
    return this.stream.write(chunk, (error) => {
      if (error === null || error === undefined) reportDurable(chunk)
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

function isKafka(file: string): boolean {
  return /^kafkas?:\/\//i.test(file)
}

function noRecords(file: string): UsageError {
  return new UsageError(
    `${file.replace(/\/\/[^@/]*@/, '//…@')}: a topic holds records, and this verb has bytes`,
  )
}

function checkParameters(
  { parameters }: KafkaAddress,
  known: readonly string[],
): Partial<Record<string, string>> {
  for (const name of Object.keys(parameters))
    if (!known.includes(name)) throw new UsageError(`kafka://…?${name}: expected one of ${known.join(', ')}`)
  return parameters
}

function connectionOf({ bootstrapServers, username, password, tls, parameters }: KafkaAddress) {
  return {
    bootstrapServers,
    tls,
    ...(username !== undefined && {
      sasl: {
        mechanism: (parameters['mechanism'] ?? 'PLAIN') as 'PLAIN',
        username,
        ...(password !== undefined && { password }),
      },
    }),
  }
}

function startOf(text: string): 'earliest' | 'latest' | Date {
  if (text === 'earliest' || text === 'latest') return text
  const date = new Date(text)
  if (Number.isNaN(date.getTime())) throw new UsageError(`from=${text}: expected earliest, latest or a date`)
  return date
}

async function openTopic(file: string, { group, onRecordError }: OutputHints): Promise<Writable> {
  const { KafkaSink, parseKafkaUrl } = await import('../kafka/index.ts')
  const address = parseKafkaUrl(file)
  const { key, compression, transaction } = checkParameters(address, [
    'key',
    'compression',
    'transaction',
    'mechanism',
  ])
  // from a topic to a topic: exactly once, by an id that no other process has
  const byDefault = group === undefined ? 'none' : `millrace-${group}-${hostname()}-${process.pid}`
  const transactionalId = transaction ?? byDefault
  return new KafkaSink({
    ...connectionOf(address),
    topic: address.topic,
    ...(key !== undefined && { keyColumn: key }),
    ...(compression !== undefined && { compression: compression as 'gzip' }),
    ...(transactionalId !== 'none' && { transactionalId }),
    ...(onRecordError && { onRecordError }),
  })
}

/** Loaded when it is needed: the SDK costs more to load than all the rest. */
async function loadS3(): Promise<typeof import('../s3/index.ts')> {
  // a warning to those who write programs with the SDK, which is nothing to tell those who run one
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'
  return await import('../s3/index.ts')
}

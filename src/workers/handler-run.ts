import { describe } from '../errors.ts'
import type { JsonTextFormat } from '../json/index.ts'
import { packError } from './error-transport.ts'
import { isMovable, ownsMemory, unwrap } from './movable.ts'
import type { OffloadContext, OffloadHandler } from './offload-handler.ts'
import type { RangeReader } from './range-reader.ts'
import { packRecords } from './record-transport.ts'
import type { TaskFault, TaskMessage, TaskReply, TaskSpec, UnknownSpec } from './task-protocol.ts'

export type AnyHandler = OffloadHandler<unknown>

/** Loaded by those that need it only, and without the rest of the room: each module costs a worker start-up time. */
export async function loadCodec() {
  const [{ parseBlock }, { stringifyBlock }] = await Promise.all([
    import('../json/parse-block.ts'),
    import('../json/stringify-block.ts'),
  ])
  return { parseBlock, stringifyBlock }
}

export type Codec = Awaited<ReturnType<typeof loadCodec>>

/** An answer, and the memory to be moved with it rather than copied. */
export interface Reply {
  readonly reply: TaskReply | UnknownSpec
  readonly move: ArrayBuffer[]
}

/** One run of a handler on one block. */
export class HandlerRun {
  readonly #spec: TaskSpec
  readonly #codec: Codec | undefined
  readonly #onDone: () => void
  readonly #message: TaskMessage
  readonly #reader: RangeReader
  #readBytes: Buffer | undefined
  readonly #reports: unknown[] = []
  #fault: TaskFault | undefined
  #move: ArrayBuffer[] = []
  #length = 0
  #bytes: Uint8Array | undefined
  #numbers: readonly number[] | undefined
  #recordsIn = 0
  #recordsOut = 0

  constructor(
    spec: TaskSpec,
    codec: Codec | undefined,
    message: TaskMessage,
    reader: RangeReader,
    onDone: () => void,
  ) {
    this.#spec = spec
    this.#codec = codec
    this.#message = message
    this.#reader = reader
    this.#onDone = onDone
  }

  /**
   * Stays synchronous as long as the handler does. During an `await` the next block could begin: it could overwrite
   * memory that the handler uses again, and if it never ended this block would look as if it were still running.
   */
  run(handler: AnyHandler): Reply | Promise<Reply> {
    const input = this.#input()
    if (this.#spec.input === 'ranges' && input === undefined) return this.#reply()
    // blank lines, or bad records only: there is nothing to call the handler for
    if (this.#spec.input === 'text' && (input as unknown[]).length === 0) return this.#reply()
    try {
      const answer = handler(input, this.#context())
      return isThenable(answer) ? this.#later(answer) : this.#answered(answer)
    } catch (error) {
      return this.#threw(error)
    }
  }

  async #later(answer: PromiseLike<unknown>): Promise<Reply> {
    let value: unknown
    try {
      value = await answer
    } catch (error) {
      return this.#threw(error)
    }
    return this.#answered(value)
  }

  #threw(error: unknown): Reply | Promise<Reply> {
    this.#fault = { kind: 'handler', error: packError(error) }
    return this.#answered((error as { partial?: unknown } | null | undefined)?.partial)
  }

  #reply(): Reply {
    if (this.#readBytes) this.#reader.giveBack(this.#readBytes)
    this.#onDone()
    return {
      reply: {
        length: this.#length,
        ...(this.#bytes && { bytes: this.#bytes }),
        recordsIn: this.#recordsIn,
        recordsOut: this.#recordsOut,
        ...(this.#reports.length > 0 && { reports: this.#reports }),
        ...(this.#fault && { fault: this.#fault }),
      },
      move: this.#move,
    }
  }

  #context(): OffloadContext {
    const { at, outSlot } = this.#message
    const { outSlots, outSlotSize, output } = this.#spec
    return {
      index: at.index,
      target:
        outSlots === undefined || outSlot < 0 || output !== 'bytes'
          ? undefined
          : Buffer.from(outSlots, outSlot * outSlotSize, outSlotSize),
      recordIndex: (i) => this.#numbers?.[i] ?? at.index + i,
      position: at,
      workerData: this.#spec.workerData,
      // cloned now, so that a report which cannot be sent fails the handler that made it
      report: (data) => void this.#reports.push(structuredClone(data)),
    }
  }

  #input(): unknown {
    const { input, inSlots, inSlotSize, maxDepth, onInvalid } = this.#spec
    const { bytes, records, inSlot, length, layout, at, frames } = this.#message
    if (input === 'records') {
      this.#recordsIn = records!.length
      return records
    }
    if (input === 'ranges') return this.#read()
    const view = bytes
      ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      : Buffer.from(inSlots!, inSlot * inSlotSize, length)
    if (input === 'bytes') return view
    const block = frames === undefined ? at : { ...at, frames }
    const parsed = this.#codec!.parseBlock(view, layout!, block, {
      numbering: 'frames',
      ...(maxDepth !== undefined && { maxDepth }),
      onInvalid:
        onInvalid === 'report'
          ? ({ index, message }) => void this.#reports.push({ index, error: message })
          : onInvalid,
    })
    if (parsed.error) this.#fault = { kind: 'input', error: packError(parsed.error) }
    this.#recordsIn = parsed.seen
    this.#numbers = parsed.numbers
    return parsed.records
  }

  #read(): Buffer | undefined {
    try {
      return (this.#readBytes = this.#reader.read(this.#message.range!))
    } catch (error) {
      this.#fault = { kind: 'input', error: packError(error) }
      return undefined
    }
  }

  #answered(answer: unknown): Reply | Promise<Reply> {
    let value = answer
    if (isMovable(value)) {
      const moved = unwrap(value)
      this.#move.push(...moved.move)
      value = moved.value
    }
    if (value !== undefined) {
      if (this.#spec.output === 'bytes') this.#sendBytes(value)
      else if (Array.isArray(value)) this.#sendRecords(value)
      else if (isIterable(value)) this.#sendRecords(this.#collect(value))
      else if (isAsyncIterable(value)) return this.#collectLater(value)
      else this.#refuse(value, 'an iterable of records')
    }
    return this.#reply()
  }

  /** What an iterable gives before it throws is kept. */
  #collect(iterable: Iterable<unknown>): unknown[] {
    const records: unknown[] = []
    try {
      for (const record of iterable) records.push(record)
    } catch (error) {
      this.#fault = { kind: 'handler', error: packError(error) }
    }
    return records
  }

  async #collectLater(iterable: AsyncIterable<unknown>): Promise<Reply> {
    const records: unknown[] = []
    try {
      for await (const record of iterable) records.push(record)
    } catch (error) {
      this.#fault = { kind: 'handler', error: packError(error) }
    }
    this.#sendRecords(records)
    return this.#reply()
  }

  #sendRecords(records: unknown[]): void {
    const { output } = this.#spec
    this.#move = []
    if (output === 'records') {
      const { bytes, fault } = packRecords(records)
      this.#recordsOut = fault ? fault.index : records.length
      if (fault) this.#fault = { kind: 'result', error: packError(fault.error) }
      if (this.#recordsOut > 0) this.#sendBytes(bytes)
      return
    }
    const { index } = this.#message.at
    const { text, written, error } = this.#codec!.stringifyBlock(records, output as JsonTextFormat, index)
    this.#recordsOut = written
    if (error) this.#fault = { kind: 'result', error: packError(error) }
    this.#sendText(text)
  }

  #sendBytes(value: unknown): void {
    if (typeof value === 'string') return this.#sendText(value)
    if (!(value instanceof Uint8Array)) return this.#refuse(value, 'a Uint8Array, a string or undefined')
    const slot = this.#slot(value.byteLength)
    if (slot) {
      // what the handler wrote there itself is there
      if (value.buffer !== slot.buffer || value.byteOffset !== slot.byteOffset) slot.set(value)
      this.#move = []
    } else if (this.#spec.transfer && ownsMemory(value)) this.#moveBytes(value)
    else if (this.#move.length > 0 && ownsMemory(value)) this.#bytes = value
    else {
      const copy = Buffer.allocUnsafeSlow(value.byteLength)
      copy.set(value)
      this.#moveBytes(copy)
    }
  }

  #sendText(text: string): void {
    if (text.length === 0) return
    const length = Buffer.byteLength(text)
    const slot = this.#slot(length)
    const target = slot ?? Buffer.allocUnsafeSlow(length)
    // a text of one-byte characters is copied as it stands, several times faster than it is encoded
    if (length === text.length) target.write(text, 'latin1')
    else target.write(text, 'utf8')
    if (!slot) this.#moveBytes(target)
  }

  /** The out-slot, if there is one that is large enough. Then it counts as filled. */
  #slot(length: number): Buffer | undefined {
    const { outSlots, outSlotSize } = this.#spec
    const { outSlot } = this.#message
    if (outSlots === undefined || outSlot < 0 || length > outSlotSize) return undefined
    this.#length = length
    return Buffer.from(outSlots, outSlot * outSlotSize, length)
  }

  #moveBytes(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return
    this.#bytes = bytes
    this.#move = [bytes.buffer as ArrayBuffer]
  }

  #refuse(value: unknown, expected: string): void {
    const error = new TypeError(`expected ${expected}, got ${describe(value)}`)
    this.#fault = { kind: 'result', error: packError(error) }
  }
}
function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  )
}
function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

import type { Piscina } from 'piscina'
import { OffloadError, describe, type ErrorFacts } from '../errors.ts'
import { OrderedWindow, TaskLost, type BlockPosition, type Executor, type Settled } from '../flow/index.ts'
import type { Block } from './block-source.ts'
import { createPool } from './create-pool.ts'
import { unpackError } from './error-transport.ts'
import { InlineExecutor } from './inline-executor.ts'
import type { OffloadPlan } from './offload-options.ts'
import { PoolExecutor, type PoolTask } from './pool-executor.ts'
import { unpackRecords } from './record-transport.ts'
import { SlotRing } from './slot-ring.ts'
import type { OutputForm, TaskFault, TaskReply, TaskSpec } from './task-protocol.ts'
import { ownsMemory } from './movable.ts'
import { TaskTable } from './task-table.ts'

/** Slots beyond the window that a reader may fill ahead. */
const READ_AHEAD = 2

/** An out-slot is that much larger than a block: JSON often grows when records are reshaped. What is larger still is moved. */
const OUT_SLOT_FACTOR = 2
const OUT_SLOT_EXTRA = 64 * 1024

/** What became of one block. */
export interface Outcome {
  /** Number of the block. */
  readonly index: number
  readonly at: BlockPosition
  readonly bytes: Buffer | undefined
  readonly records: readonly unknown[] | undefined
  readonly recordsIn: number
  readonly recordsOut: number
  readonly reports: readonly unknown[]
  /** What went wrong after all of the output above. */
  readonly error: unknown
  /** Says that `bytes` are not needed any more. */
  release(): void
}

let specs = 0

/** Everything behind {@link offload} but the stream: blocks in, outcomes out, through one window and one executor. */
export class OffloadEngine {
  readonly #plan: OffloadPlan
  readonly #window: OrderedWindow<PoolTask, TaskReply>
  readonly #inSlots: SlotRing | undefined
  readonly #outSlots: SlotRing | undefined
  /** In-slots that {@link OffloadEngine.alloc} has lent to a reader. */
  readonly #lent = new Set<number>()
  readonly #waiting: { size: number; resolve: (buffer: Buffer) => void }[] = []
  readonly #ownPool: Piscina | undefined
  readonly #executor: Executor<PoolTask, TaskReply> & { close?(): void }
  #closed: Promise<void> | undefined

  constructor(plan: OffloadPlan, onReady: () => void) {
    const { concurrency, window, ordered, retries, inline, transfer, blockSize } = plan
    this.#plan = plan
    const table = TaskTable.ofRows(concurrency)
    const shared = !inline && transfer === 'auto'
    if (shared && plan.in !== 'records' && plan.in !== 'ranges')
      this.#inSlots = new SlotRing(window + READ_AHEAD, blockSize)
    if (shared) this.#outSlots = new SlotRing(window, OUT_SLOT_FACTOR * blockSize + OUT_SLOT_EXTRA)
    const spec: TaskSpec = {
      id: specs++,
      module: plan.module,
      name: plan.name,
      input: plan.in === 'bytes' || plan.in === 'ranges' || plan.in === 'records' ? plan.in : 'text',
      output: outputForm(plan.out),
      workerData: plan.workerData,
      maxDepth: plan.maxDepth,
      onInvalid: plan.onInvalid,
      transfer: transfer === 'transfer',
      table: table.memory,
      inSlots: this.#inSlots?.memory,
      inSlotSize: this.#inSlots?.size ?? 0,
      outSlots: this.#outSlots?.memory,
      outSlotSize: this.#outSlots?.size ?? 0,
    }
    if (inline) this.#executor = new InlineExecutor(spec, table)
    else {
      this.#ownPool = plan.pool ? undefined : createPool(poolOptions(plan))
      this.#executor = new PoolExecutor(plan.pool ?? this.#ownPool!, spec, table, plan.timeout)
    }
    this.#window = new OrderedWindow(this.#executor, { window, concurrency, ordered, retries, onReady })
  }

  /** Blocks whose outcome has not been taken. */
  get size(): number {
    return this.#window.size
  }

  hasRoom(): boolean {
    return this.#window.hasRoom()
  }

  /** Takes one block; its bytes are not needed any more afterwards (unless they are to be transferred). */
  submit(block: Block): void {
    const { bytes, range, records, at, frames, layout } = block
    const inSlot = bytes ? this.#intoSlot(bytes) : -1
    this.#window.submit({
      at,
      frames,
      layout,
      inSlot,
      length: bytes?.byteLength ?? 0,
      bytes: bytes && inSlot < 0 ? this.#own(bytes) : undefined,
      range,
      records,
      outSlot: this.#outSlots?.take() ?? -1,
    })
  }

  /** The next outcome, if there is one. */
  shift(): Outcome | undefined {
    const settled = this.#window.shift()
    if (settled === undefined) return undefined
    const { index, input, output } = settled
    if (input.inSlot >= 0) this.#giveBack(input.inSlot)
    const { length, bytes: moved, recordsIn = 0, recordsOut = 0, reports = [] } = output ?? { length: 0 }
    const hasSlot = input.outSlot >= 0
    if (hasSlot && length === 0) this.#outSlots!.give(input.outSlot)
    let inUse = hasSlot && length > 0
    const bytes = inUse ? this.#outSlots!.view(input.outSlot, length) : moved && asBuffer(moved)
    const isSerialized = bytes !== undefined && this.#plan.out === 'records'
    return {
      index,
      at: input.at,
      bytes: isSerialized ? undefined : bytes,
      records: isSerialized ? unpackRecords(bytes) : undefined,
      recordsIn,
      recordsOut,
      reports,
      error: errorOf(settled),
      release: () => {
        if (inUse) this.#outSlots!.give(input.outSlot)
        inUse = false
      },
    }
  }

  /**
   * Memory that a reader may fill and write to the stage, without a copy. Waits while all of it is in use.
   *
   * @param busy - Whether the stage still holds chunks that have not been submitted.
   */
  alloc(size: number, busy: boolean): Buffer | Promise<Buffer> {
    if (this.#inSlots === undefined || this.#closed) return Buffer.allocUnsafeSlow(size)
    const slot = this.#inSlots.take()
    if (slot >= 0) return this.#lend(slot, size)
    // All slots are with readers and nothing here could free one: waiting might be for ever.
    if (!busy && this.#window.size === 0) return Buffer.allocUnsafeSlow(Math.min(size, this.#inSlots.size))
    return new Promise((resolve) => this.#waiting.push({ size, resolve }))
  }

  /** Takes back what {@link OffloadEngine.alloc} gave and nobody wrote. */
  release(buffer: Buffer): void {
    const slot = this.#inSlots?.slotOf(buffer) ?? -1
    if (this.#lent.delete(slot)) this.#giveBack(slot)
  }

  /** Drops all that is in work. Tasks on a pool of our own are ended, others run to their end and are not heard. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close())
  }

  async #close(): Promise<void> {
    this.#window.abort()
    this.#executor.close?.()
    for (const { size, resolve } of this.#waiting.splice(0)) resolve(Buffer.allocUnsafeSlow(size))
    // a worker that answers while it is ended is an error to the pool, and to nobody else
    await this.#ownPool?.on('error', () => {}).destroy()
  }

  #intoSlot(bytes: Uint8Array): number {
    const slots = this.#inSlots
    if (slots === undefined) return -1
    const own = slots.slotOf(bytes)
    if (this.#lent.delete(own)) return own
    if (bytes.byteLength > slots.size) return -1
    const slot = slots.take()
    if (slot >= 0) slots.view(slot).set(bytes)
    return slot
  }

  /** Bytes that stay as they are, whatever their writer does with its buffer. */
  #own(bytes: Uint8Array): Uint8Array {
    if (this.#plan.transfer === 'transfer' && ownsMemory(bytes)) return bytes
    const copy = Buffer.allocUnsafeSlow(bytes.byteLength)
    copy.set(bytes)
    return copy
  }

  #lend(slot: number, size: number): Buffer {
    this.#lent.add(slot)
    return this.#inSlots!.view(slot, Math.min(size, this.#inSlots!.size))
  }

  #giveBack(slot: number): void {
    this.#inSlots!.give(slot)
    const next = this.#waiting.shift()
    if (next) next.resolve(this.#lend(this.#inSlots!.take(), next.size))
  }
}

function outputForm(out: OffloadPlan['out']): OutputForm {
  return out === 'json' ? 'array' : out
}

function poolOptions({ workers, perWorker, resourceLimits }: OffloadPlan) {
  return { workers, perWorker, ...(resourceLimits && { resourceLimits }) }
}

const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

function errorOf({ index, input, failed, error, output, attempts }: Settled<PoolTask, TaskReply>): unknown {
  if (!failed) return output!.fault && faultError(output!.fault, index, input)
  const { cause } = error as { cause?: unknown }
  if (error instanceof TaskLost) {
    const times = attempts === 1 ? '' : `, ${attempts} times`
    const what = `its worker died${times}: ${messageOf(cause)}`
    return blockError('ERR_MILLRACE_OFFLOAD_CRASH', what, index, input, { attempts, cause })
  }
  if (!(error instanceof OffloadError)) return error
  const { code, message, expected } = error
  return blockError(code, message, index, input, { cause, ...(expected !== undefined && { expected }) })
}

function faultError({ kind, error }: TaskFault, index: number, task: PoolTask): unknown {
  const cause = unpackError(error)
  // a bad record is no fault of the handler: the error names its place already
  if (kind === 'input') return cause
  const [code, what] = FAULTS[kind]
  return blockError(code, `${what}: ${messageOf(cause)}`, index, task, { cause })
}

const FAULTS = {
  handler: ['ERR_MILLRACE_OFFLOAD_HANDLER', 'the handler threw'],
  result: ['ERR_MILLRACE_OFFLOAD_RESULT', "the handler's result cannot be sent on"],
  worker: ['ERR_MILLRACE_OFFLOAD_WORKER', 'the handler cannot be loaded'],
} as const

function blockError(
  code: string,
  what: string,
  index: number,
  task: PoolTask,
  facts: ErrorFacts,
): OffloadError {
  const { range, records, layout, at } = task
  const { offset, line, column } = at
  const from = records || layout ? `record ${at.index}` : ''
  const byte = records ? '' : `byte ${offset}${range ? ` of ${range.path}` : ''}`
  const where = [from, byte].filter(Boolean).join(', ')
  return new OffloadError(code, `block ${index} (from ${where}): ${what}`, {
    index,
    ...(!records && { offset }),
    ...(line > 0 && { line, column }),
    ...facts,
  })
}

const messageOf = (thrown: unknown) => (thrown instanceof Error ? thrown.message : describe(thrown))

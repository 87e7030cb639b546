import type { BlockPosition } from '../flow/index.ts'
import type { FileRange } from '../framing/file-ranges.ts'
import type { JsonLayout } from '../json/index.ts'
import type { PackedError } from './error-transport.ts'

/** In what form a block comes. Bytes of `'text'` are parsed in the worker, `'ranges'` are read there. */
type InputForm = 'bytes' | 'ranges' | 'records' | 'text'

/** In what form a handler's answer leaves the worker. Records travel as bytes, too: as `v8.serialize` writes them. */
export type OutputForm = 'bytes' | 'records' | 'array' | 'ndjson' | 'seq'

/** What a worker has to know of a stage. It is sent when a worker asks for it, not with every task. */
export interface TaskSpec {
  readonly id: number
  /** URL of the module. */
  readonly module: string
  /** Name of the export. */
  readonly name: string
  readonly input: InputForm
  readonly output: OutputForm
  readonly workerData: unknown
  readonly maxDepth: number | undefined
  readonly onInvalid: 'throw' | 'skip' | 'report'
  /** Hands results over by moving their memory, where they own it. */
  readonly transfer: boolean
  readonly table: SharedArrayBuffer
  readonly inSlots: SharedArrayBuffer | undefined
  readonly inSlotSize: number
  readonly outSlots: SharedArrayBuffer | undefined
  readonly outSlotSize: number
}

/** One block on its way to a worker. */
export interface TaskMessage {
  readonly specId: number
  readonly spec?: TaskSpec
  /** Row of the task table. */
  readonly row: number
  readonly at: BlockPosition
  readonly frames: number | undefined
  readonly layout: JsonLayout | undefined
  /** Where the bytes are, unless `bytes`, `range` or `records` has them. */
  readonly inSlot: number
  readonly length: number
  readonly bytes?: Uint8Array | undefined
  readonly range?: FileRange | undefined
  readonly records?: readonly unknown[] | undefined
  /** Where the output may be put; -1: nowhere. */
  readonly outSlot: number
}

/** Why a block has no (or not all of its) output. */
export interface TaskFault {
  /** `handler`: it threw. `input`: the block does not parse, or cannot be read. `result`: what the handler gave cannot be sent. `worker`: there is no handler. */
  readonly kind: 'handler' | 'input' | 'result' | 'worker'
  readonly error: PackedError
}

/** The answer to a {@link TaskMessage}. */
export interface TaskReply {
  /** Bytes of output in the out-slot, or 0. */
  readonly length: number
  /** Output that did not fit. */
  readonly bytes?: Uint8Array
  readonly recordsIn: number
  readonly recordsOut: number
  readonly reports?: unknown[]
  readonly fault?: TaskFault
}

/** The answer of a worker that does not know the stage; with the input, if that was moved to it. */
export interface UnknownSpec {
  readonly unknown: true
  readonly bytes: Uint8Array | undefined
}

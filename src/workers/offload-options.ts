import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Piscina } from 'piscina'
import { OptionError } from '../errors.ts'
import type { BlockPosition, StatsHooks } from '../flow/index.ts'
import { DEFAULT_MAX_VALUE_BYTES } from '../json/index.ts'
import {
  checkBoolean,
  checkChoice,
  checkFunction,
  checkInteger,
  checkLimit,
  checkSignal,
  checkString,
} from '../options.ts'
import { DEFAULT_PER_WORKER, checkPool, type PoolResourceLimits } from './create-pool.ts'

/** Bytes of a block of JSON text: 1 to 5 ms of work for a worker, against 20 µs to hand it over. */
export const DEFAULT_BLOCK_SIZE = 256 * 1024

/** Bytes of a slot of a stage that takes bytes; a larger chunk is copied to its worker. */
export const DEFAULT_CHUNK_SIZE = 1024 * 1024

/** Single records that make up a block. */
export const DEFAULT_BATCH_SIZE = 64

const IN = ['bytes', 'ranges', 'records', 'auto', 'json', 'ndjson', 'concat', 'seq'] as const
const OUT = ['bytes', 'records', 'json', 'ndjson', 'seq'] as const

/** Options of {@link offload}. */
export interface OffloadOptions extends StatsHooks {
  /**
   * Export of the module that is the handler.
   * @defaultValue 'default'
   */
  readonly name?: string
  /**
   * What is written to the stage, and what the handler gets. `'bytes'`: each chunk is a block, and the handler gets it as
   * a Buffer. `'ranges'`: an object stream of parts of files ({@link FileRange}, as `fileRanges` gives them), which the worker
   * reads by itself; the handler gets the bytes. `'records'`: an object stream of records or batches; the handler gets an array. All others are JSON text, cut anywhere, which
   * the stage cuts into blocks and the worker parses; the handler gets an array.
   * @defaultValue 'bytes'
   */
  readonly in?: (typeof IN)[number]
  /**
   * What the handler gives, and what is read from the stage. `'bytes'`: a Uint8Array, a string, or nothing. All others: an
   * iterable of records, which leave as objects or as JSON text that the worker has written. As objects they keep what
   * `v8.serialize` keeps: Map, Set, BigInt, Date, typed arrays, but no classes.
   * @defaultValue like `in`; `'ndjson'` for `'auto'` and `'concat'`, `'bytes'` for `'ranges'`
   */
  readonly out?: (typeof OUT)[number]
  /**
   * Number of threads; 0 runs the handler in this thread, with the same output.
   * @defaultValue `os.availableParallelism()`
   */
  readonly workers?: number
  /**
   * Blocks that a worker holds at the same time. Async handlers run that many at once.
   * @defaultValue 2
   */
  readonly perWorker?: number
  /**
   * Blocks between the input and the output: the bound of memory.
   * @defaultValue 'auto': twice what the workers hold
   */
  readonly window?: number | 'auto'
  /**
   * Bytes of a block of JSON text, or of the largest chunk that travels through shared memory.
   * @defaultValue 262144 (256 KiB) for JSON text, 1048576 (1 MiB) for `'bytes'`
   */
  readonly blockSize?: number
  /**
   * Single records that are put into one block; batches stay as they are.
   * @defaultValue 64
   */
  readonly batchSize?: number
  /**
   * With `out: 'records'`: emit one RecordBatch a block in place of single records.
   * @defaultValue false
   */
  readonly batches?: boolean
  /**
   * Output in the order of the input; otherwise as blocks are done.
   * @defaultValue true
   */
  readonly ordered?: boolean
  /**
   * How often a block is run again after it has killed its worker. A handler that throws is never run again.
   * @defaultValue 0
   */
  readonly retries?: number
  /**
   * Longest run of the handler on one block, in milliseconds. The worker is ended. Its module may take as long to load, and 5 seconds at least.
   * @defaultValue Infinity
   */
  readonly timeout?: number
  /** Limits of each worker, in MiB. Memory of ArrayBuffers is not counted. */
  readonly resourceLimits?: PoolResourceLimits
  /** Any value that can be cloned, for the handler's context. Sent once to each worker. */
  readonly workerData?: unknown
  /**
   * How bytes reach the worker. `'auto'`: through shared memory; the handler's Buffer is valid until it has answered. `'copy'`: as a copy
   * that the handler may keep. `'transfer'`: a chunk that owns its memory is moved and gone for its writer, any other is
   * copied; results that own their memory are moved too. Needs `perWorker` 1 and no `retries`, since a moved block dies with its worker.
   * @defaultValue 'auto'
   */
  readonly transfer?: 'auto' | 'copy' | 'transfer'
  /** A pool to share, see {@link createPool}. It decides the number of threads and is never ended by the stage. */
  readonly pool?: Piscina
  /** Called in order with what a handler passes to `context.report()`, before the output of its block. */
  readonly onReport?: (data: unknown, block: ReportedBlock) => void
  /**
   * What to do with a record that is not JSON: fail, leave it out, or leave it out and pass
   * `{ index, error }` to `onReport`.
   * @defaultValue 'throw'
   */
  readonly onInvalid?: 'throw' | 'skip' | 'report'
  /**
   * Deepest nesting of a record of JSON text, in brackets.
   * @defaultValue 1024
   */
  readonly maxDepth?: number
  /**
   * Longest record of JSON text, in bytes.
   * @defaultValue 67108864 (64 MiB)
   */
  readonly maxValueBytes?: number
  /**
   * Keys down to the array or object whose elements or members are the records, in JSON text; members come as
   * `{ key, value }`. What is skipped on the way is not parsed.
   */
  readonly path?: readonly string[]
  /**
   * Whether JSON input without any value is fine.
   * @defaultValue false
   */
  readonly allowEmpty?: boolean
  readonly signal?: AbortSignal
  /**
   * Of both sides: bytes, or records.
   * @defaultValue Node's
   */
  readonly highWaterMark?: number
}

/** The block that a report came from. */
export interface ReportedBlock {
  /** Number of the block, from 0. */
  readonly index: number
  readonly position: BlockPosition
}

type Resolved =
  | 'name'
  | 'blockSize'
  | 'batchSize'
  | 'batches'
  | 'ordered'
  | 'retries'
  | 'timeout'
  | 'transfer'
  | 'onInvalid'
  | 'maxValueBytes'

/** {@link OffloadOptions}, checked and with all defaults. */
export interface OffloadPlan extends Required<Pick<OffloadOptions, Resolved>> {
  readonly module: string
  readonly in: (typeof IN)[number]
  readonly out: (typeof OUT)[number]
  readonly inline: boolean
  readonly workers: number
  readonly perWorker: number
  /** Blocks that run at the same time. */
  readonly concurrency: number
  readonly window: number
  readonly pool: Piscina | undefined
  readonly resourceLimits: PoolResourceLimits | undefined
  readonly workerData: unknown
  readonly maxDepth: number | undefined
  readonly allowEmpty: boolean | undefined
  readonly path: readonly string[] | undefined
  readonly onReport: OffloadOptions['onReport']
}

/** @throws {@link OptionError} when an option is wrong, or two exclude each other. */
export function planOffload(module: string | URL, options: OffloadOptions): OffloadPlan {
  const {
    name = 'default',
    in: input = 'bytes',
    out = outFor(input),
    workers = availableParallelism(),
    window = 'auto',
    blockSize = input === 'bytes' || input === 'ranges' ? DEFAULT_CHUNK_SIZE : DEFAULT_BLOCK_SIZE,
    batchSize = DEFAULT_BATCH_SIZE,
    batches = false,
    ordered = true,
    retries = 0,
    timeout = Infinity,
    transfer = 'auto',
    perWorker = transfer === 'transfer' ? 1 : DEFAULT_PER_WORKER,
    onInvalid = 'throw',
    maxValueBytes = DEFAULT_MAX_VALUE_BYTES,
    pool,
  } = options
  checkInteger('workers', workers)
  checkInteger('perWorker', perWorker, 1)
  if (pool !== undefined) checkPool(pool)
  const inline = workers === 0 && pool === undefined
  const held = pool ? pool.options.concurrentTasksPerWorker : perWorker
  const concurrency = (pool ? pool.options.maxThreads : Math.max(workers, 1)) * held
  if (transfer === 'transfer') {
    if (held !== 1) throw new OptionError('perWorker', held, "1 with transfer: 'transfer'")
    if (retries !== 0) throw new OptionError('retries', retries, "0 with transfer: 'transfer'")
  }
  if (inline) {
    if (timeout !== Infinity) throw new OptionError('timeout', timeout, 'nothing with workers: 0')
    refuse(options, 'resourceLimits', 'with workers: 0')
  }
  if (pool)
    for (const key of ['workers', 'perWorker', 'resourceLimits'] as const) refuse(options, key, 'with a pool')
  return {
    module: toUrl(module),
    name: checkString('name', name),
    in: checkChoice('in', input, IN),
    out: checkChoice('out', out, OUT),
    inline,
    workers,
    perWorker,
    concurrency,
    window: window === 'auto' ? 2 * concurrency : checkInteger('window', window, 1),
    blockSize: checkInteger('blockSize', blockSize, 1),
    batchSize: checkInteger('batchSize', batchSize, 1),
    batches: checkBoolean('batches', batches),
    ordered: checkBoolean('ordered', ordered),
    retries: checkInteger('retries', retries),
    timeout: checkLimit('timeout', timeout),
    transfer: checkChoice('transfer', transfer, ['auto', 'copy', 'transfer']),
    pool,
    resourceLimits: options.resourceLimits,
    workerData: cloneable('workerData', options.workerData),
    onInvalid: checkChoice('onInvalid', onInvalid, ['throw', 'skip', 'report']),
    maxDepth: options.maxDepth === undefined ? undefined : checkLimit('maxDepth', options.maxDepth),
    maxValueBytes: checkLimit('maxValueBytes', maxValueBytes),
    allowEmpty: options.allowEmpty === undefined ? undefined : checkBoolean('allowEmpty', options.allowEmpty),
    path: options.path,
    onReport: checkFunction('onReport', options.onReport),
  }
}

/** Checked apart, because the stream's own constructor needs them first. */
export function streamOptions({ in: input, out, signal, highWaterMark }: OffloadOptions) {
  checkSignal('signal', signal)
  if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark)
  return {
    writableObjectMode: input === 'records' || input === 'ranges',
    // text made of records stays in its blocks too: a byte stream joins chunks, and loses their positions
    readableObjectMode: input === 'records' || (out ?? outFor(input ?? 'bytes')) === 'records',
    ...(highWaterMark !== undefined && {
      readableHighWaterMark: highWaterMark,
      writableHighWaterMark: highWaterMark,
    }),
  }
}

function outFor(input: (typeof IN)[number]): (typeof OUT)[number] {
  if (input === 'ranges') return 'bytes'
  return input === 'auto' || input === 'concat' ? 'ndjson' : input
}

/** A string is a path, unless it is written as a URL. */
function toUrl(module: string | URL): string {
  if (module instanceof URL) return module.href
  checkString('module', module)
  return /^(file|data|node):/.test(module) ? module : pathToFileURL(resolve(module)).href
}

function refuse(options: OffloadOptions, key: 'workers' | 'perWorker' | 'resourceLimits', why: string): void {
  if (options[key] !== undefined) throw new OptionError(key, options[key], `nothing ${why}`)
}

function cloneable(option: string, value: unknown): unknown {
  try {
    structuredClone(value)
    return value
  } catch {
    throw new OptionError(option, value, 'a value that can be cloned')
  }
}

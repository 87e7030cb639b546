import { compileKernel } from '../bytes/byte-kernel.ts'
import { wasm } from '../wasm/records.wasm.ts'
import type { KernelSampler } from './kernel-sampler.ts'
import type { ModelData } from './model-data.ts'

const WASM_PAGE = 65_536
/** Bytes of tables that are kept: beyond, all are dropped when the next ones come. */
const MAX_KEPT = 67_108_864
/** What takes a larger part of that is drawn and written without the kernel: others would wait for its tables too often. */
const SHARE = 8

// the types of Node leave WebAssembly to those of browsers
declare const WebAssembly: { Instance: new (module: object) => { readonly exports: unknown } }

interface KernelExports {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number }
  readonly start: { readonly value: number }
  seed(a: number, b: number, c: number, counter: number): void
  fillWords(to: number): void
  shuffle(rows: number, words: number): void
  addSteps(cells: number, parents: number, count: number): void
  drawEvenly(
    to: number,
    cells: number,
    leafOf: number,
    first: number,
    second: number,
    turn: number,
    words: number,
    leaves: number,
    leafCount: number,
    guide: number,
    last: number,
    codes: number,
  ): void
  join(picks: number, codes: number, count: number): void
  writeNumbers(
    table: number,
    from: number,
    to: number,
    codes: number,
    words: number,
    starts: number,
    knots: number,
    decimals: number,
    nullCode: number,
    nullLength: number,
    before: number,
    after: number,
    afterLength: number,
  ): void
  writeRows(at: number, plans: number, planCount: number, from: number, to: number): number
}

type Numbers = Uint8Array | Uint16Array | Int32Array | Uint32Array | Float64Array

/**
 * The WebAssembly twin of the loops that draw blocks and write them, and its memory, where tables are kept from one block to the next.
 * One for a thread: each memory takes 8 GiB of addresses.
 */
export class RecordKernel {
  readonly run: KernelExports
  #bytes: Buffer
  #top: number
  readonly #bottom: number
  #epoch = 0

  readonly #maxKept: number
  /** Of models without conditions: streams of the same one share its tables. */
  readonly samplers = new WeakMap<ModelData, KernelSampler>()

  constructor(module: object, maxKept: number = MAX_KEPT) {
    this.#maxKept = maxKept
    this.run = new WebAssembly.Instance(module).exports as KernelExports
    this.#bytes = Buffer.from(this.run.memory.buffer)
    this.#top = this.#bottom = this.run.start.value
  }

  /** What was put here in another epoch is gone. */
  get epoch(): number {
    return this.#epoch
  }

  /** Whether tables of so many bytes may be put here. */
  hasRoomFor(bytes: number): boolean {
    return bytes <= MAX_KEPT / SHARE
  }

  /** To be called before the first of a caller's tables: makes room where others take too much of it. */
  open(): number {
    if (this.#top > this.#maxKept) {
      this.#top = this.#bottom
      this.#epoch++
    }
    return this.#epoch
  }

  /** Copies numbers to memory, and returns their address. */
  put(numbers: Numbers): number {
    const address = this.reserve(numbers.byteLength)
    this.set(address, numbers)
    return address
  }

  set(address: number, { buffer, byteOffset, byteLength }: Numbers): void {
    this.#bytes.set(new Uint8Array(buffer, byteOffset, byteLength), address)
  }

  /** Copies numbers from memory. */
  take(address: number, to: Uint16Array | Uint32Array): void {
    const from = this.#bytes.subarray(address, address + to.byteLength)
    new Uint8Array(to.buffer, to.byteOffset, to.byteLength).set(from)
  }

  /** All of memory, until more is reserved. */
  get bytes(): Buffer {
    return this.#bytes
  }

  /** The address of so many bytes. */
  reserve(bytes: number): number {
    const { memory } = this.run
    const address = this.#top
    this.#top = Math.ceil((address + bytes) / 16) * 16
    const missing = this.#top - this.#bytes.length
    if (missing > 0) {
      memory.grow(Math.ceil(missing / WASM_PAGE))
      this.#bytes = Buffer.from(memory.buffer)
    }
    return address
  }
}

let shared: RecordKernel | null | undefined

/** The kernel of this thread, or null where there is no WebAssembly (--jitless). */
export function sharedRecordKernel(): RecordKernel | null {
  return (shared ??= openRecordKernel())
}

/** A kernel with memory of its own. */
export function openRecordKernel(maxKept?: number, base64: string = wasm): RecordKernel | null {
  const module = compileKernel(base64)
  return module && new RecordKernel(module, maxKept)
}

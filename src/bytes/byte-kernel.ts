import { wasm } from '../wasm/byte-fill.wasm.ts'
import { BLOCK_SIZE } from './object-format.ts'
import { fillTwin } from './fill-twin.ts'

/**
 * Bytes are generated and then copied or compared in pieces that stay in the first-level cache: 16 KiB measured 10 % faster
 * than 64 KiB. In bytes.
 */
export const PIECE = 16_384

/** What writes the bytes of an object, into memory of its own. */
export interface ByteKernel {
  readonly name: 'wasm' | 'js'
  /** A filled range stays here until the next call that overwrites it. Never leaves through a stream that others read. */
  readonly memory: Buffer
  /** The first {@link PIECE} bytes of it. */
  readonly piece: Uint8Array
  /**
   * Writes bytes `[page * 4096, end)` of a unique block, 0 ≤ `end` ≤ 65536, to `memory` from `to`; and up to 63 bytes
   * more, because it writes whole steps.
   */
  fill(
    to: number,
    keyLow: number,
    keyHigh: number,
    uLow: number,
    uHigh: number,
    page: number,
    end: number,
    rate: number,
  ): void
}

// the types of Node leave WebAssembly to those of browsers
declare const WebAssembly: {
  Module: new (binary: Uint8Array) => object
  Instance: new (module: object) => { readonly exports: unknown }
}

interface FillExports {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number }
  /** Where the caller's memory begins. */
  readonly start: { readonly value: number }
  readonly fill: ByteKernel['fill']
}

const WASM_PAGE = 65_536
/** Room for the last step of the last page. */
const SPARE = 64

/** Compiles a kernel; `null` where there is no WebAssembly (--jitless), or none with SIMD. */
export function compileKernel(base64: string): object | null {
  try {
    return new WebAssembly.Module(Buffer.from(base64, 'base64'))
  } catch {
    return null
  }
}

let compiled: object | null | undefined

/**
 * Opens a kernel with `capacity` bytes of memory: the WebAssembly one (0.3 ms at first), or where that cannot run its
 * JavaScript twin, which gives the same bytes.
 */
export function openKernel(capacity: number = BLOCK_SIZE, module?: object | null): ByteKernel {
  const kernel = module === undefined ? (compiled ??= compileKernel(wasm)) : module
  if (kernel === null) return fillTwin(capacity, PIECE)
  const { memory, start, fill } = new WebAssembly.Instance(kernel).exports as FillExports
  const missing = start.value + capacity + SPARE - memory.buffer.byteLength
  if (missing > 0) memory.grow(Math.ceil(missing / WASM_PAGE))
  const bytes = Buffer.from(memory.buffer, start.value)
  return { name: 'wasm', memory: bytes, piece: bytes.subarray(0, PIECE), fill }
}

let shared: ByteKernel | undefined

/** The kernel that serves all objects of a thread: every use of it fills and copies without a pause between. */
export function sharedKernel(): ByteKernel {
  return (shared ??= openKernel())
}

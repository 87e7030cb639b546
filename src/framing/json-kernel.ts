import { wasm } from '../wasm/json-scan.wasm.ts'
import { LAST, scanJson, type JsonScan } from './json-scan.ts'

// Layout of the kernel's memory; see wasm/assembly/json-scan.ts
const DEPTH = 0
const IN_STRING = 1
const ESCAPED = 2
const COMMA = 3
const COMMAS = 4
const BRACKET = 5
const DATA = 64
/** Bytes of one call: what 128 KiB hold besides the state and one step of padding. */
const WINDOW = 2 * 65_536 - DATA - 64

/** Below this many bytes the call and the copy cost more than the kernel saves. */
const SHORT = 256
/** Scans that may stop soon look this far before they copy more, and then twice as far each time. */
const NEAR = 1024

interface KernelExports {
  readonly scan: (length: number, mode: number, maxDepth: number) => number
  readonly count: (length: number, byte: number) => number
  readonly memory: { readonly buffer: ArrayBuffer }
}

interface Kernel extends Pick<KernelExports, 'scan' | 'count'> {
  readonly bytes: Uint8Array
  readonly words: Int32Array
}

// the types of Node leave WebAssembly to those of browsers
declare const WebAssembly: {
  Module: new (binary: Uint8Array) => object
  Instance: new (module: object) => { exports: unknown }
}

/** The one instance of this thread. Calls carry their state in and out, so any number of streams can share it. */
let instance: Kernel | null | undefined

/** Compiles and instantiates a kernel (0.7 ms), or gives `null` where there is no WebAssembly or it lacks SIMD. */
export function loadKernel(base64: string): Kernel | null {
  try {
    const module = new WebAssembly.Module(Buffer.from(base64, 'base64'))
    const { scan, count, memory } = new WebAssembly.Instance(module).exports as KernelExports
    return { scan, count, bytes: new Uint8Array(memory.buffer), words: new Int32Array(memory.buffer) }
  } catch {
    // --jitless, or a machine without SIMD: the JavaScript twin gives the same results
    return null
  }
}

function kernel(): Kernel | null {
  if (instance === undefined) instance = loadKernel(wasm)
  return instance
}

/** `scanJson` at 4 to 5 GB/s: the same results, from the WebAssembly kernel wherever that is faster. */
export const scanJsonFast: JsonScan = (state, bytes, from, to, mode, maxDepth) => {
  const engine = to - from < SHORT ? null : kernel()
  if (engine === null) return scanJson(state, bytes, from, to, mode, maxDepth)
  let at = from
  let window = WINDOW
  if (mode !== LAST) {
    window = NEAR
    const near = Math.min(to, from + NEAR)
    at = scanJson(state, bytes, from, near, mode, maxDepth)
    if (at < near || state.comma !== -1) return at
  }
  const { words } = engine
  let comma = -1
  let commas = 0
  let bracket = -1
  let isDone = false
  while (at < to && !isDone) {
    const length = Math.min(to - at, window)
    window = Math.min(2 * window, WINDOW)
    engine.bytes.set(at === 0 && length === bytes.length ? bytes : bytes.subarray(at, at + length), DATA)
    words[DEPTH] = state.depth
    words[IN_STRING] = state.inString ? 1 : 0
    words[ESCAPED] = state.escaped ? 1 : 0
    const stopped = engine.scan(length, mode, maxDepth)
    state.depth = words[DEPTH]
    state.inString = words[IN_STRING] !== 0
    state.escaped = words[ESCAPED] !== 0
    if (words[COMMA] !== -1) comma = at + words[COMMA]!
    commas += words[COMMAS]!
    if (words[BRACKET] !== -1) bracket = at + words[BRACKET]!
    at += stopped
    isDone = bracket !== -1 || (mode !== LAST && comma !== -1)
  }
  state.comma = comma
  state.commas = commas
  state.bracket = bracket
  return at
}

/** How often `byte` stands in `bytes[from, to)`; 10 GB/s and more where there is WebAssembly. */
export function countByte(bytes: Uint8Array, from: number, to: number, byte: number): number {
  let total = 0
  const engine = to - from < SHORT ? null : kernel()
  if (engine === null) {
    for (let i = from; i < to; i++) if (bytes[i] === byte) total++
    return total
  }
  for (let at = from; at < to; at += WINDOW) {
    const length = Math.min(to - at, WINDOW)
    engine.bytes.set(bytes.subarray(at, at + length), DATA)
    total += engine.count(length, byte)
  }
  return total
}

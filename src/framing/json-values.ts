import { FrameFault } from './frame-scanner.ts'
import { CLOSE, JsonScanState, type JsonScan } from './json-scan.ts'
import { isJsonOpener, isJsonSpace, skipJsonSpace } from './json-space.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Too many open brackets. */
export const depthFault = (maxDepth: number, at: number) =>
  new FrameFault(`nested deeper than ${maxDepth} levels`, at, 'ERR_MILLRACE_JSON_DEPTH')

/**
 * Finds where values end that stand one after another. Brackets and strings end themselves; a word (a number, true)
 * ends before the white space, bracket or quote behind it.
 */
export class JsonValues {
  /** What is open: `'nothing'` between two values. */
  inside: 'nothing' | 'string' | 'brackets' | 'word' = 'nothing'
  readonly #maxDepth: number
  readonly #scanJson: JsonScan
  readonly #state = new JsonScanState()

  constructor(maxDepth: number, scanJson: JsonScan) {
    this.#maxDepth = maxDepth
    this.#scanJson = scanJson
  }

  /** Index behind the next value, or -1 when its end is still to come. */
  next(bytes: Buffer, from: number, to: number): number {
    let at = from
    if (this.inside === 'nothing') {
      at = skipJsonSpace(bytes, at, to)
      if (at === to) return -1
      const byte = bytes[at]!
      this.inside = byte === QUOTE ? 'string' : isJsonOpener(byte) ? 'brackets' : 'word'
      this.#state.reset()
      at++
    }
    const end =
      this.inside === 'brackets'
        ? this.#closeBrackets(bytes, at, to)
        : this.inside === 'string'
          ? this.#closeString(bytes, at, to)
          : endWord(bytes, at, to)
    if (end !== -1) this.inside = 'nothing'
    return end
  }

  #closeBrackets(bytes: Buffer, from: number, to: number): number {
    // the bracket that opened the value is not in the state
    const stopped = this.#scanJson(this.#state, bytes, from, to, CLOSE, this.#maxDepth - 1)
    if (this.#state.bracket === -1) return -1
    if (isJsonOpener(bytes[stopped]!)) throw depthFault(this.#maxDepth, stopped)
    return stopped + 1
  }

  #closeString(bytes: Buffer, from: number, to: number): number {
    const state = this.#state
    for (let at = from; at < to; at++) {
      if (state.escaped) state.escaped = false
      else if (bytes[at] === BACKSLASH) state.escaped = true
      else if (bytes[at] === QUOTE) return at + 1
    }
    return -1
  }
}

function endWord(bytes: Buffer, from: number, to: number): number {
  for (let at = from; at < to; at++) {
    if (isJsonSpace(bytes[at]) || bytes[at] === QUOTE || isJsonOpener(bytes[at]!)) return at
  }
  return -1
}

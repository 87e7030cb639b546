import * as fc from 'fast-check'
import { checkBoolean, checkInteger } from '../options.ts'

/** Most chunks that one cut has, unless `maxChunks` says otherwise. */
export const DEFAULT_MAX_CHUNKS = 4096

/** How far apart in memory the chunks of a cut lie, in bytes. */
const GAP = 1

/** What fills the gaps: a stage that reads past its chunk gets this instead of the bytes it hoped for. */
const GAP_BYTE = 0xdb

/** Options of {@link anyCut}. */
export interface AnyCutOptions {
  /**
   * Most chunks in a cut. One-byte chunks all along come up only for inputs of up to this many bytes.
   *
   * @defaultValue 4096
   */
  readonly maxChunks?: number
  /**
   * Whether chunks of no bytes come up.
   *
   * @defaultValue true
   */
  readonly empty?: boolean
}

/**
 * Bytes, or an arbitrary of bytes, in; out comes an arbitrary of all ways to cut them into chunks: one chunk, one byte
 * each, empty ones between, a cut at any place. A stage that is right gives the same output for each of them.
 *
 * Every chunk is a `Buffer` at an odd place of a larger `ArrayBuffer`, with foreign bytes around it. A failing cut
 * shrinks to few chunks with a single telling cut, and the bytes shrink independently of it.
 *
 * @throws {@link OptionError} if an option is out of range.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import fc from 'fast-check'
 * import { anyCut } from 'millrace/testing'
 *
 * const text = Buffer.from('one\ntwo\n')
 * fc.assert(
 *   fc.property(anyCut(text), (chunks) => {
 *     assert.deepEqual(Buffer.concat(chunks), text)
 *   }),
 * )
 * ```
 */
export function anyCut(
  bytes: Uint8Array | fc.Arbitrary<Uint8Array>,
  { maxChunks = DEFAULT_MAX_CHUNKS, empty = true }: AnyCutOptions = {},
): fc.Arbitrary<Buffer[]> {
  checkInteger('maxChunks', maxChunks, 1)
  checkBoolean('empty', empty)
  const inputs = bytes instanceof Uint8Array ? fc.constant(bytes) : bytes
  return new CutArbitrary(inputs, maxChunks, empty).map(({ bytes, cuts }) => chunksOf(bytes, cuts, empty))
}

/** Bytes with the sorted offsets at which they are cut. An offset that stands twice makes an empty chunk. */
interface Cut {
  readonly bytes: Uint8Array
  readonly cuts: readonly number[]
}

/**
 * Draws the cuts after the bytes, and shrinks them apart: first fewer cuts, which merges neighbours and leaves the
 * rest in place (lengths instead of offsets could not do that), then the bytes.
 */
class CutArbitrary extends fc.Arbitrary<Cut> {
  readonly #inputs: fc.Arbitrary<Uint8Array>
  readonly #maxCuts: number
  readonly #empty: boolean

  constructor(inputs: fc.Arbitrary<Uint8Array>, maxChunks: number, empty: boolean) {
    super()
    this.#inputs = inputs
    this.#maxCuts = maxChunks - 1
    this.#empty = empty
  }

  generate(random: fc.Random, bias: number | undefined): fc.Value<Cut> {
    const input = this.#inputs.generate(random, bias)
    const bytes = input.value
    return new fc.Value({ bytes, cuts: this.#legal(this.#draw(random, bytes.byteLength), bytes) }, input)
  }

  /* v8 ignore start -- asked for by the base class, but map() above answers instead */
  canShrinkWithoutContext(_value: unknown): _value is Cut {
    return false
  }
  /* v8 ignore stop */

  shrink({ bytes, cuts }: Cut, context: unknown): fc.Stream<fc.Value<Cut>> {
    const input = context as fc.Value<Uint8Array>
    const fewer = fc.stream(fewerCuts(cuts)).map((cuts) => new fc.Value({ bytes, cuts }, input))
    const smaller = this.#inputs
      .shrink(input.value, input.context)
      .map((input) => new fc.Value({ bytes: input.value, cuts: this.#legal(cuts, input.value) }, input))
    return fewer.join(smaller)
  }

  #draw(random: fc.Random, length: number): number[] {
    const kind = random.nextInt(0, 5)
    if (kind === 0) return []
    if (kind <= 2) {
      // the same length all along: often one byte
      const least = Math.max(1, Math.ceil(length / (this.#maxCuts + 1)))
      const step = kind === 1 ? least : random.nextInt(least, Math.max(least, length))
      const cuts: number[] = []
      for (let at = step; at < length; at += step) cuts.push(at)
      return random.nextInt(0, 3) === 0 ? this.#doubled(random, cuts) : cuts
    }
    const cuts = Array.from({ length: random.nextInt(1, 12) }, () => random.nextInt(0, length))
    return kind === 3 ? cuts : this.#doubled(random, cuts)
  }

  #doubled(random: fc.Random, cuts: readonly number[]): number[] {
    return cuts.flatMap((at) => (random.nextInt(0, 2) === 0 ? [at, at] : at))
  }

  /** Sorted, inside the bytes, and within the options. */
  #legal(cuts: readonly number[], { byteLength }: Uint8Array): number[] {
    let legal = cuts.map((at) => Math.min(at, byteLength)).sort((a, b) => a - b)
    if (!this.#empty) legal = [...new Set(legal)].filter((at) => at > 0 && at < byteLength)
    return legal.slice(0, this.#maxCuts)
  }
}

/** Runs of cuts taken out: all of them, then halves, quarters, … and each one. */
function* fewerCuts(cuts: readonly number[]): IterableIterator<number[]> {
  for (let run = cuts.length; run >= 1; run = Math.floor(run / 2)) {
    for (let at = 0; at < cuts.length; at += run) yield [...cuts.slice(0, at), ...cuts.slice(at + run)]
  }
}

function chunksOf(bytes: Uint8Array, cuts: readonly number[], empty: boolean): Buffer[] {
  if (bytes.byteLength === 0 && (cuts.length === 0 || !empty)) return []
  const memory = Buffer.alloc(bytes.byteLength + (cuts.length + 2) * GAP, GAP_BYTE)
  let to = GAP
  return [...cuts, bytes.byteLength].map((end, i) => {
    const part = bytes.subarray(cuts[i - 1] ?? 0, end)
    memory.set(part, to)
    const chunk = memory.subarray(to, to + part.byteLength)
    to += part.byteLength + GAP
    return chunk
  })
}

/** A stretch of the raw bytes that is lost. */
export interface Gap {
  /** Offset of the first lost byte in the raw bytes. */
  readonly start: number
  /** Offset behind the last one; undefined where the damaged file does not tell, and there may be none at all. */
  readonly end: number | undefined
  /** Where the damage was noticed, in bytes of the packed input. */
  readonly offset: number
  /** What was wrong there. */
  readonly reason: string
}

/** Zeros that a gap is filled with are sent in pieces of this many bytes. */
const FILL_BYTES = 65_536

/** Joins lost blocks that lie side by side to one gap, which is told before the next good byte is sent on. */
export class GapLedger {
  readonly #onGap: (gap: Gap) => void
  readonly #fill: boolean
  #open: Gap | undefined

  constructor(onGap: (gap: Gap) => void, fill: boolean) {
    this.#onGap = onGap
    this.#fill = fill
  }

  *lose(gap: Gap): Iterable<Buffer> {
    if (this.#open?.end === gap.start) {
      this.#open = { ...this.#open, end: gap.end }
      return
    }
    yield* this.settle()
    this.#open = gap
  }

  /** Tells the gap that is open, and gives what fills it. */
  *settle(): Iterable<Buffer> {
    const gap = this.#open
    if (gap === undefined) return
    this.#open = undefined
    this.#onGap(gap)
    if (!this.#fill || gap.end === undefined) return
    for (let left = gap.end - gap.start; left > 0; left -= FILL_BYTES) {
      yield Buffer.alloc(Math.min(left, FILL_BYTES))
    }
  }
}

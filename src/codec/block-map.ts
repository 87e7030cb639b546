/** A block, and where it stands. */
export interface BlockRef {
  /** In bytes of the packed file. */
  readonly offset: number
  readonly length: number
  readonly rawOffset: number
  readonly rawLength: number
}

/** What a packed file says of itself. */
export interface MapFacts {
  readonly codec: string
  /** Most raw bytes of a block; undefined where the file does not tell. */
  readonly blockSize: number | undefined
  readonly context: 'none' | 'previous' | 'dictionary'
  /** Files that were joined. */
  readonly members: number
  readonly blocks: number
  readonly rawBytes: number
  /** Where the places of blocks are from: an index in the file or beside it, or the headers of all blocks. */
  readonly index: 'file' | 'beside' | 'rebuilt'
  /** Whether the end mark is there. */
  readonly complete: boolean
}

/** Knows where blocks are, and unpacks them. */
export interface BlockMap {
  readonly facts: MapFacts
  /** Runs of blocks that are to be unpacked together, and hold the range between them. */
  find(start: number, end: number): AsyncIterable<readonly BlockRef[]>
  /** The raw bytes of a run, whose packed bytes these are. */
  unpack(run: readonly BlockRef[], packed: Buffer): Promise<Buffer[]>
}

/** The last of some ascending numbers that is not above `value`; -1 if all are. */
export function floorIndex(length: number, at: (index: number) => number, value: number): number {
  let low = 0
  let high = length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (at(middle) <= value) low = middle + 1
    else high = middle
  }
  return low - 1
}

/** Blocks in lists of numbers: 16 bytes a block. */
export class BlockList {
  readonly #offsets: number[] = []
  readonly #rawOffsets: number[] = []
  #end = 0
  #rawEnd = 0

  add(offset: number, length: number, rawLength: number): void {
    this.#offsets.push(offset)
    this.#rawOffsets.push(this.#rawEnd)
    this.#end = offset + length
    this.#rawEnd += rawLength
  }

  get length(): number {
    return this.#offsets.length
  }

  get rawBytes(): number {
    return this.#rawEnd
  }

  *find(start: number, end: number): Generator<BlockRef> {
    const offsets = this.#offsets
    const rawOffsets = this.#rawOffsets
    const first = Math.max(
      0,
      floorIndex(rawOffsets.length, (i) => rawOffsets[i]!, start),
    )
    for (let i = first; i < offsets.length && rawOffsets[i]! < end; i++) {
      const offset = offsets[i]!
      const rawOffset = rawOffsets[i]!
      const length = (offsets[i + 1] ?? this.#end) - offset
      yield { offset, length, rawOffset, rawLength: (rawOffsets[i + 1] ?? this.#rawEnd) - rawOffset }
    }
  }
}

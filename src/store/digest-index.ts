/** Where a record stands. */
export interface RecordPlace {
  readonly segment: number
  /** Offset of its frame in the segment. */
  readonly offset: number
  /** Bytes of its frame. */
  readonly length: number
}

/** Entries of a page. Pages are never moved, so a growing index has no peak but that of its table of slots. */
const PAGE_BITS = 14
const PAGE = 1 << PAGE_BITS
/** 32-bit words of an entry: eight of digest, then segment, offset and length. */
const WORDS = 11

/** Bytes of memory that an entry takes: 44, and a slot of 4 bytes in a table that is a third to two thirds full. */
export const INDEX_BYTES_PER_RECORD = 56

/**
 * Where each record of a store stands, by its digest: an open-addressing hash table in typed arrays. A Map of strings takes
 * four times the memory, and ten times the time to load.
 */
export class DigestIndex {
  #pages: Uint32Array[] = []
  /** Number of an entry plus one; 0 is a free slot. */
  #slots = new Int32Array(1024)
  #used = 0
  /** The entry that was freed last, or -1; the first word of each free entry is the one before. */
  #lastFree = -1
  #freeCount = 0
  readonly #words = new Uint32Array(8)

  get size(): number {
    return this.#used - this.#freeCount
  }

  get(digest: string): RecordPlace | undefined {
    const entry = this.#slots[this.#find(digest)]! - 1
    return entry < 0 ? undefined : this.#placeOf(entry)
  }

  #placeOf(entry: number): RecordPlace {
    const page = this.#pages[entry >> PAGE_BITS]!
    const at = (entry & (PAGE - 1)) * WORDS
    return { segment: page[at + 8]!, offset: page[at + 9]!, length: page[at + 10]! }
  }

  has(digest: string): boolean {
    return this.#slots[this.#find(digest)]! > 0
  }

  /** Gives the place that was there before. */
  set(digest: string, segment: number, offset: number, length: number): RecordPlace | undefined {
    const slot = this.#find(digest)
    let entry = this.#slots[slot]! - 1
    let before: RecordPlace | undefined
    if (entry >= 0) before = this.#placeOf(entry)
    else {
      entry = this.#takeFree() ?? this.#used++
      if (entry >> PAGE_BITS === this.#pages.length) this.#pages.push(new Uint32Array(PAGE * WORDS))
      this.#slots[slot] = entry + 1
      this.#pages[entry >> PAGE_BITS]!.set(this.#words, (entry & (PAGE - 1)) * WORDS)
    }
    const page = this.#pages[entry >> PAGE_BITS]!
    const at = (entry & (PAGE - 1)) * WORDS
    page[at + 8] = segment
    page[at + 9] = offset
    page[at + 10] = length
    if (this.size * 3 > this.#slots.length * 2) this.#grow()
    return before
  }

  delete(digest: string): boolean {
    let hole = this.#find(digest)
    const entry = this.#slots[hole]! - 1
    if (entry < 0) return false
    // what follows in the chain moves up, so that no search ends at the hole
    const mask = this.#slots.length - 1
    for (let at = (hole + 1) & mask; this.#slots[at]! > 0; at = (at + 1) & mask) {
      const home = this.#hashOf(this.#slots[at]! - 1) & mask
      if (((at - home) & mask) < ((at - hole) & mask)) continue
      this.#slots[hole] = this.#slots[at]!
      hole = at
    }
    this.#slots[hole] = 0
    this.#pages[entry >> PAGE_BITS]![(entry & (PAGE - 1)) * WORDS] = this.#lastFree + 1
    this.#lastFree = entry
    this.#freeCount++
    return true
  }

  #takeFree(): number | undefined {
    const entry = this.#lastFree
    if (entry < 0) return undefined
    this.#lastFree = this.#pages[entry >> PAGE_BITS]![(entry & (PAGE - 1)) * WORDS]! - 1
    this.#freeCount--
    return entry
  }

  /** Digests whose place is in a segment. Looks at all there are. */
  digestsIn(segment: number): string[] {
    const found: string[] = []
    for (const slot of this.#slots) {
      if (slot === 0) continue
      const page = this.#pages[(slot - 1) >> PAGE_BITS]!
      const at = ((slot - 1) & (PAGE - 1)) * WORDS
      if (page[at + 8] !== segment) continue
      found.push(Buffer.from(page.buffer, page.byteOffset + at * 4, 32).toString('latin1'))
    }
    return found
  }

  /** The slot of a digest, or the free one where it belongs. Leaves the digest in `#words`. */
  #find(digest: string): number {
    const words = this.#words
    for (let i = 0; i < 8; i++) {
      const at = i * 4
      words[i] =
        digest.charCodeAt(at) |
        (digest.charCodeAt(at + 1) << 8) |
        (digest.charCodeAt(at + 2) << 16) |
        (digest.charCodeAt(at + 3) << 24)
    }
    const mask = this.#slots.length - 1
    // a digest is evenly distributed as it is
    let slot = words[0]! & mask
    while (this.#slots[slot]! > 0 && !this.#isAt(this.#slots[slot]! - 1)) slot = (slot + 1) & mask
    return slot
  }

  #isAt(entry: number): boolean {
    const page = this.#pages[entry >> PAGE_BITS]!
    const at = (entry & (PAGE - 1)) * WORDS
    for (let i = 0; i < 8; i++) if (page[at + i] !== this.#words[i]) return false
    return true
  }

  #hashOf(entry: number): number {
    return this.#pages[entry >> PAGE_BITS]![(entry & (PAGE - 1)) * WORDS]!
  }

  #grow(): void {
    const slots = new Int32Array(this.#slots.length * 2)
    const mask = slots.length - 1
    for (const entry of this.#slots) {
      if (entry === 0) continue
      let slot = this.#hashOf(entry - 1) & mask
      while (slots[slot]! > 0) slot = (slot + 1) & mask
      slots[slot] = entry
    }
    this.#slots = slots
  }
}

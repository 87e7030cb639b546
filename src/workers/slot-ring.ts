/**
 * A fixed number of equal pieces of shared memory, handed out and taken back by number. Bytes in a slot reach a worker
 * without being copied, and outlive it.
 *
 * @remarks `slots × size` bytes of address space; pages that are never used cost nothing, and the slot that was freed last is
 * handed out first.
 */
export class SlotRing {
  readonly memory: SharedArrayBuffer
  readonly size: number
  readonly #free: number[] = []
  readonly #taken: boolean[]

  constructor(slots: number, size: number) {
    this.memory = new SharedArrayBuffer(slots * size)
    this.size = size
    this.#taken = Array.from({ length: slots }, () => false)
    for (let slot = slots - 1; slot >= 0; slot--) this.#free.push(slot)
  }

  get free(): number {
    return this.#free.length
  }

  /** A free slot, or -1. */
  take(): number {
    const slot = this.#free.pop() ?? -1
    if (slot >= 0) this.#taken[slot] = true
    return slot
  }

  give(slot: number): void {
    if (!this.#taken[slot]) throw new Error(`slot ${slot} is free already`)
    this.#taken[slot] = false
    this.#free.push(slot)
  }

  /** The first `length` bytes of a slot. */
  view(slot: number, length = this.size): Buffer {
    return Buffer.from(this.memory, slot * this.size, length)
  }

  /** The slot that these bytes begin, or -1 when they do not begin one that is taken. */
  slotOf(bytes: Uint8Array): number {
    if (bytes.buffer !== this.memory || bytes.byteOffset % this.size !== 0) return -1
    const slot = bytes.byteOffset / this.size
    return this.#taken[slot] ? slot : -1
  }
}

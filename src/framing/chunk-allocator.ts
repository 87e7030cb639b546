/**
 * Memory of a consumer that file bytes are read straight into, without a copy between: slots that a worker thread can
 * see, for one. Chunks are then views of the consumer's memory, and the consumer decides when it is used again.
 */
export interface ChunkAllocator {
  /**
   * Memory for the next chunk: `size` bytes, or fewer (at least one) to make the chunk shorter. A promise holds reading
   * back until there is room.
   */
  alloc(size: number): Buffer | Promise<Buffer>
  /** Takes back memory that no chunk was made of, because the input ended, failed or was destroyed. */
  release?(buffer: Buffer): void
}

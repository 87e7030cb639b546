/**
 * Where bytes are read from: what {@link openChunkSource} makes of a path or descriptor, and all that reading needs of it.
 */
export interface ChunkSource {
  /** For messages. */
  readonly name: string
  /** Length in bytes as it was found at open; undefined where only the end tells (pipes, terminals, devices, /proc). */
  readonly size: number | undefined
  /**
   * Reads up to `length` bytes into `target`. With a `size` the bytes at `position` are read, several reads may be under
   * way, and fewer bytes than asked for mean the end. Without one, reads come one after another, give what is there,
   * and 0 means the end. A read that is cut short by `close` answers 0.
   */
  read(target: Buffer, length: number, position: number, done: ReadCallback): void
  /** Waits for the reads under way, then lets go of the descriptor. */
  close(done: (error: Error | null) => void): void
}

/** `bytes` were read, also where an error came after them. */
export type ReadCallback = (error: Error | null, bytes: number) => void

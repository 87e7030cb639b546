/** Memory that nothing but one buffer uses, with the length of that buffer. */
const owned = new WeakMap<ArrayBufferLike, number>()

/** Notes that no other buffer shares the memory of this one. Small buffers, which may lie in Node's pool, are left out. */
export function ownMemory(bytes: Buffer): Buffer {
  if (bytes.byteOffset === 0 && bytes.length > Buffer.poolSize) owned.set(bytes.buffer, bytes.length)
  return bytes
}

/**
 * Frees the memory of such a buffer at once, and leaves others alone. Garbage of megabytes is collected late: until then every block
 * gets pages that the system has to clear first, which was measured to take as long as unpacking zstd.
 */
export function freeMemory(bytes: Buffer): void {
  const memory = bytes.buffer as ArrayBuffer & { transfer?: (length: number) => ArrayBuffer }
  if (owned.get(memory) !== bytes.length || bytes.byteOffset !== 0) return
  owned.delete(memory)
  // Node 22 and later
  memory.transfer?.(0)
}

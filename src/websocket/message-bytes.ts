import type { RawData } from 'ws'

/** A message as one buffer, whatever form `ws` gives it in. */
export function messageBytes(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data)
  return Buffer.isBuffer(data) ? data : Buffer.from(data)
}

import { DefaultDeserializer, serialize } from 'node:v8'

/** What could not be packed, and why. */
export interface PackFault {
  readonly index: number
  readonly error: unknown
}

/**
 * Writes records as bytes, up to the first that cannot be cloned.
 *
 * Not left to the message between threads: a thread of the pool dies of an answer that cannot be cloned, or, when another
 * block has ended at the same time, goes to sleep on it and never answers.
 */
export function packRecords(records: readonly unknown[]): {
  bytes: Uint8Array
  fault: PackFault | undefined
} {
  try {
    return { bytes: serialize(records), fault: undefined }
  } catch {
    for (const [index, record] of records.entries()) {
      try {
        serialize(record)
      } catch (error) {
        return { bytes: serialize(records.slice(0, index)), fault: { index, error } }
      }
    }
    /* v8 ignore next 2 -- if all records can be written one by one, so can they together */
    throw new Error('records cannot be packed')
  }
}

/** Gives back what {@link packRecords} took. Nothing in the records shares memory with `bytes`. */
export function unpackRecords(bytes: Buffer): unknown[] {
  const reader = new OwningDeserializer(bytes)
  reader.readHeader()
  return reader.readValue() as unknown[]
}

/** The base class makes typed arrays as views of the bytes that it reads, which would not outlive a slot. */
class OwningDeserializer extends DefaultDeserializer {
  _readHostObject(): unknown {
    // documented as the method to override, but not typed
    const view = (DefaultDeserializer.prototype as unknown as OwningDeserializer)._readHostObject.call(this)
    if (Buffer.isBuffer(view)) {
      const copy = Buffer.allocUnsafeSlow(view.length)
      copy.set(view)
      return copy
    }
    const { buffer, byteOffset, byteLength } = view as ArrayBufferView
    const memory = new Uint8Array(byteLength)
    memory.set(new Uint8Array(buffer, byteOffset, byteLength))
    return new ((view as object).constructor as new (memory: ArrayBuffer) => unknown)(memory.buffer)
  }
}

import { RecordBatch } from './record-batch.ts'

/** Bytes of a chunk: of its memory, or of its UTF-8 if it is a string. Records have none that could be told cheaply. */
export function bytesOf(chunk: unknown): number {
  if (ArrayBuffer.isView(chunk)) return chunk.byteLength
  return typeof chunk === 'string' ? Buffer.byteLength(chunk) : 0
}

/** Records of a chunk of an object stream: those of a batch, or one. */
export function recordsOf(chunk: unknown): number {
  return RecordBatch.is(chunk) ? chunk.length : 1
}

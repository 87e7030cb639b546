import { Readable } from 'node:stream'
import { DETECT_BYTES, detectFormat } from '../codec/detect-format.ts'

type Bytes = AsyncIterable<Buffer>

/** The bytes as they are, or unpacked if their first ones say that they are packed. */
export async function* decompress(source: Bytes): Bytes {
  const chunks = source[Symbol.asyncIterator]()
  let start: Buffer = Buffer.alloc(0)
  let next = await chunks.next()
  while (!next.done && start.length < DETECT_BYTES) {
    start = start.length === 0 ? next.value : Buffer.concat([start, next.value])
    // plain input goes on at once, as slow as it may come
    if (start.length >= DETECT_BYTES || (start.length > 0 && !mayBePacked(start))) break
    next = await chunks.next()
  }
  if (start.length === 0) return
  const all = prepend(start, chunks)
  const format = detectFormat(start)
  if (format === undefined) {
    yield* all
    return
  }
  const { StreamingDecoder } = await import('../codec/streaming-decoder.ts')
  const decoder = new StreamingDecoder({ format })
  const input = Readable.from(all, { objectMode: false, highWaterMark: 1 << 18 })
  input.on('error', (error) => decoder.destroy(error))
  try {
    yield* input.pipe(decoder) as Bytes
  } finally {
    input.destroy()
  }
}

/** Whether these bytes can be the beginning of a magic number. */
function mayBePacked([first, second]: Buffer): boolean {
  if (first === 0x1f) return second === undefined || second === 0x8b
  if (first === 0x28) return second === undefined || second === 0xb5
  if (first! >> 4 === 5) return second === undefined || second === 0x2a
  return first === 0x89
}

async function* prepend(first: Buffer, rest: AsyncIterator<Buffer>): Bytes {
  try {
    yield first
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value
  } finally {
    await rest.return?.()
  }
}

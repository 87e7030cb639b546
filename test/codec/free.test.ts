import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import t from 'tap'
import { StreamingDecoder, StreamingEncoder } from '../../src/codec/index.ts'

const raw = Buffer.from(Array.from({ length: 40_000 }, (_, i) => `line ${i}\n`).join('')).subarray(0, 400_000)
const canFree = 'transfer' in ArrayBuffer.prototype

for (const codec of ['deflate', 'store'] as const) {
  t.test(`chunks of ${codec} can be freed one by one while the rest is read`, async (t) => {
    const encoder = new StreamingEncoder({ codec, blockSize: 100_000, workers: 2 })
    encoder.end(raw)
    const packed: Buffer[] = []
    // as events: an iterator joins what waits, by a copy
    encoder.on('data', (chunk: Buffer) => {
      packed.push(Buffer.from(chunk))
      encoder.free(chunk)
    })
    await once(encoder, 'end')
    const decoder = new StreamingDecoder({ workers: 2 })
    decoder.end(Buffer.concat(packed))
    const pieces: Buffer[] = []
    decoder.on('data', (chunk: Buffer) => {
      pieces.push(Buffer.from(chunk))
      decoder.free(chunk)
      t.equal(chunk.length > 0, !canFree)
      decoder.free(chunk)
    })
    await once(decoder, 'end')
    t.ok(Buffer.concat(pieces).equals(raw))
  })
}

t.test('a part of a chunk, and what small chunks share, is never freed', async (t) => {
  const encoder = new StreamingEncoder({ codec: 'deflate', blockSize: 1000 })
  encoder.end(raw.subarray(0, 20_000))
  const decoder = encoder.pipe(new StreamingDecoder())
  const chunks: Buffer[] = []
  for await (const chunk of decoder as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    decoder.free(chunk)
  }
  t.ok(Buffer.concat(chunks).equals(raw.subarray(0, 20_000)))
  const large = new StreamingDecoder()
  large.end(await buffer(new StreamingEncoder({ codec: 'deflate' }).end(raw)))
  for await (const chunk of large as AsyncIterable<Buffer>) {
    const copy = Buffer.from(chunk)
    large.free(chunk.subarray(1))
    large.free(chunk.subarray(0, 1000))
    t.ok(chunk.equals(copy))
  }
})

// A codec of your own: lz4 from an optional package where it is installed, and Node's raw deflate at its fastest where it is not.
import assert from 'node:assert/strict'
import { promisify } from 'node:util'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import zlib from 'node:zlib'
import { DataGenerator, StreamingDecoder, StreamingEncoder } from 'millrace'

/** @returns {Promise<import('millrace').BlockCodec>} */
async function fastCodec() {
  const name = 'lz4-napi' // a name in a variable: the package need not be there
  const lz4 = await import(name).catch(() => undefined)
  if (lz4 !== undefined) return { name: 'lz4', pack: lz4.compress, unpack: lz4.uncompress }
  const deflate = promisify(zlib.deflateRaw)
  const inflate = promisify(zlib.inflateRaw)
  return {
    name: 'deflate-1',
    pack: (bytes) => deflate(bytes, { level: 1 }),
    unpack: (bytes, { rawLength }) => inflate(bytes, { maxOutputLength: rawLength }),
  }
}

const codec = await fastCodec()
const raw = new DataGenerator({ seed: 1 })
  .beginObject({ size: 5_000_000, compress: 2, codec: 'lz4' })
  .read(0, 5_000_000)
const packed = await buffer(Readable.from([raw]).pipe(new StreamingEncoder({ codec, blockSize: 262_144 })))
const again = await buffer(Readable.from([packed]).pipe(new StreamingDecoder({ codecs: [codec] })))
assert(again.equals(raw))
console.log(`20 blocks, ${(raw.length / packed.length).toFixed(0)} times smaller`)

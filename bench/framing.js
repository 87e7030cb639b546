import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { times } from './harness.js'

export const title = 'Deframing glyphs: chunks cut at random between 1 and 64 KiB'

/** Bytes of one run; the same few chunks over and over, so that no more memory than this is touched. */
const TOTAL = 4e9
const LOOP = 32 << 20

/** @param {number} payload */
async function glyphs(payload) {
  const { encodeGlyph } = await import('millrace')
  const glyph = encodeGlyph(7, Buffer.alloc(payload, 0x55))
  const count = Math.floor(LOOP / glyph.length)
  const bytes = Buffer.allocUnsafeSlow(count * glyph.length)
  for (let i = 0; i < count; i++) glyph.copy(bytes, i * glyph.length)
  const chunks = []
  let x = 1
  for (let at = 0; at < bytes.length;) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0
    const size = 1024 + (x % (63 * 1024))
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return { chunks, count, size: bytes.length }
}

/** @param {number} payload @param {number} total */
const group = (payload, total) => ({
  name: payload < 1000 ? `${payload}-byte payloads` : `${payload / 1024} KiB payloads`,
  unit: /** @type {const} */ ('GB/s'),
  input: () => ({ bytes: Math.round(total / LOOP) * LOOP, payload }),
  candidates: [
    {
      name: 'GlyphDeframer',
      ours: true,
      prepare: () => glyphs(payload),
      async run(/** @type {Awaited<ReturnType<typeof glyphs>>} */ { chunks }) {
        const { GlyphDeframer } = await import('millrace')
        let frames = 0
        let bytes = 0
        const deframer = new GlyphDeframer((_bytes, start, end) => {
          frames++
          bytes += end - start
        })
        for (let pass = 0; pass < Math.round(total / LOOP); pass++)
          for (const chunk of chunks) deframer.write(chunk)
        deframer.end()
        return [frames, bytes]
      },
    },
    {
      name: 'BoundaryHandler, blocks of 64 KiB',
      prepare: () => glyphs(payload),
      async run(/** @type {Awaited<ReturnType<typeof glyphs>>} */ { chunks }) {
        const { BoundaryHandler } = await import('millrace')
        const stage = new BoundaryHandler('glyph')
        const all = function* () {
          for (let pass = 0; pass < Math.round(total / LOOP); pass++) yield* chunks
        }
        await pipeline(
          Readable.from(all()),
          stage,
          new Writable({ objectMode: true, write: (_chunk, _encoding, done) => done() }),
        )
        return [stage.frames, stage.frames * payload]
      },
    },
    {
      name: 'a subarray a frame, varint read by hand',
      prepare: () => glyphs(payload),
      run(/** @type {Awaited<ReturnType<typeof glyphs>>} */ { chunks }) {
        let frames = 0
        let bytes = 0
        let rest = Buffer.alloc(0)
        for (let pass = 0; pass < Math.round(total / LOOP); pass++) {
          for (const chunk of chunks) {
            const all = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
            let at = 0
            for (;;) {
              let length = 0
              let shift = 0
              let i = at + 1
              while (i < all.length && /** @type {number} */ (all[i]) >= 128) {
                length |= (/** @type {number} */ (all[i++]) & 127) << shift
                shift += 7
              }
              if (i >= all.length) break
              length |= /** @type {number} */ (all[i++]) << shift
              if (i + length > all.length) break
              bytes += all.subarray(i, i + length).length
              frames++
              at = i + length
            }
            rest = all.subarray(at)
          }
        }
        return [frames, bytes]
      },
    },
  ],
  targets: (/** @type {(name: string) => { ms: number, rate: number }} */ row) => [
    [
      'GlyphDeframer',
      payload < 1000 ? '≥ 1 GB/s' : '≥ 10 GB/s',
      `${row('GlyphDeframer').rate.toFixed(1)} GB/s`,
    ],
    [
      'against a subarray a frame',
      '',
      times(row('a subarray a frame, varint read by hand').ms, row('GlyphDeframer').ms),
    ],
  ],
})

export const groups = [group(20, TOTAL / 2), group(4096, TOTAL * 5)]

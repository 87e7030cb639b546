import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import t from 'tap'
import { HEADER_BYTES, readGlyphHeader, GLYPH } from '../../src/codec/glyph-header.ts'
import type { Gap } from '../../src/codec/gap-ledger.ts'
import { SeekableDecoder } from '../../src/codec/seekable-decoder.ts'
import { StreamingDecoder } from '../../src/codec/streaming-decoder.ts'
import { StreamingEncoder } from '../../src/codec/streaming-encoder.ts'
import { anyCut, laws } from '../../src/testing/index.ts'
import { anyContainer, anyRaw, decodeAll, lines, noise, pack, through, unpack } from './helpers/through.ts'

t.test('container: what was encoded comes back, whatever the bytes, options and cuts', async () => {
  await fc.assert(
    fc.asyncProperty(
      anyRaw.chain((raw) => fc.tuple(fc.constant(Buffer.from(raw)), anyCut(raw))),
      anyContainer,
      fc.nat(),
      async ([raw, chunks], options, at) => {
        const packed = await pack(chunks, options)
        const cut = at % (packed.length + 1)
        assert.ok((await unpack([packed.subarray(0, cut), packed.subarray(cut)])).equals(raw))
      },
    ),
    { numRuns: 150 },
  )
})

t.test('container: the packed bytes depend on the bytes and options, not on cuts or workers', async () => {
  await fc.assert(
    fc.asyncProperty(
      anyRaw.chain((raw) => fc.tuple(fc.constant(Buffer.from(raw)), anyCut(raw))),
      anyContainer,
      async ([raw, chunks], options) => {
        const [one, other] = await Promise.all([pack(raw, options), pack(chunks, { ...options, workers: 5 })])
        assert.ok(one.equals(other))
      },
    ),
    { numRuns: 100 },
  )
})

t.test('encoder and decoder keep the laws of every stage', async () => {
  const raw = Buffer.concat([lines(700), noise(300)])
  const packed = await pack(raw, { codec: 'deflate', blockSize: 128 })
  const encoder = () => new StreamingEncoder({ codec: 'deflate', blockSize: 128, workers: 2 })
  const decoder = () => new StreamingDecoder({ workers: 2 })
  const parameters = { numRuns: 40 }
  await laws.cutIndependent(encoder, { input: raw, parameters })
  await laws.cutIndependent(decoder, { input: packed, parameters })
  await laws.cutIndependent(decoder, { input: packed.subarray(0, packed.length >> 1), parameters })
  const pieces = [raw.subarray(0, 300), raw.subarray(300, 500), raw.subarray(500)]
  await laws.endsCleanly(encoder, { chunks: pieces, parameters })
  await laws.endsCleanly(decoder, { chunks: [packed.subarray(0, 200), packed.subarray(200)], parameters })
})

t.test('container: any prefix gives a prefix, and then an error', async () => {
  const raw = Buffer.concat([lines(1500), noise(400)])
  const packed = await pack(raw, { codec: 'deflate', blockSize: 256, context: 'previous', restartEvery: 3 })
  for (let length = 0; length < packed.length; length += length < 200 ? 1 : 7) {
    const { bytes, error } = await decodeAll(packed.subarray(0, length))
    assert.ok(bytes.equals(raw.subarray(0, bytes.length)), `${length} bytes`)
    assert.match((error as { code: string }).code, /CODEC_(TRUNCATED|INVALID)$/, `${length} bytes`)
  }
})

/** The data glyphs of some joined containers, and where the rest is. */
function glyphsOf(packed: Buffer) {
  const glyphs: {
    type: number
    offset: number
    end: number
    start: number
    rawLength: number
    context: boolean
  }[] = []
  let base = 0
  for (let offset = 0; offset < packed.length;) {
    const header = readGlyphHeader(packed, offset)!
    const end = offset + HEADER_BYTES + header.packedLength
    const { type, rawOffset, rawLength } = header
    if (type === GLYPH.file)
      base = glyphs.reduce((sum, glyph) => sum + (glyph.type === GLYPH.data ? glyph.rawLength : 0), 0)
    glyphs.push({ type, offset, end, start: base + rawOffset, rawLength, context: header.usesPrevious })
    offset = end
  }
  return glyphs
}

/** Bytes changed anywhere, in stretches. */
const anyDamage = fc.array(
  fc.record({
    at: fc.nat(),
    length: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 400 })),
    xor: fc.integer({ min: 1, max: 255 }),
  }),
  { minLength: 1, maxLength: 4 },
)

t.test(
  'recover: every block that is not damaged is delivered, and all else lies in a reported gap',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        anyRaw,
        anyRaw,
        anyContainer,
        anyDamage,
        fc.boolean(),
        async (first, second, options, damages, fill) => {
          const raw = Buffer.concat([first, second])
          const packed = Buffer.concat([await pack(first, options), await pack(second, options)])
          const damaged = Buffer.from(packed)
          for (const { at, length, xor } of damages) {
            const from = at % packed.length
            for (let i = from; i < Math.min(packed.length, from + length); i++) damaged[i] = packed[i]! ^ xor
          }
          const gaps: Gap[] = []
          const { bytes, error } = await decodeAll(damaged, {
            mode: 'recover',
            fill,
            onGap: (gap) => gaps.push(gap),
          })
          assert.equal(error, undefined)
          const isWhole = ({ offset, end }: { offset: number; end: number }) =>
            damaged.subarray(offset, end).equals(packed.subarray(offset, end))
          const lost = (at: number) => gaps.some(({ start, end }) => at >= start && at < (end ?? start))
          // every byte that is delivered is right, and none is missing that no gap tells
          let unknown = false
          let position = 0
          let out = 0
          const expect = (start: number, end: number) => {
            assert.ok(
              bytes.subarray(out, out + end - start).equals(raw.subarray(start, end)),
              `raw bytes ${start}-${end}`,
            )
            out += end - start
            position = end
          }
          for (const { start, end } of gaps) {
            if (end === undefined) {
              unknown = true
              break
            }
            expect(position, start)
            if (fill) {
              assert.ok(bytes.subarray(out, out + end - start).every((byte) => byte === 0))
              out += end - start
            }
            position = end
          }
          if (!unknown) expect(position, raw.length)
          // and every block that is whole, with all that it needs, is there
          if (unknown) return
          let chain = true
          let dictionary = true
          for (const glyph of glyphsOf(packed)) {
            if (glyph.type === GLYPH.dictionary) dictionary = isWhole(glyph)
            if (glyph.type !== GLYPH.data) continue
            const before: boolean = glyph.context ? chain : true
            chain = before && isWhole(glyph)
            if (chain && (dictionary || options.context !== 'dictionary')) {
              assert.ok(
                !lost(glyph.start) || glyph.rawLength === 0,
                `block at raw byte ${glyph.start} is whole, and reported as lost`,
              )
            }
          }
        },
      ),
      { numRuns: 250 },
    )
  },
)

t.test('recover: bytes that are missing or too many cost only the blocks that they touch', async () => {
  const blocks = 30
  const raw = lines(blocks * 200)
  const packed = await pack(raw, { codec: 'deflate', blockSize: 200 })
  await fc.assert(
    fc.asyncProperty(
      fc.nat(packed.length - 1),
      fc.integer({ min: 1, max: 300 }),
      fc.boolean(),
      async (at, length, insert) => {
        const rest = packed.subarray(insert ? at : Math.min(packed.length, at + length))
        const damaged = Buffer.concat([
          packed.subarray(0, at),
          insert ? noise(length, at + 1) : Buffer.alloc(0),
          rest,
        ])
        const gaps: Gap[] = []
        const { bytes, error } = await decodeAll(damaged, { mode: 'recover', onGap: (gap) => gaps.push(gap) })
        assert.equal(error, undefined)
        let kept = Buffer.alloc(0)
        let position = 0
        for (const { start, end } of gaps) {
          kept = Buffer.concat([kept, raw.subarray(position, start)])
          // what was inserted is no loss, though it may have been one
          position = end ?? (insert ? start : raw.length)
        }
        kept = Buffer.concat([kept, raw.subarray(position)])
        assert.ok(bytes.equals(kept))
        // a cut of 300 bytes touches the blocks that it runs through, and no more
        const touched = glyphsOf(packed).filter(
          ({ offset, end }) => end > at && offset < at + (insert ? 1 : length),
        )
        assert.ok(
          raw.length - kept.length <=
            200 * touched.length +
              (!insert && gaps.some(({ end }) => end === undefined) ? raw.length - position : 0),
        )
      },
    ),
    { numRuns: 150 },
  )
})

t.test('ranges: any range of joined containers is the slice of the whole', async () => {
  await fc.assert(
    fc.asyncProperty(
      anyRaw,
      anyRaw,
      anyContainer,
      fc.nat(),
      fc.nat(),
      fc.boolean(),
      async (first, second, options, a, b, lostTrailer) => {
        const raw = Buffer.concat([first, second])
        const packed = Buffer.concat([await pack(first, options), await pack(second, options)])
        const [start, end] = [a % (raw.length + 1), b % (raw.length + 1)].toSorted((x, y) => x - y) as [
          number,
          number,
        ]
        const file = await SeekableDecoder.open(lostTrailer ? packed.subarray(0, -20) : packed, {
          workers: 2,
        })
        assert.deepEqual(
          [file.facts.index, file.facts.complete, file.size],
          [lostTrailer ? 'rebuilt' : 'file', !lostTrailer, raw.length],
        )
        assert.ok((await file.read(start, end)).equals(raw.subarray(start, end)))
        await file.close()
      },
    ),
    { numRuns: 120 },
  )
})

t.test('container: parts that were packed apart join by concatenation', async (t) => {
  const parts = [lines(5000, 1), Buffer.alloc(0), noise(3000, 2), lines(100, 3)]
  const packed = await Promise.all(
    parts.map((part, i) => pack(part, { codec: i % 2 ? 'brotli' : 'deflate', blockSize: 512 + i })),
  )
  t.ok((await unpack(Buffer.concat(packed))).equals(Buffer.concat(parts)))
  const { bytes } = await through(new StreamingDecoder(), [Buffer.concat(packed)])
  t.ok(bytes.equals(Buffer.concat(parts)))
})

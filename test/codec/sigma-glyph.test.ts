import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import * as fc from 'fast-check'
import t from 'tap'
import { SIGMA_TYPES, crc16, encodeSigmaGlyph, type SigmaGlyph } from '../../src/codec/sigma-glyph.ts'
import { SigmaGlyphDecoder } from '../../src/codec/sigma-glyph-decoder.ts'
import { SigmaGlyphEncoder, type SigmaGlyphEncoderOptions } from '../../src/codec/sigma-glyph-encoder.ts'
import { BoundaryHandler } from '../../src/framing/boundary-handler.ts'
import { SigmaGlyphScanner } from '../../src/framing/sigma-glyph-scanner.ts'
import { anyCut, laws } from '../../src/testing/index.ts'
import { cutAll, textsOf } from '../framing/helpers/cut-all.ts'

const anyGlyph: fc.Arbitrary<SigmaGlyph> = fc
  .record({
    type: fc.constantFrom(...SIGMA_TYPES),
    primitive: fc.oneof(fc.nat(255), fc.constantFrom(0, 30, 31, 32, 255)),
    payload: fc.option(
      fc.oneof(
        fc.uint8Array({ maxLength: 5 }),
        fc.constantFrom(0, 127, 128, 255, 256, 32_767).map((n) => new Uint8Array(n).fill(n)),
      ),
      { nil: undefined },
    ),
  })
  .map(({ payload, ...glyph }) => ({ ...glyph, ...(payload && { payload: Buffer.from(payload) }) }))

const encode = (glyphs: readonly SigmaGlyph[], options: SigmaGlyphEncoderOptions = {}) =>
  buffer(Readable.from(glyphs).pipe(new SigmaGlyphEncoder(options)))
const decode = (chunks: readonly Buffer[]) =>
  Readable.from(chunks, { objectMode: false }).pipe(new SigmaGlyphDecoder()).toArray()

t.test('sigma glyphs: what was encoded comes back, in any cut, in one stream or several', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyGlyph, { maxLength: 8 }),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(),
      async (glyphs, maxGlyphs, seed) => {
        const wire = await encode(glyphs, { maxGlyphs })
        const size = 1 + (seed % (wire.length + 1))
        const chunks = Array.from({ length: Math.ceil(wire.length / size) }, (_, i) =>
          wire.subarray(i * size, (i + 1) * size),
        )
        assert.deepEqual(await decode(chunks), glyphs)
      },
    ),
    { numRuns: 150 },
  )
})

t.test('sigma glyphs: the scanner finds each of them, in any cut', async () => {
  fc.assert(
    fc.property(
      fc
        .array(anyGlyph, { maxLength: 10 })
        .map((glyphs) => glyphs.map(encodeSigmaGlyph))
        .chain((wires) => fc.tuple(fc.constant(wires), anyCut(Buffer.concat(wires)))),
      fc.constantFrom(1, 300, 100_000),
      ([wires, chunks], blockSize) => {
        const outcome = cutAll(new SigmaGlyphScanner(), chunks, { blockSize, maxFrameLength: 1e6 })
        assert.equal(outcome.error, undefined)
        assert.equal(outcome.blocks.map(({ text }) => text).join(''), Buffer.concat(wires).toString('latin1'))
        if (blockSize === 1)
          assert.deepEqual(
            textsOf(outcome),
            wires.map((wire) => wire.toString('latin1')),
          )
      },
    ),
    { numRuns: 300 },
  )
})

t.test('sigma glyphs: the bytes are those of SigmaLang', async (t) => {
  t.equal(crc16(Buffer.from('123456789')), 0x29b1)
  const hex = (glyph: SigmaGlyph) => encodeSigmaGlyph(glyph).toString('hex').slice(0, 12)
  t.equal(hex({ type: 'primitive', primitive: 30 }), '1e')
  t.equal(hex({ type: 'delta', primitive: 31 }), '9f1f')
  t.equal(hex({ type: 'composite', primitive: 3, payload: Buffer.alloc(0) }), 'e300')
  t.equal(hex({ type: 'reference', primitive: 255, payload: Buffer.alloc(127) }), '7fff7f000000')
  t.equal(hex({ type: 'primitive', primitive: 1, payload: Buffer.alloc(128) }), '218080000000')
  t.equal(hex({ type: 'primitive', primitive: 1, payload: Buffer.alloc(32_767) }), '21ffff000000')
  const header = await encode([], { version: 3, flags: 63, context: 4095 })
  t.equal(header.toString('hex', 0, 4), 'fffff000')
  const many = await encode(Array.from({ length: 4096 }, () => ({ type: 'primitive', primitive: 1 })))
  t.strictSame(
    [many.length, many.readUInt16BE(2), many.readUInt16BE(4 + 4095 + 2 + 2)],
    [4095 + 6 + 7, 4095, 1],
    '4096 make two streams',
  )
})

t.test('sigma glyphs: what cannot be written is refused', async (t) => {
  for (const [option, glyph] of [
    ['glyph.payload', { type: 'primitive', primitive: 1, payload: Buffer.alloc(32_768) }],
    ['glyph.primitive', { type: 'primitive', primitive: 256 }],
    ['glyph.type', { type: 'other', primitive: 1 }],
    ['glyph', 'text'],
  ] as const) {
    await t.rejects(encode([glyph as SigmaGlyph]), { code: 'ERR_MILLRACE_OPTION', option })
  }
  for (const options of [
    { version: 4 },
    { flags: 64 },
    { context: 4096 },
    { maxGlyphs: 0 },
    { highWaterMark: -1 },
    { signal: 1 },
  ]) {
    t.throws(() => new SigmaGlyphEncoder(options as object), { code: 'ERR_MILLRACE_OPTION' })
  }
  t.throws(() => new SigmaGlyphDecoder({ highWaterMark: -1 }), { code: 'ERR_MILLRACE_OPTION' })
})

t.test('sigma glyphs: truncated and damaged streams are errors after the glyphs before', async (t) => {
  const wire = await encode([
    { type: 'primitive', primitive: 1 },
    { type: 'delta', primitive: 200, payload: Buffer.from('abc') },
  ])
  for (let length = 0; length < wire.length; length++) {
    const decoder = new SigmaGlyphDecoder()
    decoder.end(wire.subarray(0, length))
    const glyphs: unknown[] = []
    await t.rejects(
      async () => {
        for await (const glyph of decoder) glyphs.push(glyph)
      },
      { code: 'ERR_MILLRACE_CODEC_TRUNCATED', offset: length },
    )
    t.equal(glyphs.length, length < 5 ? 0 : length < 11 ? 1 : 2)
  }
  const damaged = Buffer.from(wire)
  damaged[9]! ^= 1
  await t.rejects(decode([damaged]), { code: 'ERR_MILLRACE_CODEC_CHECKSUM', index: 2 })
})

t.test('sigma glyphs: stages keep the laws, and count', async (t) => {
  const glyphs: SigmaGlyph[] = [
    { type: 'primitive', primitive: 1 },
    { type: 'composite', primitive: 2, payload: Buffer.from('xy') },
  ]
  const wire = await encode(glyphs)
  await laws.cutIndependent(() => new SigmaGlyphDecoder(), { input: wire, parameters: { numRuns: 30 } })
  await laws.endsCleanly(() => new SigmaGlyphEncoder({ maxGlyphs: 1 }), {
    chunks: glyphs,
    parameters: { numRuns: 30 },
  })
  const abort = new AbortController()
  const encoder = new SigmaGlyphEncoder({
    signal: abort.signal,
    onError: () => {
      throw new Error('hook')
    },
    highWaterMark: 5,
  })
  abort.abort()
  await t.rejects(encoder.toArray(), { name: 'AbortError' })
  const complete = new SigmaGlyphEncoder({
    onComplete: () => {
      throw new Error('complete')
    },
  })
  complete.end()
  await t.rejects(complete.toArray(), { message: 'complete' })
  const counted = new SigmaGlyphDecoder({ signal: new AbortController().signal })
  counted.end(wire)
  await counted.toArray()
  t.same(counted.header, { version: 1, flags: 0, context: 0 })
  t.match(counted.stats(), { recordsOut: 2, bytesIn: wire.length })
  const ended = new SigmaGlyphEncoder()
  ended.end(glyphs[0])
  await ended.toArray()
  t.match(ended.stats(), { recordsIn: 1, bytesOut: 7 })
  const frames = Readable.from([wire.subarray(4, -2)]).pipe(
    new BoundaryHandler('sigma-glyph', { emit: 'frames' }),
  )
  t.equal((await frames.toArray()).length, 2)
  const open = new BoundaryHandler('sigma-glyph')
  open.write(Buffer.from([0x3f, 5, 0x81]))
  t.equal(open.state, 'PARTIAL_HEADER')
  open.destroy()
})

import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { GlyphDeframer } from '../../src/framing/glyph-deframer.ts'
import { encodeGlyph } from '../../src/framing/glyph-frame.ts'
import { GlyphScanner } from '../../src/framing/glyph-scanner.ts'
import { anyCut } from '../../src/testing/any-cut.ts'
import { cutAll, factsOf, textsOf } from './helpers/cut-all.ts'

interface Deframed {
  glyphs: [number, string][]
  error?: Record<string, unknown>
}

function deframe(chunks: Iterable<Uint8Array>, maxFrameLength?: number): Deframed {
  const result: Deframed = { glyphs: [] }
  const deframer = new GlyphDeframer(
    (bytes, start, end, header) => result.glyphs.push([header, bytes.toString('latin1', start, end)]),
    maxFrameLength === undefined ? {} : { maxFrameLength },
  )
  try {
    for (const chunk of chunks) deframer.write(chunk)
    deframer.end()
  } catch (error) {
    result.error = factsOf(error)
  }
  assert.equal(deframer.frames, result.glyphs.length)
  return result
}

const glyphs = fc.array(
  fc.record({
    header: fc.nat(255),
    payload: fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      fc.nat(20_000).map((n) => new Uint8Array(n).fill(n)),
    ),
  }),
  { maxLength: 12 },
)
const encodeAll = (list: { header: number; payload: Uint8Array }[]) =>
  Buffer.concat(list.map(({ header, payload }) => encodeGlyph(header, payload)))

t.test('glyphs: what was encoded comes back, in any cut', async () => {
  fc.assert(
    fc.property(
      glyphs.chain((list) => fc.tuple(fc.constant(list), anyCut(encodeAll(list)))),
      ([list, chunks]) => {
        const wanted = list.map(({ header, payload }) => [header, Buffer.from(payload).toString('latin1')])
        assert.deepEqual(deframe(chunks).glyphs, wanted)
        assert.deepEqual(
          textsOf(cutAll(new GlyphScanner(), chunks, { blockSize: 1, maxFrameLength: 1e6 })),
          list.map(({ header, payload }) => encodeGlyph(header, payload).toString('latin1')),
        )
      },
    ),
    { numRuns: 300 },
  )
})

t.test('glyphs: any bytes give the same frames and the same error in any cut', async () => {
  const wires = fc
    .array(fc.constantFrom(0, 1, 2, 3, 5, 127, 128, 129, 255), { maxLength: 60 })
    .map((bytes) => Buffer.from(bytes))
  fc.assert(
    fc.property(
      wires.chain((wire) => fc.tuple(fc.constant(wire), anyCut(wire))),
      fc.constantFrom(1, 2, 5, 6, 9, 130, 1e6),
      fc.constantFrom(1, 4, 9, 64),
      ([wire, chunks], maxFrameLength, blockSize) => {
        const whole = deframe([wire], maxFrameLength)
        assert.deepEqual(deframe(chunks, maxFrameLength), whole)
        const blocks = cutAll(new GlyphScanner(), [wire], { blockSize, maxFrameLength })
        assert.deepEqual(cutAll(new GlyphScanner(), chunks, { blockSize, maxFrameLength }), blocks)
        // the two ways to read glyphs agree; only the cutter finds a header alone too long already
        if (maxFrameLength < 6) return
        const again = deframe(blocks.blocks.map(({ text }) => Buffer.from(text, 'latin1')))
        assert.deepEqual(again.glyphs, whole.glyphs)
        assert.equal(blocks.error?.['code'], whole.error?.['code'])
        assert.equal(blocks.error?.['offset'], whole.error?.['offset'])
      },
    ),
    { numRuns: 2000 },
  )
})

t.test('glyphs: the length has at most 5 bytes, padded or not', async (t) => {
  const five = Buffer.from([7, 0x81, 0x80, 0x80, 0x80, 0x00, 0x41])
  t.same(deframe([five]), { glyphs: [[7, 'A']] })
  const six = Buffer.from([7, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00])
  for (const { error } of [deframe([six]), cutAll(new GlyphScanner(), [six])]) {
    t.match(error, { name: 'FrameError', code: 'ERR_MILLRACE_FRAME_INVALID', offset: 5, index: 0 })
  }
})

t.test('glyphs: a length is checked before a byte of payload came, and above 32 bits too', async (t) => {
  const huge = Buffer.from([1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x7f])
  for (const { error } of [
    deframe([huge]),
    cutAll(new GlyphScanner(), [huge], { maxFrameLength: 64 * 1024 * 1024 }),
  ]) {
    t.match(error, { code: 'ERR_MILLRACE_FRAME_TOO_LONG', offset: 2, index: 1, actual: 2 ** 35 - 1 + 6 })
  }
  const exact = encodeGlyph(3, new Uint8Array(200))
  t.equal(deframe([exact], exact.length).glyphs.length, 1)
  t.match(deframe([exact], exact.length - 1).error, { code: 'ERR_MILLRACE_FRAME_TOO_LONG', offset: 0 })
})

t.test('glyphs: an end inside a frame says where the frame starts and what it lacks', async (t) => {
  const wire = Buffer.concat([
    encodeGlyph(1, Buffer.from('ab')),
    encodeGlyph(2, new Uint8Array(300)).subarray(0, 10),
  ])
  for (const outcome of [deframe([wire]), cutAll(new GlyphScanner(), [wire])]) {
    t.match(outcome.error, {
      code: 'ERR_MILLRACE_FRAME_TRUNCATED',
      offset: 4,
      index: 1,
      expected: 303,
      actual: 10,
    })
  }
})

t.test(
  'glyphs: a frame after a long one does not keep its memory, and input of any kind is read',
  async (t) => {
    const long = encodeGlyph(9, new Uint8Array(600_000).fill(65))
    const deframer = new GlyphDeframer((bytes, start, end) => t.equal(end - start, 600_000))
    deframer.write(long.subarray(0, 1000))
    t.equal(deframer.pendingBytes, 1000)
    deframer.write(new Uint8Array(long.subarray(1000)))
    t.equal(deframer.pendingBytes, 0)
    t.doesNotThrow(() => deframer.end())
    t.throws(() => new GlyphDeframer(() => {}, { maxFrameLength: 0 }), OptionError)
    t.throws(() => new GlyphDeframer('x' as never), OptionError)
  },
)

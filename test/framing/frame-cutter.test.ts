import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { FrameCutter } from '../../src/framing/frame-cutter.ts'
import type { FrameScanner } from '../../src/framing/frame-scanner.ts'
import { JsonScanner } from '../../src/framing/json-scanner.ts'
import { LineScanner } from '../../src/framing/line-scanner.ts'
import { SeqScanner } from '../../src/framing/seq-scanner.ts'
import { anyCut } from '../../src/testing/any-cut.ts'
import { cutAll, textsOf, type Outcome } from './helpers/cut-all.ts'

/** Text over an alphabet in which every scanner finds frames, faults and things that only look like them. */
const texts = (alphabet: readonly string[], maxLength = 60) =>
  fc.array(fc.constantFrom(...alphabet), { maxLength }).map((parts) => Buffer.from(parts.join(''), 'latin1'))

const JSON_PARTS = [
  '[',
  ']',
  '{',
  '}',
  ',',
  ':',
  '"',
  '\\',
  '1',
  'true',
  '{"a":[1,"],"]}',
  '"x\\"y"',
  ' ',
  '\n',
  '\xef\xbb\xbf',
]

interface Case {
  create: () => FrameScanner
  alphabet: readonly string[]
  prefix?: string
  /** Bytes of delimiter that a frame has and a block does not show, when ends do not need the byte behind them. */
  trim?: number
}

const cases: Record<string, Case> = {
  LineScanner: {
    create: () => new LineScanner(),
    alphabet: ['a', '\n', '\r\n', 'some longer text'],
    trim: 0,
  },
  SeqScanner: { create: () => new SeqScanner(), alphabet: ['\x1e', '\x1e', '{"a":1}\n', '12', '\n'] },
  'JsonScanner, array': {
    create: () => new JsonScanner({ mode: 'array', maxDepth: 3 }),
    alphabet: JSON_PARTS,
    prefix: '[',
    trim: 1,
  },
  'JsonScanner, concat': {
    create: () => new JsonScanner({ mode: 'concat', maxDepth: 3 }),
    alphabet: JSON_PARTS,
  },
  'JsonScanner, lines': { create: () => new JsonScanner({ mode: 'lines' }), alphabet: JSON_PARTS, trim: 0 },
  'JsonScanner, auto': {
    create: () => new JsonScanner({ maxDepth: 3, allowEmpty: true }),
    alphabet: JSON_PARTS,
  },
}

/** The block rule, said once more: join frames, each `trim` longer than it looks, as far as they fit. */
function joinFrames(
  frames: Outcome['blocks'],
  bytes: Buffer,
  blockSize: number,
  trim: number,
): Outcome['blocks'] {
  const blocks: Outcome['blocks'] = []
  for (const frame of frames) {
    const block = blocks.at(-1)
    const end = frame.offset + frame.text.length
    const isLast = frame === frames.at(-1) && end === bytes.length
    if (block !== undefined && end + (isLast ? 0 : trim) - block.offset <= blockSize) {
      blocks[blocks.length - 1] = {
        ...block,
        frames: block.frames + 1,
        text: bytes.toString('latin1', block.offset, end),
      }
    } else {
      blocks.push(frame)
    }
  }
  return blocks
}

for (const [name, { create, alphabet, prefix = '', trim }] of Object.entries(cases)) {
  const inputs = texts(alphabet).map((bytes) => Buffer.concat([Buffer.from(prefix), bytes]))

  t.test(`FrameCutter with ${name}: blocks, positions and error do not depend on the cut`, async () => {
    fc.assert(
      fc.property(
        inputs.chain((bytes) => fc.tuple(fc.constant(bytes), anyCut(bytes))),
        fc.constantFrom(1, 2, 3, 7, 16, 64),
        fc.constantFrom(1, 2, 5, 16, 40, Infinity),
        fc.boolean(),
        ([bytes, chunks], blockSize, maxFrameLength, fresh) => {
          const whole = cutAll(create(), [bytes], { blockSize, maxFrameLength })
          assert.deepEqual(cutAll(create(), chunks, { blockSize, maxFrameLength, fresh }), whole)
        },
      ),
      { numRuns: 500 },
    )
  })

  t.test(`FrameCutter with ${name}: blocks are the frames in order, joined as far as they fit`, async () => {
    fc.assert(
      fc.property(inputs, fc.constantFrom(2, 3, 7, 16, 64), (bytes, blockSize) => {
        const frames = cutAll(create(), [bytes], { blockSize: 1 })
        const { blocks, error } = cutAll(create(), [bytes], { blockSize })
        assert.deepEqual(error, frames.error)
        assert(frames.blocks.every((block) => block.frames === 1))
        if (trim !== undefined) assert.deepEqual(blocks, joinFrames(frames.blocks, bytes, blockSize, trim))
        let count = 0
        for (const block of blocks) {
          assert.equal(block.index, count)
          assert.equal(block.offset, frames.blocks[count]!.offset)
          assert.equal(block.text, bytes.toString('latin1', block.offset, block.offset + block.text.length))
          assert(block.text.length <= blockSize || block.frames === 1)
          const before = bytes.toString('latin1', 0, block.offset)
          assert.equal(block.line, before.split('\n').length)
          assert.equal(block.column, block.offset - before.lastIndexOf('\n'))
          count += block.frames
        }
        assert.equal(count, frames.blocks.length)
      }),
      { numRuns: 300 },
    )
  })
}

t.test(
  'FrameCutter: a chunk may be any Uint8Array, and is taken where the last one was used up',
  async (t) => {
    const memory = new Uint8Array(20).fill(0x2e)
    memory.set(Buffer.from('one\ntwo\n'), 5)
    t.strictSame(textsOf(cutAll(new LineScanner(), [memory.subarray(5, 13)], { blockSize: 1 })), [
      'one\n',
      'two\n',
    ])

    const cutter = new FrameCutter(new LineScanner(), { blockSize: 1, maxFrameLength: 100 })
    cutter.write(Buffer.from('a\nb\n'))
    t.equal(cutter.next()?.bytes.toString(), 'a\n')
    t.throws(() => cutter.write(Buffer.from('c\n')), /before next\(\) returned undefined/)
    t.equal(cutter.next()?.bytes.toString(), 'b\n')
    t.equal(cutter.next(), undefined)
    cutter.end()
    t.throws(() => cutter.write(Buffer.from('c\n')), /after end/)
    t.equal(cutter.next(), undefined)
  },
)

t.test('FrameCutter: a block within a chunk is a view of it, without a copy', async (t) => {
  const cutter = new FrameCutter(new LineScanner(), { blockSize: 8, maxFrameLength: 100 })
  const chunk = Buffer.from('one\ntwo\nthree\n')
  cutter.write(chunk)
  t.equal(cutter.next()?.bytes.buffer, chunk.buffer)
})

t.test('FrameCutter: a frame of maxFrameLength bytes passes and one of a byte more does not', async (t) => {
  const cases: [() => FrameScanner, (length: number) => string][] = [
    [() => new LineScanner(), (length) => `a\n${'x'.repeat(length - 1)}\nb\n`],
    [() => new LineScanner(), (length) => `a\n${'x'.repeat(length)}`],
    [() => new JsonScanner(), (length) => `[1,${'2'.repeat(length)},3]`],
    [() => new JsonScanner(), (length) => `[1,${'2'.repeat(length)}]`],
    [() => new JsonScanner({ mode: 'concat' }), (length) => `[]"${'2'.repeat(length - 2)}"[]`],
    [() => new SeqScanner(), (length) => `\x1e1\n\x1e${'2'.repeat(length - 2)}\n\x1e3\n`],
  ]
  for (const [create, input] of cases) {
    for (const blockSize of [1, 8, 50, 100]) {
      const limits = { blockSize, maxFrameLength: 50 }
      t.equal(cutAll(create(), [Buffer.from(input(50))], limits).error, undefined)
      const { blocks, error } = cutAll(create(), [Buffer.from(input(51))], {
        ...limits,
        tooLong: 'ERR_MILLRACE_JSON_TOO_LONG',
      })
      t.match(error, { name: 'JsonError', code: 'ERR_MILLRACE_JSON_TOO_LONG', index: 1, expected: 50 })
      t.equal(blocks.length, 1)
      t.equal(blocks[0]?.frames, 1)
    }
  }
})

t.test('FrameCutter: work is linear in the input with chunks of one byte', async (t) => {
  // a scanner that counts what it is asked to look at
  let looked = 0
  class Counting extends LineScanner {
    override scan(bytes: Buffer, from: number, to: number, first: boolean): number {
      const stopped = super.scan(bytes, from, to, first)
      looked += stopped - from
      return stopped
    }
  }
  for (const line of [1, 100, 200_000]) {
    looked = 0
    const input = Buffer.from(`${'x'.repeat(line - 1)}\n`.repeat(200_000 / line))
    const cutter = new FrameCutter(new Counting(), { blockSize: 1000, maxFrameLength: 1e6 })
    let bytes = 0
    const take = () => {
      for (let block = cutter.next(); block; block = cutter.next()) bytes += block.bytes.length
    }
    // moving the held bytes for each chunk would copy 20 GB for the long line
    for (let at = 0; at < input.length; at++) {
      cutter.write(input.subarray(at, at + 1))
      take()
    }
    cutter.end()
    take()
    t.equal(bytes, input.length)
    t.equal(looked, input.length)
  }
})

t.test('FrameCutter: an error is thrown again, and options are checked', async (t) => {
  const cutter = new FrameCutter(new JsonScanner(), { blockSize: 1, maxFrameLength: 100 })
  cutter.write(Buffer.from('[1}'))
  t.throws(() => cutter.next(), { code: 'ERR_MILLRACE_JSON_SYNTAX' })
  t.throws(() => cutter.next(), { code: 'ERR_MILLRACE_JSON_SYNTAX' })
  t.throws(() => new FrameCutter(new LineScanner(), { blockSize: 0, maxFrameLength: 1 }), OptionError)
  t.throws(() => new FrameCutter(new LineScanner(), { blockSize: 1, maxFrameLength: 0.5 }), OptionError)
})

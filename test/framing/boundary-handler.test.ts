import assert from 'node:assert/strict'
import { Duplex, Readable, Writable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import chain from 'stream-chain'
import t from 'tap'
import { positionOf } from '../../src/flow/block-position.ts'
import {
  BoundaryHandler,
  type BoundaryHandlerOptions,
  type Framing,
} from '../../src/framing/boundary-handler.ts'
import { encodeGlyph } from '../../src/framing/glyph-frame.ts'
import type { FrameScanner } from '../../src/framing/frame-scanner.ts'
import { anyCut } from '../../src/testing/any-cut.ts'
import { factsOf } from './helpers/cut-all.ts'

/** Facts of an error, in the type that t.rejects() wants. */
const fact = (facts: object) => facts as Error

interface Emitted {
  blocks: { text: string; position: unknown }[]
  error?: Record<string, unknown>
}

async function run(
  chunks: Uint8Array[],
  framing: Framing,
  options?: BoundaryHandlerOptions,
): Promise<Emitted> {
  const emitted: Emitted = { blocks: [] }
  try {
    const handler = new BoundaryHandler(framing, options)
    for await (const block of Readable.from(chunks, { objectMode: false }).pipe(handler)) {
      emitted.blocks.push({
        text: (block as Buffer).toString('latin1'),
        position: positionOf(block as Buffer),
      })
    }
  } catch (error) {
    emitted.error = factsOf(error)
  }
  return emitted
}

const bytesOf = (...parts: string[]) => parts.map((part) => Buffer.from(part, 'latin1'))

t.test('BoundaryHandler: output, positions and error do not depend on how the input was cut', async () => {
  const inputs = fc
    .array(fc.constantFrom('{"a":1}', '\n', ',', '[', ']', '"x"', 'word', '\x05\x03abc', '\x80\x81\x01'), {
      maxLength: 40,
    })
    .map((parts) => Buffer.from(parts.join(''), 'latin1'))
  await fc.assert(
    fc.asyncProperty(
      inputs.chain((bytes) => fc.tuple(fc.constant(bytes), anyCut(bytes))),
      fc.constantFrom('lines' as const, 'json' as const, 'seq' as const, 'glyph' as const),
      fc.constantFrom<BoundaryHandlerOptions>(
        { emit: 'frames' },
        { blockSize: 8 },
        { blockSize: 40, maxFrameLength: 10 },
      ),
      async ([bytes, chunks], framing, options) => {
        assert.deepEqual(await run(chunks, framing, options), await run([bytes], framing, options))
      },
    ),
    { numRuns: 150 },
  )
})

t.test('BoundaryHandler: blocks belong to the reader, whatever is read later', async () => {
  const lines = Array.from({ length: 2000 }, (_, i) => `line ${i} ${'x'.repeat(i % 50)}\n`)
  const input = Buffer.from(lines.join(''))
  for (const size of [7, 100, 1000, input.length]) {
    const chunks: Buffer[] = []
    for (let at = 0; at < input.length; at += size) chunks.push(Buffer.from(input.subarray(at, at + size)))
    const blocks: Buffer[] = await Readable.from(chunks)
      .pipe(new BoundaryHandler('lines', { blockSize: 256 }))
      .toArray()
    assert.equal(Buffer.compare(Buffer.concat(blocks), input), 0)
    // no two share memory
    for (const block of blocks) block.fill(0)
    assert.equal(
      Buffer.concat(blocks).every((byte) => byte === 0),
      true,
    )
  }
})

t.test(
  'BoundaryHandler: state, pendingBytes, crossings and frames tell where the input stands',
  async (t) => {
    const handler = new BoundaryHandler('glyph', { emit: 'frames', highWaterMark: 100 })
    const write = (chunk: Buffer) => new Promise((resolve) => handler.write(chunk, resolve))
    const wire = encodeGlyph(1, new Uint8Array(200))
    t.match(handler, { state: 'IDLE', pendingBytes: 0, crossings: 0, frames: 0 })
    await write(wire.subarray(0, 2))
    t.match(handler, { state: 'PARTIAL_HEADER', pendingBytes: 2, crossings: 0 })
    await write(wire.subarray(2, 3))
    t.match(handler, { state: 'PARTIAL_PAYLOAD', pendingBytes: 3, crossings: 1 })
    await write(wire.subarray(3))
    t.match(handler, { state: 'IDLE', pendingBytes: 0, crossings: 2, frames: 1 })
    await write(wire)
    t.match(handler, { state: 'IDLE', crossings: 2, frames: 2 })
    handler.destroy()

    const lines = new BoundaryHandler('lines', { blockSize: 100 })
    await new Promise((resolve) => lines.write('one\ntwo\nthr', resolve))
    t.match(lines, { state: 'PARTIAL_PAYLOAD', pendingBytes: 11, frames: 0 })
    lines.end('ee\n')
    t.equal(await text(lines), 'one\ntwo\nthree\n')
    t.match(lines.stats(), { bytesIn: 14, bytesOut: 14, recordsIn: 3, recordsOut: 3, chunks: 1, errors: 0 })
  },
)

t.test(
  'BoundaryHandler: JSON elements come without brackets, and blocks without the comma between',
  async (t) => {
    const { blocks } = await run(bytesOf('\xef\xbb\xbf [ {"a":[1,2]} , "x,]" ,', '3 ] \n'), 'json', {
      blockSize: 20,
    })
    t.same(
      blocks.map((block) => block.text),
      [' {"a":[1,2]} ', ' "x,]" ,3 '],
    )
    t.same(blocks[1]?.position, { index: 1, offset: 19, line: 1, column: 20 })
    t.same(
      (await run(bytesOf('1 "a"{}[2]'), 'json', { emit: 'frames' })).blocks.map((block) => block.text),
      ['1 ', '"a"', '{}', '[2]'],
    )
  },
)

t.test('BoundaryHandler: everything before a fault is read first, also by a slow reader', async (t) => {
  const cases: [Framing, string, number, Error][] = [
    [
      'glyph',
      '\x01\x01a\x02\x01b\x03\x05c',
      2,
      fact({ name: 'FrameError', code: 'ERR_MILLRACE_FRAME_TRUNCATED', offset: 6, index: 2 }),
    ],
    [
      'json',
      '[1,2',
      1,
      fact({ name: 'JsonError', code: 'ERR_MILLRACE_JSON_TRUNCATED', offset: 4, index: 1 }),
    ],
    [
      'json',
      '[1,2]x',
      2,
      fact({ name: 'JsonError', code: 'ERR_MILLRACE_JSON_TRAILING', offset: 5, index: 2 }),
    ],
    [
      'lines',
      'a\nb\nlong line\n',
      2,
      fact({ name: 'FrameError', code: 'ERR_MILLRACE_FRAME_TOO_LONG', offset: 4, line: 3, column: 1 }),
    ],
  ]
  for (const [framing, input, frames, error] of cases) {
    const seen: string[] = []
    const slow = new Writable({
      objectMode: true,
      highWaterMark: 1,
      write(chunk: Buffer, _encoding, callback) {
        seen.push(chunk.toString())
        setImmediate(callback)
      },
    })
    const handler = new BoundaryHandler(framing, { emit: 'frames', maxFrameLength: 9, highWaterMark: 1 })
    const source = Readable.from(bytesOf(input))
    const iterated: unknown[] = []
    await t.rejects(
      pipeline(source, handler, async (blocks: AsyncIterable<Buffer>) => {
        for await (const block of blocks) iterated.push(block)
      }),
      error,
    )
    t.equal(iterated.length, frames, input)
    await t.rejects(
      pipeline(
        Readable.from(bytesOf(input)),
        new BoundaryHandler(framing, { emit: 'frames', maxFrameLength: 9 }),
        slow,
      ),
      error,
    )
    t.equal(seen.length, frames)
  }
})

t.test('BoundaryHandler: a user scanner cuts, and what it throws comes at its position', async (t) => {
  class Records implements FrameScanner {
    end = -1
    frames = 0
    scan(bytes: Buffer, from: number, to: number, first: boolean): number {
      this.end = -1
      this.frames = 0
      for (let i = from; i < to; i++) {
        if (bytes[i] === 0x21) throw new TypeError('no shouting')
        if (bytes[i] !== 0x3b) continue
        this.end = i + 1
        this.frames++
        if (first) return this.end
      }
      return to
    }
    finish(open: number) {
      return open > 0 ? ('truncated' as const) : ('frame' as const)
    }
  }
  t.same(
    (await run(bytesOf('a;b', 'b;c;'), new Records(), { blockSize: 4 })).blocks.map((b) => b.text),
    ['a;', 'bb;', 'c;'],
  )
  const failed = await run(bytesOf('a;b;c!d;'), new Records())
  t.same(
    failed.blocks.map((block) => block.text),
    ['a;b;'],
  )
  t.match(failed.error, { name: 'TypeError' })
  t.match((await run(bytesOf('a;b'), new Records())).error, {
    code: 'ERR_MILLRACE_FRAME_TRUNCATED',
    offset: 2,
    actual: 1,
  })
})

t.test('BoundaryHandler: stops between two blocks of one chunk while the reader is full', async (t) => {
  const handler = new BoundaryHandler('lines', { emit: 'frames', highWaterMark: 3 })
  handler.write('x\n'.repeat(10_000))
  handler.end()
  await new Promise(setImmediate)
  t.ok(handler.readableLength <= 3)
  let count = 0
  for await (const _ of handler) {
    assert(handler.readableLength <= 3)
    if (++count === 5) break
  }
  t.equal(handler.destroyed, true)
})

t.test('BoundaryHandler: works in chain(), toWeb() and with an abort signal', async (t) => {
  const chained = chain([
    new BoundaryHandler('lines', { emit: 'frames' }),
    (line: Buffer) => line.toString().toUpperCase(),
  ])
  const upper: string[] = []
  chained.on('data', (line: string) => upper.push(line))
  await new Promise((resolve) => {
    chained.on('end', resolve)
    chained.write('one\ntwo\n')
    chained.end()
  })
  t.same(upper, ['ONE\n', 'TWO\n'])

  const { readable, writable } = Duplex.toWeb(new BoundaryHandler('lines', { emit: 'frames' }))
  const writer = writable.getWriter()
  void writer.write(Buffer.from('a\nb\n')).then(() => writer.close())
  const web: string[] = []
  for await (const line of readable as unknown as AsyncIterable<Uint8Array>)
    web.push(Buffer.from(line).toString())
  t.same(web, ['a\n', 'b\n'])

  const controller = new AbortController()
  const aborted = pipeline(
    new Readable({ read() {} }),
    new BoundaryHandler('lines', { signal: controller.signal }),
    new Writable({ objectMode: true }),
  )
  controller.abort()
  await t.rejects(aborted, { name: 'AbortError' })
})

t.test('BoundaryHandler: hooks count blocks, and one that throws fails the stage', async (t) => {
  const chunks: unknown[] = []
  let completed: unknown
  const handler = new BoundaryHandler('lines', {
    blockSize: 4,
    onChunk: (chunk) => chunks.push(chunk),
    onComplete: (stats) => (completed = stats.recordsOut),
  })
  handler.end('a\nb\nc\n')
  await buffer(handler)
  t.match(chunks, [
    { stage: 'BoundaryHandler', bytes: 4, records: 2, index: 0 },
    { stage: 'BoundaryHandler', bytes: 2, records: 1, index: 1 },
  ])
  t.equal(chunks.length, 2)
  t.equal(completed, 3)
  const failing = new BoundaryHandler('lines', {
    onChunk() {
      throw new RangeError('hook')
    },
  })
  failing.end('a\n')
  await t.rejects(buffer(failing), RangeError)
})

t.test('BoundaryHandler: options are checked by the constructor', async (t) => {
  const wrong: [unknown, object, string][] = [
    ['nothing', {}, 'framing'],
    [{ scan() {} }, {}, 'framing'],
    ['lines', { emit: 'bytes' }, 'emit'],
    ['lines', { blockSize: 0 }, 'blockSize'],
    ['lines', { blockSize: 5, emit: 'frames' }, 'blockSize'],
    ['lines', { maxFrameLength: 0 }, 'maxFrameLength'],
    ['lines', { highWaterMark: -1 }, 'highWaterMark'],
    ['lines', { signal: 1 }, 'signal'],
    ['json', { maxDepth: 0 }, 'maxDepth'],
    ['json', { mode: 'xml' }, 'mode'],
  ]
  for (const [framing, options, option] of wrong) {
    t.throws(() => new BoundaryHandler(framing as Framing, options), { name: 'OptionError', option })
  }
})

t.test('BoundaryHandler: empty input gives nothing, except for JSON, where it is an error', async (t) => {
  for (const framing of ['lines', 'seq', 'glyph'] as const) t.same(await run([], framing), { blocks: [] })
  t.match(await run([], 'json'), { blocks: [], error: { code: 'ERR_MILLRACE_JSON_EMPTY', offset: 0 } })
  t.same(await run([], 'json', { allowEmpty: true }), { blocks: [] })
})

t.test('BoundaryHandler: one-byte chunks cost linear time, also in a frame of megabytes', async (t) => {
  // 300 000 writes; work that is quadratic in the frame would move 45 GB
  const line = Buffer.from(`${'x'.repeat(300_000)}\n`)
  const handler = new BoundaryHandler('lines', { highWaterMark: 10 })
  const core = buffer(handler)
  for (let i = 0; i < line.length; i++)
    if (!handler.write(line.subarray(i, i + 1)))
      await new Promise((resolve) => handler.once('drain', resolve))
  handler.end()
  t.equal((await core).length, line.length)
})

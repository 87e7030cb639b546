import { Duplex, PassThrough, Transform, type TransformCallback } from 'node:stream'
import * as fc from 'fast-check'
import t from 'tap'
import { FrameError, OptionError } from '../../src/errors.ts'
import { failAfterDelivery } from '../../src/flow/fail-after-delivery.ts'
import { RecordBatch } from '../../src/flow/record-batch.ts'
import { Meter } from '../../src/flow/meter.ts'
import { StreamBuffer } from '../../src/flow/stream-buffer.ts'
import { laws } from '../../src/testing/laws.ts'

const parameters = { numRuns: 60, seed: 5 }
const transform = (
  each: (chunk: any, done: TransformCallback, self: Transform) => void,
  objectMode = false,
) =>
  new Transform({
    objectMode,
    transform(chunk, _encoding, done) {
      each(chunk, done, this)
    },
  })

t.test('laws.cutIndependent: holds for stages that are right', async (t) => {
  const input = fc.uint8Array({ maxLength: 50 })
  await t.resolves(laws.cutIndependent(() => new PassThrough(), { input, parameters }))
  await t.resolves(laws.cutIndependent(() => new Meter(), { input, parameters }))
  await t.resolves(laws.cutIndependent(() => new StreamBuffer({ maxChunks: 1 }), { input, parameters }))
})

t.test(
  'laws.cutIndependent: finds a stage whose output depends on the cut, and shows the smallest',
  async (t) => {
    const input = Buffer.from('one\ntwo\nthree')
    const wrong = () =>
      new Transform({
        readableObjectMode: true,
        transform(chunk: Buffer, _encoding, done) {
          for (const line of chunk.toString().split('\n')) this.push(line)
          done()
        },
      })
    await t.rejects(laws.cutIndependent(wrong, { input, parameters }), {
      message: /the output depends on how the input is cut/,
    })
    const right = () => {
      let rest = ''
      return new Transform({
        readableObjectMode: true,
        transform(chunk: Buffer, _encoding, done) {
          const lines = (rest + chunk.toString('latin1')).split('\n')
          rest = lines.pop()!
          for (const line of lines) this.push(line)
          done()
        },
        flush(done) {
          done(null, rest)
        },
      })
    }
    await t.resolves(laws.cutIndependent(right, { input, parameters }))
  },
)

t.test('laws.cutIndependent: compares the edges of chunks only where asked', async (t) => {
  const input = Buffer.from('0123456789')
  const options = { input, edges: true, parameters }
  await t.rejects(
    laws.cutIndependent(() => new PassThrough(), options),
    /the output depends/,
  )
  const whole = () => {
    const chunks: Buffer[] = []
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => (chunks.push(chunk), done()),
      flush: (done) => done(null, Buffer.concat(chunks)),
    })
  }
  await t.resolves(laws.cutIndependent(whole, options))
  const batches = () => transform((chunk: Buffer, done) => done(null, new RecordBatch(0, [...chunk])), true)
  const bytesIn = () => Object.defineProperty(batches(), 'writableObjectMode', { value: false })
  await t.resolves(laws.cutIndependent(bytesIn, { input, parameters }), 'records of batches are compared')
  await t.rejects(laws.cutIndependent(bytesIn, options), /the output depends/)
})

/** Passes digits; anything else is an error at its offset. */
function digits(fail: (stage: Transform, offset: number) => Error, late: boolean) {
  let offset = 0
  return () => {
    offset = 0
    return transform((chunk: Buffer, done, self) => {
      const bad = chunk.findIndex((byte) => byte < 48 || byte > 57)
      if (bad < 0) {
        offset += chunk.length
        return done(null, chunk)
      }
      const error = fail(self, offset + bad)
      if (!late) return done(error)
      self.push(chunk.subarray(0, bad))
      failAfterDelivery(self, error)
    })
  }
}

t.test('laws.cutIndependent: compares errors, and what was delivered before them', async (t) => {
  const input = Buffer.from('123456x89')
  const at = (_stage: Transform, offset: number) =>
    new FrameError('ERR_MILLRACE_FRAME_INVALID', 'not a digit', { offset })
  await t.resolves(laws.cutIndependent(digits(at, true), { input, parameters }))
  await t.rejects(laws.cutIndependent(digits(at, false), { input, parameters }), /the output depends/)
  const inChunk = () => new FrameError('ERR_MILLRACE_FRAME_INVALID', 'not a digit', { offset: Math.random() })
  await t.rejects(laws.cutIndependent(digits(inChunk, true), { input, parameters }), /offset/)
})

t.test('laws.exactlyOnce: holds for stages that are right', async (t) => {
  await t.resolves(
    laws.exactlyOnce(() => new PassThrough({ objectMode: true }), { batches: true, parameters }),
  )
  await t.resolves(
    laws.exactlyOnce(() => new StreamBuffer({ objectMode: true }), { batches: true, parameters }),
  )
  await t.resolves(
    laws.exactlyOnce(
      () =>
        transform(
          (word: string, done, self) => (word.split('').forEach((letter) => self.push(letter)), done()),
          true,
        ),
      { records: fc.string({ unit: 'grapheme-ascii' }), expected: (word) => word.split(''), parameters },
    ),
  )
})

t.test('laws.exactlyOnce: finds lost, doubled, moved and changed records', async (t) => {
  const lossy = () => new StreamBuffer({ objectMode: true, maxChunks: 1, strategy: 'drop-oldest' })
  const doubling = () => transform((record, done, self) => (self.push(record), done(null, record)), true)
  const moving = () => {
    const held: unknown[] = []
    return new Transform({
      objectMode: true,
      transform: (record, _encoding, done) => (held.unshift(record), done()),
      flush(done) {
        for (const record of held) this.push(record)
        done()
      },
    })
  }
  const changing = () => transform((record: number, done) => done(null, record + 1), true)
  for (const wrong of [lossy, doubling, moving, changing]) {
    await t.rejects(laws.exactlyOnce(wrong, { parameters }), /records were lost, doubled, changed or moved/)
  }
  const noBatches = () =>
    transform((record, done) => done(null, RecordBatch.is(record) ? [...record] : record), true)
  await t.resolves(laws.exactlyOnce(noBatches, { parameters }))
  await t.rejects(laws.exactlyOnce(noBatches, { batches: true, parameters }), /lost/)
})

t.test('laws: a stage that never ends is a failure, not a hang', async (t) => {
  const stuck = () => transform(() => {}, true)
  await t.rejects(laws.exactlyOnce(stuck, { timeout: 20, parameters }), /did not end within 20 ms/)
})

t.test('laws.endsCleanly: holds for stages that are right, with bytes and records', async (t) => {
  const chunks = ['a', 'b', 'c'].map((text) => Buffer.from(text))
  await t.resolves(laws.endsCleanly(() => new PassThrough(), { chunks, parameters }))
  await t.resolves(laws.endsCleanly(() => new StreamBuffer({ maxChunks: 1 }), { chunks, parameters }))
  await t.resolves(
    laws.endsCleanly(() => new StreamBuffer({ objectMode: true }), { chunks: [1, 2, 3], parameters }),
  )
})

t.test(
  'laws.endsCleanly: finds output that would not have come, and a stage that is not destroyed',
  async (t) => {
    let made = 0
    const random = () => transform((_chunk, done) => done(null, Buffer.from(String(made++))))
    await t.rejects(laws.endsCleanly(random, { chunks: [Buffer.from('x')], parameters }), /not a beginning/)
    const different = () => transform((_chunk, done) => done(null, made++), true)
    await t.rejects(laws.endsCleanly(different, { chunks: [1], parameters }), /not a beginning/)
    const immortal = () => Object.defineProperty(new PassThrough(), 'destroyed', { get: () => false })
    await t.rejects(laws.endsCleanly(immortal as () => Duplex, { chunks: [], parameters }))
  },
)

t.test('laws: options out of range are refused', async (t) => {
  const stage = () => new PassThrough()
  await t.rejects(laws.cutIndependent(stage, { input: Buffer.alloc(1), timeout: 0 }), OptionError)
  await t.rejects(laws.exactlyOnce(stage, { timeout: 0 }), OptionError)
  await t.rejects(laws.endsCleanly(stage, { chunks: [], timeout: 0 }), OptionError)
})

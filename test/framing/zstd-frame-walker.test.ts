import t from 'tap'
import { ZstdFrameWalker } from '../../src/framing/zstd-frame-walker.ts'

/** A frame of raw and RLE blocks, written by hand, so that no zstd is needed to test on an older Node. */
function frame({ checksum = false, singleSegment = true, blocks = [3, 0, 5] } = {}): Buffer {
  const descriptor = (singleSegment ? 0x20 : 0) | (checksum ? 4 : 0)
  const header = [0x28, 0xb5, 0x2f, 0xfd, descriptor, 8]
  const body = blocks.flatMap((length, i) => {
    const last = i === blocks.length - 1 ? 1 : 0
    const word = (length << 3) | last
    return [word & 255, (word >> 8) & 255, word >> 16, ...Array.from({ length }, () => 0x55)]
  })
  return Buffer.from([...header, ...body, ...(checksum ? [1, 2, 3, 4] : [])])
}

const rle = Buffer.from([
  0x28,
  0xb5,
  0x2f,
  0xfd,
  0x20,
  200,
  ((200 << 3) | 2 | 1) & 255,
  (200 << 3) >> 8,
  0,
  7,
])
const skippable = Buffer.from('5f2a4d1802000000ffff', 'hex')
const emptySkippable = Buffer.from('502a4d1800000000', 'hex')

/** Where frames end, if `bytes` come in pieces of `size`. */
function ends(bytes: Buffer, size: number): { ends: number[]; atBoundary: boolean } {
  const walker = new ZstdFrameWalker()
  const found: number[] = []
  for (let from = 0; from < bytes.length; from += size) {
    const piece = bytes.subarray(from, from + size)
    for (let at = 0; at < piece.length;) {
      const end = walker.walk(piece, at)
      if (end === -1) break
      found.push(from + end)
      at = end
    }
  }
  return { ends: found, atBoundary: walker.atBoundary }
}

t.test('ZstdFrameWalker: finds the ends of all kinds of frame, however they were cut', async (t) => {
  const frames = [
    frame(),
    frame({ checksum: true }),
    frame({ singleSegment: false }),
    skippable,
    rle,
    emptySkippable,
    frame({ blocks: [0] }),
    frame({ blocks: [0], checksum: true }),
  ]
  const bytes = Buffer.concat(frames)
  let total = 0
  const expected = frames.map(({ length }) => (total += length))
  for (let size = 1; size <= bytes.length; size++)
    t.strictSame(ends(bytes, size), { ends: expected, atBoundary: true }, `pieces of ${size}`)
})

t.test('ZstdFrameWalker: knows that a frame is not over', async (t) => {
  const bytes = frame({ checksum: true })
  for (let length = 1; length < bytes.length; length++) {
    t.strictSame(ends(bytes.subarray(0, length), 3), { ends: [], atBoundary: false }, `${length} bytes`)
  }
})

t.test('ZstdFrameWalker: garbage between frames is an error with its offset', async (t) => {
  const bytes = Buffer.concat([frame(), Buffer.from('none')])
  for (const size of [1, 4, 100]) {
    t.throws(
      () => ends(bytes, size),
      { code: 'ERR_MILLRACE_FRAME_INVALID', offset: frame().length },
      `pieces of ${size}`,
    )
  }
})

t.test('ZstdFrameWalker: tells what the header of the open frame says', async (t) => {
  const facts = (hex: string) => {
    const walker = new ZstdFrameWalker()
    walker.walk(Buffer.from(hex, 'hex'), 0)
    return walker.frame
  }
  t.same(facts('28b52ffd2005'), { contentSize: 5, windowSize: 5, dictionary: 0 })
  t.same(facts('28b52ffd0009'), { contentSize: undefined, windowSize: 2304, dictionary: 0 })
  t.same(facts('28b52ffd61070001'), { contentSize: 512, windowSize: 512, dictionary: 7 })
  t.same(facts('28b52ffda30000000100010000'), { contentSize: 256, windowSize: 256, dictionary: 2 ** 24 })
  t.same(facts('28b52ffde00000000001000000'), { contentSize: 2 ** 32, windowSize: 2 ** 32, dictionary: 0 })
})

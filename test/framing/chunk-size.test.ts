import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { estimateMemory } from '../../src/framing/estimate-memory.ts'
import { optimalChunkSize } from '../../src/framing/optimal-chunk-size.ts'

t.test(
  'optimalChunkSize: is that of the file between 4 KiB and 256 KiB, and 64 KiB where there is none',
  async (t) => {
    t.equal(optimalChunkSize(), 65_536)
    t.equal(optimalChunkSize(0), 4096)
    t.equal(optimalChunkSize(4096), 4096)
    t.equal(optimalChunkSize(4097), 4097)
    t.equal(optimalChunkSize(262_144), 262_144)
    t.equal(optimalChunkSize(262_145), 262_144)
    t.equal(optimalChunkSize(Infinity), 262_144)
    t.throws(() => optimalChunkSize(-1), OptionError)
    t.throws(() => optimalChunkSize('1' as never), OptionError)
  },
)

t.test('estimateMemory: counts the buffers exactly, and adds what Node takes', async (t) => {
  t.equal(estimateMemory().buffers, 2 * 262_144)
  t.equal(estimateMemory({ chunkSize: 100, highWaterMark: 1000 }).buffers, 1100)
  const borrowed = estimateMemory({ borrowed: true, chunkSize: 1000, buffers: 3 })
  t.equal(borrowed.buffers, 3000)
  t.equal(borrowed.total, borrowed.buffers + borrowed.warmUp)
  t.ok(borrowed.warmUp < estimateMemory().warmUp)
  t.throws(() => estimateMemory({ chunkSize: 0 }), OptionError)
  t.throws(() => estimateMemory({ borrowed: true, buffers: 0 }), OptionError)
  t.throws(() => estimateMemory({ borrowed: true, highWaterMark: 1 }), OptionError)
  t.throws(() => estimateMemory({ buffers: 3 }), OptionError)
  t.throws(() => estimateMemory({ highWaterMark: 0 }), OptionError)
})

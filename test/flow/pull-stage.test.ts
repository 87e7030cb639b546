import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { PullStage, type PullCore } from '../../src/flow/pull-stage.ts'
import { StatsCounter } from '../../src/flow/stream-stats.ts'

/** Gives each number as often as it says, and fails as it is told. */
class Repeat implements PullCore<number, string> {
  #left = 0
  #value = 0
  #ended = false

  write(value: number): void {
    if (value < 0) throw new RangeError(`write ${value}`)
    this.#value = this.#left = value
  }

  end(): void {
    this.#ended = true
  }

  next(): string | undefined {
    if (this.#value === 13 && this.#left === 10) throw new RangeError('next 13')
    if (this.#left-- > 0) return String(this.#value)
    if (!this.#ended) return undefined
    this.#ended = false
    return 'end'
  }
}

class RepeatStage extends PullStage<number, string> {
  constructor(options: { signal?: AbortSignal; highWaterMark?: number } = {}) {
    super(new Repeat(), new StatsCounter('RepeatStage'), { objectMode: true, ...options })
  }
}

t.test('PullStage: gives what the core gives, at the end too', async (t) => {
  const stage = new RepeatStage()
  for (const n of [2, 0, 1]) stage.write(n)
  stage.end()
  t.same(await stage.toArray(), ['2', '2', '1', 'end'])
})

t.test('PullStage: asks the core only while the reader has room', async (t) => {
  const stage = new RepeatStage({ highWaterMark: 3 })
  stage.write(1000)
  await turn()
  t.equal(stage.readableLength, 3)
  let written = false
  stage.write(1, () => (written = true))
  await turn()
  t.notOk(written, 'the next write waits')
  stage.end()
  t.equal((await stage.toArray()).length, 1002)
  t.ok(written)
})

t.test('PullStage: an error waits until all before it is read', async (t) => {
  for (const [inputs, count, message] of [
    [[2, -1], 2, 'write -1'],
    [[2, 13], 5, 'next 13'],
  ] as const) {
    const stage = new RepeatStage({ highWaterMark: 100 })
    for (const input of inputs) stage.write(input)
    stage.end()
    await turn()
    t.notOk(stage.destroyed)
    const seen: unknown[] = []
    await t.rejects(
      async () => {
        for await (const chunk of stage) seen.push(chunk)
      },
      { message },
    )
    t.equal(seen.length, count)
    t.equal(stage.stats().errors, 1)
  }
})

t.test(
  'PullStage: a large chunk is worked on after its write, and not once the stage is destroyed',
  async (t) => {
    const pulls: string[] = []
    class Bytes implements PullCore<Buffer, Buffer> {
      write(chunk: Buffer): void {
        pulls.push(`write ${chunk.length}`)
      }
      end(): void {}
      next(): undefined {
        pulls.push('next')
      }
    }
    class ByteStage extends PullStage<Buffer, Buffer> {}
    const stage = new ByteStage(new Bytes(), new StatsCounter('ByteStage'), {})
    stage.write(Buffer.alloc(16 * 1024 - 1))
    t.same(pulls.splice(0), ['write 16383', 'next'])
    stage.write(Buffer.alloc(16 * 1024))
    await turn()
    t.same(pulls.splice(0), ['write 16384', 'next'])
    stage.write(Buffer.alloc(16 * 1024))
    stage.destroy()
    await turn()
    t.same(pulls, ['write 16384'])
  },
)

t.test('PullStage: a signal that is aborted already destroys it', async (t) => {
  const stage = new RepeatStage({ signal: AbortSignal.abort() })
  t.ok(stage.destroyed)
  await t.rejects(stage.toArray(), { name: 'AbortError' })
})

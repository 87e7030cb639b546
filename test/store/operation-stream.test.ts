import { setImmediate as turn } from 'node:timers/promises'
import * as fc from 'fast-check'
import t from 'tap'
import { MissingPeerError } from '../../src/errors.ts'
import { CircuitBreaker } from '../../src/flow/index.ts'
import { loadGrpc } from '../../src/store/grpc-peer.ts'
import {
  operationStream,
  type CallStatus,
  type OpenCall,
  type OperationStreamOptions,
} from '../../src/store/index.ts'
import { errorOfStatus, statusOfError, verdictOf } from '../../src/store/store-status.ts'
import { collect } from '../conformance/store.ts'
import { VirtualClock } from '../flow/helpers/virtual-clock.ts'

const OK: CallStatus = { code: 0, message: 'ok', fromServer: true }
const LOST: CallStatus = { code: 14, message: 'Connection dropped', fromServer: false }
const BUSY: CallStatus = { code: 8, message: 'slow down', fromServer: true }
const INTERNAL: CallStatus = { code: 13, message: 'failed', fromServer: true }

interface FakeServer {
  readonly open: OpenCall<number, number>
  opens: number
  /** Messages that arrived, over all calls. */
  readonly arrived: number[]
  /** Most messages without an answer at one time in one call. */
  mostUnanswered: number
}

/**
 * A server that answers in order, n with 10 n, and ends the call by `fate`: what it says of the n-th message of a call, if
 * anything. A status ends the call there, answers included that are on their way when it is not `fromServer`.
 */
function fakeServer(
  fate: (message: number, call: number, nth: number) => CallStatus | undefined,
): FakeServer {
  const server: FakeServer = {
    opens: 0,
    arrived: [],
    mostUnanswered: 0,
    open({ onAnswer, onEnd }) {
      const call = server.opens++
      let queue: number[] = []
      let nth = 0
      let over = false
      let ending = false
      const finish = (status: CallStatus) => {
        over = true
        queue = []
        onEnd(status)
      }
      const work = async () => {
        await turn()
        // oxlint-disable-next-line no-unmodified-loop-condition -- it is, by what answers bring about
        while (!over && queue.length > 0) {
          const message = queue.shift()!
          const status = fate(message, call, nth++)
          if (status !== undefined) return finish(status)
          onAnswer(message * 10)
          if (nth % 3 === 0) await turn()
        }
        if (!over && ending) finish(OK)
      }
      let working: Promise<void> | undefined
      const wake = () => {
        working ??= work().finally(() => {
          working = undefined
          if (!over && (queue.length > 0 || ending)) wake()
        })
      }
      return {
        send(message) {
          server.arrived.push(message)
          queue.push(message)
          server.mostUnanswered = Math.max(server.mostUnanswered, queue.length)
          wake()
          return true
        },
        end() {
          ending = true
          wake()
        },
        cancel() {
          over = true
        },
      }
    },
  }
  return server
}

type Options = Partial<OperationStreamOptions<number, number, number, number>>
const run = (source: Iterable<number> | AsyncIterable<number>, { open }: FakeServer, options: Options = {}) =>
  operationStream(source, open, {
    encode: (n: number) => n,
    decode: (answer: number) => answer,
    clock: new VirtualClock(),
    ...options,
  })
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)
const invalid = (message: number): CallStatus => ({ code: 3, message: `bad ${message}`, fromServer: true })

t.test('operationStream: each item has one result, in order, and only the bad ones are blamed', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 80 }),
      fc.array(fc.nat(80), { maxLength: 20 }),
      fc.constantFrom(1, 2, 7, 64),
      fc.constantFrom(1, 2, 3),
      async (count, badOnes, window, concurrency) => {
        const bad = new Set(badOnes)
        const server = fakeServer((n) => (bad.has(n) ? invalid(n) : undefined))
        const results = await collect(run(upTo(count), server, { window, concurrency }))
        t.strictSame(
          results.map(({ index, output, error }) => [index, output ?? error?.message]),
          upTo(count).map((n) => [n, bad.has(n) ? `bad ${n}` : n * 10]),
        )
        t.ok(server.mostUnanswered <= window)
        if (concurrency === 1) {
          const seen = upTo(count).filter((n) => bad.has(n)).length
          t.ok(server.opens <= seen + 1, 'a call more for each bad item, no more')
        }
      },
    ),
    { numRuns: 150 },
  )
})

t.test('operationStream: calls that end for other reasons cost nobody anything', async (t) => {
  const anyEnd = fc.constantFrom(
    LOST,
    BUSY,
    OK,
    { code: 1, message: 'cancelled', fromServer: true },
    { code: 4, message: 'late', fromServer: true },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ after: fc.nat(12), status: anyEnd }), { maxLength: 12 }),
      fc.array(fc.nat(60), { maxLength: 6 }),
      fc.constantFrom(1, 5, 64),
      fc.constantFrom(1, 3),
      async (ends, badOnes, window, concurrency) => {
        const bad = new Set(badOnes)
        const server = fakeServer((n, call, nth) => {
          const end = ends[call]
          if (end !== undefined && nth >= end.after) return end.status
          return bad.has(n) ? invalid(n) : undefined
        })
        const results = await collect(run(upTo(60), server, { window, concurrency, retries: 20 }))
        t.strictSame(
          results.map(({ index, output, error }) => [index, output ?? error?.message]),
          upTo(60).map((n) => [n, bad.has(n) ? `bad ${n}` : n * 10]),
        )
      },
    ),
    { numRuns: 150 },
  )
})

t.test('operationStream: a status that says little is believed when the item meets it alone', async (t) => {
  const deadly = fakeServer((n) => (n === 5 ? INTERNAL : undefined))
  const results = await collect(run(upTo(20), deadly))
  t.strictSame(
    results.flatMap(({ index, error }) => (error ? [[index, error.code, error.status]] : [])),
    [[5, 'ERR_MILLRACE_STORE_REFUSED', 13]],
  )
  // a failure that passes: nobody is blamed
  let failures = 2
  const passing = fakeServer((n) => (n === 5 && failures-- > 1 ? INTERNAL : undefined))
  const all = await collect(run(upTo(20), passing))
  t.ok(all.every(({ error }) => error === undefined))
  t.equal(passing.opens, 3, 'the call, one for the suspect alone, one for the rest')
  // one that comes early, before earlier messages are answered: the server's transport refused a later one
  const early = fakeServer((n, _call, nth) =>
    nth === 0 && n === 3
      ? { code: 8, message: 'Received message larger than max (7 vs 6)', fromServer: true }
      : undefined,
  )
  const some = await collect(run([1, 2, 3, 4], early, { window: 1 }))
  t.strictSame(
    some.map(({ error }) => error?.code),
    [undefined, undefined, undefined, undefined],
  )
})

t.test(
  'operationStream: an item that fails at every attempt gets its error, and the next one its turn',
  async (t) => {
    const clock = new VirtualClock()
    const stuck = fakeServer((n) => (n === 2 ? BUSY : undefined))
    const retries: number[] = []
    const results = await collect(
      run(upTo(5), stuck, {
        retries: 3,
        clock,
        random: () => 1,
        minDelay: 10,
        maxDelay: 15,
        onRetry: (_status, delay) => retries.push(delay),
      }),
    )
    t.strictSame(
      results.map(({ output }) => output),
      [0, 10, undefined, 30, 40],
    )
    const { error } = results[2]!
    t.strictSame(
      [error?.code, error?.category, error?.attempts, error?.status],
      ['ERR_MILLRACE_STORE_UNAVAILABLE', 'connection', 4, 8],
    )
    t.match(error?.message, /gave up after 4 attempts: slow down/)
    t.strictSame(retries, [0, 15, 15, 15], 'after progress at once, then longer and longer')
  },
)

t.test('operationStream: a dead server is left alone while the breaker is open', async (t) => {
  const breaker = new CircuitBreaker({ failures: 4, cooldown: 60_000, isFailure: () => true })
  const dead = fakeServer(() => LOST)
  const results = await collect(run(upTo(1000), dead, { breaker, retries: 1 }))
  t.equal(results.length, 1000)
  t.ok(results.every(({ error }) => error?.category === 'connection'))
  t.ok(dead.opens <= 5, `${dead.opens} calls for 1000 items`)
  t.equal((results[999]!.error!.cause as { code?: string }).code, 'ERR_MILLRACE_CIRCUIT_OPEN')
  t.equal(breaker.state, 'open')
})

t.test('operationStream: the breaker closes again, also after a try that was aborted', async (t) => {
  const breaker = new CircuitBreaker({ failures: 1, cooldown: 0, isFailure: () => true })
  await collect(
    run(
      [1],
      fakeServer(() => LOST),
      { breaker, retries: 0 },
    ),
  )
  t.equal(breaker.state, 'open')
  const silent: OpenCall<number, number> = () => ({ send: () => true, end() {}, cancel() {} })
  const abort = new AbortController()
  const waiting = collect(
    run([1], { ...fakeServer(() => undefined), open: silent }, { breaker, signal: abort.signal }),
  )
  setTimeout(() => abort.abort(), 10)
  await t.rejects(waiting, { code: 'ERR_MILLRACE_STORE_ABORTED', category: 'aborted' })
  const well = await collect(
    run(
      [1],
      fakeServer(() => undefined),
      { breaker },
    ),
  )
  t.equal(well[0]!.output, 10)
  t.equal(breaker.state, 'closed')
})

t.test('operationStream: who may not call at all learns it by one call for all that waits', async (t) => {
  const strange = fakeServer(() => ({ code: 16, message: 'who are you', fromServer: true }))
  const results = await collect(run(upTo(64), strange))
  t.ok(results.every(({ error }) => error?.category === 'connection' && error.status === 16))
  t.ok(strange.opens <= 3, `${strange.opens}`)
})

t.test('operationStream: a server that is silent although it owes an answer is given up', async (t) => {
  let silent = 2
  const healthy = fakeServer(() => undefined)
  let cancelled = 0
  const open: OpenCall<number, number> = (events) => {
    if (silent-- <= 0) return healthy.open(events)
    return { send: () => true, end() {}, cancel: () => void cancelled++ }
  }
  const results = await collect(run([1, 2], { ...healthy, open }, { answerTimeout: 20 }))
  t.strictSame(
    results.map(({ output }) => output),
    [10, 20],
  )
  t.equal(cancelled, 2)
  // silence that nobody waits for is none
  const slow = async function* () {
    yield 1
    await new Promise((resolve) => setTimeout(resolve, 60))
    yield 2
  }
  const again = fakeServer(() => undefined)
  await collect(run(slow(), again, { answerTimeout: 20 }))
  t.equal(again.opens, 1)
})

t.test(
  'operationStream: what cannot be opened ends the stream, and what cannot be read is an error of its item',
  async (t) => {
    const broken = {
      ...fakeServer(() => undefined),
      open: () => {
        throw new TypeError('no such method')
      },
    }
    await t.rejects(collect(run([1], broken)), new TypeError('no such method'))
    const decode = (answer: number) => {
      if (answer === 10) throw new RangeError('unreadable')
      return answer
    }
    const encode = (n: number) => {
      if (n === 2) throw new RangeError('unwritable')
      return n
    }
    const results = await collect(
      run(
        [0, 1, 2, 3],
        fakeServer(() => undefined),
        { decode, encode },
      ),
    )
    t.strictSame(
      results.map(({ output, error }) => output ?? error?.message),
      [0, 'unreadable', 'unwritable', 30],
    )
  },
)

t.test('operationStream: an answer too many is a fault of the call', async (t) => {
  let calls = 0
  const open: OpenCall<number, number> = ({ onAnswer, onEnd }) => {
    const isFirst = calls++ === 0
    return {
      send(n) {
        queueMicrotask(() => {
          onAnswer(n * 10)
          if (isFirst) onAnswer(666)
        })
        return true
      },
      end: () => queueMicrotask(() => onEnd(OK)),
      cancel() {},
    }
  }
  const results = await collect(run([1, 2, 3], { ...fakeServer(() => undefined), open }, { window: 1 }))
  t.strictSame(
    results.map(({ output }) => output),
    [10, 20, 30],
  )
})

t.test('operationStream: waits where the call is full, and goes on when it drains', async (t) => {
  let sentWhileFull = 0
  const open: OpenCall<number, number> = ({ onAnswer, onDrain, onEnd }) => {
    let full = false
    return {
      send(n) {
        if (full) sentWhileFull++
        full = true
        setImmediate(() => {
          full = false
          onAnswer(n * 10)
          onDrain()
        })
        return false
      },
      end: () => setImmediate(() => onEnd(OK)),
      cancel() {},
    }
  }
  const results = await collect(run(upTo(20), { ...fakeServer(() => undefined), open }))
  t.equal(results.length, 20)
  t.equal(sentWhileFull, 0)
})

t.test('operationStream: options out of range are told at once', async (t) => {
  const server = fakeServer(() => undefined)
  for (const options of [
    { window: 0 },
    { concurrency: 0 },
    { retries: -1 },
    { minDelay: 10, maxDelay: 5 },
    { answerTimeout: 0 },
    { breaker: {} as never },
    { encode: 1 as never },
  ]) {
    t.throws(() => run([], server, options), { code: 'ERR_MILLRACE_OPTION' }, JSON.stringify(options))
  }
})

t.test('statuses: verdict and error of each, and back again', async (t) => {
  const said = (code: number, message = 'said', fromServer = true) => ({ code, message, fromServer })
  const verdicts = Array.from({ length: 17 }, (_, code) => verdictOf(said(code), 1))
  t.strictSame(verdicts, [
    'retry',
    'retry',
    'suspect',
    'item',
    'retry',
    'item',
    'item',
    'item',
    'retry',
    'item',
    'retry',
    'item',
    'all',
    'suspect',
    'retry',
    'item',
    'all',
  ])
  t.equal(verdictOf(said(7), 0), 'all')
  for (let code = 1; code <= 15; code++)
    if (code !== 7 && code !== 12) t.equal(verdictOf(said(code, 'x', false), 0), 'retry')
  const codes = Array.from({ length: 17 }, (_, code) => errorOfStatus(said(code), 3, 1).category)
  t.equal(codes.filter((category) => category === 'connection').length, 8)
  t.strictSame(errorOfStatus(said(5), 3, 1).code, 'ERR_MILLRACE_STORE_NOT_FOUND')
  t.strictSame(errorOfStatus(said(15), 3, 1).category, 'receive')
  const large = 'Received message larger than max'
  t.equal(errorOfStatus(said(8, large, false), 0, 1).category, 'receive')
  t.equal(errorOfStatus(said(8, large), 0, 1).category, 'send')
  for (const code of [3, 5, 15]) t.equal(statusOfError(errorOfStatus(said(code), 0, 1)).code, code)
  t.equal(statusOfError(errorOfStatus(said(2), 0, 1)).code, 2)
})

t.test('loadGrpc: says what to install', async (t) => {
  const missing = () => Promise.reject(new Error("Cannot find package '@grpc/grpc-js' imported from here"))
  await t.rejects(loadGrpc(missing), {
    code: 'ERR_MILLRACE_MISSING_PEER',
    message: /npm install @grpc\/grpc-js/,
  })
  await t.rejects(loadGrpc(missing), MissingPeerError)
  await t.rejects(
    loadGrpc(() => Promise.reject(new Error('broken'))),
    new Error('broken'),
  )
})

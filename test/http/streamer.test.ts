import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { Agent } from 'node:http'
import { connect as connectPlain, type AddressInfo } from 'node:net'
import { connect, createServer as createHttp2 } from 'node:http2'
import { PassThrough, Readable } from 'node:stream'
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import * as fc from 'fast-check'
import t from 'tap'
import { OptionError, StateError } from '../../src/errors.ts'
import {
  BufferPool,
  RateLimiter,
  RecordBatch,
  type BufferStrategy,
  type ChunkInfo,
} from '../../src/flow/index.ts'
import {
  Streamer,
  fetchPages,
  jsonEncoder,
  ndjsonEncoder,
  type ResponseSink,
  type SinkListener,
  type StreamReport,
  type StreamResponse,
  type StreamerOptions,
} from '../../src/http/index.ts'
import { ask, serve, sleep, turn } from './helpers/serve.ts'

const exec = promisify(execFile)

/** A sink that takes chunks at a pace, may go away, and keeps what it got. */
class PacedSink implements ResponseSink {
  status = 0
  body = ''
  chunks = 0
  isWhole = false
  failed: Error | undefined
  readonly #pace: readonly number[]
  readonly #closeAt: number
  #listener: SinkListener | undefined

  constructor(pace: readonly number[] = [], closeAt = Infinity) {
    this.#pace = pace
    this.#closeAt = closeAt
  }

  listen(listener: SinkListener): void {
    this.#listener = listener
  }
  whole(status: number, _headers: object, body: string | Uint8Array): void {
    this.status = status
    this.isWhole = true
    this.body = String(body)
    this.#listener?.onClose(true)
  }
  head(status: number): void {
    this.status = status
  }
  write(data: string | Uint8Array): boolean {
    this.body += Buffer.from(data as string).toString()
    const chunk = this.chunks++
    if (chunk === this.#closeAt) {
      setImmediate(() => this.#listener?.onClose(false))
      return false
    }
    const turns = this.#pace[chunk % (this.#pace.length || 1)] ?? 0
    if (turns === 0) return true
    const wait = (left: number) => setImmediate(() => (left > 1 ? wait(left - 1) : this.#listener?.onDrain()))
    wait(turns)
    return false
  }
  end(data: string | Uint8Array): void {
    this.body += Buffer.from(data as string).toString()
    this.#listener?.onClose(true)
  }
  flush(): void {}
  fail(error: Error): void {
    this.failed = error
    this.#listener?.onClose(false)
  }
}

type Kind = 'array' | 'iterable' | 'async' | 'readable' | 'batches' | 'function' | 'promised'

/** The items as all kinds of sources give them, with a fault at `failAt`; tells when it was stopped. */
function sourceOf(
  kind: Kind,
  items: readonly number[],
  pauses: readonly boolean[],
  failAt: number,
  onStop: () => void,
): unknown {
  async function* generate() {
    try {
      for (const [i, item] of items.entries()) {
        if (pauses[i % (pauses.length || 1)]) await turn()
        if (i === failAt) throw new Error('the source failed')
        yield kind === 'batches' ? new RecordBatch(i, [item]) : item
      }
      if (failAt === items.length) throw new Error('the source failed')
    } finally {
      onStop()
    }
  }
  function* iterate() {
    try {
      for (const [i, item] of items.entries()) {
        if (i === failAt) throw new Error('the source failed')
        yield item
      }
      if (failAt === items.length) throw new Error('the source failed')
    } finally {
      onStop()
    }
  }
  if (kind === 'array') return items
  if (kind === 'iterable') return iterate()
  if (kind === 'readable') return Readable.from(generate())
  if (kind === 'function') return generate
  if (kind === 'promised') return async () => generate()
  return generate()
}

const settings = fc.record({
  chunkThreshold: fc.integer({ min: 1, max: 200 }),
  batchSize: fc.integer({ min: 1, max: 20 }),
  bufferSize: fc.integer({ min: 1, max: 4 }),
  maxBuffered: fc.constantFrom(1, 30, Infinity),
  flushInterval: fc.constantFrom(1, 5, Infinity),
  concurrency: fc.constantFrom(1, 1, 3),
})
const kinds = fc.constantFrom<Kind>(
  'array',
  'iterable',
  'async',
  'readable',
  'batches',
  'function',
  'promised',
)
const pauses = fc.array(fc.boolean(), { maxLength: 4 })
const pace = fc.array(fc.nat(3), { maxLength: 4 })
type Transform = 'none' | 'sync' | 'async' | 'batch' | 'batch async'
const transforms = fc.constantFrom<Transform>('none', 'sync', 'async', 'batch', 'batch async')

function respond(
  options: StreamerOptions,
  source: unknown,
  transform: Transform,
  failing = -1,
): StreamResponse {
  const streamer = new Streamer<number, number>(options)
  const work = (n: number) => {
    if (n === failing) throw new Error('the transformer failed')
    return n * 2
  }
  if (transform === 'none') return streamer.stream(source as number[])
  if (transform === 'sync') return streamer.stream(source as number[], work)
  if (transform === 'async') {
    return streamer.stream(source as number[], async (n) => {
      if (n % 3 === 0) await turn()
      return work(n)
    })
  }
  if (transform === 'batch') return streamer.streamBatch(source as number[], (batch) => batch.map(work))
  return streamer.streamBatch(source as number[], async (batch) => batch.map(work))
}

t.test(
  'Streamer: all items arrive once and in order, from any source, at any pace, in any chunks',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(kinds, transforms, settings),
        fc.nat(60),
        pauses,
        pace,
        fc.constantFrom(
          undefined,
          { rate: 1e6 },
          { rate: 1e6, per: 'bytes' as const },
          new RateLimiter({ rate: 1e6 }),
        ),
        async ([kind, transform, options], count, sourcePauses, sinkPace, rateLimit) => {
          const items = Array.from({ length: count }, (_, i) => i)
          const sink = new PacedSink(sinkPace)
          const source = sourceOf(kind, items, sourcePauses, -1, () => {})
          const report = await respond(
            { ...options, ...(rateLimit && { rateLimit }) },
            source,
            transform,
          ).sendToSink(sink)
          assert.equal(report.error, undefined)
          assert.equal(report.outcome, 'complete')
          assert.deepEqual(JSON.parse(sink.body), transform === 'none' ? items : items.map((n) => n * 2))
          assert.equal(report.records, count)
          assert.equal(report.bytes, sink.body.length)
        },
      ),
      { numRuns: 150 },
    )
  },
)

t.test(
  'Streamer: an error before the first byte is a status ≥ 400, one after it leaves a strict prefix; the source is stopped',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(kinds, transforms, settings),
        fc.nat(40),
        fc.nat(40),
        pauses,
        pace,
        async ([kind, transform, options], count, at, sourcePauses, sinkPace) => {
          const items = Array.from({ length: count }, (_, i) => i)
          const failAt = Math.min(at, count)
          const inTransform = transform !== 'none' && failAt < count && at % 2 === 0
          if (kind === 'array' && !inTransform) return
          let stops = 0
          const sink = new PacedSink(sinkPace)
          const source = sourceOf(kind, items, sourcePauses, inTransform ? -1 : failAt, () => stops++)
          const report = await respond(options, source, transform, inTransform ? failAt : -1).sendToSink(sink)
          await turn()
          assert.equal(report.outcome, 'failed')
          assert.match(report.error?.message ?? '', /failed/)
          if (kind !== 'array') assert.equal(stops, 1)
          if (sink.isWhole) {
            assert.equal(sink.status, 500)
            assert.deepEqual(JSON.parse(sink.body), { error: { status: 500, message: 'the request failed' } })
            return
          }
          assert.equal(sink.status, 200)
          assert.equal(sink.failed, report.error)
          assert.throws(() => JSON.parse(sink.body))
          const prefix = JSON.parse(`${sink.body}]`) as number[]
          const expected = transform === 'none' ? items : items.map((n) => n * 2)
          assert.deepEqual(prefix, expected.slice(0, prefix.length))
          // one by one, all that came before the error is delivered
          if (!transform.startsWith('batch')) assert.equal(prefix.length, failAt)
        },
      ),
      { numRuns: 150 },
    )
  },
)

t.test(
  'Streamer: when the client goes away at any chunk, the source has stopped and nothing is left',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(kinds, transforms, settings),
        fc.nat(6),
        pauses,
        pace,
        async ([kind, transform, options], closeAt, sourcePauses, sinkPace) => {
          const items = Array.from({ length: 2000 }, (_, i) => i)
          let stops = 0
          const sink = new PacedSink(sinkPace, closeAt)
          const source = sourceOf(kind, items, sourcePauses, -1, () => stops++)
          const report = await respond(options, source, transform).sendToSink(sink)
          for (let i = 0; i < 5; i++) await turn()
          assert.equal(report.outcome, 'disconnected')
          assert.equal(stops, kind === 'array' ? 0 : 1)
          assert.equal(sink.failed, undefined)
        },
      ),
      { numRuns: 100 },
    )
  },
)

t.test('Streamer: strategies that drop drop whole records and count them; the body stays valid', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<'drop-oldest' | 'drop-newest'>('drop-oldest', 'drop-newest'),
      settings,
      fc.nat(300),
      pace,
      async (strategy, options, count, sinkPace) => {
        const items = Array.from({ length: count }, (_, i) => i)
        const sink = new PacedSink(sinkPace.map((turns) => turns + 1))
        const report = await respond({ ...options, strategy }, items, 'none').sendToSink(sink)
        const got = JSON.parse(sink.body) as number[]
        assert.equal(got.length + report.dropped, count)
        assert.deepEqual(
          got,
          [...new Set(got)].sort((a, b) => a - b),
        )
      },
    ),
    { numRuns: 60 },
  )
})

t.test('Streamer: a strategy of one’s own decides, and is told what was sent', async (t) => {
  let sent = 0
  let full = 0
  const strategy: BufferStrategy = {
    onFull: ({ dropped }) => (full++, dropped < 2 ? 'drop-oldest' : 'block'),
    onSent: (bytes) => (sent += bytes),
  }
  const sink = new PacedSink([2])
  const options = { strategy, chunkThreshold: 1, batchSize: 1, bufferSize: 2 }
  const report = await respond(
    options,
    Array.from({ length: 50 }, (_, i) => i),
    'none',
  ).sendToSink(sink)
  t.equal(report.dropped, 2)
  t.ok(full > 2)
  t.ok(sent > 40)
  const failing = new PacedSink([5])
  const full_ = await respond(
    { ...options, strategy: 'error' },
    Array.from({ length: 50 }, (_, i) => i),
    'none',
  ).sendToSink(failing)
  t.match(full_, { outcome: 'failed', error: { code: 'ERR_MILLRACE_BUFFER_FULL' } })
})

t.test(
  'Streamer: what fits in a chunk is sent whole with its length; what does not is chunked',
  async (t) => {
    const streamer = new Streamer<string>({ compression: false })
    const { url } = await serve(t, (request, response) => {
      // brackets and quotes make four
      void streamer.stream(['x'.repeat(Number(request.url?.slice(1)) - 4)]).sendTo(response)
    })
    for (const size of [100, 32_766, 32_767, 32_768, 32_769, 32_770, 100_000]) {
      const { headers, body, complete } = await ask(`${url}/${size}`)
      t.equal(body.length, size)
      t.ok(complete)
      // the closing bracket does not count: it is not there yet
      t.equal(headers['content-length'], size - 1 < 32_768 ? String(size) : undefined, String(size))
    }
    const { headers, body } = await ask(`${url}/4`)
    t.match([headers['content-type'], headers['vary'], String(body)], ['application/json', 'Accept', '[""]'])
  },
)

t.test('Streamer: clients see a failure for what it is: by status, or by the connection', async (t) => {
  const streamer = new Streamer<number | string>({
    encoders: [jsonEncoder(), ndjsonEncoder({ terminator: true })],
  })
  const reports: StreamReport[] = []
  const { url } = await serve(t, async (request, response) => {
    const count = Number(request.url?.slice(1))
    async function* items() {
      for (let i = 0; i < count; i++) yield 'x'.repeat(1000)
      throw Object.assign(new Error('not there'), count === 1 ? { status: 404 } : {})
    }
    reports.push(await streamer.stream(items()).sendTo(response))
  })
  const early = await ask(`${url}/0`)
  t.equal(early.status, 500)
  t.same(JSON.parse(String(early.body)), { error: { status: 500, message: 'the request failed' } })
  t.ok(early.headers['content-length'])
  const asked = await ask(`${url}/1`)
  t.equal(asked.status, 404)
  t.same(JSON.parse(String(asked.body)), { error: { status: 404, message: 'not there' } })

  const late = await ask(`${url}/1000`)
  t.equal(late.status, 200)
  t.notOk(late.complete)
  t.equal(JSON.parse(`${String(late.body)}]`).length, 1000, 'all before the error is delivered')
  await t.rejects((await fetch(`${url}/1000`)).text())
  await t.rejects(exec('curl', ['-sS', '-o', '/dev/null', `${url}/1000`]), { code: 18 })
  const lines = await ask(`${url}/1000`, { headers: { accept: 'application/x-ndjson' } })
  t.notOk(lines.complete)
  t.equal(
    String(lines.body).trimEnd().split('\n').at(-1),
    '{"$error":{"message":"the source failed","count":1000}}',
  )

  // HTTP/1.0 has no chunks: only a reset tells
  await t.rejects(exec('curl', ['-sS', '--http1.0', '-o', '/dev/null', `${url}/1000`]), { code: 56 })
  t.equal(reports.filter(({ outcome }) => outcome === 'failed').length, reports.length)
  t.match(streamer.stats(), { responses: reports.length, failed: reports.length, active: 0 })
})

t.test(
  'Streamer: a client that leaves stops the source; keep-alive connections go on being used',
  async (t) => {
    let stopped = 0
    const reports: StreamReport[] = []
    const streamer = new Streamer<string>()
    const { url, server } = await serve(t, async (request, response) => {
      const fetcher = async function* (signal: AbortSignal) {
        try {
          for (let i = 0; request.url === '/endless' || i < 5; i++) yield 'x'.repeat(500)
        } finally {
          if (request.url === '/endless') t.ok(signal.aborted)
          stopped++
        }
      }
      reports.push(await streamer.stream(fetcher).sendTo(response))
    })
    await ask(`${url}/endless`, {}, (response) => {
      response.once('data', () => response.destroy())
    })
    while (reports.length === 0) await turn()
    t.equal(stopped, 1)
    t.match(reports[0], { outcome: 'disconnected', error: { code: 'ERR_MILLRACE_HTTP_DISCONNECTED' } })
    let connections = 0
    server.on('connection', () => connections++)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let i = 0; i < 3; i++) {
      t.equal((JSON.parse(String((await ask(`${url}/5`, { agent })).body)) as unknown[]).length, 5)
    }
    agent.destroy()
    t.equal(connections, 1)
    t.equal(streamer.stats().disconnected, 1)
  },
)

t.test('Streamer: a slow source arrives as it comes, compressed or not', async (t) => {
  const streamer = new Streamer<number>({ flushInterval: 20, compression: { minBytes: 0 } })
  const whole = new Streamer<number>({ flushInterval: Infinity })
  const { url } = await serve(t, (request, response) => {
    const used = request.url === '/whole' ? whole : streamer
    void used
      .stream(async function* () {
        for (let i = 0; i < 3; i++) {
          yield i
          await sleep(90)
        }
      })
      .sendTo(response)
  })
  const codings = ['identity', 'gzip', 'br', ...('createZstdCompress' in zlib ? ['zstd'] : [])]
  for (const coding of codings) {
    const { chunks, body, headers } = await ask(url, { headers: { 'accept-encoding': coding } })
    t.ok(chunks.length >= 3, `${coding}: ${chunks.length} chunks`)
    t.equal(headers['content-encoding'], coding === 'identity' ? undefined : coding)
    t.equal(headers['vary'], 'Accept, Accept-Encoding')
    const decoders: Record<string, (data: Buffer) => Buffer> = {
      identity: (data) => data,
      gzip: (data) => zlib.gunzipSync(data),
      br: (data) => zlib.brotliDecompressSync(data),
      zstd: (data) =>
        (zlib as typeof zlib & { zstdDecompressSync(data: Buffer): Buffer }).zstdDecompressSync(data),
    }
    t.same(JSON.parse(String((decoders[coding] as (data: Buffer) => Buffer)(body))), [0, 1, 2])
    // each flushed part can be decoded at once
    if (coding === 'gzip') {
      const gunzip = zlib.createGunzip()
      // the header may come by itself
      gunzip.write(Buffer.concat(chunks.slice(0, 2)))
      const [first] = (await once(gunzip, 'data')) as [Buffer]
      t.equal(String(first), '[0')
      gunzip.destroy()
    }
  }
  const { headers } = await ask(`${url}/whole`)
  t.equal(headers['content-length'], '7')
})

t.test('Streamer: a large body survives compression, and small ones are left alone', async (t) => {
  const streamer = new Streamer<string>({ compression: true })
  const { url } = await serve(t, (request, response) => {
    const count = Number(request.url?.slice(1))
    async function* items() {
      for (let i = 0; i < count; i++) yield `record number ${i}`
      if (request.method === 'POST') throw new Error('too late')
    }
    void streamer.stream(items()).sendTo(response)
  })
  for (const coding of ['gzip', 'br', ...('createZstdCompress' in zlib ? ['zstd'] : [])]) {
    for (const count of [10, 1000, 50_000]) {
      const { body, headers } = await ask(`${url}/${count}`, { headers: { 'accept-encoding': coding } })
      t.equal(headers['content-encoding'], count === 10 ? undefined : coding)
      t.equal(headers['content-length'] !== undefined, count < 50_000)
      const text =
        count === 10
          ? body
          : coding === 'gzip'
            ? zlib.gunzipSync(body)
            : coding === 'br'
              ? zlib.brotliDecompressSync(body)
              : (zlib as typeof zlib & { zstdDecompressSync(data: Buffer): Buffer }).zstdDecompressSync(body)
      t.equal((JSON.parse(String(text)) as unknown[]).length, count)
    }
  }
  for (const count of [0, 100_000]) {
    const failed = await ask(`${url}/${count}`, { method: 'POST', headers: { 'accept-encoding': 'gzip' } })
    t.equal(failed.status, count === 0 ? 500 : 200)
    t.equal(failed.complete, count === 0)
    if (count > 0) {
      const text = zlib.gunzipSync(failed.body, { finishFlush: zlib.constants.Z_SYNC_FLUSH })
      t.equal(
        (JSON.parse(`${String(text)}]`) as unknown[]).length,
        count,
        'all before the error is delivered',
      )
    }
  }
  // the client leaves while the compressor is at work
  await ask(`${url}/1000000`, { headers: { 'accept-encoding': 'gzip' } }, (response) => {
    response.once('data', () => response.destroy())
  })
  while (streamer.stats().active > 0) await turn()
  t.equal(streamer.stats().disconnected, 1)
})

t.test('Streamer: HEAD, conditional requests, ranges and formats that nobody has', async (t) => {
  const streamer = new Streamer<number>()
  const reports: StreamReport[] = []
  const { url } = await serve(t, async (request, response) => {
    response.setHeader('vary', 'Origin')
    async function* numbers(_signal: AbortSignal, { start }: { start: number }) {
      for (let i = start; i < 10; i++) yield i
    }
    const options = { etag: '"v1"', resumable: request.url !== '/plain', headers: { 'X-Own': 'yes' } }
    reports.push(await streamer.stream(numbers, undefined, options).sendTo(response))
  })
  const head = await ask(url, { method: 'HEAD' })
  t.match(head, {
    status: 200,
    headers: { 'content-type': 'application/json', 'x-own': 'yes', vary: 'Origin, Accept' },
  })
  t.equal(head.body.length, 0)
  const known = await ask(url, { headers: { 'if-none-match': 'W/"v1", "v0"' } })
  t.match(known, { status: 304, headers: { etag: '"v1"' }, complete: true })
  t.equal((await ask(url, { headers: { 'if-none-match': '"v2"' } })).status, 200)
  const part = await ask(url, { headers: { range: 'items=7-', 'if-range': '"v1"' } })
  t.match(part, { status: 206, headers: { 'content-range': 'items 7-/*', 'accept-ranges': 'items' } })
  t.equal(String(part.body), '[7,8,9]')
  for (const headers of [{ range: 'bytes=7-' }, { range: 'items=7-', 'if-range': '"v0"' }]) {
    t.match(await ask(url, { headers }), { status: 200, body: Buffer.from('[0,1,2,3,4,5,6,7,8,9]') })
  }
  t.equal((await ask(`${url}/plain`, { headers: { range: 'items=7-' } })).status, 200)
  const refused = await ask(url, { headers: { accept: 'image/png' } })
  t.equal(refused.status, 406)
  t.match(JSON.parse(String(refused.body)), {
    error: { status: 406, message: /expected one of application\/json/ },
  })
  t.match(reports.at(-1), { outcome: 'failed', error: { code: 'ERR_MILLRACE_HTTP_NOT_ACCEPTABLE' } })
})

t.test(
  'Streamer: what the application has set stands; an upload that nobody reads closes the connection',
  async (t) => {
    const streamer = new Streamer<number>()
    const { url, port } = await serve(t, (_request, response) => {
      response.statusCode = 203
      response.setHeader('content-type', 'application/vnd.own+json')
      let flushes = 0
      Object.assign(response, { flush: () => flushes++, write: response.write.bind(response) })
      void streamer.stream([1]).sendTo(response)
    })
    t.match(await ask(url), { status: 203, headers: { 'content-type': 'application/vnd.own+json' } })
    const socket = connectPlain(port, '127.0.0.1')
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc')
    let text = ''
    socket.on('data', (data) => (text += String(data)))
    await once(socket, 'close')
    t.match(text, /connection: close/i)
  },
)

t.test('Streamer: a middleware that compresses is flushed', async (t) => {
  const streamer = new Streamer<number>({ flushInterval: 5 })
  let flushes = 0
  const { url } = await serve(t, (_request, response) => {
    Object.assign(response, { flush: () => flushes++, write: response.write.bind(response) })
    async function* numbers() {
      yield 1
      await sleep(40)
      yield 2
    }
    void streamer.stream(numbers()).sendTo(response)
  })
  t.equal(String((await ask(url)).body), '[1,2]')
  t.ok(flushes > 0)
})

t.test('Streamer: over HTTP/2 a failure resets the stream and not the session', async (t) => {
  const streamer = new Streamer<string>()
  const server = createHttp2((request, response) => {
    async function* items() {
      for (let i = 0; i < 500; i++) yield 'x'.repeat(500)
      if (request.url === '/fail') throw new Error('too late')
    }
    void streamer.stream(items()).sendTo(response)
  })
  server.listen(0)
  await once(server, 'listening')
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.teardown(() => {
    session.destroy()
    server.close()
  })
  const request = async (path: string) => {
    const stream = session.request({ ':path': path })
    let body = ''
    let error: Error | undefined
    stream.on('error', (thrown) => (error = thrown)).setEncoding('utf8')
    stream.on('data', (data: string) => (body += data))
    await new Promise((resolve) => stream.on('close', resolve))
    return { body, error, code: stream.rstCode }
  }
  const good = await request('/')
  t.equal((JSON.parse(good.body) as unknown[]).length, 500)
  const bad = await request('/fail')
  t.equal(bad.code, 2)
  t.equal((JSON.parse(`${bad.body}]`) as unknown[]).length, 500)
  t.equal((JSON.parse((await request('/')).body) as unknown[]).length, 500, 'the session goes on')
})

t.test('Streamer: hooks learn sizes and latencies; one that throws fails its response', async (t) => {
  const chunks: ChunkInfo[] = []
  const errors: unknown[] = []
  let completes = 0
  const streamer = new Streamer<number>({
    chunkThreshold: 10,
    onChunk: (chunk) => chunks.push(chunk),
    onError: (error) => errors.push(error),
    onComplete: () => completes++,
  })
  await streamer.stream(Array.from({ length: 20 }, (_, i) => i)).sendToSink(new PacedSink([1]))
  t.equal(
    chunks.reduce((sum, { records }) => sum + records, 0),
    20,
  )
  t.ok(chunks.every(({ latencyMs, bytes, stage }) => latencyMs >= 0 && bytes > 0 && stage === 'Streamer'))
  const fault = new Error('no')
  await streamer.stream(async () => Promise.reject(fault)).sendToSink(new PacedSink())
  t.match([errors, completes], [[fault], 1])
  const hook = new Error('a hook')
  const throws = () => {
    throw hook
  }
  for (const pace of [[], [1]]) {
    const sink = new PacedSink(pace)
    const failing = new Streamer<number>({
      chunkThreshold: 5,
      batchSize: 2,
      onChunk: ({ index }) => (index === 3 ? throws() : undefined),
    })
    const report = await failing.stream(Array.from({ length: 50 }, (_, i) => i)).sendToSink(sink)
    t.equal(report.error, hook)
    t.equal(sink.failed, hook)
  }
  const last = await new Streamer<number>({ onComplete: throws }).stream([1]).sendToSink(new PacedSink())
  t.match(last, { outcome: 'complete', error: hook })
  const flushing = new Streamer<number>({ flushInterval: 1, onChunk: throws })
  async function* slow() {
    yield 1
    await sleep(20)
    yield 2
  }
  t.equal((await flushing.stream(slow()).sendToSink(new PacedSink())).error, hook)
  const limited = new Streamer<number>({
    rateLimit: { rate: 1e5, per: 'bytes' },
    chunkThreshold: 500,
    onChunk: throws,
  })
  t.equal(
    (await limited.stream(Array.from({ length: 1000 }, (_, i) => i)).sendToSink(new PacedSink())).error,
    hook,
  )
})

t.test('Streamer: a rate holds for each response, or for all that share a limiter', async (t) => {
  const items = Array.from({ length: 50 }, (_, i) => i)
  const timed = async (work: () => Promise<unknown>) => {
    const startedAt = performance.now()
    await work()
    return performance.now() - startedAt
  }
  const each = new Streamer<number>({ rateLimit: { rate: 500 } })
  const ms = await timed(async () =>
    Promise.all([1, 2].map(async () => each.stream(items).sendToSink(new PacedSink()))),
  )
  t.ok(ms > 98 && ms < 190, `${ms} ms`)
  const shared = new Streamer<number>({ rateLimit: new RateLimiter({ rate: 500 }) })
  const both = await timed(async () =>
    Promise.all([1, 2].map(async () => shared.stream(items).sendToSink(new PacedSink()))),
  )
  t.ok(both > 195, `${both} ms`)
  const bytes = new Streamer<number>({ rateLimit: { rate: 2000, per: 'bytes' }, chunkThreshold: 20 })
  const sink = new PacedSink()
  const slow = await timed(async () => bytes.stream(items).sendToSink(sink))
  t.ok(slow > (sink.body.length / 2000) * 1000 - 2, `${slow} ms`)
})

t.test('Streamer: a signal ends a response wherever it stands', async (t) => {
  const reason = new Error('shutting down')
  const never = async function* () {
    yield 1
    await new Promise(() => {})
  }
  for (const when of ['before', 'later']) {
    const controller = new AbortController()
    if (when === 'before') controller.abort(reason)
    else setTimeout(() => controller.abort(reason), 10)
    const sink = new PacedSink()
    const report = await new Streamer<number>()
      .stream(never, undefined, { signal: controller.signal })
      .sendToSink(sink)
    t.match(report, { outcome: 'failed', status: 500, error: reason })
  }
  // while it waits for a rate
  const controller = new AbortController()
  setTimeout(() => controller.abort(reason), 10)
  for (const per of ['items', 'bytes'] as const) {
    const limited = new Streamer<number>({ rateLimit: { rate: 0.001, per }, chunkThreshold: 1 })
    const report = await limited
      .stream([1, 2], undefined, { signal: controller.signal })
      .sendToSink(new PacedSink())
    t.match(report, { outcome: 'failed', error: reason })
  }
})

t.test('Streamer: pages follow one another, the next one fetched while one is sent', async (t) => {
  const asked: (number | undefined)[] = []
  const pages = fetchPages(async (cursor: number | undefined) => {
    asked.push(cursor)
    if (cursor === 6) throw new Error('page 3 is missing')
    const from = cursor ?? 0
    return { items: [from, from + 1], next: from + 2 }
  })
  const sink = new PacedSink()
  const report = await new Streamer<number>({ chunkThreshold: 1 }).stream(pages).sendToSink(sink)
  t.match(report, { outcome: 'failed', error: { message: 'page 3 is missing' } })
  t.equal(sink.body, '[0,1,2,3,4,5')
  t.same(asked, [undefined, 2, 4, 6])
  const once_ = await new Streamer<number>()
    .stream(fetchPages(() => ({ items: [1], next: null })))
    .toResponse()
  t.equal(await once_.text(), '[1]')
})

t.test(
  'Streamer: a transformer may leave items out, run on workers, or make other numbers of records',
  async (t) => {
    const body = async (response: StreamResponse) => {
      const sink = new PacedSink([1])
      const report = await response.sendToSink(sink)
      return report.error ?? (JSON.parse(sink.body) as unknown)
    }
    const items = Array.from({ length: 10 }, (_, i) => i)
    const odd = new Streamer<number>()
    t.same(await body(odd.stream(items, (n) => (n % 2 ? n : undefined))), [1, 3, 5, 7, 9])
    t.same(await body(odd.stream(items, async (n) => (n % 2 ? n : undefined))), [1, 3, 5, 7, 9])
    t.same(
      await body(
        new Streamer<number>({ concurrency: 4 }).stream(items, async (n) => (n % 2 ? n : undefined)),
      ),
      [1, 3, 5, 7, 9],
    )
    t.same(await body(odd.streamBatch([[1, 2], [3]], (batch) => [batch.length])), [2, 1])
    t.same(
      await body(odd.streamBatch([new RecordBatch(0, [1, 2]), [3], [[4]] as never], (batch) => batch.flat())),
      [1, 2, 3, 4],
    )
    const indexes = new Streamer<number>({ batchSize: 3, concurrency: 2 })
    t.same(await body(indexes.streamBatch(items, async (_batch, { index }) => [index])), [0, 3, 6, 9])
    const module = new URL('./helpers/double.mjs', import.meta.url)
    const workers = new Streamer<number>({ workers: 0, batchSize: 3, flushInterval: 1 })
    t.same(
      await body(workers.stream(items, module)),
      items.map((n) => n * 2),
    )
    async function* slow() {
      for (const n of items.slice(0, 3)) {
        yield n
        await sleep(15)
      }
    }
    t.same(await body(workers.streamBatch(slow(), module)), [0, 2, 4])
    t.match(await body(workers.stream([1, -1], module)), { code: 'ERR_MILLRACE_OFFLOAD_HANDLER' })
    const failing = async function* () {
      yield 1
      throw new Error('no more')
    }
    t.match(await body(workers.stream(failing, module)), { message: 'no more' })
  },
)

t.test('Streamer: Readables that end, fail or are destroyed in all ways are told apart', async (t) => {
  const outcome = async (source: Readable) => {
    const sink = new PacedSink()
    return (
      (await new Streamer({ flushInterval: 1 }).stream(source).sendToSink(sink)).error?.message ?? sink.body
    )
  }
  t.equal(await outcome(Readable.from([1, 2])), '[1,2]')
  const ended = Readable.from([1])
  ended.resume()
  await once(ended, 'end')
  t.equal(await outcome(ended), '[]')
  const destroyed = new PassThrough({ objectMode: true })
  destroyed.destroy()
  t.equal(await outcome(destroyed), 'the source was destroyed before its end')
  const late = new PassThrough({ objectMode: true })
  setTimeout(() => late.destroy(), 10)
  t.equal(await outcome(late), 'the source was destroyed before its end')
  const failed = new PassThrough({ objectMode: true })
  failed.write(1)
  setTimeout(() => failed.destroy(new Error('unplugged')), 10)
  t.equal(await outcome(failed), 'unplugged')
})

t.test('Streamer: a source that cannot be stopped in peace is an error of the report', async (t) => {
  const fault = new Error('cannot close')
  const source = {
    [Symbol.asyncIterator]: () => ({
      next: async () => ({ value: 'x'.repeat(100), done: false }),
      return: async () => Promise.reject(fault),
    }),
  }
  const gone = await new Streamer<string>({ chunkThreshold: 1 })
    .stream(source as never)
    .sendToSink(new PacedSink([], 1))
  t.match(gone.outcome, /disconnected|failed/)
  // a fetcher that is still opening when the client leaves is stopped when it is there
  let stopped = 0
  let open: (items: Iterable<number>) => void = () => {}
  const opening = new Promise<Iterable<number>>((resolve) => (open = resolve))
  const controller = new AbortController()
  const response = new Streamer<number>().stream(async () => opening, undefined, {
    signal: controller.signal,
  })
  const sent = response.sendToSink(new PacedSink())
  controller.abort(new Error('stop'))
  await sent
  open(
    (function* () {
      try {
        yield 1
      } finally {
        stopped++
      }
    })(),
  )
  await turn()
  t.equal(stopped, 0, 'a generator that was never begun has no finally to run')
})

t.test('Streamer: chunks go through a pool where that is safe, and any object can be one', async (t) => {
  const pool = new BufferPool({ size: 4000, check: true })
  const streamer = new Streamer<string>({ pool, chunkThreshold: 1000 })
  const items = Array.from({ length: 500 }, (_, i) => `é€ ${'x'.repeat(50)} ${i}`)
  const { url } = await serve(t, (_request, response) => void streamer.stream(items).sendTo(response))
  for (let i = 0; i < 3; i++) t.same(JSON.parse(String((await ask(url)).body)), items)
  t.equal(pool.stats.lent, 0)
  t.ok(pool.stats.reused > 10)
  t.throws(() => new Streamer({ pool: {} as never }), OptionError)
})

t.test('StreamResponse: is sent once, and not on a head that is out', async (t) => {
  const streamer = new Streamer<number>()
  const response = streamer.stream([1])
  await response.sendToSink(new PacedSink())
  await t.rejects(response.sendToSink(new PacedSink()), StateError)
  const { url } = await serve(t, async (_request, response) => {
    response.write('x')
    await t.rejects(streamer.stream([1]).sendTo(response), { code: 'ERR_MILLRACE_RESPONSE_USED' })
    response.end()
  })
  await ask(url)
})

t.test(
  'Streamer: a wrong option is an error that names it; the configuration is frozen and complete',
  async (t) => {
    const wrong: [StreamerOptions, string][] = [
      [{ chunkThreshold: 0 }, 'chunkThreshold'],
      [{ batchSize: 1.5 }, 'batchSize'],
      [{ bufferSize: 0 }, 'bufferSize'],
      [{ maxBuffered: -1 }, 'maxBuffered'],
      [{ strategy: 'wait' as never }, 'strategy'],
      [{ strategy: {} as never }, 'strategy'],
      [{ rateLimit: { rate: 0 } }, 'rate'],
      [{ flushInterval: 0 }, 'flushInterval'],
      [{ encoders: [] }, 'encoders'],
      [{ encoders: [{} as never] }, 'encoders[0]'],
      [{ compression: 1 as never }, 'compression'],
      [{ compression: { codings: ['lzw' as never] } }, 'compression.codings[0]'],
      [{ compression: { minBytes: -1 } }, 'compression.minBytes'],
      [{ concurrency: 0 }, 'concurrency'],
      [{ workers: -1 }, 'workers'],
      [{ errorBody: 1 as never }, 'errorBody'],
      [{ onChunk: 1 as never }, 'onChunk'],
    ]
    for (const [options, option] of wrong)
      t.throws(() => new Streamer(options), { code: 'ERR_MILLRACE_OPTION', option } as object as Error)
    const streamer = new Streamer<number>()
    for (const [options, option] of [
      [{ status: 404 }, 'status'],
      [{ headers: { a: 1 as never } }, 'headers.a'],
      [{ etag: 'v1' }, 'etag'],
      [{ resumable: true }, 'resumable'],
      [{ signal: 1 as never }, 'signal'],
    ] as const) {
      t.throws(() => streamer.stream([1], undefined, options), { option } as object as Error)
    }
    t.throws(() => streamer.stream(5 as never), { option: 'fetcher' } as object as Error)
    t.throws(() => streamer.stream([], 5 as never), { option: 'transformer' } as object as Error)
    t.throws(() => fetchPages(5 as never), OptionError)
    t.match(streamer.config, {
      chunkThreshold: 32_768,
      batchSize: 100,
      bufferSize: 3,
      maxBuffered: 2 ** 20,
      strategy: 'block',
      flushInterval: 100,
      compression: false,
      concurrency: 1,
    })
    t.ok(Object.isFrozen(streamer.config))
  },
)

t.test('Streamer: a record that cannot be encoded fails the response behind all before it', async (t) => {
  for (const bad of [0, 1, 57]) {
    const items = Array.from({ length: 100 }, (_, i) => (i === bad ? 10n : i))
    const sink = new PacedSink()
    const report = await new Streamer({ chunkThreshold: 1 }).stream(items).sendToSink(sink)
    t.match(report, { outcome: 'failed', error: { code: 'ERR_MILLRACE_JSON_VALUE', index: bad } })
    if (bad === 0) t.equal(sink.status, 500)
    else t.same(JSON.parse(`${sink.body}]`), items.slice(0, bad))
  }
  // one that takes no more than one record at a time
  const one = {
    contentType: 'text/plain',
    start: () => ({
      separator: ' ',
      encode: (records: readonly unknown[]) => {
        if (records.length > 1) throw new Error('one at a time')
        return String(records[0])
      },
    }),
  }
  const sink = new PacedSink()
  await new Streamer({ encoders: [one] }).stream([1, 2, 3]).sendToSink(sink)
  t.equal(sink.body, '1 2 3')
})

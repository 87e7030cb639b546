import assert from 'node:assert/strict'
import { get, type IncomingMessage } from 'node:http'
import zlib from 'node:zlib'
import * as fc from 'fast-check'
import t from 'tap'
import { HttpError, OptionError } from '../../src/errors.ts'
import { Policy, RecordBatch } from '../../src/flow/index.ts'
import { FrameSplitter, findDelimited, findMessagePack } from '../../src/http/frame-splitter.ts'
import { Streamer, ndjsonEncoder, receive, type ReceiveOptions } from '../../src/http/index.ts'
import { serve, sleep } from './helpers/serve.ts'

type Source = Parameters<typeof receive>[0]

/** What came, and how it ended. */
async function collect(
  source: Source,
  options?: ReceiveOptions,
): Promise<{ records: unknown[]; error: HttpError | undefined }> {
  const records: unknown[] = []
  try {
    for await (const record of receive(source, options)) records.push(record)
  } catch (error) {
    return { records, error: error as HttpError }
  }
  return { records, error: undefined }
}

const request = (url: string, headers: Record<string, string> = {}): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    get(url, { agent: false, headers }, resolve).on('error', reject)
  })

const respond = (body: string, contentType: string, init: { status?: number } = {}) =>
  new Response(body, { ...init, headers: { 'content-type': contentType } })

t.test(
  'receive: all records come from fetch and node:http, in all encodings, or an error comes',
  async (t) => {
    const streamer = new Streamer<number>({ compression: { minBytes: 0 }, chunkThreshold: 1000 })
    const { url } = await serve(t, (incoming, response) => {
      async function* numbers() {
        for (let i = 0; i < 2000; i++) yield i
        if (incoming.url === '/fail') throw new Error('too late')
      }
      void streamer.stream(numbers()).sendTo(response)
    })
    const all = Array.from({ length: 2000 }, (_, i) => i)
    t.same(await collect(fetch(url)), { records: all, error: undefined })
    const codings = ['identity', 'gzip', 'br', ...('createZstdCompress' in zlib ? ['zstd'] : [])]
    for (const coding of codings) {
      const headers = { 'accept-encoding': coding, accept: 'application/x-ndjson' }
      t.same(await collect(request(url, headers)), { records: all, error: undefined }, coding)
      const { records, error } = await collect(request(`${url}/fail`, headers))
      t.match(error, { code: 'ERR_MILLRACE_HTTP_TRUNCATED', index: records.length }, coding)
      t.same(records, all.slice(0, records.length))
    }
    const failed = await collect(fetch(`${url}/fail`, { headers: { 'accept-encoding': 'identity' } }))
    t.match(failed.error, { code: 'ERR_MILLRACE_HTTP_TRUNCATED', message: /terminated/ })
    let batched = 0
    for await (const batch of receive<number>(fetch(url), { batches: true })) {
      t.ok(RecordBatch.is(batch))
      t.equal(batch.index, batched)
      batched += batch.length
    }
    t.equal(batched, 2000)
  },
)

t.test('receive: a body that is cut anywhere is an error at the record that is missing', async () => {
  const texts: [string, string][] = [
    ['[{"a":1},{"a":2}]', 'application/json'],
    ['{"a":1}\n{"a":2}\n{"$end":{"count":2}}\n', 'application/x-ndjson; terminator=true'],
  ]
  for (const [text, type] of texts) {
    assert.deepEqual(await collect(respond(text, type)), { records: [{ a: 1 }, { a: 2 }], error: undefined })
    for (let end = 0; end < text.trimEnd().length; end++) {
      const { records, error } = await collect(respond(text.slice(0, end), type))
      assert.equal(error?.code, 'ERR_MILLRACE_HTTP_TRUNCATED', `${end}: ${String(error)}`)
      assert.equal(error?.index, records.length)
      assert.ok(records.length <= 2)
    }
  }
})

t.test('receive: a terminator that tells of an error, or of other records, is one', async (t) => {
  const type = 'application/x-ndjson; terminator=true'
  t.match(await collect(respond('1\n{"$error":{"message":"oh","count":1}}\n', type)), {
    records: [1],
    error: { code: 'ERR_MILLRACE_HTTP_FAILED', index: 1, actual: { message: 'oh' } },
  })
  t.match((await collect(respond('1\n{"$end":{"count":3}}\n', type))).error, {
    message: /expected 3 records, got 1/,
  })
  t.same((await collect(respond('{"$end":{"count":0}}\n', type))).records, [])
  t.same((await collect(respond('1\nnull\n{"$end":{"count":2}}\n', type))).records, [1, null])
  t.same(
    (await collect(respond('{"$end":{"count":3}}\n', 'application/x-ndjson'))).records.length,
    1,
    'a record, if not announced',
  )
})

t.test(
  'receive: a status that is none of success, or a type that nothing decodes, is an error that says what came',
  async (t) => {
    t.match((await collect(respond('no such thing', 'text/plain', { status: 404 }))).error, {
      code: 'ERR_MILLRACE_HTTP_STATUS',
      status: 404,
      body: 'no such thing',
    })
    t.match(
      (await collect(new Response('x'.repeat(100_000), { status: 500 }))).error?.body?.length,
      16 * 1024,
    )
    t.match((await collect(new Response(null, { status: 204 }))).error, { code: 'ERR_MILLRACE_HTTP_TYPE' })
    t.match((await collect(respond('x', 'text/html'))).error, {
      code: 'ERR_MILLRACE_HTTP_TYPE',
      actual: 'text/html',
    })
    t.match((await collect(respond('x', 'application/json'))).error, { code: 'ERR_MILLRACE_JSON_SYNTAX' })
    t.match((await collect(respond('', 'application/vnd.google.protobuf'))).error, OptionError)
    const { url } = await serve(t, (incoming, response) => {
      if (incoming.url === '/zstd') response.setHeader('content-encoding', 'zstd')
      else if (incoming.url === '/odd') response.setHeader('content-encoding', 'lzw')
      else response.statusCode = 503
      response.setHeader('set-cookie', ['a=1', 'b=2'])
      response.setHeader('content-type', 'application/json')
      response.end('[1]')
    })
    t.match((await collect(request(`${url}/odd`))).error, { code: 'ERR_MILLRACE_HTTP_TYPE', actual: 'lzw' })
    // not zstd at all, or nothing that could tell
    t.ok((await collect(request(`${url}/zstd`))).error)
    if (!('createZstdDecompress' in zlib)) {
      t.match((await collect(request(`${url}/zstd`))).error, { code: 'ERR_MILLRACE_NODE_VERSION' })
    }
    t.match((await collect(request(url))).error, { status: 503, body: '[1]' })
    const broken = new ReadableStream({ pull: (controller) => controller.error(new Error('gone')) })
    t.match((await collect(new Response(broken, { status: 500 }))).error, { status: 500, body: '' })
  },
)

t.test('receive: reads CSV with and without header, deflate, and formats of one’s own', async (t) => {
  t.same((await collect(respond('a,b\r\n1,"x,y"\r\n', 'text/csv'))).records, [{ a: '1', b: 'x,y' }])
  t.same((await collect(respond('1,2\r\n', 'text/csv; header=absent'))).records, [['1', '2']])
  t.match((await collect(respond('a\r\n1\r\n"2', 'text/csv'))).error, { code: 'ERR_MILLRACE_HTTP_TRUNCATED' })
  const { url } = await serve(t, (_incoming, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'deflate' })
    response.end(zlib.deflateSync('[1,2]'))
  })
  t.same((await collect(request(url))).records, [1, 2])
  const decoders = {
    'text/plain': async function* (bytes: AsyncIterable<Uint8Array>) {
      for await (const chunk of bytes) yield [String(Buffer.from(chunk))]
    },
  }
  t.same((await collect(respond('hello', 'text/plain; charset=utf-8'), { decoders })).records, ['hello'])
})

t.test('receive: leaving the loop, or the signal, cancels the response', async (t) => {
  let closed = 0
  const { url } = await serve(t, (_incoming, response) => {
    response.on('close', () => closed++)
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    const timer = setInterval(() => response.write('1\n'), 2)
    response.on('close', () => clearInterval(timer))
  })
  for (const source of [() => fetch(url), () => request(url)]) {
    for await (const record of receive(source())) {
      t.equal(record, 1)
      break
    }
    const controller = new AbortController()
    const reason = new Error('enough')
    setTimeout(() => controller.abort(reason), 20)
    t.equal((await collect(source(), { signal: controller.signal })).error, reason as never)
  }
  // oxlint-disable-next-line no-unmodified-loop-condition -- the server adds to it
  while (closed < 4) await sleep(5)
  const aborted = AbortSignal.abort(new Error('before'))
  t.match((await collect(fetch(url), { signal: aborted })).error, { message: 'before' })
})

t.test('receive: goes on where a response broke off, wherever that is', async () => {
  const all = Array.from({ length: 300 }, (_, i) => i)
  const streamer = new Streamer<number>({
    chunkThreshold: 50,
    encoders: [ndjsonEncoder({ terminator: true })],
  })
  let cuts: number[] = []
  let teardown = () => {}
  const { url } = await serve(
    { teardown: (handler: () => void) => (teardown = handler) },
    (_incoming, response) => {
      const cut = cuts.shift() ?? Infinity
      async function* numbers(_signal: AbortSignal, { start }: { start: number }) {
        for (let i = start; i < 300; i++) {
          if (i - start >= cut) throw new Error('cut')
          yield i
        }
      }
      void streamer.stream(numbers, undefined, { resumable: true, etag: '"v1"' }).sendTo(response)
    },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 40, max: 120 }), { maxLength: 3 }),
      fc.boolean(),
      async (at, useFetch) => {
        cuts = [...at]
        const asked: number[] = []
        const { records, error } = await collect(({ index, headers }) => {
          asked.push(index)
          return useFetch ? fetch(url, { headers }) : request(url, headers)
        })
        // told by the terminator: the server failed, and asking again would not help
        if (error?.code === 'ERR_MILLRACE_HTTP_FAILED')
          assert.deepEqual(records, all.slice(0, records.length))
        else {
          assert.equal(error, undefined)
          assert.deepEqual(records, all)
        }
        assert.equal(asked[0], 0)
      },
    ),
    { numRuns: 12 },
  )
  teardown()
})

t.test(
  'receive: resumes after broken connections, up to its limit, and never into something else',
  async (t) => {
    let script: string[] = []
    const { url } = await serve(t, (incoming, response) => {
      const step = script.shift() ?? 'rest'
      const start = Number(/items=(\d+)/.exec(incoming.headers.range ?? '')?.[1] ?? 0)
      if (step === 'refuse') return void response.destroy()
      const head = {
        'content-type': 'application/x-ndjson',
        'accept-ranges': step === 'no' ? 'none' : 'items',
        etag: '"1"',
      }
      if (step === 'changed') return void response.writeHead(200, head).end('0\n')
      if (step === 'error') return void response.writeHead(404).end()
      response.writeHead(start > 0 ? 206 : 200, {
        ...head,
        ...(start > 0 && { 'content-range': `items ${step === 'wrong' ? 0 : start}-/*` }),
      })
      response.flushHeaders()
      const to = step === 'rest' ? 9 : Math.min(start + Number(step === 'no' ? 2 : step), 9)
      for (let i = start; i < to; i++) response.write(`${i}\n`)
      if (step === 'rest') response.end()
      else setTimeout(() => response.destroy(), 20)
    })
    const all = [0, 1, 2, 3, 4, 5, 6, 7, 8]
    const source: Source = ({ headers }) => request(url, headers)
    const run = async (steps: string[], options?: ReceiveOptions) => {
      script = steps
      return collect(source, options)
    }
    t.same(await run(['3', '2', 'rest']), { records: all, error: undefined })
    t.same(await run(['3', 'refuse', 'rest'], { policy: new Policy({ retries: 0 }) }), {
      records: all,
      error: undefined,
    })
    t.match(await run(['3', '0', '0'], { resumes: 1 }), {
      records: [0, 1, 2],
      error: { code: 'ERR_MILLRACE_HTTP_TRUNCATED', index: 3 },
    })
    t.match(await run(['3', 'changed']), {
      records: [0, 1, 2],
      error: { code: 'ERR_MILLRACE_HTTP_CHANGED', index: 3 },
    })
    t.match(await run(['3', 'wrong']), { error: { code: 'ERR_MILLRACE_HTTP_CHANGED' } })
    t.match(await run(['3', 'error']), { error: { code: 'ERR_MILLRACE_HTTP_STATUS', status: 404 } })
    t.match(await run(['no']), { records: [0, 1], error: { code: 'ERR_MILLRACE_HTTP_TRUNCATED' } })
    t.match(await run(['3'], { resumes: 0 }), { records: [0, 1, 2] })
  },
)

t.test('receive: a wrong option is an error of the call', async (t) => {
  const response = () => respond('[]', 'application/json')
  for (const options of [
    { batches: 1 },
    { resumes: -1 },
    { maxRecordBytes: 0 },
    { signal: 1 },
    { type: {} },
    { policy: {} },
  ]) {
    t.throws(() => receive(response(), options as never), OptionError)
  }
})

t.test(
  'FrameSplitter: frames that cannot be, are too long or are cut off are errors with their offset',
  async (t) => {
    const long = Buffer.from([1, 7, 0xff, 0xff, 0x03])
    t.throws(() => new FrameSplitter(findDelimited, 1000).push(long), {
      code: 'ERR_MILLRACE_FRAME_TOO_LONG',
      offset: 2,
    })
    t.throws(() => new FrameSplitter(findDelimited, 1000).push(Buffer.alloc(6, 0xff)), {
      code: 'ERR_MILLRACE_FRAME_INVALID',
      offset: 0,
    })
    const cut = new FrameSplitter(findDelimited, 1000)
    t.same(cut.push(Buffer.from([1, 7, 5, 1])), [Buffer.from([7])])
    t.same(cut.push(Buffer.from([2])), [])
    t.throws(() => cut.end(), { code: 'ERR_MILLRACE_FRAME_TRUNCATED', offset: 2 })
    t.throws(() => new FrameSplitter(findMessagePack, 1000).push(Buffer.from([0xc1])), {
      code: 'ERR_MILLRACE_FRAME_INVALID',
    })
    t.throws(
      () => new FrameSplitter(findMessagePack, 1000).push(Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff])),
      { code: 'ERR_MILLRACE_FRAME_TOO_LONG' },
    )
  },
)

t.test('findMessagePack: finds the end of every kind of value', async (t) => {
  const { encode, ExtData } = await import('@msgpack/msgpack')
  const text = (length: number) => 'x'.repeat(length)
  const values = [
    null,
    true,
    5,
    -5,
    200,
    60_000,
    5e9,
    -200,
    -60_000,
    -5e9,
    1.5,
    text(3),
    text(40),
    text(300),
    text(70_000),
    new Uint8Array(3),
    new Uint8Array(300),
    new Uint8Array(70_000),
    [1, 'a'],
    Array.from({ length: 20 }, () => [null]),
    Array.from({ length: 70_000 }, () => 1),
    { a: { b: [1] } },
    Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, i])),
    Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, 1])),
    ...[1, 2, 4, 8, 16, 3, 300, 70_000].map((size) => new ExtData(5, new Uint8Array(size))),
  ]
  for (const value of values) {
    const bytes = encode(value)
    t.same(findMessagePack(Buffer.concat([bytes, Buffer.from([1])]), 0), { from: 0, to: bytes.length })
    const part = findMessagePack(bytes.subarray(0, bytes.length - 1), 0)
    t.ok(
      part !== undefined && 'needs' in part && part.needs <= bytes.length && part.needs >= bytes.length - 1,
    )
  }
  const float = Buffer.from([0xca, 0, 0, 0, 0])
  t.same(findMessagePack(float, 0), { from: 0, to: 5 })
})

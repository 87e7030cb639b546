import assert from 'node:assert/strict'
import { once, type EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createTcpServer, type AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import t from 'tap'
import { WebSocketServer, type WebSocket } from 'ws'
import { Policy, RecordBatch } from '../../src/flow/index.ts'
import { WebSocketSink, WebSocketSource } from '../../src/websocket/index.ts'

type Test = { teardown(fn: () => unknown): void }

/** A server of somebody else's. */
async function server(t: Test, onClient: (client: WebSocket, number: number) => void) {
  let clients = 0
  const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  sockets.on('connection', (client: WebSocket) => onClient(client, clients++))
  await once(sockets as EventEmitter, 'listening')
  t.teardown(() => {
    for (const client of sockets.clients) client.terminate()
    sockets.close()
  })
  return {
    url: `ws://127.0.0.1:${(sockets.address() as AddressInfo).port}`,
    get clients() {
      return clients
    },
  }
}

/** Tries again at once. */
const eager = new Policy({ retries: 2, minDelay: 1 })

/** Everything before the error, and the error. */
async function drain<T>(stream: Readable) {
  const out: T[] = []
  try {
    for await (const chunk of stream) out.push(chunk as T)
  } catch (error) {
    return { out, error: error as Error & Record<string, unknown> }
  }
  return { out, error: undefined }
}

t.test('WebSocketSink, WebSocketSource: what one sends, the other gives, in order and whole', async (t) => {
  const kept: Buffer[] = []
  const { url } = await server(t, (client) => {
    client.on('message', (data: Buffer) => kept.push(data))
    // the second client is the reader
    if (client.protocol === 'read') {
      for (const data of kept.splice(0)) client.send(String(data))
      client.close(1000)
    }
  })
  await fc.assert(
    fc.asyncProperty(fc.array(fc.jsonValue().filter((value) => value !== null)), async (values) => {
      const records = JSON.parse(JSON.stringify(values)) as unknown[]
      const expected = records.filter((record) => typeof record !== 'string' || record !== '')
      await pipeline(Readable.from(expected.map((record) => JSON.stringify(record))), new WebSocketSink(url))
      const { out, error } = await drain(new WebSocketSource(url, { protocols: ['read'], highWaterMark: 2 }))
      assert.equal(error, undefined)
      assert.deepEqual(out, expected)
    }),
    { numRuns: 30 },
  )
  t.pass('held')
})

t.test(
  'WebSocketSource: text, bytes and a function of your own; undefined leaves a message out',
  async (t) => {
    const { url } = await server(t, (client) => {
      client.send('one')
      client.send(Buffer.from([1, 2]))
      client.close(1000)
    })
    t.same((await drain(new WebSocketSource(url, { parse: 'text' }))).out, ['one', '\u0001\u0002'])
    t.same((await drain(new WebSocketSource(url, { parse: 'bytes' }))).out, [
      Buffer.from('one'),
      Buffer.from([1, 2]),
    ])
    const own = new WebSocketSource(url, {
      parse: (message, isBinary) => (isBinary ? message.length : undefined),
    })
    t.same((await drain(own)).out, [2])
    t.match(own.stats(), { recordsIn: 2, recordsOut: 1, bytesIn: 5 })
  },
)

t.test('WebSocketSource: says hello on every connection, and goes on after a break', async (t) => {
  const hellos: string[] = []
  const { url } = await server(t, (client, number) => {
    client.on('message', (data: Buffer) => hellos.push(String(data)))
    client.send(String(number))
    setTimeout(() => (number < 2 ? client.terminate() : client.close(1000)), 20)
  })
  const { out, error } = await drain(
    new WebSocketSource(url, { hello: ['hi', Buffer.from('ho')], policy: eager }),
  )
  t.equal(error, undefined)
  t.same(out, [0, 1, 2])
  t.same(hellos, ['hi', 'ho', 'hi', 'ho', 'hi', 'ho'])
})

t.test(
  'WebSocketSource: a message that cannot be read is an error with its index, after all before it',
  async (t) => {
    const { url } = await server(t, (client) => ['1', '2', '{', '4'].forEach((text) => client.send(text)))
    const { out, error } = await drain(new WebSocketSource(url))
    t.same(out, [1, 2])
    t.match(error, {
      code: 'ERR_MILLRACE_WEBSOCKET_MESSAGE',
      index: 2,
      message: /message 2 of 1 bytes cannot be used/,
    })
    const nulls = await server(t, (client) => client.send('null'))
    t.match((await drain(new WebSocketSource(nulls.url))).error, { message: /null cannot travel/ })
  },
)

t.test('WebSocketSource: a server that only closes is given up; one that refuses, at once', async (t) => {
  const closing = await server(t, (client) => client.close(4000, 'no'))
  const { error } = await drain(new WebSocketSource(closing.url, { maxReconnects: 2, policy: eager }))
  t.match(error, {
    code: 'ERR_MILLRACE_WEBSOCKET_CLOSED',
    actual: 4000,
    attempts: 3,
    message: /4000, "no", 3 times/,
  })
  t.equal(closing.clients, 3)

  let asked = 0
  const http = createServer().on('upgrade', (_, socket) => {
    asked++
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
  })
  await once(http.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => http.close())
  const refused = await drain(
    new WebSocketSource(`ws://127.0.0.1:${(http.address() as AddressInfo).port}`, { policy: eager }),
  )
  t.match(refused.error, { code: 'ERR_MILLRACE_WEBSOCKET_CONNECT', status: 403 })
  t.equal(asked, 1, 'another try would not help')
})

t.test('WebSocketSource: while its reader is slow the server waits', async (t) => {
  let sent = 0
  const text = JSON.stringify('x'.repeat(100_000))
  const { url } = await server(t, (client) => {
    const next = () => client.send(text, (error) => !error && ++sent < 5000 && setImmediate(next))
    next()
  })
  const source = new WebSocketSource(url, { highWaterMark: 4 })
  const reader = source[Symbol.asyncIterator]()
  await reader.next()
  await new Promise((resolve) => setTimeout(resolve, 300))
  const before = sent
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(sent, before, 'nothing more is sent')
  t.ok(before < 500, `${before} messages of 100 kB were sent: what the kernel and the high-water mark hold`)
  t.ok(source.readableLength <= 5 + 8, `${source.readableLength} messages are held`)
  await reader.return?.()
  t.ok(source.destroyed)
})

t.test(
  'WebSocketSink: a batch is one message; bytes and texts go as they are, and all else by serialize',
  async (t) => {
    const got: unknown[] = []
    const { url } = await server(t, (client) =>
      client.on('message', (data: Buffer, isBinary: boolean) => got.push([String(data), isBinary])),
    )
    await pipeline(
      Readable.from([{ a: 1 }, new RecordBatch(1, [{ a: 2 }, { a: 3 }]), 'text', Buffer.from('bytes')]),
      new WebSocketSink(url),
    )
    t.same(got.splice(0), [
      ['{"a":1}', false],
      ['[{"a":2},{"a":3}]', false],
      ['text', false],
      ['bytes', true],
    ])
    const sink = new WebSocketSink<number>(url, { serialize: (record) => `<${String(record)}>` })
    await pipeline(Readable.from([1, new RecordBatch(1, [2, 3])]), sink)
    t.same(got, [
      ['<1>', false],
      ['<2,3>', false],
    ])
    t.match(sink.stats(), { recordsIn: 3, recordsOut: 3, chunks: 2, bytesOut: 8 })
  },
)

t.test(
  'WebSocketSink: after a break it connects again and goes on; the server that stays away fails it',
  async (t) => {
    const got: string[] = []
    const flaky = await server(t, (client, number) => {
      client.on('message', (data: Buffer) => {
        got.push(String(data))
        if (number === 0 && got.length === 3) client.terminate()
      })
    })
    const sink = new WebSocketSink(flaky.url, { policy: eager })
    for (let i = 0; i < 10; i++) {
      sink.write(String(i))
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    sink.end()
    await once(sink, 'close')
    t.equal(flaky.clients, 2)
    t.ok(got.includes('0') && got.includes('9'))
    t.same(got, [...got].sort(), 'in order')

    const gone = new WebSocketSink('ws://127.0.0.1:1', { policy: eager })
    gone.write('x')
    const [error] = (await once(gone, 'error')) as [Error & Record<string, unknown>]
    t.match(error, { code: 'ERR_MILLRACE_RETRIES', attempts: 3 })
  },
)

t.test('WebSocketSink: what cannot be written is an error with its index', async (t) => {
  const { url } = await server(t, () => {})
  const bigint = new WebSocketSink(url)
  bigint.write({ a: 1 })
  bigint.write({ a: 1n })
  t.match(await once(bigint, 'error'), [
    { code: 'ERR_MILLRACE_WEBSOCKET_MESSAGE', index: 1, message: /record 1 cannot be written/ },
  ])
  const nothing = new WebSocketSink(url, { serialize: () => undefined as never })
  nothing.write({})
  t.match(await once(nothing, 'error'), [{ message: /no text and no bytes/ }])
})

t.test('WebSocketSink: a server that takes nothing for too long counts as broken', async (t) => {
  const { url } = await server(t, (client) => client.pause())
  const sink = new WebSocketSink(url, { stallTimeout: 200, maxReconnects: 1, policy: eager })
  const big = Buffer.alloc(20_000_000)
  sink.write(big)
  t.match(await once(sink, 'error'), [
    { code: 'ERR_MILLRACE_WEBSOCKET_CLOSED', index: 0, attempts: 2, message: /took nothing for 200 ms/ },
  ])
})

t.test('WebSocketSink, WebSocketSource: an abort ends them and leaves nothing open', async (t) => {
  const closed: Promise<unknown>[] = []
  const { url } = await server(t, (client) => closed.push(once(client as EventEmitter, 'close')))
  for (const make of [
    (signal: AbortSignal) => new WebSocketSource(url, { signal }).resume(),
    (signal: AbortSignal) => {
      const sink = new WebSocketSink(url, { signal })
      sink.write('x')
      return sink
    },
  ]) {
    const abort = new AbortController()
    const stream = make(abort.signal)
    while (closed.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    abort.abort()
    t.match(await once(stream, 'error'), [{ name: 'AbortError' }])
    await closed.pop()
  }
  // in the middle of a handshake
  const mute = createTcpServer((socket) => socket.on('error', () => {}))
  await once(mute.listen(0, '127.0.0.1'), 'listening')
  const early = new AbortController()
  const asking = new WebSocketSource(`ws://127.0.0.1:${(mute.address() as AddressInfo).port}`, {
    signal: early.signal,
  })
  asking.resume()
  mute.once('connection', () => early.abort())
  t.match(await once(asking, 'error'), [{ name: 'AbortError' }])
  const timeout = { handshakeTimeout: 30, policy: new Policy({ retries: 0 }) }
  const late = new WebSocketSink(`ws://127.0.0.1:${(mute.address() as AddressInfo).port}`, timeout)
  late.write('x')
  t.match(await once(late, 'error'), [{ message: /handshake has timed out/ }])
  const patient = new AbortController()
  const again = new WebSocketSource(`ws://127.0.0.1:${(mute.address() as AddressInfo).port}`, {
    handshakeTimeout: 20,
    signal: patient.signal,
  })
  again.resume()
  setTimeout(() => patient.abort(), 100)
  t.match(
    await once(again, 'error'),
    [{ name: 'AbortError' }],
    'a handshake that takes too long is tried again',
  )
  mute.close()
  // while there is no connection yet
  const abort = new AbortController()
  const waiting = new WebSocketSource('ws://127.0.0.1:1', {
    signal: abort.signal,
    policy: new Policy({ retries: 9, minDelay: 10_000 }),
  })
  waiting.resume()
  setTimeout(() => abort.abort(), 20)
  t.match(await once(waiting, 'error'), [{ name: 'AbortError' }])
})

t.test(
  'WebSocketSink, WebSocketSource: a hook that throws fails the stream; options out of range are refused',
  async (t) => {
    const { url } = await server(t, (client) => client.send('1'))
    const fault = new Error('hook')
    const onChunk = () => {
      throw fault
    }
    t.match((await drain(new WebSocketSource(url, { onChunk }))).error, { cause: fault })
    const sink = new WebSocketSink(url, { onChunk, maxReconnects: 0 })
    sink.write('x')
    t.match(await once(sink, 'error'), [{ cause: fault }])
    const onError = () => {
      throw fault
    }
    for (const stream of [new WebSocketSource(url, { onError }), new WebSocketSink(url, { onError })]) {
      stream.destroy(new Error('first'))
      t.match(await once(stream, 'error'), [fault])
    }
    for (const bad of ['http://x', 'nothing', 3, new URL('https://x')]) {
      t.throws(() => new WebSocketSource(bad as string), { code: 'ERR_MILLRACE_OPTION' })
      t.throws(() => new WebSocketSink(bad as string), { code: 'ERR_MILLRACE_OPTION' })
    }
    for (const options of [
      { handshakeTimeout: 0 },
      { maxReconnects: -1 },
      { policy: {} },
      { highWaterMark: 0 },
      { parse: 'xml' },
    ]) {
      t.throws(
        () => new WebSocketSource('ws://x', options as object),
        { code: 'ERR_MILLRACE_OPTION' },
        JSON.stringify(options),
      )
    }
    t.throws(() => new WebSocketSink(new URL('ws://x'), { stallTimeout: 0 }), { code: 'ERR_MILLRACE_OPTION' })
  },
)

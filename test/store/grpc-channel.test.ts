import { once } from 'node:events'
import { connect, createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { mock } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import * as grpc from '@grpc/grpc-js'
import * as fc from 'fast-check'
import t from 'tap'
import {
  decodeMessage,
  decodeTimeout,
  encodeMessage,
  encodeTimeout,
  statusIn,
  statusOfHttp,
} from '../../src/store/grpc-headers.ts'
import {
  GrpcChannel,
  GrpcStore,
  MemoryStore,
  StoreServer,
  type CallStatus,
  type ChannelCallOptions,
  type OperationCall,
} from '../../src/store/index.ts'
import { encodeRecord, encodeRef } from '../../src/store/messages.ts'
import { FramingError, MessageReader, frameMessages } from '../../src/store/message-framing.ts'
import { collect } from '../conformance/store.ts'
import { FaultProxy } from './helpers/fault-proxy.ts'
import { quick } from './helpers/served.ts'

const PUSH = '/agntcy.dir.store.v1.StoreService/Push'

t.test('MessageReader: gives the messages that were framed, however their bytes are cut', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 10 }),
      fc.constantFrom('identity' as const, 'gzip' as const),
      (parts, cuts, encoding) => {
        const messages = parts.map((part) => Buffer.from(part))
        const bytes = frameMessages(messages, encoding)
        const reader = new MessageReader(60, encoding)
        const found: Buffer[] = []
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = cuts[i % cuts.length]!
          reader.push(bytes.subarray(at, at + size), found)
          at += size
        }
        t.strictSame(found, messages)
        t.ok(reader.isEmpty)
      },
    ),
  )
})

function faultOf(work: () => void): FramingError | undefined {
  try {
    work()
  } catch (error) {
    if (error instanceof FramingError) return error
  }
  return undefined
}

t.test('MessageReader: refuses what is wrong, behind what was right', async (t) => {
  const good = Buffer.from('good')
  const cases: [Buffer, string, number][] = [
    [frameMessages([Buffer.alloc(11)]), 'identity', 8],
    [frameMessages([Buffer.alloc(2000)], 'gzip').subarray(0, 40), 'gzip', 8],
    [Buffer.from([2, 0, 0, 0, 0]), 'identity', 13],
    [Buffer.from([1, 0, 0, 0, 1, 0]), 'identity', 13],
    [Buffer.from([1, 0, 0, 0, 1, 0]), 'gzip', 13],
    [Buffer.from([1, 0, 0, 0, 1, 0]), 'snappy', 13],
  ]
  for (const [bytes, encoding, code] of cases) {
    const found: Buffer[] = []
    const reader = new MessageReader(10, encoding)
    t.equal(
      faultOf(() => reader.push(Buffer.concat([frameMessages([good]), bytes]), found))?.status.code,
      code,
    )
    t.strictSame(found, [good])
  }
  const bomb = gzipSync(Buffer.alloc(100_000))
  const packed = Buffer.concat([Buffer.from([1, 0, 0, 0, bomb.length]), bomb])
  t.throws(() => new MessageReader(1000, 'gzip').push(packed, []), /larger than max/)
})

t.test('headers of gRPC: messages and timeouts go there and back', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const encoded = encodeMessage(text)
      t.match(encoded, /^[\x20-\x7e]*$/)
      t.equal(decodeMessage(encoded), text)
    }),
  )
  t.equal(decodeMessage('100%'), '100%')
  t.equal(encodeMessage('a\ud800%'), 'a%EF%BF%BD%25')
  for (const [milliseconds, text] of [
    [1, '1m'],
    [0.2, '1m'],
    [99_999_999, '99999999m'],
    [100_000_000, '100000S'],
    [1e15, '99999999S'],
  ] as const)
    t.equal(encodeTimeout(milliseconds), text)
  t.strictSame(
    ['3H', '2M', '5S', '7m', '1000u', '1000000n', '', '1', '123456789m', undefined].map(decodeTimeout),
    [10_800_000, 120_000, 5000, 7, 1, 1, undefined, undefined, undefined, undefined],
  )
  t.strictSame(statusIn({ 'grpc-status': '5', 'grpc-message': 'not%20there' }), {
    code: 5,
    message: 'not there',
    fromServer: true,
  })
  t.strictSame(statusIn({ 'grpc-status': 'x' }), { code: 2, message: 'status x', fromServer: true })
  t.equal(statusIn({}), undefined)
  t.strictSame(
    [401, 404, 503, 418].map((http) => statusOfHttp({ ':status': http }).code),
    [16, 12, 14, 2],
  )
})

/** A call, with what it tells. */
async function begin(channel: GrpcChannel, path: string, options: ChannelCallOptions = {}) {
  const answers: Buffer[] = []
  let call: OperationCall<Buffer> | undefined
  const ended = new Promise<CallStatus>((resolve, reject) => {
    const opening = async () => {
      call = await channel.call(
        path,
        options,
      )({ onAnswer: (answer) => answers.push(answer), onDrain() {}, onEnd: resolve })
    }
    opening().catch(reject)
  })
  await sleep(1)
  return { call: call!, answers, ended }
}

/** A server that does with each stream as it is told. */
async function rawServer(onStream: (stream: ServerHttp2Stream) => void) {
  const server = createHttp2Server()
  server.on('stream', (stream) => {
    stream.on('error', () => {})
    onStream(stream)
  })
  server.on('session', (session) => session.on('error', () => {}))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const channel = new GrpcChannel(`127.0.0.1:${(server.address() as AddressInfo).port}`)
  return {
    channel,
    stop: async () => {
      await channel.close()
      server.close()
      await once(server, 'close')
    },
  }
}

t.test('GrpcChannel: what a server says that does not keep to the protocol', async (t) => {
  const ok = { ':status': 200, 'content-type': 'application/grpc' }
  const half = frameMessages([Buffer.from('message')]).subarray(0, 8)
  const withTrailers = (stream: ServerHttp2Stream, bytes: Buffer) => {
    stream.respond(ok, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end(bytes)
  }
  const cases: [(stream: ServerHttp2Stream) => void, number][] = [
    [(stream) => stream.respond({ ':status': 503 }, { endStream: true }), 14],
    [(stream) => stream.respond({ ...ok, 'content-type': 'text/html' }, { endStream: true }), 2],
    [(stream) => stream.respond({ ...ok, 'grpc-status': '7' }, { endStream: true }), 7],
    [(stream) => withTrailers(stream, half), 14],
    [(stream) => withTrailers(stream, Buffer.from([9, 0, 0, 0, 0])), 13],
    [(stream) => stream.respond(ok, { endStream: true }), 14],
    [(stream) => stream.close(7), 14],
    [(stream) => stream.close(11), 8],
    [(stream) => stream.session!.destroy(), 1],
  ]
  for (const [onStream, code] of cases) {
    const { channel, stop } = await rawServer(onStream)
    const { call, ended } = await begin(channel, '/x/y')
    call.send(Buffer.from('message'))
    const status = await ended
    t.equal(status.code, code, status.message)
    t.equal(status.fromServer, code === 7)
    call.cancel()
    await stop()
  }
})

t.test('GrpcChannel: many messages before the turn ends are few writes, and all arrive', async (t) => {
  let bytes = 0
  const { channel, stop } = await rawServer((stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.on('data', (chunk: Buffer) => (bytes += chunk.length)).on('end', () => stream.end())
  })
  const { call, ended } = await begin(channel, '/x/y')
  let room = true
  for (let i = 0; i < 3000; i++) room = call.send(Buffer.alloc(4000))
  t.notOk(room, 'says when to wait')
  call.end()
  t.equal((await ended).code, 0)
  t.equal(bytes, 3000 * 4005)
  const empty = await begin(channel, '/x/y')
  empty.call.end()
  t.equal((await empty.ended).code, 0)
  await stop()
  await t.rejects((async () => channel.call('/x/y')({ onAnswer() {}, onDrain() {}, onEnd() {} }))(), {
    code: 'ERR_MILLRACE_STORE_CLOSED',
  })
})

t.test('GrpcChannel and StoreServer: a call has its deadline on both sides', async (t) => {
  const server = new StoreServer(new MemoryStore())
  const port = await server.start()
  const channel = new GrpcChannel(`127.0.0.1:${port}`)
  const { call, ended } = await begin(channel, PUSH, { timeout: 50 })
  call.send(encodeRecord({ a: 1 }))
  const status = await ended
  t.equal(status.code, 4)
  t.throws(() => channel.call(PUSH, { timeout: 0 }), { code: 'ERR_MILLRACE_OPTION' })
  // a client that says so, and does nothing about it
  const session = connect(`http://127.0.0.1:${port}`)
  const stream = session.request({
    ':method': 'POST',
    ':path': PUSH,
    'content-type': 'application/grpc',
    'grpc-timeout': '30m',
  })
  stream.on('error', () => {})
  const [headers] = (await once(stream, 'response')) as [Record<string, string>]
  t.equal(Number(headers['grpc-status']), 4)
  session.destroy()
  const stock = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
  const same = (bytes: Buffer) => bytes
  const late = stock.makeBidiStreamRequest(PUSH, same, same, new grpc.Metadata(), {
    deadline: Date.now() + 40,
  })
  late.on('error', () => {}).resume()
  const { code } = await new Promise<grpc.StatusObject>((resolve) => late.on('status', resolve))
  t.equal(code, 4)
  stock.close()
  await channel.close()
  await server.stop()
})

t.test('StoreServer: what is no call of gRPC, or none that is served, is told so', async (t) => {
  const server = new StoreServer(new MemoryStore())
  const port = await server.start()
  const session = connect(`http://127.0.0.1:${port}`)
  const ask = async (headers: Record<string, string>, body?: Buffer) => {
    const stream = session.request({ ':method': 'POST', ':path': PUSH, ...headers })
    stream.end(body)
    let trailers: Record<string, string> = {}
    stream.on('trailers', (each: Record<string, string>) => (trailers = each)).resume()
    const [response] = (await once(stream, 'response')) as [Record<string, string>]
    await once(stream, 'close')
    return [response[':status'], Number(response['grpc-status'] ?? trailers['grpc-status'])]
  }
  const type = { 'content-type': 'application/grpc+proto' }
  t.strictSame(await ask({ 'content-type': 'application/json' }), [415, NaN])
  t.strictSame(await ask({ ...type, ':method': 'PUT' }), [405, NaN])
  t.strictSame(await ask({ ...type, ':path': '/other' }), [200, 12])
  t.strictSame(await ask({ ...type, 'grpc-encoding': 'snappy' }), [200, 12])
  t.strictSame(await ask(type), [200, 0])
  t.strictSame(await ask(type, Buffer.from([0, 0, 0])), [200, 13])
  t.strictSame(await ask(type, Buffer.from([0, 255, 255, 255, 255])), [200, 8])
  session.destroy()
  await server.stop()
})

t.test('StoreServer: answers are compressed for a client that compresses', async (t) => {
  const memory = new MemoryStore()
  const server = new StoreServer(memory)
  const port = await server.start()
  let fromServer = 0
  const proxy = await new FaultProxy(() => port, {}).start()
  const { cid } = await memory.push({ text: 'x'.repeat(500_000) })
  for (const compression of ['none', 'gzip'] as const) {
    const channel = new GrpcChannel(`127.0.0.1:${proxy.port}`, { compression })
    const { call, answers, ended } = await begin(channel, PUSH.replace('Push', 'Pull'))
    const before = proxy.bytesFromServer
    call.send(encodeRef(cid))
    call.end()
    t.equal((await ended).code, 0)
    t.equal(answers[0]!.length > 500_000, true)
    fromServer = proxy.bytesFromServer - before
    t.equal(fromServer > 500_000, compression === 'none')
    await channel.close()
  }
  await proxy.stop()
  await server.stop()
})

t.test('GrpcChannel: pings while a call lasts, and gives up a connection that does not answer', async (t) => {
  const server = new StoreServer(new MemoryStore())
  const port = await server.start()
  const proxy = await new FaultProxy(() => port, {}).start()
  const channel = new GrpcChannel(`127.0.0.1:${proxy.port}`, { keepalive: 60_000 })
  const warm = await begin(channel, PUSH)
  warm.call.end()
  t.equal((await warm.ended).code, 0)
  await sleep(20)
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const { ended } = await begin(channel, PUSH)
  let over = false
  void ended.then(() => (over = true))
  const before = proxy.bytesFromServer
  for (let i = 0; i < 2; i++) {
    mock.timers.tick(60_000)
    for (let turn = 0; turn < 200 && proxy.bytesFromServer === before; turn++)
      await new Promise((resolve) => setImmediate(resolve))
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
  }
  t.ok(proxy.bytesFromServer > before, 'a ping was answered')
  t.notOk(over)
  proxy.faults = { blackHole: true }
  mock.timers.tick(60_000)
  mock.timers.tick(20_000)
  const { code, fromServer } = await ended
  t.strictSame([code, fromServer], [14, false])
  mock.timers.reset()
  await channel.close()
  await proxy.stop()
  await server.stop({ grace: 10 })
})

t.test('GrpcStore: a delete that is under way can be aborted', async (t) => {
  const server = new StoreServer(new MemoryStore())
  const port = await server.start()
  const proxy = await new FaultProxy(() => port, {}).start()
  const store = new GrpcStore(`127.0.0.1:${proxy.port}`, quick)
  const { cid } = await store.push({ a: 1 })
  proxy.faults = { blackHole: true }
  const abort = new AbortController()
  setTimeout(() => abort.abort(), 30)
  await t.rejects(store.delete(cid, { signal: abort.signal }), {
    code: 'ERR_MILLRACE_STORE_ABORTED',
    category: 'aborted',
  })
  await store.close()
  await proxy.stop()
  await server.stop({ grace: 10 })
})

t.test('GrpcStore: a dead line is left by the call that finds it dead, and the others go on', async (t) => {
  const server = new StoreServer(new MemoryStore())
  const port = await server.start()
  const proxy = await new FaultProxy(() => port, {}).start()
  const store = new GrpcStore(`127.0.0.1:${proxy.port}`, { ...quick, answerTimeout: 100 })
  await store.push({ before: 1 })
  // connections from now on are well; the one that there is, is dead
  proxy.deafen()
  const results = await Promise.all([
    collect(store.pushStream([{ a: 1 }, { a: 2 }], { concurrency: 2 })),
    collect(store.deleteStream([(await store.push({ x: 1 })).cid])),
  ])
  t.ok(results.flat().every(({ error }) => error === undefined))
  await store.close()
  await proxy.stop()
  await server.stop({ grace: 10 })
})

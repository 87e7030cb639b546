import { once } from 'node:events'
import { getActiveResourcesInfo } from 'node:process'
import { Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { ConsecutiveBreaker, TimeoutStrategy, circuitBreaker, handleAll, timeout, wrap } from 'cockatiel'
import * as fc from 'fast-check'
import t from 'tap'
import { OptionError, type S3Error } from '../../src/errors.ts'
import { Policy } from '../../src/flow/index.ts'
import {
  ObjectSource,
  ObjectWriter,
  isRetryableS3,
  parseS3Url,
  type ObjectSourceOptions,
} from '../../src/s3/index.ts'
import { MemoryClient, s3Error } from './helpers/memory-client.ts'
import { BUCKET, CREDENTIALS, CutProxy, S3Server } from './helpers/s3-server.ts'

const quick = new Policy({ retries: 3, minDelay: 1, maxDelay: 5, retryable: isRetryableS3 })
const server = await new S3Server().start()
t.teardown(() => server.die())
t.beforeEach(() => {
  server.intercept = () => false
  server.honoursIfMatch = true
  server.requests.length = 0
})

const BYTES = Buffer.from(Array.from({ length: 700_001 }, (_, i) => (i * i + (i >> 8)) & 255))
const URL_OF_BYTES = `s3://${BUCKET}/bytes`
const put = (key: string, bytes: Uint8Array) =>
  pipeline(
    Readable.from([bytes]),
    new ObjectWriter(`s3://${BUCKET}/${key}`, { ...server.options(), policy: quick }),
  )
const at = (options: ObjectSourceOptions = {}, port?: number) => ({
  ...server.options(port),
  policy: quick,
  ...options,
})
await put('bytes', BYTES)
await put('empty', Buffer.alloc(0))

t.test('ObjectSource: any range is the slice of the object', async (t) => {
  const bounds = fc.tuple(fc.nat(BYTES.byteLength), fc.nat(BYTES.byteLength))
  await fc.assert(
    fc.asyncProperty(bounds, fc.boolean(), async ([a, b], open) => {
      const [start, end] = [Math.min(a, b), Math.max(a, b)]
      const source = new ObjectSource(URL_OF_BYTES, at({ start, ...(!open && { end }) }))
      const read = await buffer(source)
      return read.equals(BYTES.subarray(start, open ? undefined : end)) && source.size === BYTES.byteLength
    }),
    {
      numRuns: 25,
      examples: [
        [[0, BYTES.byteLength], false],
        [[0, 0], false],
        [[1, 0], false],
        [[1, 0], true],
        [[BYTES.byteLength, BYTES.byteLength], true],
      ],
    },
  )
  const whole = new ObjectSource({ bucket: BUCKET, key: 'bytes' }, at())
  t.equal(whole.size, undefined)
  t.ok((await buffer(whole)).equals(BYTES))
  t.match(whole.etag, /^"[0-9a-f]{32}"$/)
  const { bytesIn, bytesOut, errors } = whole.stats()
  t.same({ bytesIn, bytesOut, errors }, { bytesIn: BYTES.byteLength, bytesOut: BYTES.byteLength, errors: 0 })
  t.equal((await buffer(new ObjectSource(`s3://${BUCKET}/empty`, at()))).byteLength, 0)
  t.equal((await buffer(new ObjectSource(`s3://${BUCKET}/empty`, at({ start: 0, end: 0 })))).byteLength, 0)
})

t.test('ObjectSource: a connection that is cut at any byte is resumed from the very next one', async (t) => {
  let broken = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: BYTES.byteLength + 300 }), { minLength: 1, maxLength: 4 }),
      fc.nat(1000),
      async (cuts, start) => {
        const proxy = new CutProxy(server.port, (connection) => cuts[connection] ?? -1)
        const port = await proxy.start()
        try {
          const read = await buffer(
            new ObjectSource(URL_OF_BYTES, at({ start, end: BYTES.byteLength - 1 }, port)),
          )
          if (proxy.connections > 1) broken++
          return read.equals(BYTES.subarray(start, -1))
        } finally {
          await proxy.stop()
        }
      },
    ),
    {
      numRuns: 15,
      examples: [
        [[1, 2, 3], 0],
        [[300_000, 300_000], 5],
      ],
    },
  )
  t.ok(broken > 2, 'connections were cut')
})

t.test('ObjectSource: a server that dies and comes back is waited for', async (t) => {
  const policy = new Policy({ retries: 20, minDelay: 5, maxDelay: 20 })
  const source = new ObjectSource(URL_OF_BYTES, at({ policy, highWaterMark: 1 }))
  const read: Buffer[] = []
  for await (const chunk of source as AsyncIterable<Buffer>) {
    if (read.length === 0) {
      await server.die()
      setTimeout(() => void server.start(), 20)
    }
    read.push(chunk)
  }
  t.ok(Buffer.concat(read).equals(BYTES))
})

t.test(
  'ObjectSource: an object that is replaced while it is read is an error, and never a mixture',
  async (t) => {
    for (const honoursIfMatch of [true, false]) {
      server.honoursIfMatch = honoursIfMatch
      await put('replaced', BYTES)
      const proxy = new CutProxy(server.port, (connection) => (connection === 0 ? 200_000 : -1))
      const port = await proxy.start()
      const source = new ObjectSource(`s3://${BUCKET}/replaced`, at({}, port))
      const read: Buffer[] = []
      let error: S3Error | undefined
      try {
        for await (const chunk of source as AsyncIterable<Buffer>) {
          if (read.length === 0) await put('replaced', Buffer.alloc(BYTES.byteLength))
          read.push(chunk)
        }
      } catch (fault) {
        error = fault as S3Error
      }
      const delivered = Buffer.concat(read)
      t.match(error, { code: 'ERR_MILLRACE_S3_CHANGED', expected: source.etag, offset: delivered.byteLength })
      t.ok(delivered.byteLength > 0 && delivered.equals(BYTES.subarray(0, delivered.byteLength)))
      await proxy.stop()
    }
  },
)

t.test(
  'ObjectSource: gives up after so many connections that bring next to nothing, and names the offset',
  async (t) => {
    const proxy = new CutProxy(server.port, () => 700)
    const port = await proxy.start()
    const source = new ObjectSource(URL_OF_BYTES, at({ maxResumes: 2 }, port))
    const read: Buffer[] = []
    source.on('data', (chunk: Buffer) => read.push(chunk))
    const [error] = (await once(source, 'error').catch((error: unknown) => [error])) as [S3Error]
    const { byteLength } = Buffer.concat(read)
    t.match(error, { code: 'ERR_MILLRACE_S3_READ', offset: byteLength, url: URL_OF_BYTES })
    t.match(error.message, `reading failed at byte ${byteLength}: `)
    t.equal(proxy.connections, 3)
    t.ok(byteLength > 0)
    await proxy.stop()
    const single = new CutProxy(server.port, () => 300_000)
    const slow = new ObjectSource(
      URL_OF_BYTES,
      at({ maxResumes: 0, highWaterMark: 1 << 20 }, await single.start()),
    )
    let delivered = 0
    const failure = (await (async () => {
      for await (const chunk of slow as AsyncIterable<Buffer>) {
        delivered += chunk.byteLength
        await delay(1)
      }
    })().catch((error: unknown) => error)) as S3Error
    t.equal(failure.offset, delivered, 'a slow reader gets all that came before the error')
    t.ok(delivered > 250_000)
    await single.stop()
    const silent = new CutProxy(server.port, () => 0)
    await t.rejects(buffer(new ObjectSource(URL_OF_BYTES, at({ start: 7 }, await silent.start()))), {
      code: 'ERR_MILLRACE_S3_READ',
      offset: 7,
      attempts: 4,
    })
    t.equal(silent.connections, 4)
    await silent.stop()
  },
)

t.test('ObjectSource: a connection that brings no more bytes is given up and resumed', async (t) => {
  let stalls = 0
  server.intercept = (request, response) => {
    if (stalls++ > 0) return false
    response.writeHead(200, { 'content-length': BYTES.byteLength, etag: etag() })
    response.write(BYTES.subarray(0, 1000))
    return true
  }
  t.ok((await buffer(new ObjectSource(URL_OF_BYTES, at({ idleTimeout: 100 })))).equals(BYTES))
  t.equal(stalls, 2)
})

t.test(
  'ObjectSource: the checksum of a whole object is checked, and a wrong one is not tried again',
  async (t) => {
    const sum = Buffer.alloc(4)
    sum.writeUInt32BE(crc32(BYTES))
    let sums = [sum.toString('base64')]
    let cut = 0
    server.intercept = (request, response) => {
      if (request.headers.range !== undefined) return false
      const headers = {
        'content-length': BYTES.byteLength,
        etag: etag(),
        'x-amz-checksum-crc32': sums.shift(),
      }
      response.writeHead(200, headers)
      if (cut > 0) response.write(BYTES.subarray(0, cut), () => response.destroy())
      else response.end(BYTES)
      return true
    }
    t.ok((await buffer(new ObjectSource(URL_OF_BYTES, at()))).equals(BYTES))
    sums = ['AAAAAA==', 'unused']
    await t.rejects(buffer(new ObjectSource(URL_OF_BYTES, at())), {
      code: 'ERR_MILLRACE_S3_READ',
      offset: BYTES.byteLength,
      message: /Checksum mismatch/,
    })
    t.same(sums, ['unused'])
    sums = [sum.toString('base64')]
    cut = 100_000
    t.ok((await buffer(new ObjectSource(URL_OF_BYTES, at()))).equals(BYTES), 'cut beneath the check')
  },
)

t.test('ObjectSource: abort and destroy end the connection at once', async (t) => {
  for (const how of ['signal', 'destroy'] as const) {
    const abort = new AbortController()
    const closed = new Promise<void>((resolve) => {
      server.intercept = (_request, response) => {
        response.writeHead(200, { 'content-length': BYTES.byteLength, etag: etag() })
        response.write(BYTES.subarray(0, 1000))
        response.once('close', resolve)
        return true
      }
    })
    const source = new ObjectSource(URL_OF_BYTES, at({ signal: abort.signal }))
    source.on('error', (error) => t.equal(error.name, 'AbortError'))
    source.once('data', () => (how === 'signal' ? abort.abort() : source.destroy()))
    await once(source, 'close').catch(() => {})
    await closed
    t.pass(how)
  }
  const early = new ObjectSource(URL_OF_BYTES, at())
  early.destroy()
  await once(early, 'close')
  await t.rejects(buffer(new ObjectSource(URL_OF_BYTES, at({ signal: AbortSignal.abort() }))), {
    name: 'AbortError',
  })
})

t.test('ObjectSource: an abort while it waits for a retry is heard', async (t) => {
  const abort = new AbortController()
  const policy = new Policy({
    minDelay: 1e6,
    maxDelay: 1e6,
    random: () => 0.9,
    onRetry: () => setImmediate(() => abort.abort()),
  })
  const source = new ObjectSource(
    URL_OF_BYTES,
    at({ policy, signal: abort.signal, endpoint: 'http://127.0.0.1:1' }),
  )
  await t.rejects(buffer(source), { name: 'AbortError' })
})

t.test('ObjectSource: a policy of cockatiel will do', async (t) => {
  const policy = wrap(
    circuitBreaker(handleAll, { halfOpenAfter: 1, breaker: new ConsecutiveBreaker(3) }),
    timeout(60_000, TimeoutStrategy.Aggressive),
  )
  t.ok(
    (await buffer(new ObjectSource(URL_OF_BYTES, at({ policy })))).equals(BYTES),
    'the body outlives the signal of the attempt',
  )
})

t.test('ObjectSource: reads no further ahead than it may', async (t) => {
  const client = new MemoryClient()
  const big = Buffer.alloc(1 << 16)
  let taken = 0
  client.send = () =>
    Promise.resolve({
      Body: Readable.from(
        (function* () {
          for (; taken < 1000; taken++) yield big
        })(),
        { highWaterMark: 1 },
      ),
      ETag: '"1"',
      ContentLength: 1000 * big.byteLength,
    })
  const source = new ObjectSource('s3://b/big', { client, highWaterMark: 1 << 17 })
  source.once('readable', () => {})
  while (source.readableLength === 0) await new Promise(setImmediate)
  for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  t.ok(taken >= 2 && taken <= 5, `${taken} chunks were taken`)
  let read = 0
  await pipeline(
    source,
    new Writable({
      write: (chunk: Buffer, _encoding, callback) => ((read += chunk.byteLength), setImmediate(callback)),
    }),
  )
  t.equal(read, 1000 * big.byteLength)
})

t.test('ObjectSource: a range outside of the object is named before a byte is delivered', async (t) => {
  const size = BYTES.byteLength
  for (const [start, end] of [
    [0, size + 1],
    [size - 1, size + 1],
    [size, size + 1],
    [size + 1, undefined],
    [size + 5, size + 9],
    [size + 1, size + 1],
  ] as const) {
    const source = new ObjectSource(URL_OF_BYTES, at({ start, ...(end !== undefined && { end }) }))
    await t.rejects(buffer(source), { code: 'ERR_MILLRACE_S3_RANGE', expected: size }, `${start}-${end}`)
    t.equal(source.stats().bytesOut, 0)
  }
})

t.test('ObjectSource: a wrong key, bucket or credential is named, and not tried again', async (t) => {
  const failing = (url: string, options?: ObjectSourceOptions) => buffer(new ObjectSource(url, at(options)))
  await t.rejects(failing(`s3://${BUCKET}/nothing`), {
    code: 'ERR_MILLRACE_S3_READ',
    offset: 0,
    cause: { name: 'NoSuchKey' },
  })
  await t.rejects(failing('s3://nowhere/x'), { cause: { name: 'NoSuchBucket' } })
  await t.rejects(failing(URL_OF_BYTES, { credentials: { ...CREDENTIALS, accessKeyId: 'nobody' } }), {
    cause: { name: 'InvalidAccessKeyId' },
  })
  t.equal(server.requests.length, 3)
})

t.test('ObjectSource: an answer that is none is refused', async (t) => {
  const client = new MemoryClient()
  client.objects.set('x', BYTES)
  const wrong = (answer: object, options: ObjectSourceOptions = {}) => {
    client.answer = (_name, good) => ({ ...good, ...answer })
    return buffer(new ObjectSource('s3://b/x', { client, policy: quick, ...options }))
  }
  const refused = { code: 'ERR_MILLRACE_S3_READ' }
  await t.rejects(wrong({ Body: undefined }), refused)
  await t.rejects(wrong({ ContentLength: undefined }), refused)
  await t.rejects(wrong({ ContentRange: undefined }, { start: 5 }), refused)
  await t.rejects(wrong({ ContentRange: 'bytes 4-9/700001' }, { start: 5 }), {
    ...refused,
    message: /from 5 on, got bytes 4-9/,
  })
  await t.rejects(wrong({ ContentLength: 10 }), { ...refused, message: /more bytes than asked for/ })
  await t.rejects(wrong({ Body: Readable.from([]) }), {
    ...refused,
    attempts: 4,
    message: /ended before its first byte/,
  })
  const sizes = ['bytes 0-9/20', 'bytes 5-9/21']
  client.send = () =>
    Promise.resolve({
      Body: Readable.from([BYTES.subarray(0, 5)]),
      ContentRange: sizes.shift(),
      ContentLength: 5,
    })
  await t.rejects(buffer(new ObjectSource('s3://b/x', { client, end: 10 })), {
    code: 'ERR_MILLRACE_S3_CHANGED',
    offset: 5,
  })
  delete (client as Partial<MemoryClient>).send
  await t.rejects(wrong({ ContentLength: BYTES.byteLength + 1 }), { ...refused, offset: BYTES.byteLength })
})

t.test('ObjectSource: hooks see the chunks, and one that throws fails the source', async (t) => {
  const client = new MemoryClient()
  client.objects.set('x', BYTES)
  let bytes = 0
  let completed = false
  await buffer(
    new ObjectSource('s3://b/x', {
      client,
      onChunk: (chunk) => (bytes += chunk.bytes),
      onComplete: () => (completed = true),
    }),
  )
  t.equal(bytes, BYTES.byteLength)
  t.ok(completed)
  const fault = new Error('hook')
  const failing = new ObjectSource('s3://b/x', {
    client,
    onChunk: () => {
      throw fault
    },
  })
  await t.rejects(buffer(failing), fault)
  client.before = () => {
    throw s3Error('AccessDenied', 403)
  }
  const onError = new ObjectSource('s3://b/x', {
    client,
    onError: () => {
      throw fault
    },
  })
  await t.rejects(buffer(onError), fault)
})

t.test('ObjectSource: a wrong option is named', async (t) => {
  const wrong: ObjectSourceOptions[] = [
    { start: -1 },
    { start: 1.5 },
    { end: -1 },
    { start: 5, end: 4 },
    { idleTimeout: 0 },
    { idleTimeout: 2 ** 31 },
    { maxResumes: -1 },
    { highWaterMark: 1.5 },
    { signal: 1 as never },
    { endpoint: 'file:///x' },
  ]
  for (const options of wrong)
    t.throws(() => new ObjectSource('s3://b/k', options), OptionError, JSON.stringify(options))
})

t.test('ObjectSource: no timer or connection is left', async (t) => {
  const left = () => getActiveResourcesInfo().filter((name) => name === 'Timeout' || name === 'TCPSocketWrap')
  for (let i = 0; i < 20 && left().length > 0; i++) await delay(50)
  t.same(left(), [])
})

t.test('parseS3Url: bucket and key, as they stand', async (t) => {
  t.same(parseS3Url('s3://b/k'), { bucket: 'b', key: 'k' })
  t.same(parseS3Url('S3://b.c-d/a//b/ c?d#e%20\n/'), { bucket: 'b.c-d', key: 'a//b/ c?d#e%20\n/' })
  for (const url of [
    '',
    's3:',
    's3://',
    's3:///k',
    's3://b',
    's3://b/',
    'http://b/k',
    's3://b c/k',
    's3://b?/k',
    'x s3://b/k',
  ]) {
    t.throws(() => parseS3Url(url), OptionError, url)
  }
})

function etag(): string {
  return sharedTag
}
const sharedTag = (await etagOf('bytes'))!
async function etagOf(key: string): Promise<string | undefined> {
  const source = new ObjectSource(`s3://${BUCKET}/${key}`, at())
  await buffer(source)
  return source.etag
}

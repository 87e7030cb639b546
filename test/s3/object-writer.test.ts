import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getActiveResourcesInfo } from 'node:process'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { crc32 } from 'node:zlib'
import * as fc from 'fast-check'
import t from 'tap'
import { OptionError, type S3Error } from '../../src/errors.ts'
import { Policy } from '../../src/flow/index.ts'
import { MIN_PART_SIZE, ObjectWriter, isRetryableS3, type ObjectWriterOptions } from '../../src/s3/index.ts'
import { planPartSize } from '../../src/s3/part-size.ts'
import { anyCut } from '../../src/testing/index.ts'
import { MemoryClient, s3Error } from './helpers/memory-client.ts'
import { BUCKET, CREDENTIALS, S3Server, refuse } from './helpers/s3-server.ts'

const MiB = 2 ** 20
const quick = new Policy({ retries: 3, minDelay: 1, maxDelay: 5, retryable: isRetryableS3 })
const server = await new S3Server().start()
t.teardown(() => server.die())
t.beforeEach(() => {
  server.intercept = () => false
  server.requests.length = 0
})

/** Bytes in which no two stretches are alike. */
function sample(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let state = length | 1
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

const PATTERN = sample(17 * MiB + 3)
const at = (options: ObjectWriterOptions = {}) => ({ ...server.options(), policy: quick, ...options })
const write = (key: string, bytes: Uint8Array, options?: ObjectWriterOptions) => {
  const writer = new ObjectWriter(`s3://${BUCKET}/${key}`, at(options))
  return pipeline(Readable.from(chunksOf(bytes, 1 << 16)), writer).then(() => writer)
}
function* chunksOf(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let i = 0; i < bytes.byteLength; i += size) yield bytes.subarray(i, i + size)
}

t.test('ObjectWriter: what is stored does not depend on how the input was cut', async () => {
  let n = 0
  const inputs = fc.uint8Array({ maxLength: 300 })
  await fc.assert(
    fc.asyncProperty(
      inputs.chain((bytes) => anyCut(bytes).map((chunks) => ({ bytes, chunks }))),
      async ({ bytes, chunks }) => {
        const client = new MemoryClient()
        const key = `cut-${n++}`
        const writer = new ObjectWriter({ bucket: BUCKET, key }, { client })
        await pipeline(Readable.from(chunks), writer)
        const sum = Buffer.alloc(4)
        sum.writeUInt32BE(crc32(bytes))
        return (
          client.objects.get(key)!.equals(bytes) &&
          writer.bytesWritten === bytes.byteLength &&
          writer.checksum === sum.toString('base64')
        )
      },
    ),
    { numRuns: 60 },
  )
})

t.test('ObjectWriter: a chunk may be used again after the callback', async (t) => {
  const client = new MemoryClient()
  const writer = new ObjectWriter('s3://b/reused', { client, partSize: MIN_PART_SIZE })
  const chunk = Buffer.alloc(300_000)
  for (let i = 0; i < 40; i++) {
    chunk.fill(i)
    await new Promise<void>((resolve, reject) =>
      writer.write(chunk, (error) => (error ? reject(error) : resolve())),
    )
  }
  writer.end()
  await once(writer, 'finish')
  const stored = client.objects.get('reused')!
  t.equal(stored.byteLength, 12_000_000)
  t.ok(
    Array.from({ length: 40 }, (_, i) => i).every(
      (i) => stored[i * 300_000] === i && stored[(i + 1) * 300_000 - 1] === i,
    ),
  )
})

t.test(
  'ObjectWriter: an object has exactly its bytes, at every size around the edge of a part',
  async (t) => {
    for (const size of [
      0,
      1,
      MiB,
      MIN_PART_SIZE - 1,
      MIN_PART_SIZE,
      MIN_PART_SIZE + 1,
      2 * MIN_PART_SIZE,
      3 * MIN_PART_SIZE + 7,
    ]) {
      server.requests.length = 0
      const key = `size/${size} bytes?#%41`
      const bytes = PATTERN.subarray(0, size)
      const writer = await write(key, bytes, { partSize: MIN_PART_SIZE, ...(size % 2 === 0 && { size }) })
      t.ok(server.object(key)?.equals(bytes), `${size} bytes`)
      const parts = size <= MIN_PART_SIZE ? 0 : Math.ceil(size / MIN_PART_SIZE)
      t.equal(server.requests.filter((request) => request.startsWith('PUT')).length, Math.max(1, parts))
      t.equal(server.requests.at(-1), 'HEAD')
      t.ok(writer.etag)
      const { bytesIn, bytesOut, errors } = writer.stats()
      t.same({ bytesIn, bytesOut, errors }, { bytesIn: size, bytesOut: size, errors: 0 })
    }
    t.same(server.uploads(), [])
  },
)

t.test(
  'ObjectWriter: every request that carries bytes carries their checksum, unless told otherwise',
  async (t) => {
    const sums: unknown[] = []
    server.intercept = ({ method, headers }) => {
      if (method === 'PUT')
        sums.push([headers['x-amz-checksum-crc32'] !== undefined, headers['content-encoding']])
      return false
    }
    await write('sums', PATTERN.subarray(0, 100))
    await write('sums', PATTERN.subarray(0, 6 * MiB), { partSize: MIN_PART_SIZE })
    t.same(sums, [
      [true, undefined],
      [true, undefined],
      [true, undefined],
    ])
    sums.length = 0
    await write('sums', PATTERN.subarray(0, 100), { checksums: false })
    t.same(sums, [[false, undefined]])
  },
)

t.test('ObjectWriter: abort by signal ends the requests and leaves no parts', async (t) => {
  for (const when of ['a part is on its way', 'an upload is made']) {
    const abort = new AbortController()
    server.intercept = ({ url }) => {
      if (when === 'an upload is made' ? url!.includes('uploads') : url!.includes('partNumber=2')) {
        setImmediate(() => abort.abort(new Error('enough')))
        return url!.includes('partNumber')
      }
      return false
    }
    const writing = write('aborted', PATTERN, { partSize: MIN_PART_SIZE, signal: abort.signal })
    await t.rejects(writing, { name: 'AbortError' }, when)
    t.same(server.uploads(), [])
    t.equal(server.object('aborted'), undefined)
    t.ok(server.requests.includes('DELETE uploadId') || when === 'an upload is made')
  }
})

t.test('ObjectWriter: destroy closes only when no parts are left, and no handle either', async (t) => {
  const writer = new ObjectWriter(`s3://${BUCKET}/destroyed`, at({ partSize: MIN_PART_SIZE }))
  const sent = new Promise<void>((resolve) => {
    server.intercept = ({ url }) => {
      if (url!.includes('partNumber=2')) resolve()
      return false
    }
  })
  writer.on('error', () => {})
  writer.write(PATTERN)
  await sent
  t.equal(server.uploads().length, 1)
  writer.destroy()
  await once(writer, 'close')
  t.same(server.uploads(), [])
  const abort = new AbortController()
  const policy = new Policy({
    minDelay: 1e6,
    maxDelay: 1e6,
    random: () => 0.9,
    onRetry: () => setImmediate(() => abort.abort()),
  })
  const pausing = new ObjectWriter(
    `s3://${BUCKET}/pausing`,
    at({ policy, endpoint: 'http://127.0.0.1:1', signal: abort.signal, partSize: MIN_PART_SIZE }),
  )
  await t.rejects(
    pipeline(Readable.from([PATTERN]), pausing),
    { name: 'AbortError' },
    'in a pause before the upload is made',
  )
  const late = new ObjectWriter(`s3://${BUCKET}/late`, at({ signal: AbortSignal.abort() }))
  await t.rejects(once(late, 'finish'), { name: 'AbortError' })
  const idle = new ObjectWriter(`s3://${BUCKET}/idle`, at())
  idle.destroy()
  await once(idle, 'close')
  t.notOk(server.requests.includes('PUT'))
})

t.test(
  'ObjectWriter: a server that dies in the middle of a part and comes back gets the part again',
  async (t) => {
    let deaths = 0
    server.intercept = (request) => {
      if (!request.url!.includes('partNumber=2') || deaths > 0) return false
      deaths++
      request.once('data', () => void server.die().then(() => setTimeout(() => server.start(), 20)))
      return true
    }
    const policy = new Policy({ retries: 20, minDelay: 5, maxDelay: 20, retryable: isRetryableS3 })
    await write('survivor', PATTERN, { partSize: MIN_PART_SIZE, policy })
    t.equal(deaths, 1)
    t.ok(server.object('survivor')?.equals(PATTERN))
    t.same(server.uploads(), [])
  },
)

t.test('ObjectWriter: when the attempts are used up, the error says what was acknowledged', async (t) => {
  server.intercept = (request, response) => {
    if (!request.url!.includes('partNumber=2')) return false
    refuse(request, response, 503, 'SlowDown')
    return true
  }
  const error = (await write('given-up', PATTERN, { partSize: MIN_PART_SIZE, concurrency: 1 }).catch(
    (error: unknown) => error,
  )) as S3Error
  t.match(error, {
    code: 'ERR_MILLRACE_S3_WRITE',
    url: `s3://${BUCKET}/given-up`,
    attempts: 4,
    acknowledgedBytes: MIN_PART_SIZE,
    cause: { code: 'ERR_MILLRACE_RETRIES', cause: { name: 'SlowDown' } },
  })
  t.match(
    error.message,
    /at part 2: gave up after 4 attempts: .*\(5242880 of \d+ bytes had been acknowledged\)/,
  )
  t.same(server.uploads(), [])
})

t.test('ObjectWriter: a failure is told at once, and not when more bytes come', async (t) => {
  server.intercept = (request, response) => {
    if (!request.url!.includes('partNumber=1')) return false
    refuse(request, response, 403, 'AccessDenied')
    return true
  }
  const writer = new ObjectWriter(`s3://${BUCKET}/slow`, at({ partSize: MIN_PART_SIZE }))
  writer.write(PATTERN.subarray(0, 7 * MiB))
  const [error] = (await once(writer, 'error').catch((error: unknown) => [error])) as [S3Error]
  t.match(error, { code: 'ERR_MILLRACE_S3_WRITE', cause: { name: 'AccessDenied' }, acknowledgedBytes: 0 })
  if (!writer.closed) await once(writer, 'close')
  t.same(server.uploads(), [])
})

t.test('ObjectWriter: parts that cannot be removed are named', async (t) => {
  const client = new MemoryClient()
  client.before = (name) => {
    if (name === 'AbortMultipartUpload' || name === 'UploadPart') throw s3Error('AccessDenied', 403)
  }
  const writer = new ObjectWriter('s3://b/left', { client, partSize: MIN_PART_SIZE })
  await t.rejects(pipeline(Readable.from([PATTERN]), writer), {
    code: 'ERR_MILLRACE_S3_WRITE',
    uploadId: 'upload-0',
    message: /upload failed at part \d: .*; the parts of upload upload-0 could not be removed/,
  })
  const late = new MemoryClient()
  let aborts = 0
  late.before = (name) => {
    if (name === 'UploadPart') throw s3Error('AccessDenied', 403)
  }
  late.after = (name) => {
    // a part that was on its way is stored after the removal
    if (name === 'AbortMultipartUpload' && ++aborts < 2) late.uploads.set('upload-0', new Map())
  }
  await t.rejects(
    pipeline(
      Readable.from([PATTERN]),
      new ObjectWriter('s3://b/late', { client: late, partSize: MIN_PART_SIZE }),
    ),
  )
  t.equal(late.uploads.size, 0)
  t.equal(aborts, 2)
  // one that comes back for ever is named too
  late.after = (name) => void (name === 'AbortMultipartUpload' && late.uploads.set('upload-1', new Map()))
  late.uploads.set('upload-0', new Map())
  const endless = new ObjectWriter('s3://b/late', { client: late, partSize: MIN_PART_SIZE })
  await t.rejects(pipeline(Readable.from([PATTERN]), endless), {
    code: 'ERR_MILLRACE_S3_WRITE',
    uploadId: 'upload-1',
  })
})

t.test(
  'ObjectWriter: a completion whose answer was lost is recognised, and another object is not taken for it',
  async (t) => {
    for (const replaced of [false, true]) {
      const client = new MemoryClient()
      let lost = false
      client.after = (name, { Key }) => {
        if (name !== 'CompleteMultipartUpload' || lost) return
        lost = true
        if (replaced) client.objects.delete(Key)
        throw Object.assign(new Error('reset'), { code: 'ECONNRESET' })
      }
      if (replaced)
        client.answer = (name, answer) => (name === 'HeadObject' ? { ...answer, ETag: '"other-3"' } : answer)
      client.before = (name, { Key }) => {
        if (name === 'HeadObject' && replaced) client.objects.set(Key, PATTERN)
      }
      const writer = new ObjectWriter('s3://b/lost', { client, policy: quick, partSize: MIN_PART_SIZE })
      const writing = pipeline(Readable.from([PATTERN]), writer)
      if (replaced)
        await t.rejects(writing, { code: 'ERR_MILLRACE_S3_WRITE', cause: { name: 'NoSuchUpload' } })
      else {
        await writing
        t.match(writer.etag, /^"[0-9a-f]{32}-4"$/)
        t.ok(client.objects.get('lost')?.equals(PATTERN))
      }
    }
  },
)

t.test('ObjectWriter: a stored object of another size or sum is an error', async (t) => {
  const client = new MemoryClient()
  client.answer = (name, answer) => (name === 'HeadObject' ? { ContentLength: 103 } : answer)
  const bytes = PATTERN.subarray(0, 100)
  const to = (options: object) =>
    pipeline(Readable.from([bytes]), new ObjectWriter('s3://b/x', { client, ...options }))
  await t.rejects(to({}), { code: 'ERR_MILLRACE_S3_SIZE', expected: 100, actual: 103 })
  await to({ verify: false })
  client.answer = (name, answer) =>
    name === 'PutObject' ? { ...answer, ChecksumType: 'FULL_OBJECT', ChecksumCRC32: 'AAAAAA==' } : answer
  await t.rejects(to({}), { code: 'ERR_MILLRACE_S3_CHECKSUM', actual: 'AAAAAA==' })
  let asked: unknown
  client.answer = (name, answer) => (name === 'PutObject' ? { ...answer, VersionId: 'v1' } : answer)
  client.before = (name, input) => void (name === 'HeadObject' && (asked = input))
  const versioned = new ObjectWriter('s3://b/x', { client })
  await pipeline(Readable.from([bytes]), versioned)
  t.equal(versioned.versionId, 'v1')
  t.match(asked, { VersionId: 'v1' })
  client.before = (name) => {
    if (name === 'HeadObject') throw s3Error('AccessDenied', 403)
  }
  await t.rejects(to({}), {
    code: 'ERR_MILLRACE_S3_WRITE',
    message: /stored, but its size cannot be asked for/,
  })
})

t.test('ObjectWriter: more or fewer bytes than size store nothing', async (t) => {
  for (const size of [99, 101]) {
    await t.rejects(write('wrong-size', PATTERN.subarray(0, 100), { size }), {
      code: 'ERR_MILLRACE_S3_SIZE',
      expected: size,
      actual: 100,
    })
  }
  const open = new ObjectWriter('s3://b/x', { client: new MemoryClient(), expectedSize: 10 ** 9 })
  const most = 10_000 * open.partSize
  // nobody has 80 GB at hand: only the length of this chunk is looked at
  const endless = { byteLength: most + 1 } as Buffer
  const fault = await new Promise((resolve) => open._write(endless, 'utf8', resolve))
  t.match(fault, {
    code: 'ERR_MILLRACE_S3_SIZE',
    expected: most,
    actual: most + 1,
    message: /give expectedSize/,
  })
  t.equal(server.object('wrong-size'), undefined)
  t.same(server.requests, [], 'the server was never asked')
})

t.test('ObjectWriter: memory is bounded while the store does not answer', async (t) => {
  const client = new MemoryClient()
  client.before = (name, _input, signal) => {
    if (name !== 'UploadPart') return
    return new Promise((_resolve, reject) =>
      signal!.addEventListener('abort', () => reject(signal!.reason as Error)),
    )
  }
  const writer = new ObjectWriter('s3://b/stuck', {
    client,
    partSize: MIN_PART_SIZE,
    concurrency: 2,
    policy: quick,
  })
  writer.on('error', () => {})
  const chunk = Buffer.alloc(MiB)
  for (let i = 0; i < 100; i++) writer.write(chunk)
  while (client.commands.length < 3) await new Promise(setImmediate)
  let before = -1
  while (writer.bytesWritten !== before) {
    before = writer.bytesWritten
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  }
  t.ok(before <= 4 * (MIN_PART_SIZE + MiB), `${before} bytes were taken`)
  t.ok(before >= 2 * MIN_PART_SIZE)
  writer.destroy()
  await once(writer, 'close')
  t.equal(client.uploads.size, 0)
})

t.test('ObjectWriter: a wrong key, bucket or endpoint is named, with what was acknowledged', async (t) => {
  const small = PATTERN.subarray(0, 10)
  await t.rejects(write('x', small, { credentials: { ...CREDENTIALS, accessKeyId: 'nobody' } }), {
    code: 'ERR_MILLRACE_S3_WRITE',
    cause: { name: 'InvalidAccessKeyId' },
  })
  const writer = new ObjectWriter('s3://nowhere/x', at())
  await t.rejects(pipeline(Readable.from([small]), writer), {
    code: 'ERR_MILLRACE_S3_WRITE',
    cause: { name: 'NoSuchBucket' },
    message: /s3:\/\/nowhere\/x: upload failed: .*\(0 of 10 bytes had been acknowledged\)/,
  })
  await t.rejects(write('x', small, { endpoint: 'http://127.0.0.1:1' }), {
    code: 'ERR_MILLRACE_S3_WRITE',
    attempts: 4,
  })
})

t.test('ObjectWriter: finds the store as the AWS tools do, by environment and by profile', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-aws-'))
  const saved = { ...process.env }
  t.teardown(() => {
    process.env = saved
    rmSync(folder, { recursive: true })
  })
  const url = `http://localhost:${server.port}`
  const home = {
    AWS_CONFIG_FILE: join(folder, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(folder, 'credentials'),
  }
  const keys = {
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
  }
  writeFileSync(home.AWS_CONFIG_FILE, `[profile local]\nregion = eu-west-1\nendpoint_url = ${url}\n`)
  writeFileSync(
    home.AWS_SHARED_CREDENTIALS_FILE,
    `[local]\naws_access_key_id = ${keys.AWS_ACCESS_KEY_ID}\naws_secret_access_key = ${keys.AWS_SECRET_ACCESS_KEY}\n`,
  )
  const clean = Object.fromEntries(Object.entries(saved).filter(([name]) => !name.startsWith('AWS_')))
  for (const [name, env] of Object.entries({
    environment: { ...home, ...keys, AWS_ENDPOINT_URL: url },
    'environment of S3': { ...home, ...keys, AWS_ENDPOINT_URL_S3: url, AWS_REGION: 'eu-central-1' },
    profile: { ...home, AWS_PROFILE: 'local' },
  })) {
    process.env = { ...clean, ...env }
    await pipeline(
      Readable.from([Buffer.from(name)]),
      new ObjectWriter(`s3://${BUCKET}/${name}`, { policy: quick }),
    )
    t.equal(server.object(name)?.toString(), name)
  }
})

t.test('ObjectWriter: hooks see the parts, and one that throws fails the upload', async (t) => {
  const chunks: number[] = []
  let completed = 0
  await write('hooks', PATTERN.subarray(0, 6 * MiB), {
    partSize: MIN_PART_SIZE,
    concurrency: 1,
    onChunk: ({ bytes }) => chunks.push(bytes),
    onComplete: ({ bytesOut }) => (completed = bytesOut),
    params: { ContentType: 'text/x-mill', Metadata: { run: '1' } },
  })
  t.same(chunks, [MIN_PART_SIZE, MiB])
  t.equal(completed, 6 * MiB)
  const failing = write('hooks-fail', PATTERN.subarray(0, 10), {
    onChunk: () => {
      throw new Error('hook')
    },
  })
  await t.rejects(failing, { cause: { message: 'hook' } })
  const late = write('hooks-fail', PATTERN.subarray(0, 10), {
    onComplete: () => {
      throw new Error('hook')
    },
  })
  await t.rejects(late, { message: 'hook' })
})

t.test('ObjectWriter: no timer or connection is left', async (t) => {
  for (let i = 0; i < 20 && left().length > 0; i++) await new Promise((resolve) => setTimeout(resolve, 50))
  t.same(left(), [])
  function left(): string[] {
    return getActiveResourcesInfo().filter((name) => name === 'Timeout' || name === 'TCPSocketWrap')
  }
})

t.test('planPartSize: no object runs past 10 000 parts, and all sizes are allowed ones', async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10_000 * 5 * 1024 * MiB }), fc.boolean(), (size, known) => {
      const partSize = planPartSize(known ? size : undefined, known ? undefined : size, undefined)
      return (
        partSize >= 8 * MiB &&
        partSize <= 5 * 1024 * MiB &&
        partSize % MiB === 0 &&
        Math.ceil(size / partSize) <= 10_000
      )
    }),
  )
  t.equal(planPartSize(undefined, undefined, undefined), 32 * MiB)
  t.equal(planPartSize(80_000 * MiB, undefined, undefined), 8 * MiB)
  t.equal(planPartSize(80_000 * MiB + 1, undefined, undefined), 9 * MiB)
  t.equal(planPartSize(undefined, 80_000 * MiB, undefined), 16 * MiB, 'may become twice as large')
  t.equal(planPartSize(50_000 * MiB, undefined, 5 * MiB), 5 * MiB)
  t.throws(() => planPartSize(50_000 * MiB + 1, undefined, 5 * MiB), OptionError)
})

t.test('ObjectWriter: a wrong option is named', async (t) => {
  const wrong: ObjectWriterOptions[] = [
    { size: -1 },
    { size: 1.5 },
    { size: 10_000 * 5 * 1024 * MiB + 1 },
    { expectedSize: -1 },
    { partSize: MIN_PART_SIZE - 1 },
    { partSize: 5 * 1024 * MiB + 1 },
    { concurrency: 0 },
    { verify: 1 as never },
    { checksums: 'x' as never },
    { endpoint: 'localhost:9000' },
    { region: 1 as never },
    { forcePathStyle: 'yes' as never },
    { client: {} as never },
    { policy: {} as never },
    { highWaterMark: -1 },
    { signal: {} as never },
    { onChunk: 1 as never },
  ]
  for (const options of wrong)
    t.throws(() => new ObjectWriter('s3://b/k', options), OptionError, Object.keys(options)[0]!)
  for (const target of [
    'b/k',
    's3://b',
    's3://b/',
    `s3://b/${'é'.repeat(513)}`,
    {},
    { bucket: 'b' },
    undefined,
  ]) {
    t.throws(() => new ObjectWriter(target as never), OptionError, JSON.stringify(target))
  }
  t.doesNotThrow(() => new ObjectWriter(`s3://b/${'é'.repeat(512)}`, { client: new MemoryClient() }))
})

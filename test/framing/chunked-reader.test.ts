import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { pathToFileURL } from 'node:url'
import * as fc from 'fast-check'
import t from 'tap'
import { FileError, MillraceError, OptionError, StateError } from '../../src/errors.ts'
import { BufferPool } from '../../src/flow/buffer-pool.ts'
import { ChunkedReader, MAX_CHUNK_SIZE, type ChunkedReaderOptions } from '../../src/framing/chunked-reader.ts'
import { FileSource } from '../../src/framing/file-source.ts'
import type { ChunkedReaderInput } from '../../src/framing/open-chunk-source.ts'

const dir = t.testdir({})
const bytes = Buffer.from(Uint8Array.from({ length: 10_000 }, (_, i) => (i * 7 + (i >> 8)) & 255))
const file = join(dir, 'file.bin')
fs.writeFileSync(file, bytes)

/** A new file of its own, for tests that change it. */
let made = 0
function newFile(content: Uint8Array | string = bytes): string {
  const path = join(dir, `file-${made++}`)
  fs.writeFileSync(path, content)
  return path
}

/** A FIFO of which this process holds a writing end. */
function newFifo(): { path: string; fd: number } {
  const path = join(dir, `fifo-${made++}`)
  execFileSync('mkfifo', [path])
  return { path, fd: fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK) }
}

const openDescriptors = () => fs.readdirSync('/proc/self/fd').length

/** Borrowed chunks, copied, and the error that ended them. */
async function borrow(reader: ChunkedReader, options = {}): Promise<{ chunks: Buffer[]; error: unknown }> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of reader.borrowed(options)) chunks.push(Buffer.from(chunk))
  } catch (error) {
    return { chunks, error }
  }
  return { chunks, error: undefined }
}

/** Chunks of the stream, read slowly enough that some are buffered, and the error that ended them. */
async function stream(reader: ChunkedReader): Promise<{ chunks: Buffer[]; error: unknown }> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of reader) {
      chunks.push(chunk as Buffer)
      await new Promise(setImmediate)
    }
  } catch (error) {
    return { chunks, error }
  }
  if (!reader.closed) await once(reader, 'close')
  return { chunks, error: undefined }
}

const ways = { stream, borrow }
const lengths = (chunks: readonly Buffer[]) => chunks.map((chunk) => chunk.length)

t.test(
  'ChunkedReader: gives the bytes of the range in chunks of one size, as a stream and borrowed',
  async () => {
    const cases = fc.record({
      chunkSize: fc.oneof(fc.constant('auto' as const), fc.integer({ min: 100, max: 12_000 })),
      range: fc
        .tuple(fc.nat(10_000), fc.nat(10_000))
        .map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) })),
      highWaterMark: fc.constantFrom(1, 5000, 1e6),
      buffers: fc.integer({ min: 1, max: 7 }),
    })
    await fc.assert(
      fc.asyncProperty(cases, async ({ chunkSize, range: { start, end }, highWaterMark, buffers }) => {
        const expected = bytes.subarray(start, end)
        const size = chunkSize === 'auto' ? bytes.length : chunkSize
        const options = { chunkSize, start, end, highWaterMark }
        for (const chunks of [
          (await stream(new ChunkedReader(file, options))).chunks,
          (await borrow(new ChunkedReader(file, options), { buffers })).chunks,
        ]) {
          assert.ok(Buffer.concat(chunks).equals(expected))
          assert.ok(chunks.slice(0, -1).every((chunk) => chunk.length === size))
          assert.ok(chunks.every((chunk) => chunk.length > 0 && chunk.length <= size))
        }
      }),
      { numRuns: 60 },
    )
  },
)

t.test('ChunkedReader: chunks of the stream are fresh and own their memory', async (t) => {
  const { chunks } = await stream(new ChunkedReader(file, { chunkSize: 3000 }))
  t.strictSame(lengths(chunks), [3000, 3000, 3000, 1000])
  t.ok(chunks.every((chunk) => chunk.byteLength === chunk.buffer.byteLength))
  t.equal(new Set(chunks.map((chunk) => chunk.buffer)).size, 4)
})

t.test('ChunkedReader.borrowed: recycles its buffers, and a kept view changes', async (t) => {
  const pool = new BufferPool({ size: 1000, max: 4, check: true })
  const kept: Buffer[] = []
  let most = 0
  for await (const chunk of new ChunkedReader(file).borrowed({ pool, buffers: 3 })) {
    kept.push(chunk)
    most = Math.max(most, pool.stats.lent)
    t.notOk(chunk.every((byte) => byte === 0xdb))
  }
  t.equal(kept.length, 10, 'the size of the pool is the chunk size')
  t.ok(kept.every((chunk) => chunk.every((byte) => byte === 0xdb)))
  t.equal(most, 3)
  t.match(pool.stats, { allocated: 3, lent: 0, free: 3 })
})

t.test('ChunkedReader.borrowed: takes chunks smaller than the buffers of a pool, not larger', async (t) => {
  const pool = new BufferPool({ size: 4096, max: 4 })
  const { chunks } = await borrow(new ChunkedReader(file, { chunkSize: 4000 }), { pool })
  t.strictSame(lengths(chunks), [4000, 4000, 2000])
  const larger = new ChunkedReader(file, { chunkSize: 4097 })
  t.throws(() => larger.borrowed({ pool }), OptionError)
  larger.destroy()
  await once(larger, 'close')
})

t.test(
  'ChunkedReader: takes a path, a URL, a descriptor and a FileHandle, and closes what it opened',
  async (t) => {
    const before = openDescriptors()
    const fd = fs.openSync(file, 'r')
    const handle = await open(file)
    const inputs: ChunkedReaderInput[] = [file, pathToFileURL(file), fd, handle]
    for (const input of inputs) {
      for (const way of Object.values(ways)) {
        const { chunks } = await way(new ChunkedReader(input, { start: 9 }))
        t.ok(Buffer.concat(chunks).equals(bytes.subarray(9)))
      }
    }
    t.equal(openDescriptors(), before + 2, 'what was given stays open')
    await stream(new ChunkedReader(fd, { autoClose: true }))
    t.throws(() => fs.fstatSync(fd), { code: 'EBADF' })
    await borrow(new ChunkedReader(handle, { autoClose: true }))
    t.equal(handle.fd, -1)
    t.equal(openDescriptors(), before)
  },
)

t.test('ChunkedReader: knows the size once it is ready, and counts', async (t) => {
  const seen: number[] = []
  let complete
  const reader = new ChunkedReader(file, {
    chunkSize: 6000,
    onChunk: ({ bytes }) => seen.push(bytes),
    onComplete: (stats) => (complete = stats),
  })
  t.equal(reader.size, undefined)
  await once(reader, 'ready')
  t.equal(reader.size, 10_000)
  t.equal(reader.bytesRead, 0)
  await stream(reader)
  t.equal(reader.bytesRead, 10_000)
  t.match(reader.stats(), { bytesIn: 10_000, bytesOut: 10_000, chunks: 2, errors: 0 })
  t.strictSame(seen, [6000, 4000])
  t.match(complete, { bytesOut: 10_000 })

  const borrowed = new ChunkedReader(file)
  await once(borrowed, 'ready')
  await borrow(borrowed)
  t.match(borrowed.stats(), { bytesOut: 10_000, chunks: 1 })
})

t.test('ChunkedReader: a hook that throws fails the reader with what it threw', async (t) => {
  const onChunk = () => {
    throw new RangeError('hook')
  }
  const onComplete = onChunk
  const onError = onChunk
  for (const way of Object.values(ways)) {
    t.match((await way(new ChunkedReader(file, { onChunk }))).error, { message: 'hook' })
    t.match((await way(new ChunkedReader(file, { onComplete }))).error, { message: 'hook' })
    t.match((await way(new ChunkedReader('missing', { onError }))).error, { code: 'ENOENT' })
  }
})

t.test('ChunkedReader: options out of range are refused, and the limits are not', async (t) => {
  const wrong: ChunkedReaderOptions[] = [
    { chunkSize: 0 },
    { chunkSize: 1.5 },
    { chunkSize: MAX_CHUNK_SIZE + 1 },
    { start: -1 },
    { end: -1 },
    { start: 2, end: 1 },
    { highWaterMark: 0 },
    { signal: {} as AbortSignal },
    { autoClose: 1 as unknown as boolean },
    { into: {} as never },
    { onChunk: 1 as never },
  ]
  for (const options of wrong) t.throws(() => new ChunkedReader(file, options), OptionError)
  for (const input of [-1, 1.5, {}, null, undefined, new URL('http://localhost/')]) {
    t.throws(() => new ChunkedReader(input as never), OptionError)
  }
  const reader = new ChunkedReader(file, { start: 1, end: 1 })
  t.throws(() => reader.borrowed({ buffers: 0 }), OptionError)
  t.throws(() => reader.borrowed({ pool: {} as never }), OptionError)
  t.throws(() => reader.borrowed({ pool: { size: 0, get() {}, put() {} } as never }), OptionError)
  t.strictSame((await borrow(reader)).chunks, [])
  t.strictSame(
    lengths((await stream(new ChunkedReader(file, { chunkSize: MAX_CHUNK_SIZE }))).chunks),
    [10_000],
  )
})

t.test('ChunkedReader: a start at the end of the file is empty, one past it is refused', async (t) => {
  for (const way of Object.values(ways)) {
    t.same(await way(new ChunkedReader(file, { start: 10_000 })), { chunks: [], error: undefined })
    const { error } = await way(new ChunkedReader(file, { start: 10_001 }))
    t.type(error, OptionError)
    t.match(error, { option: 'start', message: /at most the size of .*, 10000 bytes, got 10001/ })
    t.same(await way(new ChunkedReader(newFile(''))), { chunks: [], error: undefined })
  }
})

t.test('ChunkedReader: what cannot be opened or read fails with the error of the system', async (t) => {
  const before = openDescriptors()
  for (const way of Object.values(ways)) {
    t.match((await way(new ChunkedReader(join(dir, 'missing')))).error, { code: 'ENOENT', syscall: 'open' })
    t.match((await way(new ChunkedReader(dir))).error, { code: 'EISDIR' })
    t.match((await way(new ChunkedReader(9999))).error, { code: 'EBADF' })
  }
  const failed = new ChunkedReader(join(dir, 'missing'))
  await once(failed, 'close').catch(() => {})
  t.match((await borrow(failed)).error, { code: 'ENOENT' }, 'borrowed after the failure')
  t.equal(openDescriptors(), before)
})

t.test('ChunkedReader: a file that grows ends at the size it had, unless end says otherwise', async (t) => {
  for (const [name, way] of Object.entries(ways)) {
    for (const [end, expected] of [
      [undefined, 10_000],
      [10_000, 10_000],
      [10_003, 10_003],
      [20_000, 10_010],
      [Infinity, 10_010],
    ] as const) {
      const path = newFile()
      const reader = new ChunkedReader(path, { chunkSize: 3000, ...(end && { end }) })
      await once(reader, 'ready')
      fs.appendFileSync(path, '0123456789')
      const { chunks, error } = await way(reader)
      t.equal(error, undefined)
      t.equal(Buffer.concat(chunks).length, expected, `${name}, end ${end}`)
    }
  }
})

t.test(
  'ChunkedReader: a file that shrinks fails at the offset where it now ends, after all before',
  async (t) => {
    for (const [name, way] of Object.entries(ways)) {
      for (const shrunk of [0, 4000, 6000, 9999]) {
        const path = newFile()
        const reader = new ChunkedReader(path, { chunkSize: 2000, highWaterMark: 8000 })
        await once(reader, 'ready')
        fs.truncateSync(path, shrunk)
        const { chunks, error } = await way(reader)
        t.type(error, FileError)
        t.match(error, { code: 'ERR_MILLRACE_FILE_SHRUNK', offset: shrunk, expected: 10_000, actual: shrunk })
        t.ok(Buffer.concat(chunks).equals(bytes.subarray(0, shrunk)), `${name}, ${shrunk} bytes`)
        t.equal(reader.stats().errors, 1)
      }
    }
  },
)

t.test(
  'ChunkedReader: devices and files of /proc and /sys have no size and are read to their end',
  async (t) => {
    for (const way of Object.values(ways)) {
      t.same(await way(new ChunkedReader('/dev/null')), { chunks: [], error: undefined })
      const zeros = new ChunkedReader('/dev/zero', { end: 100_000, chunkSize: 60_000 })
      const { chunks } = await way(zeros)
      t.strictSame(lengths(chunks), [60_000, 40_000])
      t.equal(zeros.size, undefined)
      const version = new ChunkedReader('/proc/version')
      t.ok(Buffer.concat((await way(version)).chunks).equals(fs.readFileSync('/proc/version')))
      t.equal(version.size, undefined)
      t.match((await way(new ChunkedReader('/dev/zero', { start: 1 }))).error, { option: 'start' })
    }
    const { chunks } = await stream(new ChunkedReader('/sys/kernel/mm/transparent_hugepage/enabled'))
    t.ok(chunks.length === 1 && chunks[0]!.length < 4096, 'says a size of 4096 bytes, and has fewer')
  },
)

t.test('ChunkedReader: a sparse file is read by its size', async (t) => {
  const path = newFile('')
  fs.truncateSync(path, 70_000)
  const reader = new ChunkedReader(path, { start: 60_000 })
  t.equal(Buffer.concat((await stream(reader)).chunks).length, 10_000)
  t.equal(reader.size, 70_000)
})

t.test('ChunkedReader: a FIFO by path or descriptor gives what comes, up to its end', async (t) => {
  const before = openDescriptors()
  for (const way of Object.values(ways)) {
    for (const by of ['path', 'descriptor', 'handle', '/dev/fd'] as const) {
      const fifo = newFifo()
      const handle =
        by === 'handle' ? await open(fifo.path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK) : undefined
      const inputs = { path: fifo.path, descriptor: fifo.fd, handle, '/dev/fd': `/dev/fd/${fifo.fd}` }
      fs.writeSync(fifo.fd, 'hello ')
      const reader = new ChunkedReader(inputs[by]!, { end: 11, autoClose: by === 'handle' })
      await once(reader, 'ready')
      t.equal(reader.size, undefined)
      fs.writeSync(fifo.fd, 'world, and more')
      const { chunks, error } = await way(reader)
      t.equal(error, undefined)
      t.equal(String(Buffer.concat(chunks)), 'hello world')
      fs.closeSync(fifo.fd)
    }
  }
  const { path, fd } = newFifo()
  const reader = new ChunkedReader(path)
  await once(reader, 'ready')
  fs.writeSync(fd, bytes)
  fs.closeSync(fd)
  t.ok(Buffer.concat((await stream(reader)).chunks).equals(bytes), 'ends when the last writer has gone')
  const taken = newFifo()
  fs.writeSync(taken.fd, 'x')
  const owner = new ChunkedReader(taken.fd, { autoClose: true, end: 1 })
  t.equal(String(await buffer(owner)), 'x')
  t.throws(() => fs.fstatSync(taken.fd), { code: 'EBADF' }, 'taken over')
  t.equal(openDescriptors(), before)
})

t.test('ChunkedReader: a FIFO has no start', async (t) => {
  const { path, fd } = newFifo()
  for (const way of Object.values(ways)) {
    const { error } = await way(new ChunkedReader(path, { start: 1 }))
    t.type(error, OptionError)
    t.match(error, { option: 'start', actual: 1, message: /not a regular file/ })
  }
  fs.closeSync(fd)
})

t.test('ChunkedReader: an abort does not wait for a silent FIFO', async (t) => {
  const path = join(dir, `fifo-${made++}`)
  execFileSync('mkfifo', [path])
  const before = openDescriptors()
  const isPipe = (resource: string) => resource === 'PipeWrap'
  const resources = process.getActiveResourcesInfo().filter(isPipe)
  for (const way of Object.values(ways)) {
    const controller = new AbortController()
    const reader = new ChunkedReader(path, { signal: controller.signal })
    reader.once('ready', () => setImmediate(() => controller.abort()))
    const closed = once(reader, 'close').catch(() => {})
    const { error } = await way(reader)
    t.match(error, { name: 'AbortError' })
    await closed
  }
  t.equal(openDescriptors(), before)
  t.strictSame(process.getActiveResourcesInfo().filter(isPipe), resources)
})

t.test('ChunkedReader: /dev/stdin that is a socket is read too', async (t) => {
  const script = join(dir, 'child.ts')
  const module = pathToFileURL(join(import.meta.dirname, '../../src/framing/chunked-reader.ts')).href
  fs.writeFileSync(
    script,
    `import { ChunkedReader } from ${JSON.stringify(module)}
     for (const input of ['/dev/stdin']) {
       const reader = new ChunkedReader(input)
       let text = ''
       for await (const chunk of reader.borrowed()) text += chunk
       console.log(JSON.stringify([text, reader.size ?? null]))
     }`,
  )
  // a parent that is Node gives its child a socket as a pipe
  const child = spawn(process.execPath, [...process.execArgv, script], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.write('first ')
  setImmediate(() => child.stdin.end('second'))
  t.strictSame(JSON.parse(String(await buffer(child.stdout))), ['first second', null])
})

t.test('ChunkedReader: a socket that must stay open is refused', async (t) => {
  const { createServer, connect } = await import('node:net')
  const server = createServer((socket) => socket.end('x')).listen(join(dir, 'socket'))
  const socket = connect(join(dir, 'socket'))
  await once(socket, 'connect')
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  const { error } = await stream(new ChunkedReader(fd))
  t.match(error, { option: 'autoClose' })
  t.doesNotThrow(() => fs.fstatSync(fd))
  socket.destroy()
  server.close()
  await once(server, 'close')
})

t.test('ChunkedReader: abort, destroy and break close the file and end the reading', async (t) => {
  const before = openDescriptors()
  t.match((await borrow(new ChunkedReader(file, { signal: AbortSignal.abort() }))).error, {
    name: 'AbortError',
  })
  t.match((await stream(new ChunkedReader(file, { signal: AbortSignal.abort() }))).error, {
    name: 'AbortError',
  })

  const controller = new AbortController()
  const aborted = new ChunkedReader(file, { chunkSize: 1000, signal: controller.signal })
  let count = 0
  await t.rejects(
    async () => {
      for await (const chunk of aborted.borrowed()) {
        t.equal(chunk.length, 1000)
        if (++count === 3) controller.abort()
      }
    },
    { name: 'AbortError' },
  )
  t.equal(count, 3)

  const broken = new ChunkedReader(file, { chunkSize: 1000 })
  for await (const chunk of broken.borrowed()) {
    t.equal(chunk.length, 1000)
    break
  }
  t.ok(broken.closed)

  const destroyed = new ChunkedReader(file, { chunkSize: 1000 })
  const chunks = destroyed.borrowed()
  await chunks.next()
  destroyed.destroy()
  await t.rejects(chunks.next(), { code: 'ERR_MILLRACE_READER_DESTROYED' })

  const streamed = new ChunkedReader(file, { chunkSize: 10 })
  streamed.once('data', () => streamed.destroy())
  await once(streamed, 'close')
  const unread = new ChunkedReader(file)
  unread.destroy()
  await once(unread, 'close')
  await t.rejects(unread.borrowed().next(), { code: 'ERR_MILLRACE_READER_DESTROYED' })
  t.equal(openDescriptors(), before)
})

t.test('FileSource: closes its descriptor once, after the reads, whenever it is told to', async (t) => {
  for (const when of ['by who gets a read', 'while one is under way', 'before one']) {
    const fd = fs.openSync(file, 'r')
    let closed = 0
    const close = (done: (error: Error | null) => void) => {
      closed++
      fs.close(fd, done)
    }
    const source = new FileSource('file', { fd, close }, bytes.length)
    const closing = () => new Promise<Error | null>((resolve) => source.close(resolve))
    const reading = (then = () => {}) =>
      new Promise<number>((resolve) =>
        source.read(Buffer.alloc(9), 9, 0, (_, read) => {
          then()
          resolve(read)
        }),
      )
    if (when === 'by who gets a read') t.equal(await reading(() => void closing()), 9)
    else if (when === 'before one') t.strictSame(await Promise.all([closing(), reading()]), [null, 0], when)
    else t.strictSame(await Promise.all([reading(), closing()]), [9, null], when)
    await new Promise(setImmediate)
    t.equal(closed, 1, when)
  }
})

t.test('ChunkedReader: a read under way ends before the file is closed', async (t) => {
  const pool = new BufferPool({ size: 100, max: 4, check: true })
  const reader = new ChunkedReader(file)
  const chunks = reader.borrowed({ pool, buffers: 4 })
  await chunks.next()
  t.equal(pool.stats.lent, 4)
  // three reads are under way now, or have just been done
  await chunks.return()
  t.ok(reader.closed)
  t.match(pool.stats, { lent: 0, free: 4 })
  for (let i = 0; i < 4; i++)
    t.ok(
      pool.get().every((byte) => byte === 0xdb),
      'nothing wrote into a returned buffer',
    )
})

t.test('ChunkedReader: can be read once', async (t) => {
  const twice = new ChunkedReader(file, { chunkSize: 1000 })
  const first = twice.borrowed()
  t.throws(() => twice.borrowed(), StateError)
  await first.next()
  twice.resume()
  await once(twice, 'close').catch(() => {})
  await t.rejects(first.next(), { code: 'ERR_MILLRACE_READER_IN_USE' })

  const streamed = new ChunkedReader(file, { chunkSize: 1000 })
  streamed.resume()
  await once(streamed, 'data')
  t.throws(() => streamed.borrowed(), { code: 'ERR_MILLRACE_READER_IN_USE' })
  await once(streamed, 'end')
  t.ok(MillraceError.is(new StateError('ERR_MILLRACE_READER_IN_USE', '')))
})

t.test('ChunkedReader: reads into the memory of a consumer', async (t) => {
  const slots = new SharedArrayBuffer(4 * 3000)
  const released: Buffer[] = []
  let next = 0
  const asked: number[] = []
  const into = {
    alloc(size: number) {
      asked.push(size)
      const slot = Buffer.from(slots, 3000 * (next++ % 4), 3000)
      return next % 2 ? slot : Promise.resolve(slot)
    },
    release: (memory: Buffer) => void released.push(memory),
  }
  const { chunks } = await stream(new ChunkedReader(file, { chunkSize: 3000, into }))
  t.ok(Buffer.concat(chunks).equals(bytes))
  t.ok(chunks.every((chunk) => chunk.buffer === slots))
  t.strictSame(asked, [3000, 3000, 3000, 1000])
  t.equal(released.length, 0)

  const short = { alloc: () => Buffer.alloc(7) }
  const { chunks: shortened } = await stream(new ChunkedReader(file, { end: 20, into: short }))
  t.strictSame(lengths(shortened), [7, 7, 6])

  const unread = new ChunkedReader(file, { into })
  t.throws(() => unread.borrowed(), OptionError)
  unread.destroy()
})

t.test('ChunkedReader: memory of a consumer that holds no chunk is released', async (t) => {
  const released: number[] = []
  const into = {
    alloc: (size: number) => Buffer.alloc(size),
    release: (memory: Buffer) => void released.push(memory.length),
  }
  const { chunks } = await stream(new ChunkedReader('/proc/version', { chunkSize: 10_000, into }))
  t.equal(chunks.length, 1)
  t.strictSame(released, [10_000], 'at the end of the input')

  let give: ((buffer: Buffer) => void) | undefined
  const waiting = new ChunkedReader(file, {
    into: { ...into, alloc: () => new Promise<Buffer>((resolve) => (give = resolve)) },
  })
  waiting.resume()
  await once(waiting, 'ready')
  await new Promise(setImmediate)
  waiting.destroy()
  await once(waiting, 'close')
  give!(Buffer.alloc(5))
  await new Promise(setImmediate)
  t.strictSame(released, [10_000, 5], 'after a destroy that did not wait for it')

  const during = new ChunkedReader(file, {
    into: {
      ...into,
      alloc: () => {
        setImmediate(() => during.destroy())
        return Buffer.alloc(6)
      },
    },
  })
  during.resume()
  await once(during, 'close')
  t.ok(released.length <= 3 && released.every((size) => [10_000, 5, 6].includes(size)))
})

t.test('ChunkedReader: a consumer that gives no memory fails it', async (t) => {
  const { error } = await stream(new ChunkedReader(file, { into: { alloc: () => Buffer.alloc(0) } }))
  t.type(error, OptionError)
  const refused = { alloc: () => Promise.reject(new Error('no room')) }
  t.match((await stream(new ChunkedReader(file, { into: refused }))).error, { message: 'no room' })
  const thrown = {
    alloc: () => {
      throw new Error('no slot')
    },
  }
  t.match((await stream(new ChunkedReader(file, { into: thrown }))).error, { message: 'no slot' })
})

t.test('ChunkedReader: works in pipeline(), with web streams and with events', async (t) => {
  const received: Buffer[] = []
  const sink = new Writable({
    highWaterMark: 1,
    write: (chunk: Buffer, _encoding, done) => (received.push(chunk), setImmediate(done)),
  })
  await pipeline(new ChunkedReader(file, { chunkSize: 999 }), sink)
  t.ok(Buffer.concat(received).equals(bytes))

  const web = Readable.toWeb(new ChunkedReader(file, { chunkSize: 999 }))
  t.ok(Buffer.from(await new Response(web as never).arrayBuffer()).equals(bytes))

  const events = new ChunkedReader(file, { chunkSize: 999 })
  const seen: Buffer[] = []
  events.on('data', (chunk: Buffer) => seen.push(chunk))
  await once(events, 'end')
  t.ok(Buffer.concat(seen).equals(bytes))
})

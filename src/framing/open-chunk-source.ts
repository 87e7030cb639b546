import { constants, fstat, open, stat, statfs, type Stats, type StatsFs } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { OptionError } from '../errors.ts'
import type { ChunkSource } from './chunk-source.ts'
import { FileSource, ownedDescriptor, type Descriptor } from './file-source.ts'

/** What {@link ChunkedReader} reads from: a path, a `file:` URL, a descriptor or a `FileHandle`. */
export type ChunkedReaderInput = string | URL | number | FileHandle

/** Paths that mean a descriptor of this process. */
const DESCRIPTOR_PATH = /^\/(?:dev\/stdin|(?:dev|proc\/self)\/fd\/(\d+))$/

/** Types of Linux file systems whose files say a size that is not the length of their content (proc, sysfs, cgroup, …). */
const SYNTHETIC_FILE_SYSTEMS = new Set([
  0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x64626720, 0x74726163, 0x73636673,
])

/**
 * Opens a path or takes a descriptor, and finds out how it is best read.
 *
 * @throws {@link OptionError} if a socket is given and must not be closed.
 */
export async function openChunkSource(input: ChunkedReaderInput, autoClose: boolean): Promise<ChunkSource> {
  if (typeof input === 'string' || input instanceof URL) return openPath(input)
  const fd = typeof input === 'number' ? input : input.fd
  const name = `descriptor ${fd}`
  if (!autoClose) return sourceOf(name, { fd, close: (done) => done(null) }, false)
  if (typeof input === 'number') return sourceOf(name, ownedDescriptor(fd), true)
  // a FileHandle closes itself: were its descriptor closed under it, it would later close whatever file got that number
  return sourceOf(name, { fd, close: (done) => void input.close().then(() => done(null), done) }, false)
}

async function openPath(path: string | URL): Promise<ChunkSource> {
  const name = path instanceof URL ? fileURLToPath(path) : path
  const flags = await openFlags(path)
  let fd: number
  try {
    fd = await called<number>((done) => open(path, flags, done))
  } catch (error) {
    const match = DESCRIPTOR_PATH.exec(name)
    const { code = '' } = error as NodeJS.ErrnoException
    // a socket has no name to be opened by, and a parent process may well give one, or a pipe of another user, as stdin
    if (!match || !['ENXIO', 'EACCES'].includes(code)) throw error
    return sourceOf(name, ownedDescriptor(Number(match[1] ?? 0)), true)
  }
  return sourceOf(name, ownedDescriptor(fd), true)
}

/** Opening a FIFO blocks a thread until a writer comes, and cannot be aborted; Linux can wait for it in the event loop. */
async function openFlags(path: string | URL): Promise<number> {
  if (process.platform !== 'linux') return constants.O_RDONLY
  // what is wrong with the path, open() will say better
  const stats = await called<Stats>((done) => stat(path, done)).catch(() => undefined)
  return stats?.isFIFO() ? constants.O_RDONLY | constants.O_NONBLOCK : constants.O_RDONLY
}

/** `handOver`: whether a pipe may take the descriptor itself over, which then needs no other close. */
async function sourceOf(name: string, descriptor: Descriptor, handOver: boolean): Promise<ChunkSource> {
  const { fd } = descriptor
  try {
    const stats = await called<Stats>((done) => fstat(fd, done))
    if (stats.isFile()) {
      return new FileSource(name, descriptor, (await isSynthetic(fd, stats)) ? undefined : stats.size)
    }
    const device = !stats.isFIFO() && !stats.isSocket()
    if (device && !stats.isCharacterDevice()) return new FileSource(name, descriptor, undefined)
    // only now: the modules for sockets and terminals cost 1 to 5 MB, which readers of files need not pay
    const { PipeSource, isTerminal } = await import('./pipe-source.ts')
    if (device && !isTerminal(fd)) return new FileSource(name, descriptor, undefined)
    if (handOver) return new PipeSource(name, fd, (done) => done(null))
    return new PipeSource(name, await reopened(fd), (done) => descriptor.close(done))
  } catch (error) {
    await new Promise((resolve) => descriptor.close(resolve))
    throw error
  }
}

async function isSynthetic(fd: number, { blocks }: Stats): Promise<boolean> {
  // real files with content nearly always have blocks: asking about the others only keeps an ordinary open cheap
  if (blocks > 0 || process.platform !== 'linux') return false
  try {
    const { type } = await called<StatsFs>((done) => statfs(`/proc/self/fd/${fd}`, done))
    return SYNTHETIC_FILE_SYSTEMS.has(type)
    /* v8 ignore start -- needs a Linux without /proc */
  } catch {
    return false
  }
  /* v8 ignore stop */
}

/** A descriptor of our own on the same pipe, so that ending with it leaves the caller's alone. */
async function reopened(fd: number): Promise<number> {
  if (fd <= 2) return fd
  try {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK
    return await called<number>((done) => open(`/proc/self/fd/${fd}`, flags, done))
  } catch (cause) {
    const error = new OptionError('autoClose', false, 'true for a socket, which reading takes over')
    error.cause = cause
    throw error
  }
}

/** A call with a callback as a promise (`util.promisify` would load all of `node:util`, 3 MB on Node 24). */
function called<T>(call: (done: (error: Error | null, result: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, result) => (error ? reject(error) : resolve(result)))
  })
}

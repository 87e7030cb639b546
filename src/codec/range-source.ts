import { open, type FileHandle } from 'node:fs/promises'
import { FileError, OptionError } from '../errors.ts'
import { checkInteger, checkMethods } from '../options.ts'

/** Bytes that can be read anywhere: a file, an object in a store, or what you make of it. */
export interface RangeSource {
  /** Bytes that there are. */
  readonly size: number
  /** The bytes from `start` up to, but not including, `end`, all of them. */
  read(start: number, end: number): Promise<Buffer>
  close?(): Promise<void>
}

/** What can be read anywhere: a path, a `file:` URL, bytes in memory, or a {@link RangeSource}. */
export type RangeInput = string | URL | Uint8Array | RangeSource

export async function openRangeSource(input: RangeInput): Promise<RangeSource> {
  if (typeof input === 'string' || input instanceof URL) return FileRangeSource.open(input)
  if (input instanceof Uint8Array) {
    const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength)
    return { size: bytes.length, read: async (start, end) => bytes.subarray(start, end) }
  }
  checkMethods('input', input, ['read'])
  checkInteger('input.size', input.size)
  return input
}

class FileRangeSource implements RangeSource {
  readonly size: number
  readonly #file: FileHandle

  private constructor(file: FileHandle, size: number) {
    this.#file = file
    this.size = size
  }

  static async open(path: string | URL): Promise<FileRangeSource> {
    const file = await open(path)
    const info = await file.stat()
    if (info.isFile()) return new FileRangeSource(file, info.size)
    await file.close()
    throw new OptionError('input', String(path), 'a regular file: others cannot be read anywhere')
  }

  async read(start: number, end: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(end - start)
    for (let filled = 0; filled < buffer.length;) {
      const { bytesRead } = await this.#file.read(buffer, filled, buffer.length - filled, start + filled)
      if (bytesRead === 0) {
        throw new FileError(
          'ERR_MILLRACE_FILE_SHRUNK',
          `expected ${this.size} bytes, as there were when the file was opened, got only ${start + filled}`,
          { offset: start + filled, expected: this.size, actual: start + filled },
        )
      }
      filled += bytesRead
    }
    return buffer
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

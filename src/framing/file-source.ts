import { close, read } from 'node:fs'
import type { ChunkSource, ReadCallback } from './chunk-source.ts'

/** A descriptor, and how to let go of it. */
export interface Descriptor {
  readonly fd: number
  close(done: (error: Error | null) => void): void
}

/** A descriptor that is closed in the end. */
export function ownedDescriptor(fd: number): Descriptor {
  return { fd, close: (done) => close(fd, (error) => done(error ?? null)) }
}

/**
 * Reads through `fs.read` with a callback, which was measured 10 to 15 % faster below 1 MiB than the promises of a
 * `FileHandle`. Regular files are read at positions; devices and files of /proc in sequence.
 */
export class FileSource implements ChunkSource {
  readonly name: string
  readonly size: number | undefined
  readonly #descriptor: Descriptor
  #reading = 0
  #isClosing = false
  #onClosed: ((error: Error | null) => void) | undefined

  constructor(name: string, descriptor: Descriptor, size: number | undefined) {
    this.name = name
    this.size = size
    this.#descriptor = descriptor
  }

  read(target: Buffer, length: number, position: number, done: ReadCallback): void {
    // the number may be that of another file by now
    if (this.#isClosing) return process.nextTick(done, null, 0)
    this.#reading++
    let filled = 0
    const step = () =>
      read(
        this.#descriptor.fd,
        target,
        filled,
        length - filled,
        this.size === undefined ? null : position + filled,
        (error, bytes) => {
          filled += bytes
          // a file may give less than asked for and still not be at its end (a signal, a network file system)
          const again = !error && bytes > 0 && filled < length && this.size !== undefined && !this.#isClosing
          if (again) return step()
          this.#reading--
          done(error, filled)
          this.#closeWhenIdle()
        },
      )
    step()
  }

  close(done: (error: Error | null) => void): void {
    this.#isClosing = true
    this.#onClosed = done
    this.#closeWhenIdle()
  }

  /** Once, though it is asked for twice when `close` is called by who gets the last read: to close a number again may close another file. */
  #closeWhenIdle(): void {
    // a read under way would go on writing into its buffer, or read from whatever file gets the number next
    if (this.#reading > 0 || this.#onClosed === undefined) return
    const done = this.#onClosed
    this.#onClosed = undefined
    this.#descriptor.close(done)
  }
}

import { CodecError } from '../errors.ts'

/** Refuses input that unpacks to more than so many bytes for one. */
export class RatioLimit {
  readonly #maxRatio: number

  constructor(maxRatio: number) {
    this.#maxRatio = maxRatio
  }

  /** @throws {@link CodecError} when `rawBytes` came, or are to come, of `packedBytes`. */
  check(rawBytes: number, packedBytes: number): void {
    if (rawBytes <= this.#maxRatio * packedBytes) return
    throw new CodecError(
      'ERR_MILLRACE_CODEC_LIMIT',
      `byte ${packedBytes}: ${rawBytes} bytes unpacked from ${packedBytes} are more than ${this.#maxRatio} for one`,
      { offset: packedBytes, rawOffset: rawBytes, expected: this.#maxRatio, actual: rawBytes / packedBytes },
    )
  }
}

import { OptionError } from '../errors.ts'
import { checkInteger, checkMethods } from '../options.ts'

/** What a codec is told beside the bytes to pack. */
export interface PackOptions {
  /** The level that was asked for; undefined for the codec's own default. */
  readonly level: number | undefined
  /** Raw bytes that the decoder will know, too: at most `contextBytes` of them. */
  readonly context: Buffer | undefined
}

/** What a codec is told beside the bytes to unpack. */
export interface UnpackOptions {
  /** Bytes that must come out. A codec takes no more memory than that, whatever the packed bytes say. */
  readonly rawLength: number
  readonly context: Buffer | undefined
}

/**
 * Packs and unpacks one block of bytes. The bytes that it is given are lent until its answer has come; what it gives belongs to
 * the caller. The same bytes must always pack to the same bytes.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { promisify } from 'node:util'
 * import zlib from 'node:zlib'
 * import { pipeline } from 'node:stream/promises'
 * import { Readable } from 'node:stream'
 * import { buffer } from 'node:stream/consumers'
 * import { StreamingDecoder, StreamingEncoder, type BlockCodec } from 'millrace'
 *
 * const deflate = promisify(zlib.deflate)
 * const inflate = promisify(zlib.inflate)
 * const best: BlockCodec = {
 *   name: 'zlib-9',
 *   pack: (bytes) => deflate(bytes, { level: 9 }),
 *   unpack: (bytes, { rawLength }) => inflate(bytes, { maxOutputLength: Math.max(1, rawLength) }),
 * }
 * const text = Buffer.from('over and '.repeat(1000))
 * const packed = await buffer(Readable.from([text]).pipe(new StreamingEncoder({ codec: best })))
 * assert(packed.length < 300)
 * const raw = await buffer(Readable.from([packed]).pipe(new StreamingDecoder({ codecs: [best] })))
 * assert(raw.equals(text))
 * ```
 */
export interface BlockCodec {
  /** 1 to 15 characters of ASCII, which the container keeps, so that its reader knows what it needs. */
  readonly name: string
  /** Most bytes of context that it can use, up to 512 KiB. @defaultValue 0: it takes none */
  readonly contextBytes?: number
  pack(bytes: Buffer, options: PackOptions): Buffer | Promise<Buffer>
  unpack(bytes: Buffer, options: UnpackOptions): Buffer | Promise<Buffer>
  /** Lets go of threads and the like. Called when a stage ends; work on other blocks may come later all the same. */
  close?(): void | Promise<void>
}

export function checkCodec(option: string, codec: BlockCodec): BlockCodec {
  checkMethods(option, codec, ['pack', 'unpack'])
  if (typeof codec.name !== 'string' || !/^[\u0021-\u007e]{1,15}$/.test(codec.name)) {
    throw new OptionError(`${option}.name`, codec.name, '1 to 15 characters of ASCII')
  }
  checkInteger(`${option}.contextBytes`, codec.contextBytes ?? 0, 0, 524_288)
  return codec
}

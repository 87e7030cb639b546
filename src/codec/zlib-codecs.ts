import zlib from 'node:zlib'
import { CodecError, MillraceError, NodeVersionError, OptionError, asError } from '../errors.ts'
import { checkInteger } from '../options.ts'
import type { BlockCodec } from './block-codec.ts'
import { ownMemory } from './own-memory.ts'

/** Codecs that need no package. */
export type CodecName = 'deflate' | 'brotli' | 'zstd' | 'store'

/** A codec that Node has, and what its options may be. */
export interface BuiltInCodec extends BlockCodec {
  readonly name: CodecName
  readonly contextBytes: number
  readonly defaultLevel: number
  readonly levels: readonly [number, number]
}

/** How far back deflate can refer, in bytes. */
const DEFLATE_WINDOW = 32_768
/** Most context that a codec may take, in bytes. zstd takes that much: with a quarter of it large blocks pack worse than by themselves. */
export const MAX_CONTEXT_BYTES = 524_288
/** With what zstd dictionaries of its own format begin; any other bytes are plain content. */
const ZSTD_DICTIONARY_MAGIC = 0xec30a437

type ZlibCall = (
  bytes: Buffer,
  options: object,
  callback: (error: Error | null, result: Buffer) => void,
) => void

/** One call of zlib, which runs in libuv's pool. */
export function callZlib(call: ZlibCall, bytes: Buffer, options: object): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    call(bytes, options, (error, result) => (error ? reject(error) : resolve(ownMemory(result))))
  })
}

/** All of a block at once: the default of 16 KiB would call the pool again and again, and join what it gave by copying. */
export function packedBound(length: number): number {
  return length + (length >>> 8) + 1024
}

/** Room for one byte more, without which zlib would ask whether there is more in a call of its own. */
const unpackInto = (rawLength: number) => ({
  chunkSize: Math.max(64, rawLength + 1),
  maxOutputLength: Math.max(1, rawLength),
})

const deflate: BuiltInCodec = {
  name: 'deflate',
  contextBytes: DEFLATE_WINDOW,
  defaultLevel: 6,
  levels: [0, 9],
  pack: (bytes, { level = 6, context }) =>
    callZlib(zlib.deflateRaw, bytes, {
      level,
      chunkSize: packedBound(bytes.length),
      ...(context && { dictionary: context }),
    }),
  unpack: (bytes, { rawLength, context }) =>
    callZlib(zlib.inflateRaw, bytes, { ...unpackInto(rawLength), ...(context && { dictionary: context }) }),
}

const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } = zlib.constants

const brotli: BuiltInCodec = {
  name: 'brotli',
  contextBytes: 0,
  defaultLevel: 4,
  levels: [0, 11],
  pack: (bytes, { level = 4 }) =>
    callZlib(zlib.brotliCompress, bytes, {
      chunkSize: packedBound(bytes.length),
      params: { [BROTLI_PARAM_QUALITY]: level, [BROTLI_PARAM_SIZE_HINT]: bytes.length },
    }),
  unpack: (bytes, { rawLength }) => callZlib(zlib.brotliDecompress, bytes, unpackInto(rawLength)),
}

const zstd: BuiltInCodec = {
  name: 'zstd',
  contextBytes: MAX_CONTEXT_BYTES,
  defaultLevel: 3,
  levels: [1, 22],
  /* v8 ignore start -- Node 22.15 and later, where the suite runs, too */
  pack: (bytes, { level = 3, context }) =>
    callZlib(needZstd('packing with zstd').zstdCompress, bytes, {
      ...zstdOptions(bytes.length, level, false),
      ...zstdContext(context),
    }),
  unpack: (bytes, { rawLength, context }) =>
    callZlib(needZstd('unpacking zstd').zstdDecompress, bytes, {
      ...unpackInto(rawLength),
      ...zstdContext(context),
    }),
  /* v8 ignore stop */
}

const store: BuiltInCodec = {
  name: 'store',
  contextBytes: 0,
  defaultLevel: 0,
  levels: [0, 0],
  pack: (bytes) => bytes,
  unpack: (bytes) => Buffer.from(bytes),
}

const BUILT_IN: Readonly<Record<CodecName, BuiltInCodec>> = { deflate, brotli, zstd, store }

/** The codec of that name, if Node has it. */
export function builtInCodec(name: string): BuiltInCodec | undefined {
  return Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name as CodecName] : undefined
}

/** Whether this Node packs and unpacks zstd: 22.15 and later do. */
export const hasZstd = typeof zlib.createZstdCompress === 'function'

/** What zlib has of zstd. @throws {@link NodeVersionError} where it has nothing. */
export function needZstd(what: string): typeof zlib {
  if (hasZstd) return zlib
  /* v8 ignore next 6 -- before Node 22.15, where the suite runs, too */
  throw new NodeVersionError(
    'ERR_MILLRACE_NODE_VERSION',
    `${what} needs Node 22.15 or later, this is ${process.version}`,
    { expected: '22.15.0', actual: process.versions.node },
  )
}

/* v8 ignore start -- Node 22.15 and later */
export function zstdOptions(length: number, level: number, checksum: boolean): object {
  const { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag } = zlib.constants
  return {
    chunkSize: packedBound(length),
    // the size in the frame: decoders can then take the memory at once, and zstd fits its tables to it
    pledgedSrcSize: length,
    params: { [ZSTD_c_compressionLevel]: level, [ZSTD_c_checksumFlag]: checksum ? 1 : 0 },
  }
}
/* v8 ignore stop */

export function checkLevel(codec: BuiltInCodec, level: number | undefined): number {
  return checkInteger('level', level ?? codec.defaultLevel, codec.levels[0], codec.levels[1])
}

/** The end of `bytes`, as much of it as the codec can use. */
export function contextOf(codec: BlockCodec, bytes: Buffer): Buffer | undefined {
  let from = Math.max(0, bytes.length - (codec.contextBytes ?? 0))
  /* v8 ignore start -- Node 22.15 and later */
  // plain bytes that look like a dictionary of zstd's own format would be read as one
  if (codec.name === 'zstd') {
    while (bytes.length - from >= 4 && bytes.readUInt32LE(from) === ZSTD_DICTIONARY_MAGIC) from++
  }
  /* v8 ignore stop */
  return from === bytes.length ? undefined : bytes.subarray(from)
}

let zstdTakesContext: boolean | undefined

/* v8 ignore start -- Node 22.15 and later */
/** Early versions of Node's zstd know no dictionaries, and ignore them without a word. */
function zstdContext(context: Buffer | undefined): object {
  if (context === undefined) return {}
  if (zstdTakesContext === undefined) {
    const sample = Buffer.from('a sample that is in its own dictionary')
    zstdTakesContext = zlib.zstdCompressSync(sample, { dictionary: sample }).length < sample.length
  }
  if (!zstdTakesContext) {
    throw new NodeVersionError(
      'ERR_MILLRACE_NODE_VERSION',
      `zstd with a context needs Node 22.19 or later, this is ${process.version}`,
      { expected: '22.19.0', actual: process.versions.node },
    )
  }
  return { dictionary: context }
}
/* v8 ignore stop */

/** @throws {@link OptionError} for a codec that cannot take context. */
export function checkContext(codec: BlockCodec, context: string): void {
  if (context !== 'none' && (codec.contextBytes ?? 0) === 0) {
    throw new OptionError('context', context, `'none' with the codec ${codec.name}`)
  }
}

/** What a codec threw, with the place of the block. */
export function codecFailed(
  error: unknown,
  what: string,
  facts: ConstructorParameters<typeof CodecError>[2],
): Error {
  if (MillraceError.is(error)) return error
  return new CodecError('ERR_MILLRACE_CODEC_FAILED', `${what}: ${asError(error).message}`, {
    ...facts,
    cause: error,
  })
}

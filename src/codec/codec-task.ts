import { asError } from '../errors.ts'
import type { BlockCodec } from './block-codec.ts'

/** What a worker has to know of a codec. */
export interface CodecModule {
  /** URL of a module that exports `pack` and `unpack`. */
  readonly module: string
}

/** One block on its way to a worker. */
export interface CodecTask {
  readonly kind: 'pack' | 'unpack'
  readonly bytes: Buffer
  readonly level: number | undefined
  readonly rawLength: number
  readonly context: Buffer | undefined
}

const HEADER_BYTES = 13
const PACK = 1
const HAS_LEVEL = 2
const HAS_CONTEXT = 4

/** A task as bytes, which reach a worker through shared memory. */
export function writeTask({ kind, bytes, level, rawLength, context }: CodecTask): Buffer {
  const message = Buffer.allocUnsafeSlow(HEADER_BYTES + (context?.length ?? 0) + bytes.length)
  message[0] =
    (kind === 'pack' ? PACK : 0) | (level === undefined ? 0 : HAS_LEVEL) | (context ? HAS_CONTEXT : 0)
  message.writeInt32LE(level ?? 0, 1)
  message.writeUInt32LE(rawLength, 5)
  message.writeUInt32LE(context?.length ?? 0, 9)
  if (context) message.set(context, HEADER_BYTES)
  message.set(bytes, message.length - bytes.length)
  return message
}

function readTask(message: Buffer): CodecTask {
  const flags = message[0]!
  const bytesAt = HEADER_BYTES + message.readUInt32LE(9)
  return {
    kind: (flags & PACK) === 0 ? 'unpack' : 'pack',
    level: (flags & HAS_LEVEL) === 0 ? undefined : message.readInt32LE(1),
    rawLength: message.readUInt32LE(5),
    context: (flags & HAS_CONTEXT) === 0 ? undefined : message.subarray(HEADER_BYTES, bytesAt),
    bytes: message.subarray(bytesAt),
  }
}

let codec: Promise<BlockCodec> | undefined

/** The handler of the workers. What the codec throws is an answer, too: a damaged block must not end the stage of all others. */
export async function runCodecTask(
  message: Uint8Array,
  { workerData }: { readonly workerData: CodecModule },
): Promise<Buffer> {
  const { kind, bytes, level, rawLength, context } = readTask(
    Buffer.from(message.buffer, message.byteOffset, message.byteLength),
  )
  codec ??= import(workerData.module) as Promise<BlockCodec>
  const loaded = await codec
  try {
    const result =
      kind === 'pack'
        ? await loaded.pack(bytes, { level, context })
        : await loaded.unpack(bytes, { rawLength, context })
    return answer(0, result)
  } catch (error) {
    return answer(1, Buffer.from(asError(error).message))
  }
}

function answer(failed: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([failed]), bytes])
}

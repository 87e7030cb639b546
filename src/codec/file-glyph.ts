import { CodecError } from '../errors.ts'
import { CONTAINER_VERSION, LINE_ENDS } from './container-writer.ts'

/** What the first glyph of a container says. */
export interface FileFacts {
  /** Name of the codec. */
  readonly codec: string
  /** Most raw bytes of a block. */
  readonly blockSize: number
  /** Blocks from one that needs no other to the next such block; 0 where none needs another. */
  readonly restartEvery: number
}

/** Reads the payload of a file glyph, whose checksum is right. */
export function readFilePayload(raw: Buffer, offset: number): FileFacts {
  if (raw[0] !== CONTAINER_VERSION) {
    throw new CodecError(
      'ERR_MILLRACE_CODEC_UNKNOWN',
      `byte ${offset}: a container of version ${raw[0]}, where ${CONTAINER_VERSION} is known`,
      { offset, expected: CONTAINER_VERSION, actual: raw[0] },
    )
  }
  const codec = raw.toString('latin1', 7, 22).replace(/\0+$/, '')
  const facts = { codec, restartEvery: raw.readUInt16LE(1), blockSize: raw.readUInt32LE(3) }
  if (codec !== '' && facts.blockSize > 0 && raw.subarray(23).equals(LINE_ENDS)) return facts
  throw new CodecError(
    'ERR_MILLRACE_CODEC_INVALID',
    `byte ${offset}: the beginning of a container makes no sense`,
    {
      offset,
    },
  )
}

import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { S3ClientLike } from '../../../src/s3/index.ts'

interface Input {
  readonly Key: string
  readonly Body?: Uint8Array
  readonly UploadId?: string
  readonly PartNumber?: number
  readonly Range?: string
  readonly MultipartUpload?: {
    readonly Parts: readonly { readonly PartNumber: number; readonly ETag: string }[]
  }
}

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex')

/** A store in memory behind the commands of the SDK. Sees all of them, and can fail or delay each. */
export class MemoryClient implements S3ClientLike {
  readonly objects = new Map<string, Buffer>()
  readonly uploads = new Map<string, Map<number, Buffer>>()
  readonly commands: string[] = []
  /** Called before each command is carried out. */
  before: (name: string, input: Input, signal?: AbortSignal) => Promise<void> | void = () => {}
  /** Called when it has been, before the answer is given. */
  after: (name: string, input: Input) => Promise<void> | void = () => {}
  /** May change an answer. */
  answer: (name: string, answer: object) => object = (_name, answer) => answer
  readonly #tags = new Map<string, string>()

  async send(
    command: { readonly input: Input },
    options?: { readonly abortSignal?: AbortSignal },
  ): Promise<unknown> {
    const name = command.constructor.name.replace(/Command$/, '')
    this.commands.push(name)
    await this.before(name, command.input, options?.abortSignal)
    const answer = this.#carryOut(name, command.input)
    await this.after(name, command.input)
    return this.answer(name, answer)
  }

  #carryOut(
    name: string,
    { Key, Body, UploadId = '', PartNumber = 0, Range, MultipartUpload }: Input,
  ): object {
    const parts = this.uploads.get(UploadId)
    switch (name) {
      case 'PutObject':
        return this.#store(Key, Buffer.from(Body!), md5(Body!))
      case 'CreateMultipartUpload':
        this.uploads.set(`upload-${this.uploads.size}`, new Map())
        return { UploadId: `upload-${this.uploads.size - 1}` }
      case 'UploadPart':
        if (parts === undefined) throw s3Error('NoSuchUpload', 404)
        parts.set(PartNumber, Buffer.from(Body!))
        return { ETag: `"${md5(Body!)}"` }
      case 'CompleteMultipartUpload': {
        if (parts === undefined) throw s3Error('NoSuchUpload', 404)
        const ordered = MultipartUpload!.Parts.map((part) => parts.get(part.PartNumber)!)
        this.uploads.delete(UploadId)
        const tag = md5(Buffer.concat(ordered.map((part) => Buffer.from(md5(part), 'hex'))))
        return this.#store(Key, Buffer.concat(ordered), `${tag}-${ordered.length}`)
      }
      case 'AbortMultipartUpload':
        if (!this.uploads.delete(UploadId)) throw s3Error('NoSuchUpload', 404)
        return {}
      case 'ListParts':
        if (parts === undefined) throw s3Error('NoSuchUpload', 404)
        return { Parts: [...parts.keys()] }
      case 'HeadObject':
        return { ContentLength: this.#get(Key).byteLength, ETag: this.#tags.get(Key) }
      case 'GetObject': {
        const whole = this.#get(Key)
        const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(Range ?? '') ?? []
        const start = Number(from ?? 0)
        const end = to ? Math.min(Number(to) + 1, whole.byteLength) : whole.byteLength
        if (Range !== undefined && start >= whole.byteLength) throw s3Error('InvalidRange', 416)
        return {
          Body: Readable.from(start === end ? [] : [whole.subarray(start, end)]),
          ETag: this.#tags.get(Key),
          ContentLength: end - start,
          ...(Range !== undefined && { ContentRange: `bytes ${start}-${end - 1}/${whole.byteLength}` }),
        }
      }
      default:
        throw new Error(`unexpected command ${name}`)
    }
  }

  #store(key: string, bytes: Buffer, tag: string): object {
    this.objects.set(key, bytes)
    this.#tags.set(key, `"${tag}"`)
    return { ETag: `"${tag}"` }
  }

  #get(key: string): Buffer {
    const bytes = this.objects.get(key)
    if (bytes === undefined) throw s3Error('NoSuchKey', 404)
    return bytes
  }
}

export function s3Error(name: string, httpStatusCode: number): Error {
  return Object.assign(new Error(`the store says ${name}`), { name, $metadata: { httpStatusCode } })
}

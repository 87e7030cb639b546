import { OptionError } from '../errors.ts'

/** Longest key that S3 takes, in bytes of UTF-8. */
export const MAX_KEY_LENGTH = 1024

/** Which object. */
export interface ObjectAddress {
  readonly bucket: string
  readonly key: string
}

/**
 * `s3://bucket/key` in, bucket and key out. The key is everything after the first slash, as it stands: nothing is decoded, so
 * that any key can be written, with `?`, `#`, `%` and blanks.
 *
 * @throws {@link OptionError} when it is no such URL, has no key, or one of more than 1024 bytes.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { parseS3Url } from 'millrace/s3'
 *
 * assert.deepEqual(parseS3Url('s3://bench/run 1/100%.bin'), { bucket: 'bench', key: 'run 1/100%.bin' })
 * ```
 */
export function parseS3Url(url: string): ObjectAddress {
  const parts = /^s3:\/\/([^/\s?#]+)\/([^]+)$/i.exec(url)
  if (!parts) throw new OptionError('url', url, 's3://bucket/key')
  return checkAddress('url', { bucket: parts[1]!, key: parts[2]! })
}

/** The object as a person would write it. */
export function formatS3Url({ bucket, key }: ObjectAddress): string {
  return `s3://${bucket}/${key}`
}

/** An object named in either way. */
export function addressOf(name: string, target: string | ObjectAddress): ObjectAddress {
  if (typeof target === 'string') return parseS3Url(target)
  const { bucket, key } = (target ?? {}) as Partial<ObjectAddress>
  if (typeof bucket !== 'string' || bucket === '' || typeof key !== 'string' || key === '') {
    throw new OptionError(name, target, 's3://bucket/key, or an object with bucket and key')
  }
  return checkAddress(name, { bucket, key })
}

function checkAddress(name: string, address: ObjectAddress): ObjectAddress {
  const length = Buffer.byteLength(address.key)
  if (length <= MAX_KEY_LENGTH) return address
  throw new OptionError(
    name,
    formatS3Url(address),
    `a key of at most ${MAX_KEY_LENGTH} bytes (it has ${length})`,
  )
}

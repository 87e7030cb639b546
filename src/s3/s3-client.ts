import type { S3ClientConfig } from '@aws-sdk/client-s3'
import { OptionError } from '../errors.ts'
import { Policy, isRetryable, type PolicyLike } from '../flow/index.ts'
import { loadPeer } from '../load-peer.ts'
import { checkBoolean, checkString } from '../options.ts'

/** How often a request to an object store is tried again unless the policy says otherwise. */
export const DEFAULT_S3_RETRIES = 4

/** How long one request may take unless the policy says otherwise, in milliseconds. */
export const DEFAULT_S3_TIMEOUT = 300_000

/** What is used of an `S3Client` of `@aws-sdk/client-s3`: anything that takes its commands will do. */
export interface S3ClientLike {
  // oxlint-disable-next-line typescript/no-explicit-any -- the SDK's commands and answers, or those of a stand-in
  send(command: any, options?: { readonly abortSignal?: AbortSignal }): Promise<any>
  readonly config?: object
}

/** How to reach the store. What is left out comes from where the AWS tools take it: environment, profile files, roles. */
export interface S3ConnectionOptions {
  /** A client to use as it is. It stays open, and its own retries come on top of those of the policy. */
  readonly client?: S3ClientLike
  /**
   * URL of the store.
   * @defaultValue `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, the profile, or Amazon's
   */
  readonly endpoint?: string
  /** @defaultValue `AWS_REGION`, or the profile; us-east-1 when there is an endpoint but no region */
  readonly region?: string
  /** @defaultValue environment, profile files, or the role of the machine */
  readonly credentials?: S3ClientConfig['credentials']
  /**
   * The bucket in the path (`host/bucket/key`) and not in the name of the host.
   * @defaultValue true when there is an endpoint
   */
  readonly forcePathStyle?: boolean
  /**
   * Whether all bytes travel with a checksum, in both directions. Some servers cannot handle that.
   * @defaultValue true
   */
  readonly checksums?: boolean
  /**
   * How requests are repeated. Give the same one to all streams of one store if it has a breaker or a bulkhead.
   * @defaultValue a `Policy` of 4 retries and 300000 ms an attempt, with {@link isRetryableS3}
   */
  readonly policy?: PolicyLike
}

/** A client, and how to be done with it. */
export interface Connection {
  readonly client: S3ClientLike
  readonly sdk: Sdk
  close(): void
}

type Sdk = typeof import('@aws-sdk/client-s3')

/** What S3 calls "later" with a status that otherwise says "never". */
const LATER = new Set([
  'InternalError',
  'OperationAborted',
  'RequestTimeout',
  'ServiceUnavailable',
  'SlowDown',
  'ThrottlingException',
])

/**
 * A failure of an `S3Client` in, whether the same request may succeed later out: what {@link isRetryable} says, and what only
 * S3 knows, such as a `RequestTimeout` (status 400) or a clock that has just been set right.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { isRetryableS3 } from 'millrace/s3'
 *
 * const late = Object.assign(new Error('idle'), { name: 'RequestTimeout', $metadata: { httpStatusCode: 400 } })
 * assert.equal(isRetryableS3(late), true)
 * ```
 */
export function isRetryableS3(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false
  const { name, $retryable, $metadata } = error as {
    name?: string
    $retryable?: object
    $metadata?: { clockSkewCorrected?: boolean }
  }
  if ((name !== undefined && LATER.has(name)) || $retryable !== undefined) return true
  return $metadata?.clockSkewCorrected === true || isRetryable(error)
}

/** What reading and writing do unless a policy is given. */
export function defaultS3Policy(): Policy {
  return new Policy({ retries: DEFAULT_S3_RETRIES, timeout: DEFAULT_S3_TIMEOUT, retryable: isRetryableS3 })
}

/** @throws {@link OptionError} when an option is wrong. */
export function checkConnection(options: S3ConnectionOptions): void {
  const { client, endpoint, region, forcePathStyle, checksums, policy } = options
  if (client !== undefined && typeof client?.send !== 'function') {
    throw new OptionError('client', client, 'an S3Client')
  }
  if (endpoint !== undefined && !/^https?:$/.test(protocolOf(checkString('endpoint', endpoint)))) {
    throw new OptionError('endpoint', endpoint, 'an http or https URL')
  }
  if (region !== undefined) checkString('region', region)
  if (forcePathStyle !== undefined) checkBoolean('forcePathStyle', forcePathStyle)
  if (checksums !== undefined) checkBoolean('checksums', checksums)
  if (policy !== undefined && typeof policy?.execute !== 'function') {
    throw new OptionError('policy', policy, 'a Policy')
  }
}

function protocolOf(url: string): string {
  return URL.canParse(url) ? new URL(url).protocol : ''
}

/** Loads the SDK, and makes a client unless one is given. */
export async function connect(options: S3ConnectionOptions): Promise<Connection> {
  const sdk = await loadPeer(
    's3://',
    ['@aws-sdk/client-s3', '@aws-sdk/lib-storage'],
    () => import('@aws-sdk/client-s3'),
  )
  if (options.client !== undefined) return { client: options.client, sdk, close() {} }
  const { credentials, checksums = true } = options
  const { endpoint, region } = await whereabouts(sdk, options)
  const client = new sdk.S3Client({
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    ...(region !== undefined && { region }),
    ...(credentials !== undefined && { credentials }),
    forcePathStyle: options.forcePathStyle ?? endpoint !== undefined,
    ...(!checksums && {
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    }),
    // the policy repeats; the SDK beneath would multiply its attempts
    maxAttempts: 1,
  })
  return { client, sdk, close: () => client.destroy() }
}

/**
 * What the SDK will find in environment and profile, asked of a client that is not used for anything else: a store with an
 * endpoint of its own takes the bucket in the path, and needs no region, though the signature does.
 */
async function whereabouts(
  sdk: Sdk,
  { endpoint, region }: S3ConnectionOptions,
): Promise<{ endpoint: unknown; region: string | undefined }> {
  if (endpoint !== undefined && region !== undefined) return { endpoint, region }
  const { config } = new sdk.S3Client({}) as { config: ProbedConfig }
  const found = endpoint ?? (await config.serviceConfiguredEndpoint?.())
  if (region !== undefined || found === undefined) return { endpoint: found, region }
  return { endpoint: found, region: await config.region().catch(() => 'us-east-1') }
}

interface ProbedConfig {
  region(): Promise<string>
  serviceConfiguredEndpoint?(): Promise<unknown>
}

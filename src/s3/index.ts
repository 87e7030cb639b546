export {
  ObjectSource,
  DEFAULT_IDLE_TIMEOUT,
  DEFAULT_MAX_RESUMES,
  type ObjectSourceOptions,
} from './object-source.ts'
export { DEFAULT_PART_CONCURRENCY, ObjectWriter, type ObjectWriterOptions } from './object-writer.ts'
export { parseS3Url, MAX_KEY_LENGTH, type ObjectAddress } from './parse-s3-url.ts'
export {
  DEFAULT_PART_SIZE,
  DEFAULT_UNKNOWN_PART_SIZE,
  MAX_PARTS,
  MAX_PART_SIZE,
  MIN_PART_SIZE,
} from './part-size.ts'
export {
  DEFAULT_S3_RETRIES,
  DEFAULT_S3_TIMEOUT,
  isRetryableS3,
  type S3ClientLike,
  type S3ConnectionOptions,
} from './s3-client.ts'

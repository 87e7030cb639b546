import { MillraceError, OptionError } from '../errors.ts'

/** What the exit status of every verb means. `130` and `143` are SIGINT and SIGTERM. */
export const EXIT = { ok: 0, failed: 1, usage: 2, corrupt: 3, someFailed: 4 } as const

/** Raised for a command line that makes no sense; the message is for the user. */
export class UsageError extends MillraceError {
  constructor(message: string) {
    super('ERR_MILLRACE_USAGE', message)
  }
}

const corruptCodes =
  /^(ERR_MILLRACE_(JSON_|FRAME_|VERIFY_|CODEC_|TABLE_|MODEL_FORMAT|KAFKA_MESSAGE)|Z_DATA_ERROR|Z_BUF_ERROR|ERR_ZSTD_|ZSTD_error_)/
/** Faults of what the user's function returned or of a stream's options, not of the bytes that came in. */
const notCorrupt = new Set([
  'ERR_MILLRACE_JSON_VALUE',
  'ERR_MILLRACE_JSON_NULL',
  'ERR_MILLRACE_CODEC_UNKNOWN',
  'ERR_MILLRACE_CODEC_UNSEEKABLE',
  'ERR_MILLRACE_CODEC_FAILED',
])

export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError || error instanceof OptionError) return EXIT.usage
  if (MillraceError.is(error) && error.code === 'ERR_MILLRACE_CODEC_RANGE') return EXIT.usage
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as { code?: unknown }
    if (typeof code === 'string' && corruptCodes.test(code) && !notCorrupt.has(code)) return EXIT.corrupt
    // what the handler threw is its own affair, whatever code it carries
    if (code === 'ERR_MILLRACE_OFFLOAD_HANDLER') return EXIT.failed
  }
  return EXIT.failed
}

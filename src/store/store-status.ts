import { StoreError, type StoreErrorCategory } from '../errors.ts'

/** The codes of gRPC. */
export const STATUS = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const

/** How a call ended. */
export interface CallStatus {
  readonly code: number
  readonly message: string
  /** The server said so; otherwise the connection was lost, or the call was refused on this side. */
  readonly fromServer: boolean
}

/**
 * What a status means for the first item without an answer. `'item'`: the server refuses it. `'suspect'`: perhaps; it is tried
 * once more, alone. `'retry'`: it is not to blame. `'all'`: no item would fare better.
 */
export type Verdict = 'item' | 'suspect' | 'retry' | 'all'

const ITEM: ReadonlySet<number> = new Set<number>([
  STATUS.INVALID_ARGUMENT,
  STATUS.NOT_FOUND,
  STATUS.ALREADY_EXISTS,
  STATUS.FAILED_PRECONDITION,
  STATUS.OUT_OF_RANGE,
  STATUS.DATA_LOSS,
])
const RETRY: ReadonlySet<number> = new Set<number>([
  STATUS.CANCELLED,
  STATUS.DEADLINE_EXCEEDED,
  STATUS.RESOURCE_EXHAUSTED,
  STATUS.ABORTED,
  STATUS.UNAVAILABLE,
])
/** Told by the server's transport when it comes, so perhaps before what came earlier is answered. */
const TOO_LARGE = /larger than max|message too large/i

/** True for a message that was longer than one side allows. */
export function isTooLarge({ message }: CallStatus): boolean {
  return TOO_LARGE.test(message)
}

export function verdictOf({ code, message, fromServer }: CallStatus, answers: number): Verdict {
  if (TOO_LARGE.test(message)) return 'suspect'
  if (code === STATUS.UNAUTHENTICATED || code === STATUS.UNIMPLEMENTED) return 'all'
  // who may not call at all is told before anything else
  if (code === STATUS.PERMISSION_DENIED) return answers === 0 ? 'all' : 'item'
  if (!fromServer || RETRY.has(code) || code === STATUS.OK) return 'retry'
  return ITEM.has(code) ? 'item' : 'suspect'
}

/** A status as the error of an item. */
export function errorOfStatus(status: CallStatus, index: number, attempts: number): StoreError {
  const { code, message } = status
  const facts = { index, status: code, ...(attempts > 1 && { attempts }) }
  if (code === STATUS.NOT_FOUND) return new StoreError('ERR_MILLRACE_STORE_NOT_FOUND', 'item', message, facts)
  if (code === STATUS.INVALID_ARGUMENT)
    return new StoreError('ERR_MILLRACE_STORE_INVALID', 'item', message, facts)
  if (code === STATUS.DATA_LOSS)
    return new StoreError('ERR_MILLRACE_STORE_CORRUPT', 'receive', message, facts)
  if (TOO_LARGE.test(message)) {
    const category = status.fromServer ? 'send' : 'receive'
    return new StoreError('ERR_MILLRACE_STORE_TOO_LARGE', category, message, facts)
  }
  const isConnection = !status.fromServer || RETRY.has(code) || code === STATUS.OK
  if (!isConnection && code !== STATUS.UNAUTHENTICATED && code !== STATUS.UNIMPLEMENTED) {
    return new StoreError('ERR_MILLRACE_STORE_REFUSED', 'item', message, facts)
  }
  const text = attempts > 1 ? `gave up after ${attempts} attempts: ${message}` : message
  return new StoreError('ERR_MILLRACE_STORE_UNAVAILABLE', 'connection', text, facts)
}

/** The error of an item as a status, for those who wait at the other end. */
export function statusOfError(error: StoreError): { readonly code: number; readonly details: string } {
  const codes: Record<string, number> = {
    ERR_MILLRACE_STORE_NOT_FOUND: STATUS.NOT_FOUND,
    ERR_MILLRACE_STORE_INVALID: STATUS.INVALID_ARGUMENT,
    ERR_MILLRACE_STORE_TOO_LARGE: STATUS.INVALID_ARGUMENT,
    ERR_MILLRACE_STORE_CORRUPT: STATUS.DATA_LOSS,
    ERR_MILLRACE_STORE_UNAVAILABLE: STATUS.UNAVAILABLE,
  }
  const byCategory: Partial<Record<StoreErrorCategory, number>> = { connection: STATUS.UNAVAILABLE }
  return {
    code: error.status ?? codes[error.code] ?? byCategory[error.category] ?? STATUS.INTERNAL,
    details: error.message,
  }
}

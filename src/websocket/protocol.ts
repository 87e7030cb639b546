import { MillraceError, WebSocketError, asError, describe } from '../errors.ts'
import type { Conditions } from '../records/index.ts'

/** What a client may ask for, and how much of it. */
export interface RequestLimits {
  /** Records of a batch where the request does not say. */
  readonly batchSize: number
  readonly maxCount: number
  readonly maxBatchSize: number
}

/** Repeated in every answer to the request that carried it. */
export type RequestId = string | number

/** `{ action: 'generate', count, batch_size, conditions, seed, skip, id }`: all but the action may be left out. */
export interface GenerateRequest {
  readonly action: 'generate'
  readonly id: RequestId | undefined
  readonly count: number
  readonly batchSize: number
  readonly conditions: Conditions | undefined
  readonly seed: number | string | undefined
  /** Number of the first record of that seed. */
  readonly skip: number | undefined
}

/** `{ action: 'stats' | 'cancel', id }`. */
interface PlainRequest {
  readonly action: 'stats' | 'cancel'
  readonly id: RequestId | undefined
}

type ClientRequest = GenerateRequest | PlainRequest

const ACTIONS = ['generate', 'stats', 'cancel'] as const
const FIELDS = new Set(['action', 'id', 'count', 'batch_size', 'conditions', 'seed', 'skip'])

/**
 * A message of a client in, what it asks for out.
 *
 * @throws {@link WebSocketError} `ERR_MILLRACE_WEBSOCKET_REQUEST` for anything else; its `id` is that of the request, if it has a good one.
 */
export function parseRequest(
  text: string,
  { batchSize, maxCount, maxBatchSize }: RequestLimits,
): ClientRequest {
  const message = parseObject(text)
  const { action, id, count = batchSize, batch_size = batchSize, conditions, seed, skip } = message
  if (id !== undefined && typeof id !== 'number' && typeof id !== 'string') {
    throw refuse('id', id, 'a number or a text', undefined)
  }
  const check = (name: string, value: unknown, expected: string, good: boolean) => {
    if (!good) throw refuse(name, value, expected, id)
  }
  check('action', action, ACTIONS.map((name) => `'${name}'`).join(' or '), ACTIONS.includes(action as never))
  for (const name of Object.keys(message)) {
    check(name, message[name], `nothing: fields are ${[...FIELDS].join(', ')}`, FIELDS.has(name))
  }
  if (action !== 'generate') return { action: action as PlainRequest['action'], id }
  check('count', count, `an integer from 0 to ${maxCount}`, isInteger(count, 0, maxCount))
  check(
    'batch_size',
    batch_size,
    `an integer from 1 to ${maxBatchSize}`,
    isInteger(batch_size, 1, maxBatchSize),
  )
  const isConditions = conditions === undefined || (typeof conditions === 'object' && conditions !== null)
  check('conditions', conditions, 'an object, or an array of texts', isConditions)
  const isSeed = seed === undefined || typeof seed === 'string' || isInteger(seed, 0, Number.MAX_SAFE_INTEGER)
  check('seed', seed, 'a whole number or a text', isSeed)
  const isSkip = skip === undefined || isInteger(skip, 0, Number.MAX_SAFE_INTEGER - maxCount)
  check('skip', skip, 'a whole number', isSkip)
  return {
    action,
    id,
    count: count as number,
    batchSize: batch_size as number,
    conditions: conditions as Conditions | undefined,
    seed: seed as number | string | undefined,
    skip: skip as number | undefined,
  }
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const message = `request: expected JSON, got ${describe(text)}`
    throw new WebSocketError('ERR_MILLRACE_WEBSOCKET_REQUEST', message, { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const message = `request: expected an object such as {"action":"generate","count":100}, got ${describe(value)}`
    throw new WebSocketError('ERR_MILLRACE_WEBSOCKET_REQUEST', message)
  }
  return value as Record<string, unknown>
}

function refuse(name: string, value: unknown, expected: string, id: RequestId | undefined): WebSocketError {
  return new WebSocketError(
    'ERR_MILLRACE_WEBSOCKET_REQUEST',
    `request: ${name}: expected ${expected}, got ${describe(value)}`,
    { expected, actual: value, ...(id !== undefined && { id }) },
  )
}

function isInteger(value: unknown, min: number, max: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
}

/**
 * A message that is no batch. It has `records` all the same, an empty array, so that a client which looks at the records of every
 * message does not trip over the last one.
 */
export function statusMessage(status: string, id: RequestId | undefined, facts: object = {}): string {
  return JSON.stringify({ ...(id !== undefined && { id }), status, ...facts, records: [] })
}

/** `{ status: 'error', code, message, records: [] }`. Only the errors that a client can mend say more than that something went wrong. */
export function errorMessage(thrown: unknown, id: RequestId | undefined): string {
  const error = asError(thrown)
  const known = MillraceError.is(error)
  const code = known ? error.code : 'ERR_MILLRACE_WEBSOCKET_INTERNAL'
  return statusMessage('error', id, { code, message: known ? error.message : 'the records cannot be made' })
}

/** What stands before the records of a batch, which is `{ id, batch, records }`. */
export function batchHead(batch: number, id: RequestId | undefined): string {
  const named = id === undefined ? '' : `"id":${JSON.stringify(id)},`
  return `{${named}"batch":${batch},"records":[`
}

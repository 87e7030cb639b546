import * as millraceErrors from '../errors.ts'
import { describe } from '../errors.ts'

/** Causes of causes that are kept; what hangs deeper is dropped, as in a chain that bites its tail. */
const MAX_CAUSES = 16

/** What was thrown, in a form that crosses threads with all that structured clone would lose. */
export type PackedError =
  | { readonly kind: 'value'; readonly value: unknown }
  | {
      readonly kind: 'error'
      /** Names of its class and the classes above, nearest first. */
      readonly classes: readonly string[]
      readonly name: string
      readonly message: string
      readonly stack: string | undefined
      readonly fields: readonly (readonly [name: string, value: PackedError])[]
      readonly cause: PackedError | undefined
      readonly errors: readonly PackedError[] | undefined
    }

type ErrorClass = abstract new (...args: never[]) => Error

const CLASSES = new Map<string, ErrorClass>(
  Object.entries<ErrorClass>({
    EvalError,
    RangeError,
    ReferenceError,
    SyntaxError,
    TypeError,
    URIError,
    AggregateError,
    ...Object.fromEntries(
      Object.entries(millraceErrors).filter(
        (entry): entry is [string, typeof millraceErrors.MillraceError] =>
          typeof entry[1] === 'function' && entry[1].prototype instanceof millraceErrors.MillraceError,
      ),
    ),
  }),
)

/** Handled by themselves; `partial` is not a fact but output, and is sent as such. */
const OWN = new Set(['name', 'message', 'stack', 'cause', 'errors', 'partial'])

/** Takes anything that was thrown, error or not, and gives what can be sent. Never throws itself. */
export function packError(thrown: unknown, depth = 0): PackedError {
  if (!(thrown instanceof Error)) return { kind: 'value', value: sendable(thrown) }
  const classes: string[] = []
  for (let type = Object.getPrototypeOf(thrown); type && type !== Error.prototype;) {
    classes.push(String(type.constructor?.name))
    type = Object.getPrototypeOf(type)
  }
  const { cause, errors } = thrown as { cause?: unknown; errors?: unknown }
  const deeper = (inner: unknown) => (depth < MAX_CAUSES ? packError(inner, depth + 1) : undefined)
  return {
    kind: 'error',
    classes,
    name: asText(thrown.name),
    message: asText(thrown.message),
    stack: typeof thrown.stack === 'string' ? thrown.stack : undefined,
    fields: ownFields(thrown).flatMap(([name, value]) => {
      const packed = deeper(value)
      return packed ? [[name, packed] as const] : []
    }),
    cause: cause === undefined ? undefined : deeper(cause),
    errors: Array.isArray(errors) ? errors.flatMap((inner) => deeper(inner) ?? []) : undefined,
  }
}

/** Gives back what {@link packError} took: an error of the same class where the package or the language knows it. */
export function unpackError(packed: PackedError): unknown {
  if (packed.kind === 'value') return packed.value
  const { classes, name, message, stack, fields, cause, errors } = packed
  const error = new Error(message, cause && { cause: unpackError(cause) })
  const known = classes.map((type) => CLASSES.get(type)).find((type) => type !== undefined)
  if (known) Object.setPrototypeOf(error, known.prototype as object)
  const hidden = (key: string, value: unknown) =>
    Object.defineProperty(error, key, { value, configurable: true, writable: true })
  if (error.name !== name) hidden('name', name)
  if (stack !== undefined) hidden('stack', stack)
  if (errors) hidden('errors', errors.map(unpackError))
  for (const [key, value] of fields) {
    Object.defineProperty(error, key, {
      value: unpackError(value),
      configurable: true,
      enumerable: true,
      writable: true,
    })
  }
  return error
}

function ownFields(error: Error): [string, unknown][] {
  const fields: [string, unknown][] = []
  for (const name of Object.getOwnPropertyNames(error)) {
    if (OWN.has(name)) continue
    const value: unknown = read(error, name)
    if (typeof value !== 'function') fields.push([name, value])
  }
  // DOMException and some others have it on the prototype
  if (!Object.hasOwn(error, 'code') && 'code' in error) fields.push(['code', read(error, 'code')])
  return fields
}

/** Both are strings by the book, and anything by assignment. */
function asText(value: unknown): string {
  return typeof value === 'string' ? value : describe(value)
}

/** A getter may throw, and this runs while an error is being handled. */
function read(object: object, name: string): unknown {
  try {
    return (object as Record<string, unknown>)[name]
  } catch {
    return undefined
  }
}

/** The value, if structured clone takes it, or else what describes it. */
function sendable(value: unknown): unknown {
  if (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol') return value
  try {
    return structuredClone(value)
  } catch {
    return describe(value)
  }
}

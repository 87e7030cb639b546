import { OptionError } from './errors.ts'

/** A whole number within `[min, max]`. */
export function checkInteger(name: string, value: unknown, min = 0, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value
  const upTo = max === Number.MAX_SAFE_INTEGER ? '' : ` and at most ${max}`
  throw new OptionError(name, value, `an integer of at least ${min}${upTo}`)
}

/** A finite number within `[min, max]`, whole or not. */
export function checkNumber(name: string, value: unknown, min: number, max = Number.MAX_VALUE): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= min && value <= max) return value
  const upTo = max === Number.MAX_VALUE ? '' : ` and at most ${max}`
  throw new OptionError(name, value, `a finite number of at least ${min}${upTo}`)
}

/** A limit that may be switched off: a whole number from `min` up, or `Infinity`. */
export function checkLimit(name: string, value: unknown, min = 1): number {
  if (value === Infinity) return value
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min) return value
  throw new OptionError(name, value, `an integer of at least ${min}, or Infinity`)
}

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value
  throw new OptionError(name, value, 'true or false')
}

export function checkString(name: string, value: unknown): string {
  if (typeof value === 'string') return value
  throw new OptionError(name, value, 'a string')
}

export function checkChoice<const T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (choices.includes(value as T)) return value as T
  throw new OptionError(name, value, choices.map((choice) => `'${choice}'`).join(' or '))
}

// oxlint-disable-next-line typescript/no-unsafe-function-type -- the check is for callability; the type is the caller's
export function checkFunction<T extends Function>(name: string, value: T | undefined): T | undefined {
  if (value === undefined || typeof value === 'function') return value
  throw new OptionError(name, value, 'a function')
}

export function checkSignal(name: string, value: AbortSignal | undefined): AbortSignal | undefined {
  if (value === undefined || value instanceof AbortSignal) return value
  throw new OptionError(name, value, 'an AbortSignal')
}

/** An object of the user's that has these methods. */
export function checkMethods<T extends object>(
  name: string,
  value: T,
  methods: readonly (keyof T & string)[],
): T {
  if (
    typeof value === 'object' &&
    value !== null &&
    methods.every((key) => typeof value[key] === 'function')
  ) {
    return value
  }
  throw new OptionError(name, value, `an object with ${methods.map((key) => `${key}()`).join(' and ')}`)
}

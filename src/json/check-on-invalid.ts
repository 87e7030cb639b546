import { OptionError } from '../errors.ts'

/** What both directions take as `onInvalid`. */
export function checkOnInvalid(value: unknown): void {
  if (value === 'throw' || value === 'skip' || typeof value === 'function') return
  throw new OptionError('onInvalid', value, "'throw', 'skip' or a function")
}

import { OptionError } from '../../errors.ts'
import type { RecordStreamOptions } from '../../records/index.ts'

/** Records where the request does not say. */
const DEFAULT_COUNT = 100

/**
 * `count`, `skip`, `seed` and `where` (which may come several times) of `/records?…`.
 *
 * @throws {@link OptionError} for anything else.
 */
export function readRecordsRequest(parameters: URLSearchParams, maxCount: number): RecordStreamOptions {
  for (const name of parameters.keys()) {
    if (!['count', 'skip', 'seed', 'where', 'token'].includes(name))
      throw new OptionError(name, parameters.get(name), 'one of count, skip, seed, where')
  }
  const where = parameters.getAll('where')
  const seed = parameters.get('seed')
  return {
    count: readInteger(parameters, 'count', maxCount) ?? DEFAULT_COUNT,
    skip: readInteger(parameters, 'skip', Number.MAX_SAFE_INTEGER - maxCount) ?? 0,
    ...(seed !== null && { seed: /^\d{1,15}$/.test(seed) ? Number(seed) : seed }),
    ...(where.length > 0 && { conditions: where }),
  }
}

function readInteger(parameters: URLSearchParams, name: string, max: number): number | undefined {
  const text = parameters.get(name)
  if (text === null) return undefined
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!(value <= max)) throw new OptionError(name, text, `a whole number from 0 to ${max}`)
  return value
}

import { InvalidArgumentError } from 'commander'

const scales: Record<string, number> = { '': 1, B: 1 }
for (const [power, letter] of ['K', 'M', 'G', 'T', 'P'].entries()) {
  scales[letter] = scales[`${letter}B`] = 1000 ** (power + 1)
  scales[`${letter}i`] = scales[`${letter}iB`] = 1024 ** (power + 1)
}
scales['k'] = scales['kB'] = 1000

/** `64KiB`, `1MB`, `1e6`, `512`: whole bytes. Decimal and binary units are what their names say. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?(?:e\d+)?)\s*([A-Za-z]*)$/.exec(text.trim())
  const scale = match?.[2] === undefined ? undefined : scales[match[2]]
  const exact = Number(match?.[1]) * (scale ?? Number.NaN)
  const bytes = Math.round(exact)
  // 1.5KiB is a size, 1.5 is none
  if (!Number.isSafeInteger(bytes) || (scale === 1 && bytes !== exact))
    throw new InvalidArgumentError('expected a size, such as 64KiB, 1MB or 1e6')
  return bytes
}

/** A whole number, `1e6` and `1M` (a decimal million) included. */
export function parseCount(text: string): number {
  const match = /^(\d+(?:\.\d+)?(?:e\d+)?)([kKMG]?)$/.exec(text.trim())
  const count = Math.round(Number(match?.[1]) * (scales[match?.[2] ?? ''] ?? Number.NaN))
  if (!Number.isSafeInteger(count))
    throw new InvalidArgumentError('expected a whole number, such as 4 or 1e6')
  return count
}

/** Bytes for people: `1.4 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let unit = 0
  let value = bytes
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** Milliseconds for people, as a clock: `0:07`, `1:02:03`. */
export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  const tail = `${String(m).padStart(h > 0 ? 2 : 1, '0')}:${String(s).padStart(2, '0')}`
  return h > 0 ? `${h}:${tail}` : tail
}

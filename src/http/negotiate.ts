import type { RecordEncoder } from './record-encoder.ts'

interface Weighted {
  readonly name: string
  readonly quality: number
}

/** `a;q=0.5, b` as names with their weight, in the order of the header. Parameters other than `q` are left out. */
function parseWeighted(header: string): Weighted[] {
  return header
    .split(',')
    .map((part) => {
      const [name = '', ...parameters] = part.split(';').map((piece) => piece.trim().toLowerCase())
      const weight = parameters.find((parameter) => parameter.startsWith('q='))
      const quality = weight === undefined ? 1 : Number(weight.slice(2))
      return { name, quality: quality >= 0 && quality <= 1 ? quality : 0 }
    })
    .filter(({ name }) => name !== '')
}

/** Weight of a name: the most specific range that matches decides. */
function qualityOf(ranges: readonly Weighted[], candidates: readonly string[]): number {
  for (const name of candidates) {
    const range = ranges.find((weighted) => weighted.name === name)
    if (range) return range.quality
  }
  return 0
}

/** `text/csv; header=present` → `text/csv` */
export const mediaTypeOf = (contentType: string): string =>
  (contentType.split(';', 1)[0] as string).trim().toLowerCase()

/**
 * The encoder that the client likes best; of equals, the first. Undefined if it accepts none.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1 | RFC 9110, 12.5.1}
 */
export function chooseEncoder<E extends Pick<RecordEncoder, 'contentType' | 'aliases'>>(
  accept: string | undefined,
  encoders: readonly E[],
): E | undefined {
  if (accept === undefined || accept === '' || accept === '*/*') return encoders[0]
  const ranges = parseWeighted(accept)
  let best: E | undefined
  let bestQuality = 0
  for (const encoder of encoders) {
    const types = [mediaTypeOf(encoder.contentType), ...(encoder.aliases ?? [])]
    const wild = types.map((type) => `${type.split('/', 1)[0]}/*`)
    const quality = qualityOf(ranges, [...types, ...wild, '*/*'])
    if (quality > bestQuality) [best, bestQuality] = [encoder, quality]
  }
  return best
}

/**
 * The content coding that the client likes best; of equals, the first. Undefined: send it as it is.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3 | RFC 9110, 12.5.3}
 */
export function chooseCoding<const C extends string>(
  accept: string | undefined,
  codings: readonly C[],
): C | undefined {
  if (accept === undefined) return undefined
  const ranges = parseWeighted(accept)
  const asItIs = ranges.find(({ name }) => name === 'identity')?.quality ?? 0
  let best: C | undefined
  let bestQuality = 0
  for (const coding of codings) {
    const quality = qualityOf(ranges, [coding, '*'])
    if (quality > bestQuality && quality >= asItIs) [best, bestQuality] = [coding, quality]
  }
  return best
}

import zlib from 'node:zlib'

/** x^0 … x^31 with their bits reversed: the polynomial of CRC-32. */
const POLYNOMIAL = 0xedb88320

/** x^(2^n) modulo the polynomial, by squaring. */
const POWERS: number[] = [0x40000000]
for (let n = 1; n < 64; n++) POWERS.push(multiply(POWERS[n - 1]!, POWERS[n - 1]!))

let lastLength = 0
let lastShift = 0x80000000

/** CRC-32 of bytes, as zip and gzip have it; or of more bytes behind those that gave `start`. */
export function crc32(bytes: Uint8Array, start = 0): number {
  return zlib.crc32(bytes, start)
}

/**
 * CRC-32 of two runs of bytes, from the CRC-32 of each. A second pass over all bytes would cost some 7 % of the time that zstd
 * takes to pack them.
 *
 * @see Mark Adler's explanation of crc32_combine: appending n zero bytes multiplies by x^8n
 */
export function combineCrc32(first: number, second: number, secondLength: number): number {
  if (secondLength !== lastLength) {
    lastLength = secondLength
    lastShift = shiftOf(secondLength)
  }
  return (multiply(lastShift, first) ^ second) >>> 0
}

function shiftOf(length: number): number {
  let shift = 0x80000000
  // three squarings on, since a byte is eight bits
  for (let rest = length, n = 3; rest > 0; rest = Math.floor(rest / 2), n++) {
    if (rest % 2 === 1) shift = multiply(POWERS[n]!, shift)
  }
  return shift
}

/** The product of two polynomials modulo that of CRC-32, their highest power in the lowest bit. */
function multiply(a: number, b: number): number {
  let product = 0
  let shifted = b
  for (let bit = 31; bit >= 0; bit--) {
    if ((a >>> bit) & 1) product ^= shifted
    shifted = shifted & 1 ? (shifted >>> 1) ^ POLYNOMIAL : shifted >>> 1
  }
  return product >>> 0
}

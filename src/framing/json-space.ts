/** The white space of JSON. */
export function isJsonSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

/** `[` or `{`, which differ in one bit. */
export function isJsonOpener(byte: number): boolean {
  return (byte | 0x20) === 0x7b
}

/** Index of the first byte in `[from, to)` that is not white space, or `to`. */
export function skipJsonSpace(bytes: Buffer, from: number, to: number): number {
  let at = from
  while (at < to && isJsonSpace(bytes[at])) at++
  return at
}

const STEP = 64

/** Steps that a state is recovered from, and then two more that it must foretell. */
const STEPS = 5

/**
 * True if a page starts as one of this format does, for whatever seed, key and block, and not as `expected` does: the first
 * lane's output must be that of an sfc32 generator whose counter starts at 1.
 *
 * @remarks Three outputs of sfc32 fix its state. With `t1`, `t2`, `t3` the outputs and (a, b, c) the start:
 * `t3 = (9c ^ 9c >>> 9) + 9(rotl(c, 21) + t1) + 3` holds `c` alone, and its bit `i` only bits 0 to `i + 11` of it. So
 * bit after bit is tried from 4096 beginnings, half of which drop out at each step: about 80 000 trials, 0.3 ms. Then
 * `t2` gives b and `t1` gives a. Chance passes the two outputs foretold once in 2^63.
 */
export function isGeneratedPage(page: Buffer, expected: Buffer): boolean {
  if (page.length < STEPS * STEP || isSameLane(page, expected)) return false
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength)
  const t = (step: number) => view.getInt32((step - 1) * STEP, true)
  const [t1, t2, t3, t4, t5] = [t(1), t(2), t(3), t(4), t(5)]
  if (t1 === 0 && t2 === 0 && t3 === 0) return false

  const wrongBits = (c: number) => {
    const c9 = Math.imul(c, 9)
    return ((c9 ^ (c9 >>> 9)) + Math.imul(9, ((c << 21) | (c >>> 11)) + t1) + 3) ^ t3
  }
  const foretells = (c: number) => {
    const x = (t2 - Math.imul(c, 9) - 2) | 0
    let b = x ^ (x >>> 9) ^ (x >>> 18) ^ (x >>> 27)
    let a = (t1 - b - 1) | 0
    for (let counter = 1; counter <= STEPS; counter++) {
      const out = (a + b + counter) | 0
      a = b ^ (b >>> 9)
      b = Math.imul(c, 9)
      c = (((c << 21) | (c >>> 11)) + out) | 0
      if (counter === 4 && out !== t4) return false
      if (counter === 5 && out !== t5) return false
    }
    return true
  }
  /** Bits 0 to `bit + 11` of c are set: go on if bit `bit` of the equation holds. */
  const tryFrom = (c: number, bit: number): boolean => {
    if (((wrongBits(c) >>> bit) & 1) !== 0) return false
    if (bit === 20) return wrongBits(c) === 0 && foretells(c)
    return tryFrom(c, bit + 1) || tryFrom(c | (1 << (bit + 12)), bit + 1)
  }
  for (let low = 0; low < 4096; low++) if (tryFrom(low, 0)) return true
  return false
}

/** True if any of the outputs is the expected one: then the page is the right one, with some bytes of it wrong. */
function isSameLane(page: Buffer, expected: Buffer): boolean {
  for (let at = 0; at < STEPS * STEP; at += STEP) {
    if (page.readInt32LE(at) === expected.readInt32LE(at)) return true
  }
  return false
}

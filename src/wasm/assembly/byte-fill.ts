// The byte filler: pages of format og1 (docs/bytes.md), 16 sfc32 generators side by side in twelve vectors.
// The rounds are written out: a loop over an array of vectors would keep the state in memory instead of registers.
// Everything is 32-bit and little-endian, as WebAssembly is on every platform.

const PAGE: u32 = 4096
const STEP: u32 = 64

/** lowbias32 (C. Wellons): every input bit reaches every output bit. */
// @ts-ignore: decorator
@inline
function mix(h: u32): u32 {
  h ^= h >> 16
  h *= 0x21f0aaad
  h ^= h >> 15
  h *= 0xd35a2d97
  return h ^ (h >> 15)
}

// @ts-ignore: decorator
@inline
function mix4(h: v128): v128 {
  h = v128.xor(h, i32x4.shr_u(h, 16))
  h = i32x4.mul(h, i32x4.splat(0x21f0aaad))
  h = v128.xor(h, i32x4.shr_u(h, 15))
  h = i32x4.mul(h, i32x4.splat(<i32>0xd35a2d97))
  return v128.xor(h, i32x4.shr_u(h, 15))
}

/** The first of three rounds of every lane's start state, the same for all pages of a block: twelve vectors. */
const FIRST_ROUNDS: usize = memory.data(192, 64)

/** Where memory is the caller's: the bytes before it are the kernel's own. */
export const start: usize = FIRST_ROUNDS + 192

/** Start state of four lanes on a page. */
// @ts-ignore: decorator
@inline
function seed4(at: usize, page: v128, k1: v128): v128 {
  return mix4(v128.xor(mix4(i32x4.add(v128.load(at), page)), k1))
}

// @ts-ignore: decorator
@inline
function rotl21(c: v128): v128 {
  return v128.or(i32x4.shl(c, 21), i32x4.shr_u(c, 11))
}

/**
 * Writes bytes [page * 4096, end) of unique block (uHigh, uLow) of the object (keyLow, keyHigh) to `start + to`; whole
 * steps of 64 bytes, so up to 63 bytes past the end. `rate` is the mean of random bytes a page, times 65536.
 */
export function fill(
  to: usize,
  keyLow: u32,
  keyHigh: u32,
  uLow: u32,
  uHigh: u32,
  page: u32,
  end: u32,
  rate: u32,
): void {
  to += start
  let x = mix(keyLow + uLow * 0x9e3779b1)
  const y = mix(keyHigh ^ uHigh ^ x)
  x = mix(x + y)
  const k0 = i32x4.splat(mix(y + x * 0x85ebca6b) ^ uLow)
  const k1 = i32x4.splat(x)

  // lanes 1 to 4 times 0x9e3779b9, and then 4 lanes on: the rest are its multiples too
  let n = i32x4(<i32>0x9e3779b9, 0x3c6ef372, <i32>0xdaa66d2b, 0x78dde6e4)
  const next = i32x4.splat(0x78dde6e4)
  for (let i: usize = 0; i < 192; i += 16) {
    v128.store(FIRST_ROUNDS + i, mix4(i32x4.add(n, k0)))
    n = i32x4.add(n, next)
  }

  let offset = page * PAGE
  while (offset < end) {
    const q: u64 = (uLow * 16 + page) & 0xffff
    // floor((q + 1) R / 65536) - floor(q R / 65536): lengths differ by one at most and their mean is exact
    const random: u32 = <u32>((((q + 1) * rate) >> 16) - ((q * rate) >> 16))
    const length: u32 = min(end - offset, PAGE)
    const filled: u32 = min(length, random)

    const p = i32x4.splat(page)
    let a0 = seed4(FIRST_ROUNDS, p, k1)
    let a1 = seed4(FIRST_ROUNDS + 16, p, k1)
    let a2 = seed4(FIRST_ROUNDS + 32, p, k1)
    let a3 = seed4(FIRST_ROUNDS + 48, p, k1)
    let b0 = seed4(FIRST_ROUNDS + 64, p, k1)
    let b1 = seed4(FIRST_ROUNDS + 80, p, k1)
    let b2 = seed4(FIRST_ROUNDS + 96, p, k1)
    let b3 = seed4(FIRST_ROUNDS + 112, p, k1)
    let c0 = seed4(FIRST_ROUNDS + 128, p, k1)
    let c1 = seed4(FIRST_ROUNDS + 144, p, k1)
    let c2 = seed4(FIRST_ROUNDS + 160, p, k1)
    let c3 = seed4(FIRST_ROUNDS + 176, p, k1)

    let counter = i32x4.splat(1)
    const one = i32x4.splat(1)
    let t: v128
    let at: usize = to
    const randomEnd = to + filled
    while (at < randomEnd) {
      t = i32x4.add(i32x4.add(a0, b0), counter)
      a0 = v128.xor(b0, i32x4.shr_u(b0, 9))
      b0 = i32x4.add(c0, i32x4.shl(c0, 3))
      c0 = i32x4.add(rotl21(c0), t)
      v128.store(at, t)
      t = i32x4.add(i32x4.add(a1, b1), counter)
      a1 = v128.xor(b1, i32x4.shr_u(b1, 9))
      b1 = i32x4.add(c1, i32x4.shl(c1, 3))
      c1 = i32x4.add(rotl21(c1), t)
      v128.store(at, t, 16)
      t = i32x4.add(i32x4.add(a2, b2), counter)
      a2 = v128.xor(b2, i32x4.shr_u(b2, 9))
      b2 = i32x4.add(c2, i32x4.shl(c2, 3))
      c2 = i32x4.add(rotl21(c2), t)
      v128.store(at, t, 32)
      t = i32x4.add(i32x4.add(a3, b3), counter)
      a3 = v128.xor(b3, i32x4.shr_u(b3, 9))
      b3 = i32x4.add(c3, i32x4.shl(c3, 3))
      c3 = i32x4.add(rotl21(c3), t)
      v128.store(at, t, 48)
      counter = i32x4.add(counter, one)
      at += STEP
    }
    // after the whole steps: the last of them wrote past the random part
    if (random < length) memory.fill(to + random, 0, length - random)

    page++
    offset += PAGE
    to += PAGE
  }
}

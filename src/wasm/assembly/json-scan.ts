// The boundary scan of framing/json-scan.ts in SIMD, 64 bytes a step: AssemblyScript, built by scripts/build-wasm.js.
// The algorithm of simdjson's first stage (Langdale and Lemire, "Parsing Gigabytes of JSON per Second", 2019), but
// instead of listing all structural characters it follows the depth, and skips blocks that cannot reach depth 0.
// The v128 constants are locals and the build is -O1 on purpose: hoisted like that, V8 13 runs it 1.25 times as fast.

// Memory: state in words of 32 bits, then the bytes to scan. See framing/json-kernel.ts, which fills and reads it.
const DEPTH: usize = 0
const IN_STRING: usize = 4
const ESCAPED: usize = 8
const COMMA: usize = 12
const COMMAS: usize = 16
const BRACKET: usize = 20
const DATA: usize = 64

const FIRST: i32 = 1
const CLOSE: i32 = 2
const ODD_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa

/** One bit for each of 64 bytes. */
// @ts-ignore: a decorator of AssemblyScript; -O1 does not inline by itself
@inline
function bits(a: v128, b: v128, c: v128, d: v128): u64 {
  return (
    <u64>(<u32>(i8x16.bitmask(a) | (i8x16.bitmask(b) << 16))) |
    (<u64>(<u32>(i8x16.bitmask(c) | (i8x16.bitmask(d) << 16))) << 32)
  )
}

function stop(depth: i32, comma: i32, commas: i32, bracket: i32): void {
  store<i32>(DEPTH, depth)
  store<i32>(IN_STRING, 0)
  store<i32>(ESCAPED, 0)
  store<i32>(COMMA, comma)
  store<i32>(COMMAS, commas)
  store<i32>(BRACKET, bracket)
}

/** Scans `length` bytes from DATA on; returns where it stopped, counted from there. */
export function scan(length: i32, mode: i32, maxDepth: i32): i32 {
  const quote = i8x16.splat(0x22)
  const backslash = i8x16.splat(0x5c)
  const lowerCase = i8x16.splat(0x20)
  const opener = i8x16.splat(0x7b)
  const closer = i8x16.splat(0x7d)
  const separator = i8x16.splat(0x2c)

  let depth = load<i32>(DEPTH)
  let inString: u64 = load<i32>(IN_STRING) ? ~0 : 0
  let escapedNext: u64 = load<i32>(ESCAPED)
  let comma: i32 = -1
  let commas: i32 = 0

  // the last step may look beyond the bytes: what it sees there must be nothing
  const behind = DATA + <usize>length
  v128.store(behind, lowerCase)
  v128.store(behind, lowerCase, 16)
  v128.store(behind, lowerCase, 32)
  v128.store(behind, lowerCase, 48)

  for (let at: i32 = 0; at < length; at += 64) {
    const here = DATA + <usize>at
    let a = v128.load(here)
    let b = v128.load(here, 16)
    let c = v128.load(here, 32)
    let d = v128.load(here, 48)

    // which bytes are escaped: every second one of a run of backslashes, and the one behind an odd run
    const slashes = bits(
      i8x16.eq(a, backslash),
      i8x16.eq(b, backslash),
      i8x16.eq(c, backslash),
      i8x16.eq(d, backslash),
    )
    let escaped = escapedNext
    if (slashes == 0) {
      escapedNext = 0
    } else {
      const potential = slashes & ~escapedNext
      const ends = (((potential << 1) | ODD_BITS) - potential) ^ ODD_BITS
      escaped = ends ^ (slashes | escapedNext)
      // the last real byte of the last step is not always its 64th
      const last: u64 = length - at < 64 ? length - at - 1 : 63
      escapedNext = ((ends & slashes) >> last) & 1
    }

    // which bytes are in a string: from an odd quote to the next one, found by a running exclusive or
    let inside =
      bits(i8x16.eq(a, quote), i8x16.eq(b, quote), i8x16.eq(c, quote), i8x16.eq(d, quote)) & ~escaped
    inside ^= inside << 1
    inside ^= inside << 2
    inside ^= inside << 4
    inside ^= inside << 8
    inside ^= inside << 16
    inside ^= inside << 32
    inside ^= inString
    inString = <u64>(<i64>inside >> 63)

    // '[' and '{', ']' and '}' differ by one bit only
    const la = v128.or(a, lowerCase)
    const lb = v128.or(b, lowerCase)
    const lc = v128.or(c, lowerCase)
    const ld = v128.or(d, lowerCase)
    const openers =
      bits(i8x16.eq(la, opener), i8x16.eq(lb, opener), i8x16.eq(lc, opener), i8x16.eq(ld, opener)) & ~inside
    const closers =
      bits(i8x16.eq(la, closer), i8x16.eq(lb, closer), i8x16.eq(lc, closer), i8x16.eq(ld, closer)) & ~inside
    const up = <i32>popcnt(openers)
    const down = <i32>popcnt(closers)
    if (depth > down && depth + up <= maxDepth) {
      depth += up - down
      continue
    }

    let separators: u64 = 0
    if (mode != CLOSE) {
      separators =
        bits(i8x16.eq(a, separator), i8x16.eq(b, separator), i8x16.eq(c, separator), i8x16.eq(d, separator)) &
        ~inside
    }
    // from bracket to bracket; `rest` are the bytes behind the last one
    let brackets = openers | closers
    let rest: u64 = ~0
    while (true) {
      const bit = brackets & (0 - brackets)
      if (depth == 0) {
        // without a bracket, `bit - 1` is all ones
        const found = separators & rest & (bit - 1)
        if (found) {
          if (mode == FIRST) {
            comma = at + <i32>ctz(found)
            stop(0, comma, 1, -1)
            return comma + 1
          }
          comma = at + 63 - <i32>clz(found)
          commas += <i32>popcnt(found)
        }
      }
      if (bit == 0) break
      if (openers & bit ? depth >= maxDepth : depth == 0) {
        const bracket = at + <i32>ctz(bit)
        stop(depth, comma, commas, bracket)
        return bracket
      }
      depth += openers & bit ? 1 : -1
      rest = 0 - (bit << 1)
      brackets ^= bit
    }
  }

  stop(depth, comma, commas, -1)
  store<i32>(IN_STRING, inString ? 1 : 0)
  store<i32>(ESCAPED, <i32>escapedNext)
  return length
}

/** How often `byte` stands in `length` bytes from DATA on. */
export function count(length: i32, byte: i32): i32 {
  const wanted = i8x16.splat(<i8>byte)
  // what stands behind the bytes must not count
  const other = v128.not(wanted)
  const behind = DATA + <usize>length
  v128.store(behind, other)
  v128.store(behind, other, 16)
  v128.store(behind, other, 32)
  v128.store(behind, other, 48)
  let total: i32 = 0
  for (let at: i32 = 0; at < length; at += 64) {
    const here = DATA + <usize>at
    total += <i32>popcnt(
      bits(
        i8x16.eq(v128.load(here), wanted),
        i8x16.eq(v128.load(here, 16), wanted),
        i8x16.eq(v128.load(here, 32), wanted),
        i8x16.eq(v128.load(here, 48), wanted),
      ),
    )
  }
  return total
}

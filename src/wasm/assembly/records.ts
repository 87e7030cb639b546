// Draws blocks of records and writes them as text: the loops of tree-sampler.ts, code-tables.ts, row-orders.ts, random.ts and
// record-writer.ts, number for number and byte for byte. Drawn are all rows of a block. All addresses are in bytes.

const ROWS: u32 = 1024
/** Rows that are shuffled among themselves. */
const RUN: u32 = 64
const HIGH_BITS: u32 = 0xffc00000

/** Bit patterns of the numbers below 1024 in reverse order. */
const EVEN_POINTS: usize = memory.data(4096, 16)
/** The state of sfc32. */
const STATE: usize = memory.data(16, 16)
/** Where memory is the caller's. */
export const start: usize = STATE + 16

for (let i: u32 = 0; i < ROWS; i++) {
  let bits: u32 = 0
  for (let k: u32 = 0; k < 10; k++) bits |= ((i >> k) & 1) << (31 - k)
  store<u32>(EVEN_POINTS + (<usize>i << 2), bits)
}

export function seed(a: u32, b: u32, c: u32, counter: u32): void {
  store<u32>(STATE, a)
  store<u32>(STATE, b, 4)
  store<u32>(STATE, c, 8)
  store<u32>(STATE, counter, 12)
}

/** A word of 32 bits for each row. */
export function fillWords(to: usize): void {
  let a = load<u32>(STATE)
  let b = load<u32>(STATE, 4)
  let c = load<u32>(STATE, 8)
  let counter = load<u32>(STATE, 12)
  for (const end = to + ROWS * 4; to < end; to += 4) {
    const word = a + b + counter++
    a = b ^ (b >> 9)
    b = c + (c << 3)
    c = rotl<u32>(c, 21) + word
    store<u32>(to, word)
  }
  seed(a, b, c, counter)
}

/** Fisher and Yates, run by run, by a word for each row. */
export function shuffle(rows: usize, words: usize): void {
  for (let from: u32 = 0; from < ROWS; from += RUN) {
    const run = rows + (<usize>from << 1)
    for (let i: u32 = 0; i < RUN; i++) {
      const word = <u64>load<u32>(words + (<usize>(from + i) << 2))
      const to = run + ((<usize>((word * (i + 1)) >> 32)) << 1)
      store<u16>(run + (<usize>i << 1), load<u16>(to))
      store<u16>(to, <u16>(from + i))
    }
  }
}

/**
 * Writes each row's cell: the sum of a step for each of `count` parents, a multiple of five. A parent is two addresses: of its codes by row, and
 * of its steps by code, of 16 bits all.
 */
export function addSteps(cells: usize, parents: usize, count: u32): void {
  memory.fill(cells, 0, ROWS * 2)
  for (const end = parents + (<usize>count << 3); parents < end; parents += 40) {
    const codes0 = <usize>load<u32>(parents)
    const steps0 = <usize>load<u32>(parents, 4)
    const codes1 = <usize>load<u32>(parents, 8)
    const steps1 = <usize>load<u32>(parents, 12)
    const codes2 = <usize>load<u32>(parents, 16)
    const steps2 = <usize>load<u32>(parents, 20)
    const codes3 = <usize>load<u32>(parents, 24)
    const steps3 = <usize>load<u32>(parents, 28)
    const codes4 = <usize>load<u32>(parents, 32)
    const steps4 = <usize>load<u32>(parents, 36)
    for (let at: usize = 0; at < ROWS * 2; at += 2) {
      const sum =
        <u32>load<u16>(steps0 + (<usize>load<u16>(codes0 + at) << 1)) +
        <u32>load<u16>(steps1 + (<usize>load<u16>(codes1 + at) << 1)) +
        <u32>load<u16>(steps2 + (<usize>load<u16>(codes2 + at) << 1)) +
        <u32>load<u16>(steps3 + (<usize>load<u16>(codes3 + at) << 1)) +
        <u32>load<u16>(steps4 + (<usize>load<u16>(codes4 + at) << 1))
      store<u16>(cells + at, <u16>(<u32>load<u16>(cells + at) + sum))
    }
  }
}

/**
 * Writes a code for each row from the distribution that its cell names. Of a distribution there are four numbers of 32 bits: where its part of the
 * guide is, by how much a word is shifted to be a place in it, what scatters its points, and how many rows have drawn from it.
 */
export function drawEvenly(
  to: usize,
  cells: usize,
  leafOf: usize,
  first: usize,
  second: usize,
  turn: u32,
  words: usize,
  leaves: usize,
  leafCount: u32,
  guide: usize,
  last: usize,
  codes: usize,
): void {
  for (let i: u32 = 0; i < leafCount; i++) store<u32>(leaves + (<usize>i << 4), 0, 12)
  for (let i: u32 = 0; i < ROWS; i++) {
    const turned = (load<u16>(second + (<usize>i << 1)) + turn) & (RUN - 1)
    const row = <usize>load<u16>(first + (<usize>((i & ~(RUN - 1)) + turned) << 1))
    const leaf = leaves + (<usize>load<u16>(leafOf + (<usize>load<u16>(cells + (row << 1)) << 1)) << 4)
    const word = load<u32>(words + (row << 2))
    const drawn = load<u32>(leaf, 12)
    store<u32>(leaf, drawn + 1, 12)
    if (drawn == 0) store<u32>(leaf, word & HIGH_BITS, 8)
    const point = (load<u32>(EVEN_POINTS + (<usize>drawn << 2)) ^ load<u32>(leaf, 8)) | (word & ~HIGH_BITS)
    let at = load<u32>(guide + (<usize>(load<u32>(leaf) + (point >> load<u32>(leaf, 4))) << 2))
    at += u32(point > load<u32>(last + (<usize>at << 2)))
    while (point > load<u32>(last + (<usize>at << 2))) at++
    store<u16>(to + (row << 1), load<u16>(codes + (<usize>at << 1)))
  }
}

/** Numbers of texts of a run of columns: for each row what it has so far, times the codes that the next column has, plus its code. */
export function join(picks: usize, codes: usize, count: u32): void {
  const counts = i16x8.splat(<i16>count)
  for (let at: usize = 0; at < ROWS * 2; at += 16) {
    v128.store(picks + at, i16x8.add(i16x8.mul(v128.load(picks + at), counts), v128.load(codes + at)))
  }
}

/** Writes the texts of a column of numbers, after what stands before them already, and says in `table` how long each is. */
export function writeNumbers(
  table: usize,
  from: u32,
  to: u32,
  codes: usize,
  words: usize,
  starts: usize,
  knots: usize,
  decimals: u32,
  nullCode: u32,
  nullLength: u32,
  before: u32,
  after: usize,
  afterLength: u32,
): void {
  for (let row = from; row < to; row++) {
    const entry = table + (<usize>row << 3)
    const begin = <usize>load<u32>(entry)
    const code = <u32>load<u16>(codes + (<usize>row << 1))
    let at = begin + before
    if (code == nullCode) {
      store<u32>(at, 0x6c6c756e)
      at += nullLength
    } else {
      const first = load<u32>(starts + (<usize>code << 2))
      const last = load<u32>(starts + (<usize>code << 2), 4) - first - 1
      let knot = knots + (<usize>first << 3)
      let units = load<f64>(knot)
      if (last > 0) {
        const x = <f64>load<u32>(words + (<usize>row << 2)) * 2.3283064365386963e-10 * <f64>last
        const i = <u32>x
        knot += <usize>i << 3
        const low = load<f64>(knot)
        units = low + (x - <f64>i) * (load<f64>(knot, 8) - low)
        // as Math.round does it
        const above = Math.ceil(units)
        units = above - 0.5 > units ? above - 1 : above
      }
      at = writeUnits(<i64>units, decimals, at)
    }
    for (let i: u32 = 0; i < afterLength; i++) store<u8>(at++, load<u8>(after + i))
    store<u32>(entry, <u32>(at - begin), 4)
  }
}

/** Decimal digits, with a point where it belongs and no zeros at the end. */
function writeUnits(units: i64, decimals: u32, at: usize): usize {
  let rest: u64 = units < 0 ? -units : units
  if (units < 0) store<u8>(at++, 0x2d)
  let places = decimals
  while (places > 0 && rest % 10 == 0) {
    rest /= 10
    places--
  }
  let digits = places + 1
  let bound: u64 = 10
  for (let i: u32 = 0; i < places; i++) bound *= 10
  while (rest >= bound) {
    digits++
    bound *= 10
  }
  const end = at + digits + (places > 0 ? 1 : 0)
  let to = end
  for (let i: u32 = 0; i < digits; i++) {
    if (i == places && i > 0) store<u8>(--to, 0x2e)
    const tens = rest / 10
    store<u8>(--to, <u8>(0x30 + (rest - tens * 10)))
    rest = tens
  }
  return end
}

/**
 * Writes rows `[from, to)` from `at` on, and returns where they end; up to 31 bytes beyond are overwritten. A plan is two addresses: of the
 * numbers of its texts by row, and of a table that has the address and the length of each text.
 */
export function writeRows(at: usize, plans: usize, planCount: u32, from: u32, to: u32): usize {
  const end = plans + (<usize>planCount << 3)
  for (let row = from; row < to; row++) {
    for (let plan = plans; plan < end; plan += 8) {
      const pick = <usize>load<u16>(<usize>load<u32>(plan) + (<usize>row << 1))
      const entry = <usize>load<u32>(plan, 4) + (pick << 3)
      const text = <usize>load<u32>(entry)
      const length = <usize>load<u32>(entry, 4)
      v128.store(at, v128.load(text))
      v128.store(at, v128.load(text, 16), 16)
      for (let i: usize = 32; i < length; i += 16) v128.store(at + i, v128.load(text + i))
      at += length
    }
  }
  return at
}

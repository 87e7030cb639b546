import type { BlockRandom } from './random.ts'

/**
 * The distribution function of the standard normal, to double precision (Hart 1968, as given by West: Better Approximations
 * to Cumulative Normal Functions, 2005).
 */
export function normalCdf(x: number): number {
  const z = Math.abs(x)
  if (z > 37) return x > 0 ? 1 : 0
  const e = Math.exp((-z * z) / 2)
  let tail: number
  if (z < 7.071_067_811_865_47) {
    let top = 3.526_249_659_989_11e-2 * z + 0.700_383_064_443_688
    top = top * z + 6.373_962_203_531_65
    top = top * z + 33.912_866_078_383
    top = top * z + 112.079_291_497_871
    top = top * z + 221.213_596_169_931
    top = top * z + 220.206_867_912_376
    let bottom = 8.838_834_764_831_84e-2 * z + 1.755_667_163_182_64
    bottom = bottom * z + 16.064_177_579_207
    bottom = bottom * z + 86.780_732_202_946_1
    bottom = bottom * z + 296.564_248_779_674
    bottom = bottom * z + 637.333_633_378_831
    bottom = bottom * z + 793.826_512_519_948
    bottom = bottom * z + 440.413_735_824_752
    tail = (e * top) / bottom
  } else {
    tail = e / ((z + 1 / (z + 2 / (z + 3 / (z + 4 / (z + 0.65))))) * 2.506_628_274_631)
  }
  return x > 0 ? 1 - tail : tail
}

const A = [
  -39.696_830_286_653_76, 220.946_098_424_520_5, -275.928_510_446_968_7, 138.357_751_867_269,
  -30.664_798_066_147_16, 2.506_628_277_459_239,
] as const
const B = [
  -54.476_098_798_224_06, 161.585_836_858_040_9, -155.698_979_859_886_6, 66.801_311_887_719_72,
  -13.280_681_552_885_72,
] as const
const C = [
  -7.784_894_002_430_293e-3, -0.322_396_458_041_136_5, -2.400_758_277_161_838, -2.549_732_539_343_734,
  4.374_664_141_464_968, 2.938_163_982_698_783,
] as const
const D = [
  7.784_695_709_041_462e-3, 0.322_467_129_070_039_8, 2.445_134_137_142_996, 3.754_408_661_907_416,
] as const

/** Its inverse, with a relative error below 1.2e-9 (P. J. Acklam). */
export function normalQuantile(p: number): number {
  if (p <= 0) return -Infinity
  if (p >= 1) return Infinity
  if (p < 0.024_25 || p > 0.975_75) {
    const q = Math.sqrt(-2 * Math.log(p < 0.5 ? p : 1 - p))
    const top = ((((C[0] * q + C[1]) * q + C[2]) * q + C[3]) * q + C[4]) * q + C[5]
    const x = top / ((((D[0] * q + D[1]) * q + D[2]) * q + D[3]) * q + 1)
    return p < 0.5 ? x : -x
  }
  const q = p - 0.5
  const r = q * q
  const top = (((((A[0] * r + A[1]) * r + A[2]) * r + A[3]) * r + A[4]) * r + A[5]) * q
  return top / (((((B[0] * r + B[1]) * r + B[2]) * r + B[3]) * r + B[4]) * r + 1)
}

/** Probability between two bounds, exact in both tails. */
export function normalMass(low: number, high: number): number {
  return low > 0 ? normalCdf(-low) - normalCdf(-high) : normalCdf(high) - normalCdf(low)
}

/** The point below which the share `u` of the probability between two bounds lies. */
export function normalWithin(low: number, high: number, u: number): number {
  const x =
    low > 0
      ? -normalQuantile(normalCdf(-low) - u * (normalCdf(-low) - normalCdf(-high)))
      : normalQuantile(normalCdf(low) + u * (normalCdf(high) - normalCdf(low)))
  return Math.min(high, Math.max(low, x))
}

const LAYERS = 128
const EDGE = 3.442_619_855_899
const edges = new Float64Array(LAYERS + 1)
const ratios = new Float64Array(LAYERS)
{
  const area = 9.912_563_035_262_17e-3
  let height = Math.exp(-0.5 * EDGE * EDGE)
  edges[0] = area / height
  edges[1] = EDGE
  for (let i = 2; i < LAYERS; i++) {
    edges[i] = Math.sqrt(-2 * Math.log(area / edges[i - 1]! + height))
    height = Math.exp(-0.5 * edges[i]! * edges[i]!)
  }
  for (let i = 0; i < LAYERS; i++) ratios[i] = edges[i + 1]! / edges[i]!
}

/** Fills `out` with standard normals: the ziggurat of Marsaglia and Tsang (2000), with the layer and the place in it from separate bits. */
export function fillNormals(random: BlockRandom, out: Float64Array, count: number): void {
  for (let i = 0; i < count; i++) out[i] = nextNormal(random)
}

function nextNormal(random: BlockRandom): number {
  for (;;) {
    const word = random.next()
    const layer = word & 127
    // 24 bits of place and one of sign
    const u = (word >>> 8) * 2 ** -23 - 1
    if (Math.abs(u) < ratios[layer]!) return u * edges[layer]!
    if (layer === 0) {
      for (;;) {
        const x = -Math.log(random.uniform()) / EDGE
        const y = -Math.log(random.uniform())
        if (y + y >= x * x) return u > 0 ? EDGE + x : -EDGE - x
      }
    }
    const x = u * edges[layer]!
    const high = Math.exp(-0.5 * (edges[layer]! * edges[layer]! - x * x))
    const low = Math.exp(-0.5 * (edges[layer + 1]! * edges[layer + 1]! - x * x))
    if (low + random.uniform() * (high - low) < 1) return x
  }
}

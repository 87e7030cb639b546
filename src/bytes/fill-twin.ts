import { BLOCK_SIZE, mix, PAGE_SIZE } from './object-format.ts'
import type { ByteKernel } from './byte-kernel.ts'

const GOLDEN = 0x9e3779b9
const LANES = 16
const STEP = LANES * 4

/**
 * The byte filler in JavaScript: the fallback where WebAssembly is off, and the oracle that the kernel is tested against.
 * It goes through a page lane by lane, where the kernel goes step by step, and writes through a DataView, so that its
 * bytes are the same on a big-endian machine. About a tenth of the kernel's speed.
 */
export function fillTwin(capacity: number, piece: number): ByteKernel {
  const memory = Buffer.alloc(capacity + STEP)
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength)

  const fillPage = (to: number, k0: number, k1: number, page: number, length: number) => {
    const state = (lane: number, word: number) =>
      mix(mix((mix((Math.imul(LANES * word + lane + 1, GOLDEN) + k0) | 0) + page) | 0) ^ k1) | 0
    for (let lane = 0; lane < LANES; lane++) {
      let a = state(lane, 0)
      let b = state(lane, 1)
      let c = state(lane, 2)
      for (let at = 0, counter = 1; at < length; at += STEP, counter++) {
        const t = (a + b + counter) | 0
        a = b ^ (b >>> 9)
        b = (c + (c << 3)) | 0
        c = (((c << 21) | (c >>> 11)) + t) | 0
        view.setUint32(to + at + 4 * lane, t, true)
      }
    }
  }

  return {
    name: 'js',
    memory,
    piece: memory.subarray(0, piece),
    fill(to, keyLow, keyHigh, uLow, uHigh, firstPage, end, rate) {
      const x = mix((keyLow + Math.imul(uLow, 0x9e3779b1)) | 0)
      const y = mix(keyHigh ^ uHigh ^ x)
      const k1 = mix((x + y) | 0)
      const k0 = mix((y + Math.imul(k1, 0x85ebca6b)) | 0) ^ uLow
      for (let page = firstPage; page * PAGE_SIZE < end; page++, to += PAGE_SIZE) {
        const length = Math.min(PAGE_SIZE, end - page * PAGE_SIZE)
        const q = ((uLow % (BLOCK_SIZE / LANES)) * LANES + page) % BLOCK_SIZE
        // (q + 1) * rate reaches 2^44: doubles hold it, 32-bit integers do not
        const random = Math.floor(((q + 1) * rate) / 65_536) - Math.floor((q * rate) / 65_536)
        fillPage(to, k0, k1, page, Math.min(length, random))
        if (random < length) memory.fill(0, to + random, to + length)
      }
    },
  }
}

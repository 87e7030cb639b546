import { createCipheriv, createHash } from 'node:crypto'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { times } from './harness.js'

export const title = 'bytes: objects generated and verified, one core'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB
const CHUNK = 256 * KIB
const PAGE = 4 * KIB

const sink = () => new Writable({ write: (_chunk, _encoding, done) => done() })

/** @param {object} [options] */
async function makeObject(options) {
  const { DataGenerator } = await import('millrace/bytes')
  return new DataGenerator({ seed: 42 }).beginObject({ size: 2 ** 40, ...options })
}

/** Calls for a moment until the engine has compiled what is measured; large kernels are several times slower before. @param {() => unknown} step */
function warm(step) {
  for (const until = performance.now() + 300; performance.now() < until;) step()
}

/** Prepared, so that starting and compiling are not measured. @param {(input: any) => (() => unknown) | Promise<() => unknown>} setup */
const inLoop = (setup) => ({
  async prepare(/** @type {any} */ input) {
    const step = await setup(input)
    warm(step)
    return { step, rounds: Math.ceil(input.bytes / input.perStep) }
  },
  run(/** @type {{ step: () => unknown, rounds: number }} */ { step, rounds }) {
    for (let i = 0; i < rounds; i++) step()
  },
})

/** @param {object} [options] */
const readInto = (options) =>
  inLoop(async () => {
    const object = await makeObject(options)
    const target = Buffer.allocUnsafeSlow(CHUNK)
    let offset = 0
    return () => {
      object.readInto(target, offset)
      offset = (offset + CHUNK) % (object.size - CHUNK)
    }
  })

/** @param {(object: import('millrace/bytes').ObjectGen, bytes: number) => Promise<unknown>} run */
const streaming = (run) => ({
  async prepare(/** @type {{ bytes: number }} */ { bytes }) {
    const object = await makeObject({ size: bytes })
    const target = Buffer.allocUnsafeSlow(CHUNK)
    warm(() => object.readInto(target, 0))
    return { object, bytes }
  },
  run: (/** @type {any} */ { object, bytes }) => run(object, bytes).then(() => undefined),
})

/** Random reads of 4 KiB, all over the object or in its first MiB. @param {number} reach @param {Buffer} [into] */
const randomReads = (reach, into) =>
  inLoop(async () => {
    const object = await makeObject()
    let x = 1
    return () => {
      // a linear congruential generator, scaled to the reach
      x = (x * 1_103_515_245 + 12_345) % 2 ** 31
      const offset = Math.floor((x / 2 ** 31) * (reach - PAGE))
      if (into === undefined) object.read(offset, PAGE)
      else object.readInto(into, offset)
    }
  })

/** Peak RSS of this process after streaming that much. @param {number} bytes */
const peakAfter = (bytes) => ({
  name: `stream of ${bytes >= GIB ? `${bytes / GIB} GiB` : `${bytes / MIB} MiB`}`,
  ours: bytes >= GIB,
  async run() {
    const object = await makeObject({ size: bytes })
    await pipeline(object.stream(), sink())
  },
})

const gen = `node --input-type=module -e '
  import { DataGenerator, pumpToDescriptor } from "millrace/bytes"
  await pumpToDescriptor(new DataGenerator({ seed: 42 }).beginObject({ size: ${8 * GIB} }), 1)'`

export const groups = [
  {
    name: 'buffers of 256 KiB, filled again and again',
    unit: /** @type {const} */ ('GB/s'),
    rounds: 5,
    input: () => ({ bytes: 8 * GIB, perStep: CHUNK }),
    candidates: [
      { name: 'readInto, C = 1', ours: true, ...readInto() },
      { name: 'readInto, C = 2', ...readInto({ compress: 2 }) },
      { name: 'readInto, D = 2.5, C = 1.7', ...readInto({ dedup: 2.5, compress: 1.7 }) },
      {
        name: 'node:crypto AES-128-CTR, one cipher',
        ...inLoop(() => {
          const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16))
          const zeros = Buffer.alloc(CHUNK)
          return () => cipher.update(zeros)
        }),
      },
      {
        name: 'fio, null engine, refill_buffers, with its start-up',
        needs: 'fio',
        command: (/** @type {{ bytes: number }} */ { bytes }) =>
          `fio --name=n --ioengine=null --rw=write --bs=256k --size=${bytes} --refill_buffers=1 --output=/dev/null`,
      },
    ],
    targets: (/** @type {(name: string) => { ms: number, rate: number }} */ row) => {
      const ours = row('readInto, C = 1')
      return [
        [
          'readInto against AES-128-CTR',
          '≥ 1.7×',
          times(row('node:crypto AES-128-CTR, one cipher').ms, ours.ms),
        ],
        [
          'readInto against fio',
          '≥ 2×',
          times(row('fio, null engine, refill_buffers, with its start-up').ms, ours.ms),
        ],
        ['readInto against 10.8 GB/s, s3dlio’s best published per core', '≥ 1.3×', times(ours.rate, 10.8)],
      ]
    },
  },
  {
    name: 'streams of 8 GiB',
    unit: /** @type {const} */ ('GB/s'),
    rounds: 3,
    input: () => ({ bytes: 8 * GIB, perStep: CHUNK }),
    candidates: [
      {
        name: 'stream to a null sink, fresh chunks',
        ours: true,
        ...streaming((object) => pipeline(object.stream(), sink())),
      },
      {
        name: 'pumpObject to a null sink, no copy',
        ...streaming(async (object) => {
          const { pumpObject } = await import('millrace/bytes')
          await pumpObject(object, sink(), { chunkSize: CHUNK })
        }),
      },
      {
        name: 'stream, verified',
        ...streaming(async (object) => {
          const { verify } = await import('millrace/bytes')
          await verify(object.stream(), object)
        }),
      },
      {
        name: 'stream, sha256',
        ...streaming(async (object) => {
          const hash = createHash('sha256')
          await pipeline(
            object.stream({ end: object.size / 4 }),
            new Writable({ write: (chunk, _encoding, done) => (hash.update(chunk), done()) }),
          )
        }),
      },
      { name: 'readInto, no stream', ...readInto() },
    ],
    targets: (/** @type {(name: string) => { ms: number }} */ row) => [
      [
        'stream against readInto',
        '≥ 65 %',
        `${((100 * row('readInto, no stream').ms) / row('stream to a null sink, fresh chunks').ms).toFixed(0)} %`,
      ],
      [
        'verify against sha256 of the same stream (which gets a quarter of it)',
        '≥ 2.5×',
        times(4 * row('stream, sha256').ms, row('stream, verified').ms),
      ],
    ],
  },
  {
    name: 'reads of 4 KiB at random offsets of 1 TiB',
    unit: /** @type {const} */ ('GB/s'),
    rounds: 5,
    input: () => ({ bytes: 4 * GIB, perStep: PAGE }),
    candidates: [
      { name: 'read, anywhere', ours: true, ...randomReads(2 ** 40) },
      { name: 'readInto, anywhere, one buffer', ...randomReads(2 ** 40, Buffer.alloc(PAGE)) },
      { name: 'read, in the first MiB', ...randomReads(MIB) },
    ],
    targets: (/** @type {(name: string) => { ms: number }} */ row) => {
      const reads = (4 * GIB) / PAGE
      const ns = (/** @type {string} */ name) => `${((row(name).ms * 1e6) / reads).toFixed(0)} ns`
      return [
        ['read of 4 KiB anywhere in 1 TiB', '< 1 µs', ns('read, anywhere')],
        ['the same into a buffer that is used again', '< 1 µs', ns('readInto, anywhere, one buffer')],
        ['the same in the first MiB', 'no difference', ns('read, in the first MiB')],
      ]
    },
  },
  {
    name: '8 GiB to a pipe, whole command',
    unit: /** @type {const} */ ('GB/s'),
    rounds: 3,
    input: () => ({ bytes: 8 * GIB }),
    candidates: [
      { name: 'pumpToDescriptor to stdout', ours: true, command: () => `${gen} | cat > /dev/null` },
      {
        name: 'dd if=/dev/zero bs=64K',
        command: () => `dd if=/dev/zero bs=64K count=${(8 * GIB) / 65_536} status=none | cat > /dev/null`,
      },
      {
        name: 'openssl enc -aes-128-ctr',
        needs: 'openssl',
        command: () =>
          `head -c ${8 * GIB} /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2> /dev/null | cat > /dev/null`,
      },
    ],
    targets: (/** @type {(name: string) => { ms: number }} */ row) => [
      [
        'pumpToDescriptor against dd to the same pipe',
        '≥ 60 %',
        `${((100 * row('dd if=/dev/zero bs=64K').ms) / row('pumpToDescriptor to stdout').ms).toFixed(0)} %`,
      ],
    ],
  },
  {
    name: 'memory',
    unit: /** @type {const} */ ('none'),
    rounds: 3,
    input: () => ({ bytes: 0 }),
    candidates: [peakAfter(20 * GIB), peakAfter(500 * MIB)],
    targets: (/** @type {(name: string) => { rss: number }} */ row) => [
      [
        'peak RSS at 20 GiB against 500 MiB',
        '≤ 1.1×',
        times(row('stream of 20 GiB').rss, row('stream of 500 MiB').rss),
      ],
    ],
  },
]

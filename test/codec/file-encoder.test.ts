import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { FileEncoder, encodeFile, type FileProgress } from '../../src/codec/file-encoder.ts'
import { workerCodec } from '../../src/codec/worker-codec.ts'
import { createPool } from '../../src/workers/index.ts'
import { runCodecTask, writeTask } from '../../src/codec/codec-task.ts'
import { decodeAll, lines, noise, pack, unpack } from './helpers/through.ts'
import { pathToFileURL } from 'node:url'

const folder = mkdtempSync(join(tmpdir(), 'millrace-files-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const at = (name: string) => join(folder, name)
const raw = Buffer.concat([lines(400_000), noise(50_000)])
writeFileSync(at('raw'), raw)

t.test(
  'FileEncoder: packs and unpacks files, tells how far it is, and counts until it is reset',
  async (t) => {
    const chunks: number[] = []
    const encoder = new FileEncoder(
      { codec: 'deflate', onChunk: ({ bytes }) => chunks.push(bytes) },
      { onChunk: () => chunks.push(0) },
    )
    const progress: FileProgress[] = []
    encoder.on('progress', (event) => progress.push(event))
    const stats = await encoder.encodeFile(at('raw'), at('raw.mrz'))
    const packed = readFileSync(at('raw.mrz'))
    t.match(stats, { bytesIn: raw.length, bytesOut: packed.length, blocks: 2 })
    t.match(progress.at(-1), {
      input: at('raw'),
      output: at('raw.mrz'),
      bytesIn: raw.length,
      bytesOut: packed.length,
      totalBytes: raw.length,
    })
    t.ok((await unpack(packed)).equals(raw))
    await encoder.decodeFile(at('raw.mrz'), at('again'))
    t.ok(readFileSync(at('again')).equals(raw))
    t.match(encoder.stats(), {
      bytesIn: raw.length + packed.length,
      bytesOut: raw.length + packed.length,
      ratio: raw.length / packed.length,
      blocks: 4,
    })
    t.ok(encoder.stats().bytesPerSecond > 0)
    encoder.reset()
    t.match(encoder.stats(), { bytesIn: 0, blocks: 0, ratio: 0, bytesPerSecond: 0 })
    t.ok(chunks.length > 4)
  },
)

t.test('encodeFile: the name of the output decides on the format', async (t) => {
  await encodeFile(at('raw'), at('raw.gz'))
  t.ok(gunzipSync(readFileSync(at('raw.gz'))).equals(raw))
  await encodeFile(at('raw'), at('other.gz'), { format: 'container', codec: 'store' })
  t.ok((await unpack(readFileSync(at('other.gz')), { format: 'container' })).equals(raw))
})

t.test('encodeFile: what fails or is aborted leaves nothing behind', async (t) => {
  const signal = AbortSignal.abort()
  await t.rejects(encodeFile(at('raw'), at('none.mrz'), { codec: 'deflate', signal }), { name: 'AbortError' })
  await t.rejects(encodeFile(at('missing'), at('none.mrz')), { code: 'ENOENT' })
  await t.rejects(new FileEncoder().decodeFile(at('raw'), at('none')), { code: 'ERR_MILLRACE_CODEC_INVALID' })
  await t.rejects(encodeFile(at('raw'), 5 as never), { code: 'ERR_MILLRACE_OPTION', option: 'output' })
  t.notOk(['none.mrz', 'none.mrz.partial', 'none', 'none.partial'].some((name) => existsSync(at(name))))
})

const module = at('codec.mjs')
writeFileSync(
  module,
  `import { deflateRawSync, inflateRawSync } from 'node:zlib'
   export const pack = (bytes, { level, context }) => {
     if (bytes.includes('poison')) throw new Error('poison')
     return deflateRawSync(bytes, { level, ...(context && { dictionary: context }) })
   }
   export const unpack = (bytes, { rawLength, context }) =>
     inflateRawSync(bytes, { maxOutputLength: rawLength, ...(context && { dictionary: context }) })`,
)

t.test('workerCodec: packs and unpacks in threads, the same as in any other way', async (t) => {
  const pool = createPool({ workers: 2 })
  const codec = workerCodec(pathToFileURL(module), { name: 'deflate-9', contextBytes: 1000, pool })
  for (const context of ['none', 'previous'] as const) {
    const options = { codec, context, blockSize: 30_000, level: 9 }
    const packed = await pack(raw, options)
    t.ok(packed.equals(await pack(raw, { ...options, workers: 5 })))
    t.ok((await unpack(packed, { codecs: [codec] })).equals(raw), context)
  }
  const packed = await pack(lines(3000), { codec, blockSize: 1000 })
  packed[packed.length >> 1]! ^= 1
  t.match((await decodeAll(packed, { codecs: [codec] })).error, { code: 'ERR_MILLRACE_CODEC_CHECKSUM' })
  await t.rejects(pack(Buffer.from('this is poison'), { codec }), {
    code: 'ERR_MILLRACE_CODEC_FAILED',
    message: /poison/,
  })
  const inWork = codec.pack(lines(100), { level: 1, context: undefined })
  await codec.close?.()
  t.ok((await inWork).length < 100, 'what is in work is finished before threads end')
  await codec.close?.()
  await pool.destroy()
})

t.test('workerCodec: a module that is not there is an error, and nothing hangs', async (t) => {
  const codec = workerCodec(at('missing.mjs'), { name: 'missing', workers: 1 })
  await t.rejects(pack(lines(100), { codec }), { code: 'ERR_MILLRACE_OFFLOAD_HANDLER' })
  t.throws(() => workerCodec(module, { name: 'a name with spaces' }), {
    code: 'ERR_MILLRACE_OPTION',
    option: 'codec.name',
  })
})

t.test('workerCodec: the side in the worker', async (t) => {
  const context = { workerData: { module: pathToFileURL(module).href } }
  const bytes = lines(500)
  const packed = await runCodecTask(
    writeTask({ kind: 'pack', bytes, level: undefined, rawLength: 0, context: undefined }),
    context,
  )
  t.equal(packed[0], 0)
  const task = {
    kind: 'unpack',
    bytes: packed.subarray(1),
    level: 3,
    rawLength: 500,
    context: undefined,
  } as const
  t.ok((await runCodecTask(writeTask(task), context)).subarray(1).equals(bytes))
  const failed = await runCodecTask(writeTask({ ...task, rawLength: 10 }), context)
  t.equal(failed[0], 1)
  t.match(String(failed.subarray(1)), /larger than/)
  const withContext = writeTask({ kind: 'pack', bytes, level: 9, rawLength: 0, context: bytes })
  t.ok((await runCodecTask(withContext, context)).length < packed.length)
})

import { createWriteStream, readFileSync, statSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { dataFile } from './data.js'
import { times } from './harness.js'

export const title = 'Records to a JSON array, one thread'

/** @typedef {{ path: string }} File */

/** Not timed. @param {File} file */
const prepare = ({ path }) => JSON.parse(readFileSync(path, 'utf8'))

const nullSink = () => {
  let bytes = 0
  return {
    sink: new Writable({ write: (chunk, _, done) => ((bytes += chunk.length), done()) }),
    bytes: () => bytes,
  }
}

/** @param {any[]} records */
async function* batchesOf(records) {
  const { RecordBatch } = await import('millrace')
  for (let i = 0; i < records.length; i += 256) yield new RecordBatch(i, records.slice(i, i + 256))
}

const PASSES = 4

/**
 * @param {string} name @param {boolean} ours
 * @param {(records: any[], to: Writable) => Promise<unknown> | unknown} write
 */
const toNull = (name, ours, write) => ({
  name,
  ours,
  loads: ['millrace', 'JSONStream', 'json-stream-stringify'],
  prepare,
  async run(/** @type {any[]} */ records) {
    let written = 0
    for (let pass = 0; pass < PASSES; pass++) {
      const { sink, bytes } = nullSink()
      await write(records, sink)
      written += bytes()
    }
    return written
  },
})

/** @param {string} name @param {boolean} ours @param {(records: any[], to: Writable) => Promise<unknown> | unknown} write */
const toFile = (name, ours, write) => ({
  name,
  ours,
  loads: ['millrace', 'JSONStream', 'json-stream-stringify'],
  prepare,
  async run(/** @type {any[]} */ records) {
    const path = join(tmpdir(), `millrace-bench-${process.pid}.json`)
    for (let pass = 0; pass < PASSES; pass++) await write(records, createWriteStream(path))
    const { size } = statSync(path)
    unlinkSync(path)
    return size
  },
})

/** @param {any[]} records @param {Writable} to */
const chunkerBatches = async (records, to) => {
  const { JsonChunker } = await import('millrace')
  await pipeline(Readable.from(batchesOf(records)), new JsonChunker({ format: 'array' }), to)
}
/** @param {any[]} records @param {Writable} to */
const chunkerSingle = async (records, to) => {
  const { JsonChunker } = await import('millrace')
  await pipeline(Readable.from(records), new JsonChunker({ format: 'array' }), to)
}
/** @param {any[]} records @param {Writable} to */
const jsonStream = async (records, to) => {
  const { default: JSONStream } = await import('JSONStream')
  await pipeline(Readable.from(records), JSONStream.stringify('[', ',', ']'), to)
}
/** @param {any[]} records @param {Writable} to */
const stringifyStream = async (records, to) => {
  const { JsonStreamStringify } = await import('json-stream-stringify')
  await pipeline(new JsonStreamStringify(records, undefined, undefined, false, 32 * 1024), to)
}
/** @param {any[]} records @param {Writable} to */
const whole = (records, to) => pipeline(Readable.from([Buffer.from(JSON.stringify(records))]), to)

const input = () => {
  const file = dataFile('medium', 'array', 40e6)
  return { ...file, bytes: file.bytes * PASSES }
}

/** @type {[name: string, ours: boolean, write: (records: any[], to: Writable) => Promise<unknown>][]} */
const writers = [
  ['JsonChunker, batches of 256', true, chunkerBatches],
  ['JsonChunker, single records', false, chunkerSingle],
  ['JSONStream.stringify', false, jsonStream],
  ['json-stream-stringify, 32 KiB', false, stringifyStream],
  ['whole JSON.stringify + Buffer.from', false, whole],
]

/** @typedef {(name: string) => { ms: number }} Rows */

export const groups = [
  {
    name: '219-byte records to a null sink',
    unit: /** @type {const} */ ('MB/s'),
    input,
    candidates: writers.map(([name, ours, write]) => toNull(name, ours, write)),
    targets: (/** @type {Rows} */ row) => [
      [
        'batches against whole JSON.stringify + Buffer.from',
        '≥ 1.2×',
        times(row('whole JSON.stringify + Buffer.from').ms, row('JsonChunker, batches of 256').ms),
      ],
    ],
  },
  {
    name: '219-byte records to a file',
    unit: /** @type {const} */ ('MB/s'),
    input,
    candidates: writers.map(([name, ours, write]) => toFile(name, ours, write)),
    targets: (/** @type {Rows} */ row) => [
      [
        'single records against JSONStream',
        '≥ 1.7×',
        times(row('JSONStream.stringify').ms, row('JsonChunker, single records').ms),
      ],
    ],
  },
]

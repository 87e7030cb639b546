import { createReadStream, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { dataFile } from './data.js'
import { times } from './harness.js'

export const title = 'JSON to records, one thread'

/** Counts records and adds up their ids, so that every candidate is known to have built them. */
function tally() {
  let records = 0
  let sum = 0
  return {
    /** @param {any} record */
    add(record) {
      records++
      sum += record.id
    },
    result: () => ({ records, sum }),
  }
}

/** @param {(record: any, counted: ReturnType<typeof tally>) => void} [take] */
function sink(take = (record, { add }) => add(record)) {
  const counted = tally()
  const writable = new Writable({
    objectMode: true,
    write(chunk, _, done) {
      take(chunk, counted)
      done()
    },
  })
  return { writable, result: counted.result }
}

/** @param {string} path @param {any[]} stages @param {Parameters<typeof sink>[0]} [take] */
async function piped(path, stages, take) {
  const { writable, result } = sink(take)
  await pipeline([createReadStream(path), ...stages, writable])
  return result()
}

/** @typedef {{ path: string }} File */

/** @param {'array' | 'ndjson'} format @param {boolean} batches */
const millrace =
  (format, batches) =>
  async (/** @type {File} */ { path }) => {
    const { ChunkedReader, JsonReader } = await import('millrace')
    const { writable, result } = sink(batches ? ({ records }, { add }) => records.forEach(add) : undefined)
    await pipeline(new ChunkedReader(path), new JsonReader({ format, batches }), writable)
    return result()
  }

const whole = (/** @type {File} */ { path }) => {
  const counted = tally()
  JSON.parse(readFileSync(path, 'utf8')).forEach(counted.add)
  return counted.result()
}

const arrayPeers = [
  {
    name: 'stream-json, as its README shows it',
    loads: ['stream-json', 'stream-json/streamers/stream-array.js', 'stream-chain'],
    async run(/** @type {File} */ { path }) {
      const { parser } = await import('stream-json')
      const { streamArray } = await import('stream-json/streamers/stream-array.js')
      const { default: chain } = await import('stream-chain')
      const counted = tally()
      const records = chain([createReadStream(path), parser(), streamArray()])
      records.on('data', ({ value }) => counted.add(value))
      await new Promise((resolve, reject) => records.on('end', resolve).on('error', reject))
      return counted.result()
    },
  },
  {
    name: 'stream-json, its fastest form',
    loads: [
      'stream-chain/utils/pipe.js',
      'stream-chain/utils/drain.js',
      'stream-json/file/parser.js',
      'stream-json/core/streamers/stream-array.js',
    ],
    async run(/** @type {File} */ { path }) {
      const { pipe } = await import('stream-chain/utils/pipe.js')
      const { drain } = await import('stream-chain/utils/drain.js')
      const { parseFile } = await import('stream-json/file/parser.js')
      const { streamArray } = await import('stream-json/core/streamers/stream-array.js')
      const counted = tally()
      // @ts-expect-error its types know no chain of three
      const run = pipe([parseFile({ streamValues: false }), streamArray(), ({ value }) => counted.add(value)])
      await drain(run(path))
      return counted.result()
    },
  },
  {
    name: '@streamparser/json-node',
    loads: ['@streamparser/json-node'],
    async run(/** @type {File} */ { path }) {
      const { JSONParser } = await import('@streamparser/json-node')
      const stage = new JSONParser({ paths: ['$.*'], keepStack: false })
      return piped(path, [stage], ({ value }, { add }) => add(value))
    },
  },
  {
    name: 'JSONStream',
    loads: ['JSONStream'],
    async run(/** @type {File} */ { path }) {
      const { default: JSONStream } = await import('JSONStream')
      const counted = tally()
      const records = createReadStream(path).pipe(JSONStream.parse('*'))
      records.on('data', counted.add)
      await new Promise((resolve, reject) => records.on('end', resolve).on('error', reject))
      return counted.result()
    },
  },
]

const wholeParse = { name: 'JSON.parse of the whole file', run: whole }
const jq = {
  name: "jq -c '.[]'",
  needs: 'jq',
  command: (/** @type {File} */ { path }) => `jq -c '.[]' '${path}'`,
}

/** @param {'small' | 'medium' | 'large' | 'wide'} shape @param {string} what */
function arrayGroup(shape, what, all = false) {
  return {
    name: `array of ${what}`,
    unit: /** @type {const} */ ('MB/s'),
    input: () => dataFile(shape, 'array', shape === 'large' ? 100e6 : 40e6),
    candidates: [
      { name: 'JsonReader, batches', ours: true, loads: ['millrace'], run: millrace('array', true) },
      { name: 'JsonReader, single records', loads: ['millrace'], run: millrace('array', false) },
      ...arrayPeers,
      wholeParse,
      ...(all ? [jq] : []),
    ],
    /** @param {(name: string) => { ms: number }} row @returns {[string, string, string][]} */
    targets: (row) => {
      const over = (/** @type {string} */ name) => times(row(name).ms, row('JsonReader, batches').ms)
      const [readme, fastest, , , parse] = [...arrayPeers, wholeParse].map(({ name }) => name)
      if (shape === 'medium') {
        return [
          ['against stream-json in its fastest form', '≥ 4×', over(/** @type {string} */ (fastest))],
          ['against stream-json as its README shows it', '≥ 7×', over(/** @type {string} */ (readme))],
          ['against JSON.parse of the whole file', '≥ 1.3×', over(/** @type {string} */ (parse))],
        ]
      }
      if (shape === 'wide')
        return [['against stream-json in its fastest form', '≥ 3.2×', over(/** @type {string} */ (fastest))]]
      return []
    },
  }
}

/** @param {'small' | 'medium' | 'large'} shape @param {string} what */
const linesGroup = (shape, what) => ({
  name: `NDJSON of ${what}`,
  unit: /** @type {const} */ ('MB/s'),
  input: () => dataFile(shape, 'ndjson', shape === 'large' ? 100e6 : 40e6),
  candidates: [
    { name: 'JsonReader, batches', ours: true, loads: ['millrace'], run: millrace('ndjson', true) },
    { name: 'JsonReader, single records', loads: ['millrace'], run: millrace('ndjson', false) },
    {
      name: 'split2(JSON.parse)',
      loads: ['split2'],
      async run(/** @type {File} */ { path }) {
        const { default: split2 } = await import('split2')
        return piped(path, [split2(JSON.parse)])
      },
    },
    {
      name: 'readline, for await, JSON.parse',
      async run(/** @type {File} */ { path }) {
        const counted = tally()
        for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Infinity }))
          counted.add(JSON.parse(line))
        return counted.result()
      },
    },
    {
      name: 'stream-chain jsonl',
      loads: ['stream-chain/jsonl/parser.js', 'stream-chain'],
      async run(/** @type {File} */ { path }) {
        const { parser } = await import('stream-chain/jsonl/parser.js')
        const { default: chain } = await import('stream-chain')
        return piped(path, [chain([parser()])], ({ value }, { add }) => add(value))
      },
    },
  ],
})

export const groups = [
  arrayGroup('medium', '219-byte records, ASCII', true),
  arrayGroup('wide', '233-byte records, text outside ASCII in every block'),
  arrayGroup('small', '24-byte records'),
  arrayGroup('large', '4 KB records'),
  linesGroup('medium', '219-byte records'),
  linesGroup('small', '24-byte records'),
  linesGroup('large', '4 KB records'),
]

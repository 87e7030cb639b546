// A pipeline over a real JSON file: read one array out of it, reshape its records, write NDJSON.
//   node examples/library-pipeline.js
import { fileURLToPath } from 'node:url'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { ChunkedReader, JsonChunker, JsonReader } from 'millrace'

/** @typedef {{ properties: { mag: number, place: string, time: number } }} Quake */

const file = fileURLToPath(new URL('../node_modules/vega-datasets/data/earthquakes.json', import.meta.url))

/** @param {AsyncIterable<Quake>} quakes */
async function* strong(quakes) {
  for await (const { properties } of quakes) {
    if (properties.mag >= 5)
      yield { magnitude: properties.mag, place: properties.place, at: new Date(properties.time) }
  }
}

const ndjson = await pipeline(
  new ChunkedReader(file),
  new JsonReader({ path: ['features'] }), // what stands beside "features" is not parsed
  strong,
  new JsonChunker({ format: 'ndjson' }),
  text,
)
const lines = ndjson.trimEnd().split('\n')
console.log(lines.slice(0, 3).join('\n'))
console.log(`${lines.length} strong earthquakes`)

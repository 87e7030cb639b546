// Stages inside a chain() of stream-chain, between plain functions, with its `none` and `many`.
//   node examples/stream-chain.js
import { createReadStream } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { JsonChunker, JsonReader } from 'millrace'
import chain, { many, none } from 'stream-chain'

const file = fileURLToPath(new URL('../node_modules/vega-datasets/data/movies.json', import.meta.url))

/** @typedef {{ Title: string, Director: string | null, 'Major Genre': string | null }} Movie */

const pipeline = chain([
  createReadStream(file),
  new JsonReader(),
  (/** @type {Movie} */ movie) => (movie.Director === 'Akira Kurosawa' ? movie : none),
  (/** @type {Movie} */ { Title, Director }) => many([{ title: Title }, { director: Director }]),
  new JsonChunker({ format: 'ndjson' }),
])

let text = ''
for await (const chunk of pipeline) text += chunk
const lines = text.trimEnd().split('\n')
console.log(lines.slice(0, 4).join('\n'))
console.log(`${lines.length} lines`)

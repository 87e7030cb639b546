// A frame scanner of your own: rows of CSV, in which a line end inside quotes does not end the row. It finds ends, and
// nothing else: blocks, limits, positions and memory are the cutter's work.
//   node examples/csv-rows.js
import { Readable } from 'node:stream'
import { BoundaryHandler } from 'millrace'

const QUOTE = 0x22
const LF = 0x0a

/** @typedef {import('millrace').FrameScanner} FrameScanner */

/** @implements {FrameScanner} */
class CsvRows {
  end = -1
  frames = 0
  #quoted = false

  /** @param {Buffer} bytes @param {number} from @param {number} to @param {boolean} first */
  scan(bytes, from, to, first) {
    this.end = -1
    this.frames = 0
    for (let i = from; i < to; i++) {
      if (bytes[i] === QUOTE) this.#quoted = !this.#quoted
      else if (bytes[i] === LF && !this.#quoted) {
        this.end = i + 1
        this.frames++
        if (first) return this.end
      }
    }
    return to
  }

  /** A last row may lack its line end; a quote that is still open means that bytes are missing. */
  finish() {
    return this.#quoted ? /** @type {const} */ ('truncated') : /** @type {const} */ ('frame')
  }
}

const csv = 'id,note\n1,"two\nlines"\n2,"a ""quoted"" word"\n3,plain'
const chunks = csv.match(/[^]{1,5}/g) ?? []
const rows = Readable.from(chunks.map((text) => Buffer.from(text))).pipe(
  new BoundaryHandler(new CsvRows(), { emit: 'frames' }),
)
for await (const row of rows) console.log(JSON.stringify(String(row)))

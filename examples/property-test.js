// A property test of a stage of your own: whatever way the bytes are cut, and however slow both ends are, it gives the same.
//   node examples/property-test.js
import { Transform } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { laws } from 'millrace/testing'

/** Upper case, the obvious way: it breaks wherever a cut goes through a character. */
const wrong = () =>
  new Transform({ transform: (chunk, _encoding, done) => done(null, String(chunk).toUpperCase()) })

/** Upper case with a decoder that waits for the rest of a character. */
const right = () => {
  const decoder = new StringDecoder('utf8')
  return new Transform({
    transform: (chunk, _encoding, done) => done(null, decoder.write(chunk).toUpperCase()),
    flush: (done) => done(null, decoder.end().toUpperCase()),
  })
}

const input = Buffer.from('Über Mühlen und Flüsse')

const found = await laws.cutIndependent(wrong, { input }).then(
  () => 'nothing',
  (error) =>
    error.message.split('\n').find((/** @type {string} */ line) => line.startsWith('Counterexample')),
)
console.log(`wrong: ${found}`)

await laws.cutIndependent(right, { input })
console.log('the laws hold')

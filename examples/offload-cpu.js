// Work that keeps a core busy, on all cores: records go to worker threads in batches and come back in order.
//   node examples/offload-cpu.js
import { Readable } from 'node:stream'
import { offload } from 'millrace'

const tasks = Array.from({ length: 24 }, (_, i) => ({ upTo: 50_000 + i * 1000 }))
const primes = Readable.from(tasks).pipe(
  offload(new URL('./handlers/count-primes.js', import.meta.url), {
    in: 'records',
    batchSize: 2,
    workers: 2,
  }),
)

let done = 0
for await (const { upTo, primes: count } of primes) {
  if (done++ % 8 === 0) console.log(`${count} primes up to ${upTo}`)
}
console.log(`${done} results, in order`)

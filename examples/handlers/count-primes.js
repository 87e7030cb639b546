// The handler of offload-cpu.js. It gets the records of a block and gives records back.

/** @param {{ upTo: number }[]} tasks */
export default (tasks) => tasks.map(({ upTo }) => ({ upTo, primes: countPrimes(upTo) }))

/** @param {number} upTo */
function countPrimes(upTo) {
  let count = 0
  for (let n = 2; n <= upTo; n++) {
    let isPrime = true
    for (let d = 2; d * d <= n && isPrime; d++) isPrime = n % d !== 0
    if (isPrime) count++
  }
  return count
}

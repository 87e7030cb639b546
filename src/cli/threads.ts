import { availableParallelism } from 'node:os'

/**
 * As many threads in libuv's pool as blocks are worked on: with its four on two cores, zstd was measured 12 % slower. Must come before
 * the pool is used; where the loader of modules has used it already (Node 20), it stays as it is.
 */
export function fitThreadPool(workers: number | undefined): number {
  const threads = workers ?? availableParallelism()
  process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(2, threads))
  return threads
}

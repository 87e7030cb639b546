// Preloaded into every process and thread of the tests (.taprc). A current Node strips types itself; an older one is given hooks that do,
// in place of the test runner's TypeScript loader, which loads the compiler anew in each process and each worker, and compiles every
// file anew in each. On Node 20 test/codec/free.test.ts takes 0.8 s of CPU in place of 3.5, test/workers/pool-executor.test.ts 0.8 in place of 5.
import { register } from 'node:module'

if (!process.features.typescript) {
  // read next by the preload of the runner; it sets it back, so each thread sets it anew
  process.env['TAP_TYPE_STRIP_ONLY'] = '1'
  register('./strip-types-hooks.js', import.meta.url)
}

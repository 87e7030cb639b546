import t from 'tap'
import { LateAbort } from '../../src/http/late-abort.ts'

t.test('LateAbort: its signal says the same, whether it is asked for before or after', async (t) => {
  for (const asked of ['before', 'after']) {
    const abort = new LateAbort()
    if (asked === 'before') t.equal(abort.signal.aborted, false)
    abort.abort('gone')
    abort.abort('again')
    t.equal(abort.signal.aborted, true, asked)
    t.equal(abort.signal.reason, 'gone', asked)
    t.equal(abort.signal, abort.signal)
  }
  const never = new LateAbort()
  t.equal(never.signal.aborted, false)
})

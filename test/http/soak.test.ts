// The short form of scripts/soak.js, which takes ten minutes.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { asUser } from '../helpers/as-user.ts'

const script = fileURLToPath(new URL('../../scripts/soak.js', import.meta.url))

t.test(
  'Streamer: many slow clients get all of their own records, in bounded memory, and leave nothing behind',
  async (t) => {
    const args = [script, '--clients', '60', '--seconds', '6', '--pause', '15', '--records', '80000']
    const { stdout } = await promisify(execFile)(...asUser(process.execPath, ...args))
    const report = JSON.parse(stdout) as { responses: number; liveMB: number }
    t.match(report, { faults: 0, connections: 0, active: 0 })
    t.ok(report.responses >= 60, `${report.responses} responses`)
    // each of 60 holds some 300 KB, and V8 may not have let go of as much again; their responses are 600 MB
    t.ok(report.liveMB < 150, `${report.liveMB} MB`)
  },
)

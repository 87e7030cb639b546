import { type Command } from 'commander'
import { DataGenerator } from '../bytes/data-generator.ts'
import { RangeVerifier, type VerifyReport } from '../bytes/range-verifier.ts'
import type { VerifyError } from '../errors.ts'
import { StatsCounter } from '../flow/index.ts'
import { addCommonOptions } from './common-options.ts'
import { Input } from './endpoint.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import {
  type ObjectFlags,
  addObjectOptions,
  objectOptions,
  printableSeed,
  rangeOf,
  seedOption,
} from './object-options.ts'
import { showProgress } from './progress.ts'
import type { CommonOptions } from './run.ts'
import { listenToSignals } from './signals.ts'
import { print, printStats, tell, warn } from './tell.ts'

interface VerifyOptions extends CommonOptions, ObjectFlags {
  readonly all?: boolean
}

/** Bad ranges that --all lists at most; the rest are counted. */
const MAX_LISTED = 100_000

const HELP = `
The input is what millrace gen makes with the same options: with --range, the bytes of the range and nothing else.

When a byte is wrong, the exit status is 3 and stdout gets the offset of the first wrong byte in the object, in bytes.
With --all it gets every bad range, one JSON object a line: start and end (half-open), block, page, expected, actual, found.

Examples:
  millrace verify --seed 42 --size 10GiB --dedup 2.5 --compress 1.7 object.bin
  millrace verify --seed 42 --size 8MiB --key run1/7 s3://bench/run1/7
  millrace verify --seed 42 --size 10GiB --all object.bin | millrace map 'r => r.start'`

/** Adds `millrace verify`: are these the bytes that gen made, and if not, where and what is wrong. */
export function addVerify(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('verify')
    .description('Check bytes that were read back against the object they should be.')
    .argument('[FILE]', 'input file or s3://bucket/key; - or none is stdin')
  addObjectOptions(command)
  command
    .addOption(seedOption('the seed that the object was made with').makeOptionMandatory())
    .option('--all', 'go on after the first wrong byte, and list all bad ranges')
    .addHelpText('after', HELP)
  addCommonOptions(command)
  command.action(async (file: string | undefined, options: VerifyOptions) =>
    exit(await verify(file, options)),
  )
}

async function verify(file: string | undefined, options: VerifyOptions): Promise<number> {
  const { start, end } = rangeOf(options)
  const { seed = '', key, all = false } = options
  const object = new DataGenerator({ seed }).beginObject(objectOptions(options, key))
  const verifier = new RangeVerifier(object, { start, end, maxRanges: all ? MAX_LISTED : 1 })
  const counter = new StatsCounter('verify')
  const input = await Input.open(file)
  const signals = listenToSignals(() => input.stop())
  const progress = showProgress(
    {
      size: end - start,
      get bytesRead() {
        return input.bytesRead
      },
    },
    options,
  )

  let inputError: unknown
  try {
    for await (const chunk of input.borrowed()) {
      counter.received(chunk.byteLength)
      verifier.write(chunk)
      if (!all && verifier.fault !== undefined) break
    }
  } catch (error) {
    inputError = error
  }
  input.stop()
  verifier.finish()
  signals.unlisten()
  progress?.stop()

  // an input that was cut short, by a signal or a failure, lacks its end: that is no fault of its own
  const cutShort = signals.status !== undefined || inputError !== undefined
  const fault = faultOf(verifier, cutShort)
  if (fault === undefined) counter.completed()
  else {
    counter.failed(fault)
    if (all) list(verifier.report(), cutShort)
    else print(`${fault.offset}\n`)
    tell(fault)
  }
  if (inputError !== undefined) tell(inputError)
  if (options.stats !== undefined && options.stats !== false)
    printStats(counter.snapshot(), { seed: printableSeed(seed) }, options.stats)
  if (fault !== undefined) return EXIT.corrupt
  if (inputError !== undefined) return exitCodeOf(inputError)
  return signals.status ?? EXIT.ok
}

function faultOf({ fault }: RangeVerifier, cutShort: boolean): VerifyError | undefined {
  return cutShort && fault?.code === 'ERR_MILLRACE_VERIFY_TRUNCATED' ? undefined : fault
}

/** All that is wrong, for a program to read. */
function list({ badRanges, badRangeCount, badBytes, ...report }: VerifyReport, cutShort: boolean): void {
  const { start, end, bytes, missingBytes, extraBytes } = report
  const lines: object[] = [...badRanges]
  if (missingBytes > 0 && !cutShort)
    lines.push({ start: start + bytes, end, bytes: missingBytes, found: { kind: 'missing' } })
  if (extraBytes > 0)
    lines.push({ start: end, end: end + extraBytes, bytes: extraBytes, found: { kind: 'extra' } })
  print(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const unlisted = badRangeCount - badRanges.length
  warn(
    `millrace: ${badBytes} wrong bytes in ${badRangeCount} ranges` +
      `${unlisted > 0 ? `, ${unlisted} of them not listed` : ''}, ${missingBytes} missing, ${extraBytes} too many\n`,
  )
}

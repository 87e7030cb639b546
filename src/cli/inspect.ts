import { type Command, Option } from 'commander'
import { inspectPacked, type PackedReport } from '../codec/inspect-packed.ts'
import { openAnywhere } from './endpoint.ts'
import { EXIT, UsageError } from './exit-codes.ts'
import { print } from './tell.ts'
import { fitThreadPool } from './threads.ts'
import { formatBytes, parseCount } from './units.ts'

interface InspectFlags {
  readonly json?: boolean
  readonly verify?: boolean
  readonly workers?: number
}

const EXAMPLES = `
Blocks, ratio and codec are read from the index; --verify unpacks all of it, and ends with status 3 at the first wrong byte.

Examples:
  millrace inspect big.log.mrz
  millrace inspect --verify --json s3://logs/big.log.mrz`

/** Adds `millrace inspect`: what a packed file is, and whether it is whole. */
export function addInspect(program: Command, exit: (status: number) => void): void {
  program
    .command('inspect')
    .description('Say what a packed file is: format, codec, blocks, ratio, index, checksums.')
    .argument('<FILE>', 'container, gzip, BGZF or zstd, as a file or s3://bucket/key')
    .option('--json', 'print one JSON object')
    .option('--verify', 'unpack all of it and compare every checksum')
    .addOption(
      new Option('-j, --workers <N>', 'blocks unpacked at the same time (default: all cores)').argParser(
        parseCount,
      ),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (file: string, options: InspectFlags) => exit(await inspect(file, options)))
}

async function inspect(
  file: string,
  { json = false, verify = false, workers }: InspectFlags,
): Promise<number> {
  if (workers === 0) throw new UsageError('-j: expected at least 1')
  const threads = fitThreadPool(workers)
  const source = await openAnywhere(file)
  if (source === undefined)
    throw new UsageError(`${file}: inspect needs a file that can be read anywhere, not a pipe`)
  const report = await inspectPacked(source, { verify, workers: threads })
  print(json ? `${JSON.stringify(report)}\n` : table(report))
  return EXIT.ok
}

function table(report: PackedReport): string {
  const { format, codec, context, blocks, storedBlocks, blockSize, rawBytes, packedBytes, ratio, index } =
    report
  const count = (n: number) => n.toLocaleString('en-US')
  const bytes = (n: number) => `${count(n)} (${formatBytes(n)})`
  const ends = report.complete === false ? ', but the end of the file is missing' : ''
  const indexes = {
    file: 'in the file',
    beside: 'beside the file',
    rebuilt: 'none: made from the headers of all blocks',
  }
  const rows: [string, string | undefined][] = [
    ['format', format === 'container' ? 'glyph container, version 1' : format],
    ['codec', codec],
    ['context', context === 'none' ? undefined : context],
    ['joined files', report.members !== undefined && report.members > 1 ? count(report.members) : undefined],
    [
      'blocks',
      blocks === undefined
        ? undefined
        : `${count(blocks)}${storedBlocks ? `, ${count(storedBlocks)} of them stored` : ''}`,
    ],
    ['block size', blockSize === undefined ? undefined : `up to ${bytes(blockSize)}`],
    ['raw bytes', rawBytes === undefined ? 'known when it is verified' : bytes(rawBytes)],
    ['packed bytes', bytes(packedBytes)],
    ['ratio', ratio?.toFixed(3)],
    ['index', index === undefined ? 'none: can only be read from its start' : `${indexes[index]}${ends}`],
    ['checksums', report.verified === true ? 'all right' : 'not looked at (--verify)'],
  ]
  return rows
    .flatMap(([name, value]) => (value === undefined ? [] : [`${name.padEnd(14)}${value}\n`]))
    .join('')
}

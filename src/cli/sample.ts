import { availableParallelism } from 'node:os'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { freshSeed } from '../bytes/object-format.ts'
import type { RecordFormat } from '../records/record-writer.ts'
import { addCommonOptions, addWorkOptions } from './common-options.ts'
import { Output } from './endpoint.ts'
import { UsageError } from './exit-codes.ts'
import { parseSeed, printableSeed } from './object-options.ts'
import { readModel } from './read-model.ts'
import { type CommonOptions, run } from './run.ts'
import { collect } from './table-input.ts'
import { isTopic } from './topic.ts'
import { parseCount } from './units.ts'

/** Records from which on threads pay, where the kernel does not draw: what it makes is 1.2 GB/s, and to hand that over takes longer. */
const THREADS_FROM = 2_000_000

interface SampleFlags extends CommonOptions {
  readonly count?: number
  readonly max?: number
  readonly skip?: number
  readonly seed?: number | bigint | string
  readonly where?: readonly string[]
  readonly minAcceptance?: number
  readonly format: RecordFormat
  readonly rate?: number
  readonly batchSize?: number
  readonly metadata?: boolean
  readonly workers?: number
  readonly output?: string
  readonly to?: string
}

const EXAMPLES = `
Without --count it goes on until its reader or Ctrl-C ends it. Record n follows from the model, the seed, --where and n alone.

--where: age>=21 · sex=Female · age between 20,30 · region in West,East · name like A% (as in SQL) · phone isNull · a>1 AND b<2
Operators: = != > >= < <= eq ne gt gte lt lte in notIn between like isNull notNull. A null meets isNull only.

Examples:
  millrace sample adult.model.json --count 1M --seed 7 --where 'age>=21' --where 'sex=Female' > synthetic.ndjson
  millrace sample adult.model.json --count 10k --format csv -o synthetic.csv
  millrace sample adult.model.json --rate 1000 --max 1M | millrace map 'r => ({ ...r, at: Date.now() })'
  millrace sample adult.model.json --rate 1000 --metadata --to 'kafka://localhost:9092/people?key=occupation'`

/** Adds `millrace sample`: a model in, records out. */
export function addSample(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('sample')
    .description('Stream synthetic records of a model, in constant memory.')
    .argument('[MODEL]', 'model of millrace fit: a file or s3://bucket/key; - or none is stdin')
    .addOption(
      new Option('--count <N>', 'records to make, such as 1M (default: no end)').argParser(parseCount),
    )
    .addOption(new Option('--max <N>', 'the same as --count; the smaller one counts').argParser(parseCount))
    .addOption(new Option('--skip <N>', 'begin at record N (default: 0)').argParser(parseCount))
    .addOption(
      new Option(
        '--seed <SEED>',
        'what the records follow from: a whole number, or any text (default: a fresh one)',
      ).argParser(parseSeed),
    )
    .option('--where <CONDITION>', 'what every record must meet (can be repeated)', collect)
    .addOption(
      new Option(
        '--min-acceptance <SHARE>',
        'give up when fewer candidates meet --where (default: 0.0001)',
      ).argParser(parsePositive),
    )
    .addOption(
      new Option('--format <FORMAT>', 'output format; CSV has a header line')
        .choices(['ndjson', 'json', 'csv'])
        .default('ndjson'),
    )
    .addOption(new Option('--rate <N>', 'records a second at most').argParser(parsePositive))
    .addOption(
      new Option('--batch-size <N>', 'records that are made at once (default: 1024)').argParser(parseCount),
    )
    .option('--metadata', 'add _generated_at and _batch_id to each record')
    .option(
      '--to <FILE>',
      'the same as --output: kafka://host:9092/topic?key=COLUMN makes a message of each record',
    )
  addWorkOptions(
    command,
    'worker threads that make records; 0 works in the main thread (default: all cores from --count 2M on for cart and with --where, without --rate and --metadata; else 0)',
  )
  command.addHelpText('after', EXAMPLES)
  addCommonOptions(command)
  command.action(async (file: string | undefined, flags: SampleFlags) => exit(await sample(file, flags)))
}

async function sample(file: string | undefined, flags: SampleFlags): Promise<number> {
  const { skip, where, minAcceptance, format, rate, batchSize, metadata = false } = flags
  const count = Math.min(flags.count ?? Infinity, flags.max ?? Infinity)
  const seed = flags.seed ?? freshSeed()
  const model = await readModel(file)
  if (flags.to !== undefined && flags.output !== undefined)
    throw new UsageError('--to and -o together: give one of them')
  const target = flags.to ?? flags.output
  const isRecords = isTopic(target ?? '')
  if (isRecords && format !== 'ndjson')
    throw new UsageError(`--format ${format}: a message of a topic is one record, as JSON`)
  // objects cost more to hand over than to make
  const isPlain = rate === undefined && !metadata && !isRecords
  const isSlow = model.method === 'cart' || where !== undefined
  const { workers = isPlain && isSlow && paysInThreads(count) ? availableParallelism() : 0 } = flags
  const stage = model.stream({
    count,
    seed,
    ...(isRecords ? { batches: true } : { format }),
    workers,
    includeMetadata: metadata,
    ...(skip !== undefined && { skip }),
    ...(where !== undefined && { conditions: where }),
    ...(minAcceptance !== undefined && { minAcceptance }),
    ...(rate !== undefined && { rate }),
    ...(batchSize !== undefined && { batchSize }),
  })
  const input = {
    size: undefined,
    get bytesRead() {
      return stage.stats().bytesOut
    },
    stop: () => stage.stop(),
  }
  return run(
    { input, stage, output: await Output.open(target, { records: true }), seed: printableSeed(seed) },
    flags,
  )
}

/** Threads start in some 0.2 s, and a record that is asked for is there sooner without them. */
function paysInThreads(count: number): boolean {
  return count >= THREADS_FROM && count < Infinity && availableParallelism() > 1
}

function parsePositive(text: string): number {
  const scaled = /^\d+(\.\d+)?[kMG]$/.test(text)
    ? parseCount(text)
    : text.trim() === ''
      ? Number.NaN
      : Number(text)
  if (!(scaled > 0 && scaled < Infinity))
    throw new InvalidArgumentError('expected a number above 0, such as 1000')
  return scaled
}

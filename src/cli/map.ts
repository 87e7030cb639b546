import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Command, Option } from 'commander'
import { offload } from '../workers/index.ts'
import { Input, Output } from './endpoint.ts'
import { UsageError } from './exit-codes.ts'
import { type MapPlan, compile } from './map-records.ts'
import { type CommonOptions, run } from './run.ts'
import { addCommonOptions, addWorkOptions } from './common-options.ts'
import { warn } from './tell.ts'
import { parseSize } from './units.ts'

interface MapOptions extends CommonOptions {
  readonly where?: string
  readonly module?: string
  readonly in: 'auto' | 'json' | 'ndjson' | 'concat' | 'seq'
  readonly out: 'ndjson' | 'json' | 'seq'
  readonly path?: string
  readonly blockSize?: number
  readonly unordered?: boolean
  readonly onError: 'fail' | 'skip' | 'report'
  readonly workers?: number
  readonly output?: string
  readonly from?: string
  readonly to?: string
}

const EXAMPLES = `
FN gets (record, { index }). undefined drops the record, a generator function yields any number, async functions work.

Examples:
  millrace map 'r => ({ title: r.Title, year: r["Release Date"] })' movies.json > out.ndjson
  zcat big.ndjson.gz | millrace map --where 'r => r.level === "error"' 'r => r.msg' | head
  millrace map 'r => ({ ...r, seen: true })' --from 'kafka://localhost:9092/clicks?group=seen' --to kafka://localhost:9092/seen
  millrace map --module ./enrich.js --in ndjson --out json -o out.json in.json --stats=json

A topic as input takes part in a group: run it twice, and the two share the partitions. From a topic to a topic each message counts exactly
once. Parameters of the input: group, from (earliest, latest or a date), until=end; of the output: key, compression, transaction (an id, or none).

Input compressed with gzip (or zstd, with Node 22.15 or later) is recognised.`

const workerFile = new URL(`./map.worker${extname(import.meta.url)}`, import.meta.url)

/** Adds `millrace map`: JSON or NDJSON in, JavaScript per record on all cores, JSON or NDJSON out. */
export function addMap(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('map')
    .description('Apply a JavaScript function to every record of JSON or NDJSON, on all cores.')
    .argument('[FN]', "JavaScript function of a record, such as 'r => r.name' (left out with --module)")
    .argument('[FILE]', 'input file, s3://bucket/key or kafka://host/topic; - or none is stdin')
    .option('--from <FILE>', 'the same as FILE: kafka://host:9092/topic?group=G reads as a member of a group')
    .option(
      '--to <FILE>',
      'the same as --output: kafka://host:9092/topic?key=COLUMN makes a message of each record',
    )
    .option('--where <FN>', 'keep only records for which FN is true')
    .option('--module <FILE>', 'take the default export of FILE in place of FN')
    .addOption(choice('--in <FORMAT>', 'input format', ['auto', 'json', 'ndjson', 'concat', 'seq'], 'auto'))
    .addOption(choice('--out <FORMAT>', 'output format', ['ndjson', 'json', 'seq'], 'ndjson'))
    .option('--path <KEYS>', 'keys down to the records, such as data.items')
    .addOption(
      new Option(
        '--block-size <SIZE>',
        'input bytes that a worker gets at once (default: 256KiB); 1 passes every record on at once',
      ).argParser(parseSize),
    )
    .option('--unordered', 'write results as they come, not in the order of the input')
    .addOption(
      choice('--on-error <WHAT>', 'when a record is bad or FN throws', ['fail', 'skip', 'report'], 'fail'),
    )
    .addHelpText('after', EXAMPLES)
  addWorkOptions(command)
  addCommonOptions(command)
  command.action(async (fn: string | undefined, file: string | undefined, options: MapOptions) => {
    exit(await map(fn, file, options))
  })
}

async function map(
  first: string | undefined,
  second: string | undefined,
  options: MapOptions,
): Promise<number> {
  const [fn, file] = options.module === undefined ? [first, second] : [undefined, first]
  if (options.module !== undefined && second !== undefined) {
    throw new UsageError(`FN and --module together: give one of them (FN is ${first})`)
  }
  if (options.from !== undefined && file !== undefined)
    throw new UsageError(`FILE and --from together: give one of them (FILE is ${file})`)
  if (options.to !== undefined && options.output !== undefined)
    throw new UsageError('--to and -o together: give one of them')
  const plan = checked(fn, options)
  let failedItems = 0
  const report = (item: unknown) => {
    failedItems++
    if (options.onError === 'report') warn(`${JSON.stringify(item)}\n`)
  }
  const isTolerant = options.onError !== 'fail'
  const input = await Input.open(options.from ?? file, {
    records: true,
    ...(isTolerant && {
      onInvalid: ({ message, partition, messageOffset }) =>
        report({ partition, offset: Number(messageOffset), error: message }),
    }),
  })
  const output = await Output.open(options.to ?? options.output, {
    records: true,
    group: input.group,
    ...(isTolerant && { onRecordError: ({ index, error }) => report({ index, error: error.message }) }),
  })
  if (input.isRecords && options.unordered === true)
    throw new UsageError('--unordered: what is read from a topic is committed in its order')
  const stage = offload(workerFile, {
    in: input.isRecords ? 'records' : options.in,
    out: output.isRecords ? 'records' : options.out,
    batches: true,
    ...(options.workers !== undefined && { workers: options.workers }),
    ...(options.path !== undefined && { path: options.path.split('.') }),
    ...(options.blockSize !== undefined && { blockSize: options.blockSize }),
    ordered: options.unordered !== true,
    allowEmpty: true,
    onInvalid: options.onError === 'fail' ? 'throw' : options.onError,
    workerData: plan,
    onReport(item: unknown) {
      failedItems++
      warn(`${JSON.stringify(item)}\n`)
    },
  })
  return run({ input, stage, output, failedItems: () => failedItems }, options)
}

/** The plan for the workers, once the functions in it are known to be functions: a typing mistake is told at once. */
function checked(fn: string | undefined, { module, where, onError }: MapOptions): MapPlan {
  if (module === undefined && fn === undefined)
    throw new UsageError("FN is missing: a function such as 'r => r.name', or --module FILE")
  try {
    if (fn !== undefined) compile(fn, 'FN')
    if (where !== undefined) compile(where, '--where')
  } catch (error) {
    throw new UsageError(`${fn === undefined ? '--where' : 'FN'}: ${(error as Error).message}`)
  }
  return {
    onError,
    ...(fn !== undefined && { fn }),
    ...(where !== undefined && { where }),
    ...(module !== undefined && { module: pathToFileURL(resolve(module)).href }),
  }
}

function choice(flags: string, description: string, choices: string[], byDefault: string): Option {
  return new Option(flags, description).choices(choices).default(byDefault)
}

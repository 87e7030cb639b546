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
}

const EXAMPLES = `
FN gets (record, { index }). undefined drops the record, a generator function yields any number, async functions work.

Examples:
  millrace map 'r => ({ title: r.Title, year: r["Release Date"] })' movies.json > out.ndjson
  zcat big.ndjson.gz | millrace map --where 'r => r.level === "error"' 'r => r.msg' | head
  millrace map --module ./enrich.js --in ndjson --out json -o out.json in.json --stats=json

Input compressed with gzip (or zstd, with Node 22.15 or later) is recognised.`

const workerFile = new URL(`./map.worker${extname(import.meta.url)}`, import.meta.url)

/** Adds `millrace map`: JSON or NDJSON in, JavaScript per record on all cores, JSON or NDJSON out. */
export function addMap(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('map')
    .description('Apply a JavaScript function to every record of JSON or NDJSON, on all cores.')
    .argument('[FN]', "JavaScript function of a record, such as 'r => r.name' (left out with --module)")
    .argument('[FILE]', 'input file or s3://bucket/key; - or none is stdin')
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
  const plan = checked(fn, options)
  const input = await Input.open(file)
  const output = await Output.open(options.output)
  let failedItems = 0
  const stage = offload(workerFile, {
    in: options.in,
    out: options.out,
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

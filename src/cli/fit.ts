import { type Command, Option } from 'commander'
import { ModelError } from '../errors.ts'
import { StatsCounter } from '../flow/index.ts'
import { fit as learn } from '../records/fit.ts'
import type { Method } from '../records/model-data.ts'
import { addCommonOptions } from './common-options.ts'
import { EXIT, UsageError } from './exit-codes.ts'
import { parseSeed } from './object-options.ts'
import type { CommonOptions } from './run.ts'
import { TOPIC_HELP, type TableFlags, addTableOptions, readTable } from './table-input.ts'
import { printStats } from './tell.ts'
import { parseCount } from './units.ts'
import { checkTextOutput, writeText } from './write-text.ts'

interface FitFlags extends CommonOptions, TableFlags {
  readonly method: Method
  readonly maxParents?: number
  readonly minCellCount?: number
  readonly seed?: number | bigint | string
  readonly schemaOnly?: boolean
  readonly output?: string
  readonly from?: string
}

const EXAMPLES = `
Methods: bayes_net (faithful, fast), gaussian_copula (copies least, draws rare records directly), cart (a tree for every column over all before it).

Examples:
  millrace fit adult.csv -o adult.model.json --method bayes_net
  millrace fit movies.json --schema-only > schema.json      # edit it, and
  millrace fit movies.json --schema schema.json -o movies.model.json
  millrace fit --from 'kafka://localhost:9092/clicks?from=2026-11-01' --max-rows 1M -o clicks.model.json

${TOPIC_HELP}

The values of a model are values of the table: it is not anonymous by itself. millrace report says how much it gives away.`

/** Adds `millrace fit`: a table in, a model out. */
export function addFit(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('fit')
    .description('Learn a table of CSV, JSON or NDJSON, for millrace sample to make records like its rows.')
    .argument('[FILE]', 'table: a file, s3://bucket/key or kafka://host/topic; - or none is stdin')
    .option('--from <FILE>', 'the same as FILE')
    .option('--method <METHOD>', 'bayes_net, gaussian_copula or cart', 'bayes_net')
    .addOption(
      new Option(
        '--max-parents <N>',
        'columns that one may depend on, with bayes_net (default: 5)',
      ).argParser(parseCount),
    )
    .addOption(
      new Option(
        '--min-cell-count <N>',
        'rows that must have something in common before it is learnt (default: rows/150, 10 to 100)',
      ).argParser(parseCount),
    )
  addTableOptions(command)
  command
    .addOption(
      new Option('--seed <SEED>', 'of the rows that --max-rows draws (default: 0)').argParser(parseSeed),
    )
    .option('--schema-only', 'write the schema in place of the model')
    .option(
      '-o, --output <FILE>',
      'write to FILE (by way of FILE.partial) or s3://bucket/key in place of stdout',
    )
    .addHelpText('after', EXAMPLES)
  addCommonOptions(command)
  command.action(async (file: string | undefined, flags: FitFlags) => exit(await fit(file, flags)))
}

async function fit(argument: string | undefined, flags: FitFlags): Promise<number> {
  if (flags.from !== undefined && argument !== undefined)
    throw new UsageError(`FILE and --from together: give one of them (FILE is ${argument})`)
  const file = flags.from ?? argument
  const { method, maxParents, minCellCount, seed, schemaOnly = false, output } = flags
  checkTextOutput(output)
  const counter = new StatsCounter('fit')
  counter.received(0)
  const table = await readTable(file, flags, seed)
  counter.received(0, table.rows)
  let value: object
  try {
    value = schemaOnly
      ? table.schema
      : await learn(table, {
          method,
          ...(maxParents !== undefined && { maxParents }),
          ...(minCellCount !== undefined && { minCellCount }),
        })
  } catch (error) {
    if (error instanceof ModelError && error.code === 'ERR_MILLRACE_MODEL_METHOD')
      throw new UsageError(`--method: ${error.message}`)
    throw error
  }
  const text = `${JSON.stringify(value, undefined, schemaOnly ? 2 : undefined)}\n`
  await writeText(output, text)
  counter.sent(Buffer.byteLength(text))
  counter.completed()
  if (flags.stats !== undefined && flags.stats !== false) printStats(counter.snapshot(), {}, flags.stats)
  return EXIT.ok
}

import { type Command, Option } from 'commander'
import { StatsCounter } from '../flow/index.ts'
import { type Evaluation, evaluate, sameColumns } from '../records/evaluate.ts'
import { report as makeReport } from '../records/report.ts'
import { addCommonOptions } from './common-options.ts'
import { EXIT, UsageError } from './exit-codes.ts'
import { parseSeed } from './object-options.ts'
import type { CommonOptions } from './run.ts'
import { TOPIC_HELP, type TableFlags, addTableOptions, readTable } from './table-input.ts'
import { printStats, warn } from './tell.ts'
import { isTopic } from './topic.ts'
import { checkTextOutput, writeText } from './write-text.ts'

interface ReportFlags extends CommonOptions, TableFlags {
  readonly holdout?: string
  readonly target?: string
  readonly title?: string
  readonly json?: boolean
  readonly seed?: number | bigint | string
  readonly output?: string
}

const EXAMPLES = `
Scores are those of SDMetrics' quality report. Say against which table one is: against the table that was learnt from it is higher than
against rows that were held out.

Examples:
  millrace report adult.csv synthetic.csv -o report.html
  millrace report train.csv synthetic.ndjson --holdout rest.csv --target income -o report.html
  millrace report adult.csv synthetic.csv --json | jq .overall
  millrace report adult.csv 'kafka://localhost:9092/people?count=30k' -o report.html

${TOPIC_HELP}`

/** Adds `millrace report`: two tables in, a page that compares them out. */
export function addReport(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('report')
    .description('Compare synthetic records with real ones: a page of HTML with scores and plots.')
    .argument('<REAL>', 'real table: a file, s3://bucket/key or kafka://host/topic; - is stdin')
    .argument('<SYNTHETIC>', 'synthetic table')
    .option('--holdout <FILE>', 'real rows that were not learnt from, to measure copies and distances by')
    .option('--target <COLUMN>', 'column to predict by a tree trained on synthetic rows, tested on real ones')
    .option('--title <TEXT>', 'heading of the page (default: the names of the files)')
    .option('--json', 'write the scores as JSON in place of the page')
  addTableOptions(command)
  command
    .addOption(
      new Option('--seed <SEED>', 'of the rows that are drawn for distances (default: 0)').argParser(
        parseSeed,
      ),
    )
    .option(
      '-o, --output <FILE>',
      'write to FILE (by way of FILE.partial) or s3://bucket/key in place of stdout',
    )
    .addHelpText('after', EXAMPLES)
  addCommonOptions(command)
  command.action(async (real: string, synthetic: string, flags: ReportFlags) =>
    exit(await report(real, synthetic, flags)),
  )
}

async function report(realFile: string, syntheticFile: string, flags: ReportFlags): Promise<number> {
  const {
    target,
    seed,
    json = false,
    output,
    title = `${nameOf(syntheticFile)} against ${nameOf(realFile)}`,
  } = flags
  if ([realFile, syntheticFile, flags.holdout].filter((file) => file === '-').length > 1) {
    throw new UsageError('only one of the tables can be stdin')
  }
  checkTextOutput(output)
  const counter = new StatsCounter('report')
  counter.received(0)
  const real = await readTable(realFile, flags, seed)
  // of the others the columns are known: they are those of the real table
  const { schema: _, column: _column, ...rest } = flags
  const readLike = async (file: string) => sameColumns(real, await readTable(file, rest, seed))
  const synthetic = await readLike(syntheticFile)
  const holdout = flags.holdout === undefined ? undefined : await readLike(flags.holdout)
  counter.received(0, real.rows + synthetic.rows + (holdout?.rows ?? 0))
  const options = {
    ...(holdout && { holdout }),
    ...(target !== undefined && { target }),
    ...(seed !== undefined && { seed }),
  }
  const evaluation = evaluate(real, synthetic, options)
  const text = json
    ? `${JSON.stringify(evaluation)}\n`
    : await makeReport(real, synthetic, { title, evaluation })
  await writeText(output, text)
  counter.sent(Buffer.byteLength(text))
  counter.completed()
  if (!json && flags.quiet !== true) warn(`${summary(evaluation)}\n`)
  if (flags.stats !== undefined && flags.stats !== false) printStats(counter.snapshot(), {}, flags.stats)
  return EXIT.ok
}

function nameOf(file: string): string {
  if (file === '-') return 'stdin'
  const path = isTopic(file) ? file.replace(/\?.*/s, '') : file
  return path.split('/').at(-1) ?? path
}

function summary({ overall, shapes, pairs, privacy }: Evaluation): string {
  const { exactCopies, holdoutCopies } = privacy
  const percent = (x: number) => `${(100 * x).toFixed(2)} %`
  const held = holdoutCopies === undefined ? '' : ` (${percent(holdoutCopies)} of the rows held out)`
  return `overall ${overall.toFixed(4)} · shapes ${shapes.toFixed(4)} · pairs ${pairs.toFixed(4)} · exact copies ${percent(exactCopies)}${held}`
}

import { readFile } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import { COLUMN_KINDS, type ColumnKind, parseSchema } from '../records/schema.ts'
import { Table, type TableReadOptions } from '../records/table.ts'
import { Input } from './endpoint.ts'
import { UsageError } from './exit-codes.ts'
import { parseCount } from './units.ts'

/** What says how a table is read. */
export interface TableFlags {
  readonly in: 'auto' | 'csv' | 'json' | 'ndjson'
  readonly delimiter: string
  readonly null?: readonly string[]
  readonly schema?: string
  readonly column?: readonly string[]
  readonly maxRows?: number
}

/** Of a topic as a table. */
export const TOPIC_HELP = `A topic as a table is read up to where it ended when reading began, or, with ?count=N, until N records have come; from=latest or a date says
where it begins. It is read by no group, and nothing is committed. Its messages are flat objects of JSON.`

/** Adds the options that say how a table is read. */
export function addTableOptions(command: Command): void {
  command
    .addOption(
      new Option('--in <FORMAT>', 'format of the input; auto looks at its first character')
        .choices(['auto', 'csv', 'json', 'ndjson'])
        .default('auto'),
    )
    .option('--delimiter <TEXT>', 'between the fields of CSV', ',')
    .option('--null <TEXT>', 'text of CSV that means null, beside the empty one (can be repeated)', collect)
    .option('--schema <FILE>', 'take the columns from a schema, as millrace fit --schema-only writes it')
    .option('--column <NAME=KIND>', `kind of a column: ${COLUMN_KINDS.join(', ')} (can be repeated)`, collect)
    .addOption(
      new Option('--max-rows <N>', 'keep N rows, evenly drawn: for more than memory holds').argParser(
        parseCount,
      ),
    )
}

/** For an option that can be given several times. */
export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}

/** Reads the table of FILE, as it is said to be read. */
export async function readTable(
  file: string | undefined,
  flags: TableFlags,
  seed?: number | bigint | string,
): Promise<Table> {
  const options: TableReadOptions = {
    format: flags.in,
    delimiter: flags.delimiter,
    nulls: ['', ...(flags.null ?? [])],
    ...(flags.schema !== undefined && { schema: parseSchema(await readJsonFile(flags.schema)) }),
    ...(flags.column !== undefined && { columns: Object.fromEntries(flags.column.map(kindOf)) }),
    ...(flags.maxRows !== undefined && { maxRows: flags.maxRows }),
    ...(seed !== undefined && { seed }),
  }
  const input = await Input.open(file, { records: true, whole: true })
  try {
    return await Table.read(input.content(), options)
  } finally {
    await input.close()
  }
}

function kindOf(text: string): [string, ColumnKind] {
  const at = text.lastIndexOf('=')
  const kind = text.slice(at + 1) as ColumnKind
  if (at < 1 || !COLUMN_KINDS.includes(kind)) {
    throw new UsageError(`--column ${text}: expected NAME=KIND with a kind among ${COLUMN_KINDS.join(', ')}`)
  }
  return [text.slice(0, at), kind]
}

async function readJsonFile(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UsageError(`--schema ${path}: ${(error as Error).message}`)
  }
}

import { type Command, InvalidArgumentError, Option } from 'commander'
import { addCommonOptions } from './common-options.ts'
import { EXIT } from './exit-codes.ts'
import { LiveServer } from './live/live-server.ts'
import { parseSeed, printableSeed } from './object-options.ts'
import { readModel } from './read-model.ts'
import type { CommonOptions } from './run.ts'
import { listenToSignals } from './signals.ts'
import { collect } from './table-input.ts'
import { printStats, warn } from './tell.ts'
import { parseCount } from './units.ts'

interface ServeFlags extends CommonOptions {
  readonly host: string
  readonly port: number
  readonly token?: string
  readonly origin?: readonly string[]
  readonly seed?: number | bigint | string
  readonly batchSize?: number
  readonly maxCount?: number
  readonly maxConnections?: number
  readonly name?: string
}

const EXAMPLES = `
On one port:
  /          a page that shows the records as they arrive
  /records   the records: ?count=1000&seed=7&skip=0&where=age>=21, as JSON, NDJSON, CSV or MessagePack, as the client accepts
  ws://      {"action":"generate","count":1000,"batch_size":100,"conditions":{"age":{"gte":21}}}; also stats and cancel

Without a token, only this machine may ask. Ctrl-C says goodbye to the clients; a second one ends it at once.

Examples:
  millrace serve adult.model.json
  curl -H 'Accept: text/csv' 'http://127.0.0.1:8765/records?count=1000'
  MILLRACE_TOKEN=… millrace serve adult.model.json --host 0.0.0.0 --port 80`

/** Adds `millrace serve`: a model in; a page, HTTP and WebSockets out. */
export function addServe(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('serve')
    .description('Serve synthetic records of a model over HTTP and WebSockets, with a live page.')
    .argument('[MODEL]', 'model of millrace fit: a file or s3://bucket/key; - or none is stdin')
    .option('--host <ADDRESS>', 'address to listen on; beyond this machine only with a token', '127.0.0.1')
    .addOption(
      new Option('--port <N>', 'port to listen on; 0 takes a free one').argParser(parsePort).default(8765),
    )
    .addOption(
      new Option(
        '--token <TEXT>',
        'what clients must give, as Authorization: Bearer TEXT or ?token=TEXT',
      ).env('MILLRACE_TOKEN'),
    )
    .option(
      '--origin <URL>',
      'a page from elsewhere that may connect, such as https://host:port (can be repeated)',
      collect,
    )
    .addOption(
      new Option(
        '--seed <SEED>',
        'what records follow from where the client does not say (default: 0)',
      ).argParser(parseSeed),
    )
    .addOption(
      new Option('--batch-size <N>', 'records of a WebSocket message (default: 100)').argParser(parseCount),
    )
    .addOption(
      new Option('--max-count <N>', 'records that a request may ask for (default: 10M)').argParser(
        parseCount,
      ),
    )
    .addOption(new Option('--max-connections <N>', 'clients at a time (default: 100)').argParser(parseCount))
    .option('--name <TEXT>', 'what the page calls the model (default: the name of its file)')
    .addHelpText('after', EXAMPLES)
  addCommonOptions(command)
  command.action(async (file: string | undefined, flags: ServeFlags) => exit(await serve(file, flags)))
}

async function serve(file: string | undefined, flags: ServeFlags): Promise<number> {
  const { host, port, token, origin, seed, batchSize, maxCount, maxConnections } = flags
  const model = await readModel(file)
  const name =
    flags.name ??
    file
      ?.split('/')
      .at(-1)
      ?.replace(/(\.model)?\.json$/, '') ??
    'stdin'
  const server = new LiveServer({
    model,
    name,
    host,
    port,
    ...(token !== undefined && { token }),
    ...(origin !== undefined && { origins: origin }),
    ...(seed !== undefined && { seed: printableSeed(seed) }),
    ...(batchSize !== undefined && { batchSize }),
    ...(maxCount !== undefined && { maxCount }),
    ...(maxConnections !== undefined && { maxConnections }),
  })
  let stop = () => {}
  const stopped = new Promise<void>((resolve) => (stop = resolve))
  const signals = listenToSignals(() => stop())
  const address = await server.start()
  if (flags.quiet !== true) warn(`millrace: ${name} is served on ${address} (Ctrl-C ends it)\n`)
  await stopped
  await server.stop()
  signals.unlisten()
  if (flags.stats !== undefined && flags.stats !== false) printStats(server.stats(), {}, flags.stats)
  return signals.status ?? EXIT.ok
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(port <= 65_535)) throw new InvalidArgumentError('expected a port, 0 to 65535')
  return port
}

import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { MillraceError, StoreError } from '../errors.ts'
import { StatsCounter } from '../flow/index.ts'
import { readJson } from '../json/index.ts'
import {
  GrpcStore,
  SegmentStore,
  StoreServer,
  canonicalRecords,
  type GrpcStoreOptions,
  type ItemSource,
  type Store,
  type StoreStream,
  type StoreStreamOptions,
} from '../store/index.ts'
import { addCommonOptions } from './common-options.ts'
import { Input, Output } from './endpoint.ts'
import { EXIT, UsageError, exitCodeOf } from './exit-codes.ts'
import { showProgress } from './progress.ts'
import { type CommonOptions, isClosedOutput, writable } from './run.ts'
import { listenToSignals } from './signals.ts'
import { messageOf, printStats, tell, warn } from './tell.ts'
import { parseCount, parseSize } from './units.ts'

interface StoreFlags extends CommonOptions {
  readonly store?: string
  readonly addr?: string
  readonly tls?: boolean
  readonly tlsCa?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly tokenFile?: string
  readonly gzip?: boolean
  readonly window?: number
  readonly concurrency?: number
  readonly retries?: number
  readonly fsync?: 'always' | 'interval' | 'never'
  readonly maxMessage?: number
}

interface OperationFlags extends StoreFlags {
  readonly results?: boolean
  readonly output?: string
  readonly workers?: number
}

interface ServeFlags extends StoreFlags {
  readonly host: string
  readonly port: number
}

/** One result as a line. */
interface Line {
  readonly index: number
  readonly error?: StoreError | undefined
  readonly value?: object | undefined
}

type Operation = (store: Store, input: Input, options: StoreStreamOptions) => StoreStream<never>

const HELP = `
Where the records are: --store DIR, the embedded store (made where it is missing), or --addr HOST:PORT, a gRPC server: agntcy/dir, or
millrace store serve. push reads NDJSON or JSON; pull, lookup and delete read a CID a line, or what push printed.

An item that failed is a line {"index","error"} on stderr, and the exit status 4; with --results it is a line of stdout in its place.

Examples:
  millrace store push --store ./data < records.ndjson > cids.ndjson
  millrace store pull --store ./data < cids.ndjson > records.ndjson
  millrace store serve --store ./data --port 8888
  millrace store push --addr localhost:8888 --window 128 --token-file token < records.ndjson`

/** Adds `millrace store push|pull|lookup|delete|serve`. */
export function addStore(program: Command, exit: (status: number) => void): void {
  const store = program
    .command('store')
    .description('Store records by their content: push, pull, look up, delete, and serve them.')
    .addHelpText('after', HELP)
  const add = (
    name: string,
    description: string,
    operation: (flags: OperationFlags) => Operation,
    shape: (result: never) => object | undefined,
  ) => {
    const command = store
      .command(name)
      .description(description)
      .argument('[FILE]', 'input file or s3://bucket/key; - or none is stdin')
    addPlace(command)
    if (name === 'push') {
      command.addOption(
        new Option(
          '-j, --workers <N>',
          'worker threads that parse and make the CIDs, with --store: for records with many numbers (default: 0, the main thread does it)',
        ).argParser(parseCount),
      )
    }
    command
      .option('--results', 'one envelope a line on stdout for every item, failed ones too')
      .option(
        '-o, --output <FILE>',
        'write to FILE (by way of FILE.partial) or s3://bucket/key in place of stdout',
      )
    addCommonOptions(command)
    command.action(async (file: string | undefined, flags: OperationFlags) =>
      exit(await run(file, flags, operation(flags), shape)),
    )
  }
  const operation =
    <I>(
      method: 'pushStream' | 'pullStream' | 'lookupStream' | 'deleteStream',
      read: (input: Input, flags: OperationFlags) => ItemSource<I>,
    ) =>
    (flags: OperationFlags) =>
    (each: Store, input: Input, options: StoreStreamOptions) =>
      (each[method] as (items: ItemSource<I>, options: StoreStreamOptions) => StoreStream<never>)(
        read(input, flags),
        options,
      )
  add(
    'push',
    'Store records; prints {"index","cid"} a line.',
    operation('pushStream', recordsOf),
    ({ ref }: { ref?: object }) => ref,
  )
  add(
    'pull',
    'Print the records of CIDs.',
    operation('pullStream', refsOf),
    ({ record }: { record?: object }) => record && { record },
  )
  add(
    'lookup',
    'Print {"index","cid",…}, what is known of records.',
    operation('lookupStream', refsOf),
    ({ meta }: { meta?: object }) => meta,
  )
  add(
    'delete',
    'Delete records; prints {"index","cid"} a line.',
    operation('deleteStream', refsOf),
    ({ ref }: { ref?: object }) => ref,
  )

  const serve = store
    .command('serve')
    .description('Serve an embedded store as agntcy.dir.store.v1.StoreService.')
  addPlace(serve)
  serve
    .addOption(
      new Option('--port <N>', 'port to listen on; 0 takes a free one').argParser(parseCount).default(8888),
    )
    .option('--host <HOST>', 'address to listen on', '127.0.0.1')
  serve.action(async (flags: ServeFlags) => exit(await serveStore(flags)))
}

function addPlace(command: Command): void {
  command
    .option('--store <DIR>', 'folder of the embedded store')
    .option('--addr <HOST:PORT>', 'gRPC server')
    .option('--tls', 'encrypt, and trust the authorities of Node')
    .option(
      '--tls-ca <FILE>',
      'encrypt, and trust these authorities (PEM); for serve: those of clients, who then need a certificate',
    )
    .option('--tls-cert <FILE>', 'own certificate (PEM)')
    .option('--tls-key <FILE>', 'key of the own certificate (PEM)')
    .option('--token-file <FILE>', 'file with the bearer token; for serve: a token a line')
    .option('--gzip', 'compress messages')
    .addOption(new Option('--window <N>', 'items under way in a stream (default: 64)').argParser(parseCount))
    .addOption(new Option('--concurrency <N>', 'streams at once (default: 1)').argParser(parseCount))
    .addOption(
      new Option('--retries <N>', 'how often an item is sent again (default: 8)').argParser(parseCount),
    )
    .addOption(new Option('--max-message <SIZE>', 'longest message (default: 4MiB)').argParser(parseSize))
    .addOption(
      new Option(
        '--fsync <WHEN>',
        'what survives a power cut: everything, all but the last second, or what happens to (default: interval)',
      ).choices(['always', 'interval', 'never']),
    )
}

async function run(
  file: string | undefined,
  flags: OperationFlags,
  operation: Operation,
  shape: (result: never) => object | undefined,
): Promise<number> {
  const { addr, workers = 0 } = flags
  if (addr !== undefined && workers > 0)
    throw new UsageError('-j is for --store: a server makes the CIDs by itself')
  const store = await openStore(flags)
  const counter = new StatsCounter('store')
  let output: Output | undefined
  let failedItems = 0
  let fault: unknown
  let sinkError: unknown
  let status: number | undefined
  try {
    const input = await Input.open(file)
    const sink = (output = await Output.open(flags.output))
    const signals = listenToSignals(() => input.stop())
    const progress = showProgress(input, flags)
    sink.stream.on('error', (error: Error) => (sinkError ??= error))
    const { window, concurrency } = flags
    const results = operation(store, input, {
      ...(window !== undefined && { window }),
      ...(concurrency !== undefined && { concurrency }),
    })
    try {
      for await (const run of results.batches() as AsyncIterable<readonly Line[]>) {
        let text = ''
        for (const each of run) {
          const { index, error } = each
          counter.received(0, 1)
          if (error !== undefined) {
            failedItems++
            const line = `${JSON.stringify({ index, error: error.message })}\n`
            if (flags.results === true) text += line
            else warn(line)
            // a server that cannot be reached will not be reached by the next million items either
            if (error.category === 'connection') fault = error
          } else {
            const value = shape(each as never) as { record?: object }
            if (value.record === undefined) text += `${JSON.stringify({ index, ...value })}\n`
            else
              text += `${JSON.stringify(flags.results === true ? { index, record: value.record } : value.record)}\n`
          }
        }
        counter.sent(Buffer.byteLength(text), run.length)
        if (sinkError !== undefined) break
        if (text !== '' && !sink.stream.write(text)) await writable(sink)
        if (fault !== undefined) break
      }
    } catch (error) {
      fault = error
    }
    status = signals.status
    signals.unlisten()
    progress?.stop()
    input.stop()
    await sink
      .finish(fault === undefined && status === undefined)
      .catch((error: unknown) => (sinkError ??= error))
  } catch (error) {
    fault ??= error
  } finally {
    await store.close()
  }
  counter.completed()
  const outputClosed = isClosedOutput(sinkError)
  const error = outputClosed ? undefined : (sinkError ?? fault)
  if (error !== undefined) {
    tell(error)
    if (output?.leftover !== undefined) warn(`millrace: what was written before is in ${output.leftover}\n`)
  } else if (status === undefined) await output?.commit()
  if (flags.stats !== undefined && flags.stats !== false)
    printStats({ ...counter.snapshot(), errors: failedItems }, { outputClosed }, flags.stats)
  if (error !== undefined) return exitCodeOf(error)
  return status ?? (failedItems > 0 ? EXIT.someFailed : EXIT.ok)
}

async function openStore(flags: StoreFlags): Promise<Store> {
  const { store, addr, retries, gzip, fsync, maxMessage } = flags
  if ((store === undefined) === (addr === undefined))
    throw new UsageError('give --store DIR or --addr HOST:PORT, and not both')
  if (store !== undefined) {
    return await SegmentStore.open(store, {
      ...(fsync !== undefined && { fsync }),
      ...(maxMessage !== undefined && { maxRecordLength: maxMessage }),
    })
  }
  const tls = clientTls(flags)
  const options: GrpcStoreOptions = {
    ...(tls !== undefined && { tls }),
    ...(flags.tokenFile !== undefined && { token: read('--token-file', flags.tokenFile).trim() }),
    ...(retries !== undefined && { retries }),
    ...(gzip === true && { compression: 'gzip' as const }),
    ...(maxMessage !== undefined && { maxMessageLength: maxMessage }),
  }
  return new GrpcStore(addr!, options)
}

function clientTls({ tls, tlsCa, tlsCert, tlsKey }: StoreFlags): GrpcStoreOptions['tls'] {
  if (tlsCa === undefined && tlsCert === undefined) return tls
  return {
    ...(tlsCa !== undefined && { ca: read('--tls-ca', tlsCa) }),
    ...(tlsCert !== undefined && { cert: read('--tls-cert', tlsCert) }),
    ...(tlsKey !== undefined && { key: read('--tls-key', tlsKey) }),
  }
}

/** Serves until SIGINT or SIGTERM, which is its normal end. */
async function serveStore(flags: ServeFlags): Promise<number> {
  const { host, port, tlsCert, tlsKey, tlsCa, tokenFile, window, maxMessage } = flags
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new UsageError('--tls-cert and --tls-key need each other')
  const store = await openStore(flags)
  try {
    const server = new StoreServer(store, {
      ...(tlsCert !== undefined && {
        tls: {
          cert: read('--tls-cert', tlsCert),
          key: read('--tls-key', tlsKey!),
          ...(tlsCa !== undefined && { clientCa: read('--tls-ca', tlsCa) }),
        },
      }),
      ...(tokenFile !== undefined && {
        tokens: read('--token-file', tokenFile)
          .split('\n')
          .map((line) => line.trim())
          .filter(Boolean),
      }),
      ...(window !== undefined && { window }),
      ...(maxMessage !== undefined && { maxMessageLength: maxMessage }),
    })
    const bound = await server.start({ host, port })
    warn(`millrace: serving on ${host.includes(':') ? `[${host}]` : host}:${bound}\n`)
    let signals: ReturnType<typeof listenToSignals> | undefined
    await new Promise<void>((resolve) => (signals = listenToSignals(resolve)))
    await server.stop()
    signals?.unlisten()
    return signals?.status ?? EXIT.ok
  } finally {
    await store.close()
  }
}

function recordsOf(input: Input, { workers }: OperationFlags): ItemSource<unknown> {
  return workers === undefined || workers === 0
    ? readJson(input.content(), { batches: true })
    : canonicalRecords(input.content(), { workers })
}

/** CIDs, one a line; a line that is JSON is asked for its `cid`. */
async function* refsOf(input: Input): AsyncGenerator<string> {
  let open = ''
  const decoder = new TextDecoder()
  for await (const chunk of input.content()) {
    const lines = (open + decoder.decode(chunk, { stream: true })).split('\n')
    open = lines.pop()!
    if (open.length > MAX_LINE)
      throw new MillraceError(
        'ERR_MILLRACE_FRAME_TOO_LONG',
        `a line is longer than ${MAX_LINE} characters: expected a CID`,
      )
    for (const line of lines) if (line.trim() !== '') yield cidOfLine(line.trim())
  }
  if (open.trim() !== '') yield cidOfLine(open.trim())
}

/** A line of CIDs that is longer is no list of CIDs. */
const MAX_LINE = 65_536

function cidOfLine(line: string): string {
  if (!line.startsWith('{') && !line.startsWith('"')) return line
  try {
    const value = JSON.parse(line) as string | { cid?: unknown }
    if (typeof value === 'string') return value
    if (typeof value.cid === 'string') return value.cid
  } catch {
    // no CID either: its item fails
  }
  return line
}

function read(option: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`${option} ${file}: ${messageOf(error)}`)
  }
}

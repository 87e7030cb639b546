import { type Command, Option } from 'commander'
import { DataGenerator } from '../bytes/data-generator.ts'
import type { ObjectGen } from '../bytes/object-gen.ts'
import { pumpObject } from '../bytes/pump-object.ts'
import { MissingPeerError, OptionError } from '../errors.ts'
import { StatsCounter, type StreamStats } from '../flow/index.ts'
import { addCommonOptions, addWorkOptions } from './common-options.ts'
import { Output, checkTerminal, isStdout } from './endpoint.ts'
import { EXIT, UsageError, exitCodeOf } from './exit-codes.ts'
import {
  type ObjectFlags,
  addObjectOptions,
  objectOptions,
  printableSeed,
  rangeOf,
  seedOption,
} from './object-options.ts'
import { showProgress } from './progress.ts'
import { type CommonOptions, isClosedOutput } from './run.ts'
import { type Signals, listenToSignals } from './signals.ts'
import { StdoutPump } from './stdout-pump.ts'
import { messageOf, printStats, tell, warn } from './tell.ts'
import { parseCount } from './units.ts'

interface GenOptions extends CommonOptions, ObjectFlags {
  readonly count?: number
  readonly output?: string
  readonly workers?: number
  readonly force?: boolean
}

/** Objects that are written at the same time unless -j says otherwise. */
const DEFAULT_AT_ONCE = 4

const EXAMPLES = `
The bytes follow from seed, key, size, ratios and codec alone; millrace verify makes them again and compares.
{n} in --key and -o is the number of the object, from 0 to N-1.

Examples:
  millrace gen --size 10GiB --seed 42 --dedup 2.5 --compress 1.7 > object.bin
  millrace gen --size 10GiB --seed 42 --range 4GiB-5GiB | millrace verify --size 10GiB --seed 42 --range 4GiB-5GiB
  millrace gen --size 8MiB --count 1000 --key 'run1/{n}' -o 's3://bench/run1/{n}' -j 2 --stats

An s3:// address is reached as the AWS tools reach it: by environment variables and profile files.`

/** Adds `millrace gen`: objects of any size, with exact ratios, to stdout, files or S3. */
export function addGen(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('gen')
    .description('Generate objects of any size: deterministic bytes with exact dedup and compression ratios.')
  addObjectOptions(command)
  command
    .addOption(seedOption('what the bytes follow from: a whole number, or any text (default: a fresh one)'))
    .addOption(
      new Option(
        '--count <N>',
        'make N objects, with {n} in -o and, unless it says otherwise, --key {n}',
      ).argParser(parseCount),
    )
  addWorkOptions(command, `objects written at the same time (default: ${DEFAULT_AT_ONCE})`)
  command.option('--force', 'write to a terminal all the same').addHelpText('after', EXAMPLES)
  addCommonOptions(command)
  command.action(async (options: GenOptions) => exit(await gen(options)))
}

/** What a run has come to. */
interface Outcome {
  readonly stats: StreamStats
  /** What ended the run. */
  readonly error?: unknown
  /** Objects that could not be written, while others could. */
  readonly failedItems?: number
}

async function gen(options: GenOptions): Promise<number> {
  const { count, workers = DEFAULT_AT_ONCE, output } = options
  const range = rangeOf(options)
  check(options)
  const generator = new DataGenerator(options.seed === undefined ? {} : { seed: options.seed })
  const template = options.key ?? (count === undefined ? undefined : '{n}')
  const object = (n: number) =>
    generator.beginObject(objectOptions(options, template && numbered(template, n, count)))
  object(0) // an option that is wrong is told before anything is opened
  const total = (range.end - range.start) * (count ?? 1)

  let outcome: Outcome
  let signals: Signals
  if (isStdout(output)) {
    const pump = new StdoutPump(object(0).identity, range)
    signals = listenToSignals(() => pump.stop())
    const progress = showProgress(
      progressOf(total, () => pump.bytesWritten),
      options,
    )
    outcome = await pump.result()
    progress?.stop()
  } else {
    const abort = new AbortController()
    signals = listenToSignals(() => abort.abort())
    const writer = new ObjectSet(object, range, abort)
    const progress = showProgress(
      progressOf(total, () => writer.counter.bytesOut),
      options,
    )
    outcome =
      count === undefined
        ? await writer.writeOne(output)
        : await writer.writeAll((n) => numbered(output, n, count), count, workers)
    progress?.stop()
  }
  signals.unlisten()

  const { stats, failedItems = 0 } = outcome
  const outputClosed = isClosedOutput(outcome.error)
  const error = outputClosed ? undefined : outcome.error
  if (error !== undefined) tell(error)
  if (options.stats !== undefined && options.stats !== false)
    printStats(stats, { outputClosed, seed: printableSeed(generator.seed) }, options.stats)
  if (error !== undefined) return exitCodeOf(error)
  return signals.status ?? (failedItems > 0 ? EXIT.someFailed : EXIT.ok)
}

function check({ count, workers, output, force, key }: GenOptions): void {
  if (count !== undefined && count < 1) throw new UsageError('--count: expected at least 1')
  if (workers !== undefined && workers < 1) throw new UsageError('-j: expected at least 1')
  if (isStdout(output)) {
    if (count !== undefined) throw new UsageError('--count needs -o with {n}, such as -o objects/{n}.bin')
    checkTerminal(output, force)
  } else if ((count !== undefined) !== output.includes('{n}')) {
    throw new UsageError(
      count === undefined
        ? `-o ${output}: {n} needs --count N`
        : `-o ${output}: {n} is missing, so that all objects would have one name`,
    )
  }
  if (count === undefined && key?.includes('{n}') === true)
    throw new UsageError(`--key ${key}: {n} needs --count N`)
}

function numbered(template: string, n: number, count: number | undefined): string {
  return count === undefined ? template : template.replaceAll('{n}', String(n))
}

function progressOf(size: number, bytesWritten: () => number) {
  return {
    size,
    get bytesRead() {
      return bytesWritten()
    },
  }
}

/** Objects on their way to files or a store, several at once. */
class ObjectSet {
  readonly counter = new StatsCounter('gen')
  readonly #object: (n: number) => ObjectGen
  readonly #range: { readonly start: number; readonly end: number }
  readonly #abort: AbortController

  constructor(
    object: (n: number) => ObjectGen,
    range: { readonly start: number; readonly end: number },
    abort: AbortController,
  ) {
    this.#object = object
    this.#range = range
    this.#abort = abort
  }

  async writeOne(target: string): Promise<Outcome> {
    let output: Output | undefined
    try {
      output = await Output.open(target, { size: this.#range.end - this.#range.start })
      await this.#write(0, output)
    } catch (error) {
      if (output?.leftover !== undefined) warn(`millrace: what was written before is in ${output.leftover}\n`)
      return { stats: this.#stats(), ...(!this.#abort.signal.aborted && { error }) }
    }
    return { stats: this.#stats() }
  }

  /** Goes on when an object fails, and reports it as a line of JSON on stderr. */
  async writeAll(target: (n: number) => string, count: number, atOnce: number): Promise<Outcome> {
    const { signal } = this.#abort
    let next = 0
    let failedItems = 0
    let fatal: unknown
    const lane = async () => {
      while (next < count && !signal.aborted) {
        const index = next++
        try {
          const output = await Output.open(target(index), { size: this.#range.end - this.#range.start })
          await this.#write(index, output)
        } catch (error) {
          if (signal.aborted) return
          if (concernsAll(error)) {
            fatal = error
            this.#abort.abort()
            return
          }
          failedItems++
          warn(`${JSON.stringify({ index, error: messageOf(error) })}\n`)
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(atOnce, count) }, lane))
    return { stats: this.#stats(), failedItems, ...(fatal !== undefined && { error: fatal }) }
  }

  async #write(n: number, output: Output): Promise<void> {
    await pumpObject(this.#object(n), output.stream, {
      ...this.#range,
      signal: this.#abort.signal,
      onChunk: ({ bytes }) => this.counter.sent(bytes),
    })
    await output.commit()
    this.counter.recordsOut++
  }

  #stats(): StreamStats {
    return this.counter.snapshot()
  }
}

/** True for what would befall every other object too. */
function concernsAll(error: unknown): boolean {
  return error instanceof UsageError || error instanceof OptionError || error instanceof MissingPeerError
}

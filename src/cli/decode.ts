import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { type Command, Option } from 'commander'
import type { Gap } from '../codec/index.ts'
import { SeekableDecoder } from '../codec/seekable-decoder.ts'
import { StreamingDecoder } from '../codec/streaming-decoder.ts'
import type { PackFormat } from '../codec/streaming-encoder.ts'
import { CodecError } from '../errors.ts'
import { Meter } from '../flow/meter.ts'
import { addCommonOptions, addWorkOptions } from './common-options.ts'
import { storedBytes } from './encode.ts'
import { boundYoungHeap } from './bound-young-heap.ts'
import { Input, Output, openAnywhere } from './endpoint.ts'
import { UsageError } from './exit-codes.ts'
import { parseRange } from './object-options.ts'
import { type CommonOptions, type JobInput, run } from './run.ts'
import { warn } from './tell.ts'
import { fitThreadPool } from './threads.ts'

interface DecodeOptions extends CommonOptions {
  readonly format?: PackFormat
  readonly range?: ReturnType<typeof parseRange>
  readonly recover?: boolean
  readonly fill?: boolean
  readonly gzi?: string
  readonly workers?: number
  readonly output?: string
}

const EXAMPLES = `
What the input is is told from its first bytes. Everything is verified: a wrong byte ends with status 3 and its place.
With --recover, what is not damaged is written, every gap is a JSON object on stderr (raw bytes from start up to, but not including, end;
null where that is not known), and the status is 4.

Examples:
  millrace decode big.log.mrz | tail
  millrace decode --range 10GiB-10.1GiB big.log.mrz
  millrace decode --recover damaged.mrz -o saved.log
  millrace decode s3://logs/big.log.mrz -o big.log`

/** Adds `millrace decode`: unpacks bytes on all cores, a part of them, or what is left of them. */
export function addDecode(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('decode')
    .description(
      'Unpack containers, gzip, BGZF and zstd on all cores, whole, in part, or what is left of them.',
    )
    .argument('[FILE]', 'input file or s3://bucket/key; - or none is stdin')
    .addOption(
      new Option('--format <FORMAT>', 'what the input is (default: what its first bytes say)').choices([
        'container',
        'gzip',
        'bgzf',
        'zstd',
      ]),
    )
    .addOption(
      new Option(
        '--range <A-B>',
        'only the raw bytes from A on, up to but not including B; A- goes to the end',
      ).argParser(parseRange),
    )
    .option('--recover', 'go on after damage in a container, and list the gaps')
    .option('--fill', 'with --recover: zeros in place of what is lost')
    .option('--gzi <FILE>', 'index of a BGZF input (default: FILE.gzi, if there is one)')
  addWorkOptions(command, 'blocks unpacked at the same time (default: all cores)')
  command.addHelpText('after', EXAMPLES)
  addCommonOptions(command)
  command.action(async (file: string | undefined, options: DecodeOptions) =>
    exit(await decode(file, options)),
  )
}

async function decode(file: string | undefined, options: DecodeOptions): Promise<number> {
  boundYoungHeap()
  const { range, recover = false, fill = false, format } = options
  if (options.workers === 0) throw new UsageError('-j: expected at least 1')
  if (fill && !recover) throw new UsageError('--fill needs --recover')
  if (range !== undefined && recover)
    throw new UsageError('--range and --recover together: recover the file first')
  const workers = fitThreadPool(options.workers)
  let gaps = 0
  const decoder = () =>
    new StreamingDecoder({
      ...(format !== undefined && { format }),
      mode: recover ? 'recover' : 'strict',
      fill,
      workers,
      onGap(gap) {
        gaps++
        warn(`${JSON.stringify(listed(gap))}\n`)
      },
    })
  if (range !== undefined) return decodeRange(file, options, workers, decoder)
  const stage = decoder()
  const input = storedBytes(await Input.open(file))
  const output = await Output.open(options.output)
  return run({ input, stage, output, failedItems: () => gaps }, options)
}

/** JSON has no undefined. */
function listed({
  start,
  end = null as number | null,
  offset,
  reason,
}: Gap | (Omit<Gap, 'end'> & { end: null })) {
  return { start, end, offset, reason }
}

async function decodeRange(
  file: string | undefined,
  options: DecodeOptions,
  workers: number,
  decoder: () => StreamingDecoder,
): Promise<number> {
  const { start, end } = options.range!
  const seekable = await openSeekable(file, options, workers)
  const input =
    seekable === undefined
      ? partOf(storedBytes(await Input.open(file)), decoder(), start, end ?? Infinity)
      : seekableInput(seekable, start, end ?? seekable.size)
  const output = await Output.open(options.output)
  const status = await run({ input, stage: new Meter(), output }, options)
  await seekable?.close()
  return status
}

/** Undefined for what can only be read from its start. */
async function openSeekable(
  file: string | undefined,
  { format, gzi }: DecodeOptions,
  workers: number,
): Promise<SeekableDecoder | undefined> {
  const source = format === 'gzip' ? undefined : await openAnywhere(file)
  if (source === undefined) return undefined
  try {
    return await SeekableDecoder.open(source, {
      workers,
      ...(gzi !== undefined && { gzi: await readFile(gzi) }),
    })
  } catch (error) {
    if (CodecError.is(error) && error.code === 'ERR_MILLRACE_CODEC_UNSEEKABLE') return undefined
    throw error
  }
}

function seekableInput(file: SeekableDecoder, start: number, end: number): JobInput {
  const part = file.range(start, end)
  let bytesRead = 0
  let stopped = false
  return {
    async *content() {
      try {
        for await (const chunk of part as AsyncIterable<Buffer>) {
          bytesRead += chunk.length
          yield chunk
        }
      } catch (error) {
        if (!stopped) throw error
      }
    },
    stop() {
      stopped = true
      part.destroy()
    },
    size: end - start,
    get bytesRead() {
      return bytesRead
    },
  }
}

/** Unpacks from the start, and drops what lies outside of the range. */
function partOf(input: JobInput, decoder: StreamingDecoder, start: number, end: number): JobInput {
  return {
    async *content() {
      const packed = Readable.from(input.content(), { objectMode: false, highWaterMark: 1 << 18 })
      packed.on('error', (error) => decoder.destroy(error))
      let offset = 0
      for await (const chunk of packed.pipe(decoder) as AsyncIterable<Buffer>) {
        const piece = chunk.subarray(Math.max(0, start - offset), Math.max(0, end - offset))
        if (piece.length > 0) yield piece
        offset += chunk.length
        if (offset >= end) break
      }
      if (offset < end && (end !== Infinity || offset < start)) {
        throw new CodecError('ERR_MILLRACE_CODEC_RANGE', `--range: the content has ${offset} bytes`, {
          actual: offset,
        })
      }
    },
    stop: () => input.stop(),
    get size() {
      return input.size
    },
    get bytesRead() {
      return input.bytesRead
    },
  }
}

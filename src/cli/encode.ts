import { writeFile } from 'node:fs/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { formatOfName } from '../codec/detect-format.ts'
import {
  StreamingEncoder,
  type PackFormat,
  type StreamingEncoderOptions,
} from '../codec/streaming-encoder.ts'
import { addCommonOptions, addWorkOptions } from './common-options.ts'
import { boundYoungHeap } from './bound-young-heap.ts'
import { Input, Output, checkTerminal } from './endpoint.ts'
import { UsageError } from './exit-codes.ts'
import { type CommonOptions, run } from './run.ts'
import { fitThreadPool } from './threads.ts'
import { parseCount, parseSize } from './units.ts'

interface EncodeOptions extends CommonOptions {
  readonly format?: PackFormat
  readonly codec?: 'deflate' | 'brotli' | 'zstd' | 'store'
  readonly level?: number
  readonly blockSize?: number
  readonly context?: 'none' | 'previous' | 'dictionary'
  readonly gzi?: string
  readonly workers?: number
  readonly output?: string
  readonly force?: boolean
}

const EXAMPLES = `
The output follows from the input, format, codec, level, block size and context alone; never from -j.
A container (.mrz) can be read from any place, tells where it is damaged, and can be joined with cat. gzip, bgzip and zstd read the
other formats. Without --format the name after -o decides: .mrz, .gz, .bgz, .zst; a container by default.

Examples:
  millrace encode -c zstd -l 3 -j 2 big.log -o big.log.mrz --stats
  millrace encode --format gzip < big.log | gzip -dc | cmp - big.log
  millrace encode big.vcf -o big.vcf.bgz --gzi big.vcf.bgz.gzi`

/** Adds `millrace encode`: packs bytes on all cores. */
export function addEncode(program: Command, exit: (status: number) => void): void {
  const command = program
    .command('encode')
    .description(
      'Pack bytes on all cores: a seekable, checksummed, recoverable container, gzip, BGZF or zstd.',
    )
    .argument('[FILE]', 'input file or s3://bucket/key; - or none is stdin')
    .addOption(
      new Option('--format <FORMAT>', 'what to write').choices(['container', 'gzip', 'bgzf', 'zstd']),
    )
    .addOption(
      new Option(
        '-c, --codec <CODEC>',
        'codec of a container (default: zstd, deflate before Node 22.15)',
      ).choices(['deflate', 'brotli', 'zstd', 'store']),
    )
    .addOption(
      new Option('-l, --level <N>', 'level of the codec (default: deflate 6, brotli 4, zstd 3)').argParser(
        parseLevel,
      ),
    )
    .addOption(
      new Option(
        '--block-size <SIZE>',
        'raw bytes of a block (default: deflate 256KiB, zstd 2MiB, else 1MiB)',
      ).argParser(parseSize),
    )
    .addOption(
      new Option(
        '--context <WHAT>',
        'what a block may refer to besides itself (default: none; previous for gzip)',
      ).choices(['none', 'previous', 'dictionary']),
    )
    .option('--gzi <FILE>', 'with --format bgzf: write an index for bgzip and samtools')
  addWorkOptions(command, 'blocks packed at the same time (default: all cores)')
  command.option('--force', 'write to a terminal all the same').addHelpText('after', EXAMPLES)
  addCommonOptions(command)
  command.action(async (file: string | undefined, options: EncodeOptions) =>
    exit(await encode(file, options)),
  )
}

async function encode(file: string | undefined, options: EncodeOptions): Promise<number> {
  boundYoungHeap()
  checkTerminal(options.output, options.force)
  if (options.workers === 0) throw new UsageError('-j: expected at least 1')
  const workers = fitThreadPool(options.workers)
  const stage = new StreamingEncoder({ ...encoderOptions(options), workers })
  const input = await Input.open(file, { blocks: stage })
  const output = await Output.open(options.output)
  const status = await run({ input: storedBytes(input), stage, output }, options)
  if (status === 0 && options.gzi !== undefined) await writeFile(options.gzi, stage.gziIndex())
  return status
}

function encoderOptions({
  codec,
  level,
  blockSize,
  context,
  gzi,
  ...options
}: EncodeOptions): StreamingEncoderOptions {
  const format = options.format ?? formatOfName(options.output ?? '')
  return {
    ...(format !== undefined && { format }),
    ...(codec !== undefined && { codec }),
    ...(level !== undefined && { level }),
    ...(blockSize !== undefined && { blockSize }),
    ...(context !== undefined && { context }),
    gzi: gzi !== undefined,
  }
}

/** An input whose content is its bytes as they are: what is packed already is packed again, or is to be unpacked by the verb. */
export function storedBytes(input: Input) {
  return {
    content: () => input.stored(),
    stop: () => input.stop(),
    get size() {
      return input.size
    },
    get bytesRead() {
      return input.bytesRead
    },
  }
}

function parseLevel(text: string): number {
  try {
    return parseCount(text)
  } catch {
    throw new InvalidArgumentError('expected a whole number, such as 6')
  }
}

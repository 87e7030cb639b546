import { type Command, InvalidArgumentError, Option } from 'commander'
import { parseCount } from './units.ts'

/** Adds what every verb that makes something has: how many at once, and where to. */
export function addWorkOptions(
  command: Command,
  workers = 'worker threads; 0 works in the main thread (default: all cores)',
): void {
  command
    .addOption(new Option('-j, --workers <N>', workers).argParser(parseCount))
    .option(
      '-o, --output <FILE>',
      'write to FILE (by way of FILE.partial) or s3://bucket/key in place of stdout',
    )
}

/** Adds the options that every verb has. */
export function addCommonOptions(command: Command): void {
  command
    .addOption(
      new Option('--stats [FORMAT]', 'print what was done to stderr, as text or json')
        .argParser(parseStats)
        .preset('text'),
    )
    .option('--progress', 'show progress even where stderr is no terminal')
    .option('-q, --quiet', 'show no progress')
}

function parseStats(text: string): true | 'json' {
  if (text === 'text') return true
  if (text === 'json') return 'json'
  throw new InvalidArgumentError('expected json, or no value for text')
}

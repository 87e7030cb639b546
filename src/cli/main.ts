import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { EXIT, UsageError, exitCodeOf } from './exit-codes.ts'
import { print, tell, warn } from './tell.ts'

const EXIT_HELP = `
Exit status:
  0 ok · 1 failed · 2 usage · 3 input corrupt (the byte offset is named) · 4 some items failed · 130 SIGINT · 143 SIGTERM
A reader that closes early, such as head, is a normal end.`

/** Each is loaded when it is asked for: the pool of threads of one, for example, is nothing to the others. */
const VERBS: Record<string, () => Promise<(program: Command, exit: (status: number) => void) => void>> = {
  map: async () => (await import('./map.ts')).addMap,
  gen: async () => (await import('./gen.ts')).addGen,
  verify: async () => (await import('./verify.ts')).addVerify,
  encode: async () => (await import('./encode.ts')).addEncode,
  decode: async () => (await import('./decode.ts')).addDecode,
  inspect: async () => (await import('./inspect.ts')).addInspect,
  fit: async () => (await import('./fit.ts')).addFit,
  sample: async () => (await import('./sample.ts')).addSample,
  report: async () => (await import('./report.ts')).addReport,
  serve: async () => (await import('./serve.ts')).addServe,
  store: async () => (await import('./store.ts')).addStore,
}

/** Runs one command line and returns its exit status. */
export async function main(args: readonly string[]): Promise<number> {
  let status: number = EXIT.ok
  const program = new Command('millrace')
    .description('Streams of any size through all cores, in constant memory.')
    .version(version(), '-V, --version')
    .addHelpText('after', EXIT_HELP)
    .exitOverride()
    .configureOutput({
      writeOut: print,
      writeErr: warn,
      outputError: (text, write) => write(text.replace(/^error: /, 'millrace: ')),
    })
  const asked = VERBS[args[0] ?? '']
  for (const load of asked === undefined ? Object.values(VERBS) : [asked]) {
    const add = await load()
    add(program, (code) => (status = code))
  }
  try {
    if (args.length === 0) {
      program.outputHelp({ error: true })
      return EXIT.usage
    }
    await program.parseAsync(args, { from: 'user' })
    return status
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
    tell(error)
    if (error instanceof UsageError) warn('millrace: see millrace --help\n')
    return exitCodeOf(error)
  }
}

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return version
}

import assert from 'node:assert/strict'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as fc from 'fast-check'
import { RecordBatch } from '../flow/index.ts'
import { checkInteger } from '../options.ts'
import { anyCut } from './any-cut.ts'
import { TestSource, anyFault, anyPace, type Fault, type Pace } from './test-streams.ts'

/** A new stage each time: a stream, or what `stream-chain` makes. */
export type MakeStage = () => Duplex

/** Options of every law. */
export interface LawOptions {
  /**
   * How long a stage may take over one input, in milliseconds, before it counts as hanging.
   *
   * @defaultValue 5000
   */
  readonly timeout?: number
  /** Passed on to `fc.assert`: `numRuns`, `seed`, `path`, … */
  readonly parameters?: fc.Parameters<unknown>
}

/** Options of {@link laws.cutIndependent}. */
export interface CutIndependentOptions extends LawOptions {
  /** What is cut: bytes, or an arbitrary of them. Take some that the stage refuses, too. */
  readonly input: Uint8Array | fc.Arbitrary<Uint8Array>
  /**
   * Whether the edges of the chunks (or batches) that come out must not depend on the cut either.
   *
   * @defaultValue false
   */
  readonly edges?: boolean
}

/** Options of {@link laws.exactlyOnce}. */
export interface ExactlyOnceOptions<I, O> extends LawOptions {
  /**
   * Records that go in.
   *
   * @defaultValue numbers
   */
  readonly records?: fc.Arbitrary<I>
  /**
   * What must come out for one record.
   *
   * @defaultValue the record itself
   */
  readonly expected?: (record: I, index: number) => readonly O[]
  /**
   * Whether the records also go in as batches, grouped in any way.
   *
   * @defaultValue false
   */
  readonly batches?: boolean
}

/** Options of {@link laws.endsCleanly}. */
export interface EndsCleanlyOptions extends LawOptions {
  /** What goes in. */
  readonly chunks: readonly unknown[]
}

/** What came of a run. An error is compared by what a user sees of it. */
interface Outcome {
  readonly output: unknown
  readonly error: Readonly<Record<string, unknown>> | undefined
}

interface Run {
  readonly objectMode: boolean
  readonly sourcePace: Pace
  readonly sinkPace: Pace
  readonly timeout: number
  readonly fault?: Fault
  readonly signal?: AbortSignal
}

const DEFAULT_TIMEOUT = 5000
const FAST = { sourcePace: [], sinkPace: [] }

/**
 * Laws that a stage should keep, to be called from a test of any framework. Each throws the report of fast-check, with
 * the seed and the smallest counterexample, if the stage breaks it.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Transform } from 'node:stream'
 * import { laws } from 'millrace/testing'
 *
 * // decodes each chunk by itself: wrong wherever a cut goes through a character
 * const wrong = () => new Transform({ transform: (chunk, _encoding, done) => done(null, chunk.toString('utf8')) })
 * await assert.rejects(laws.cutIndependent(wrong, { input: Buffer.from('10 €') }), /Counterexample/)
 *
 * const right = () => new Transform({ transform: (chunk, _encoding, done) => done(null, chunk) })
 * await laws.cutIndependent(right, { input: Buffer.from('10 €') })
 * ```
 */
export const laws = {
  /**
   * The output, or what comes before an error and the error itself, does not depend on how the bytes were cut, nor on
   * the pace of source and sink.
   */
  async cutIndependent(makeStage: MakeStage, options: CutIndependentOptions): Promise<void> {
    const { input, edges = false, timeout = DEFAULT_TIMEOUT, parameters } = options
    checkInteger('timeout', timeout, 1)
    const inputs = input instanceof Uint8Array ? fc.constant(input) : input
    const run = { objectMode: false, timeout }
    await fc.assert(
      fc.asyncProperty(anyCut(inputs), anyPace(), anyPace(), async (chunks, sourcePace, sinkPace) => {
        const whole = Buffer.concat(chunks)
        const expected = await outcome(makeStage(), [whole], { ...run, ...FAST }, edges)
        const actual = await outcome(makeStage(), chunks, { ...run, sourcePace, sinkPace }, edges)
        same('the output depends on how the input is cut', actual, expected)
      }),
      reporting(parameters),
    )
  },

  /** Each record comes out once, in order, as what it should be, at any pace of source and sink. */
  async exactlyOnce<I = number, O = I>(
    makeStage: MakeStage,
    options: ExactlyOnceOptions<I, O> = {},
  ): Promise<void> {
    const { timeout = DEFAULT_TIMEOUT, batches = false, parameters } = options
    const { records = fc.nat() as fc.Arbitrary<unknown> as fc.Arbitrary<I> } = options
    const { expected = (record: I) => [record as unknown as O] } = options
    checkInteger('timeout', timeout, 1)
    const groups = batches ? fc.array(fc.nat(4), { maxLength: 5 }) : fc.constant<number[]>([])
    await fc.assert(
      fc.asyncProperty(
        fc.array(records, { maxLength: 30 }),
        groups,
        anyPace(),
        anyPace(),
        async (records, groups, sourcePace, sinkPace) => {
          const chunks = grouped(records, groups)
          const run = { objectMode: true, timeout, sourcePace, sinkPace }
          const actual = await outcome(makeStage(), chunks, run, false)
          const output = records.flatMap((record, index) => [...expected(record, index)])
          same('records were lost, doubled, changed or moved', actual, { output, error: undefined })
        },
      ),
      reporting(parameters),
    )
  },

  /**
   * Whatever fails around it, a source, a sink or an abort, and at whatever chunk: the pipeline ends, the stage is
   * destroyed, and what came out by then is the beginning of what would have.
   */
  async endsCleanly(makeStage: MakeStage, options: EndsCleanlyOptions): Promise<void> {
    const { chunks, timeout = DEFAULT_TIMEOUT, parameters } = options
    checkInteger('timeout', timeout, 1)
    const { writableObjectMode: objectMode, readableObjectMode: records } = makeStage().destroy()
    const run = { objectMode, timeout }
    const whole = (await collect(makeStage(), chunks, { ...run, ...FAST })).chunks
    await fc.assert(
      fc.asyncProperty(
        anyFault(chunks.length),
        fc.boolean(),
        anyPace(),
        anyPace(),
        async (drawn, inSink, sourcePace, sinkPace) => {
          // a controller can be aborted only once, and a counterexample is run again and again
          const controller = new AbortController()
          const fault = { ...drawn, controller }
          const stage = makeStage()
          const { signal } = controller
          const faulty = { ...run, sourcePace, sinkPace, fault, signal, inSink }
          const { chunks: some } = await collect(stage, chunks, faulty)
          await turn()
          assert.ok(stage.destroyed, 'the stage was not destroyed')
          const before = flat(some)
          if (records) same('the output is not a beginning', before, flat(whole).slice(0, before.length))
          else assert.ok(text(whole).startsWith(text(some)), 'the output is not a beginning')
        },
      ),
      reporting(parameters),
    )
  },
}

async function outcome(stage: Duplex, input: readonly unknown[], run: Run, edges: boolean): Promise<Outcome> {
  const { chunks, error } = await collect(stage, input, run)
  let output: unknown
  if (stage.readableObjectMode) output = edges ? chunks : flat(chunks)
  // as text, each byte a character: a difference can be read
  else output = edges ? chunks.map((chunk) => text([chunk])) : text(chunks)
  return { output, error: error === undefined ? undefined : facts(error) }
}

async function collect(
  stage: Duplex,
  input: readonly unknown[],
  { objectMode, sourcePace, sinkPace, timeout, fault, signal, inSink }: Run & { inSink?: boolean },
): Promise<{ chunks: unknown[]; error: unknown }> {
  const chunks: unknown[] = []
  const source = new TestSource(input, {
    objectMode,
    pace: sourcePace,
    ...(fault && !inSink && { fault }),
  })
  const sink = async (output: AsyncIterable<unknown>) => {
    const at = fault && inSink ? fault.at : -1
    for await (const chunk of output) {
      if (chunks.length === at) {
        if (fault?.kind !== 'abort') throw fault?.error ?? new Error('a fault for the test')
        fault.controller?.abort()
      }
      chunks.push(chunk)
      for (let i = sinkPace[chunks.length % sinkPace.length] ?? 0; i > 0; i--) await turn()
    }
  }
  const hang = new Hang(timeout)
  try {
    await Promise.race([pipeline([source, stage, sink] as never, signal ? { signal } : {}), hang.promise])
  } catch (error) {
    if (error instanceof HangError) {
      stage.destroy()
      throw error
    }
    return { chunks, error }
  } finally {
    hang.clear()
  }
  return { chunks, error: undefined }
}

/** The report says what was expected, too; fast-check leaves it to the error's cause otherwise. */
function reporting<T>(parameters: fc.Parameters<unknown> | undefined): fc.Parameters<T> {
  return { includeErrorInReport: true, ...(parameters as fc.Parameters<T>) }
}

class HangError extends Error {}

class Hang {
  readonly promise: Promise<never>
  #timer: NodeJS.Timeout | undefined

  constructor(timeout: number) {
    this.promise = new Promise((_resolve, reject) => {
      this.#timer = setTimeout(
        () => reject(new HangError(`the stage did not end within ${timeout} ms`)),
        timeout,
      )
    })
  }

  clear(): void {
    clearTimeout(this.#timer)
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

function flat(chunks: readonly unknown[]): unknown[] {
  return chunks.flatMap((chunk) => (RecordBatch.is(chunk) ? chunk.records : [chunk]))
}

function text(chunks: readonly unknown[]): string {
  return Buffer.concat(chunks.map((chunk) => Buffer.from(chunk as Uint8Array))).toString('latin1')
}

/** Records as chunks of an object stream: in batches of the lengths given, each record alone where it is 0. */
function grouped(records: readonly unknown[], groups: readonly number[]): unknown[] {
  const chunks: unknown[] = []
  for (let at = 0, i = 0; at < records.length; i++) {
    const length = groups[i % groups.length] ?? 0
    if (length === 0) chunks.push(records[at++])
    else {
      chunks.push(new RecordBatch(at, records.slice(at, at + length)))
      at += length
    }
  }
  return chunks
}

function facts(error: unknown): Readonly<Record<string, unknown>> {
  if (!(error instanceof Error)) return { thrown: error }
  const { stack: _stack, cause: _cause, ...own } = error as Error & Record<string, unknown>
  return { ...own, name: error.name, message: error.message }
}

function same(complaint: string, actual: unknown, expected: unknown): void {
  try {
    assert.deepEqual(actual, expected)
  } catch (error) {
    throw new Error(`${complaint}\n${(error as Error).message}`, { cause: error })
  }
}

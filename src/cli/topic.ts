// kafka://host/topic on the command line: what may stand behind the question mark, and the streams that it becomes.
import { hostname } from 'node:os'
import type { Writable } from 'node:stream'
import { RecordBatch } from '../flow/index.ts'
import type { KafkaAddress, KafkaSource, KafkaSourceOptions } from '../kafka/index.ts'
import { UsageError } from './exit-codes.ts'
import { parseCount } from './units.ts'

export interface TopicInputHints {
  /** The verb takes batches of records as well as bytes: only then a topic is an input. */
  readonly records?: boolean
  /** The verb needs all of it at once: without a number of records, a topic ends where it ended when reading began, and no group reads it. */
  readonly whole?: boolean
  /** What becomes of messages that are not JSON. */
  readonly onInvalid?: NonNullable<KafkaSourceOptions['onInvalid']>
}

export interface TopicOutputHints {
  /** The verb can give batches of records in place of bytes: only then a topic is an output. */
  readonly records?: boolean
  /** The group by which the input is read: a topic that results go to commits its position. */
  readonly group?: string | undefined
  /** Told each record that a topic does not take; without it, the first one is an error. */
  readonly onRecordError?: (failed: { readonly index: number; readonly error: Error }) => void
}

export function isTopic(file: string): boolean {
  return /^kafkas?:\/\//i.test(file)
}

/** A topic that is read. */
interface TopicSource {
  /** Batches of records. */
  readonly source: KafkaSource
  /** The group by which it is read. */
  readonly group: string | undefined
  /** Records after which it is enough. */
  readonly count: number | undefined
}

/** Opens a topic to be read. */
export async function openTopicSource(
  file: string,
  { records, whole = false, onInvalid }: TopicInputHints,
): Promise<TopicSource> {
  if (records !== true) throw noRecords(file)
  const { KafkaSource, parseKafkaUrl } = await import('../kafka/index.ts')
  const address = parseKafkaUrl(file)
  const known = whole ? ['from', 'until', 'count', 'mechanism'] : ['group', 'from', 'until', 'mechanism']
  const {
    group,
    from,
    count,
    until = whole && count === undefined ? 'end' : undefined,
  } = checkParameters(address, known)
  const most = count === undefined ? undefined : countOf(count)
  const source = new KafkaSource({
    ...connectionOf(address),
    topic: address.topic,
    batches: true,
    ...(group !== undefined && { groupId: group }),
    ...(from !== undefined && { from: startOf(from) }),
    ...(until !== undefined && { until: until as 'end' }),
    ...(onInvalid && { onInvalid }),
  })
  return { source, group, count: most }
}

/** The first so many records of batches. */
export async function* firstRecords(batches: AsyncIterable<unknown>, count: number): AsyncIterable<any> {
  let left = count
  for await (const item of batches) {
    const batch = item as RecordBatch
    yield batch.length <= left ? batch : new RecordBatch(batch.index, batch.records.slice(0, left))
    left -= batch.length
    if (left <= 0) return
  }
}

/** What makes messages of batches of records. */
export async function openTopicSink(
  file: string,
  { records, group, onRecordError }: TopicOutputHints,
): Promise<Writable> {
  if (records !== true) throw noRecords(file)
  const { KafkaSink, parseKafkaUrl } = await import('../kafka/index.ts')
  const address = parseKafkaUrl(file)
  const known = ['key', 'compression', 'transaction', 'mechanism']
  const { key, compression, transaction } = checkParameters(address, known)
  // from a topic to a topic: exactly once, by an id that no other process has
  const byDefault = group === undefined ? 'none' : `millrace-${group}-${hostname()}-${process.pid}`
  const transactionalId = transaction ?? byDefault
  return new KafkaSink({
    ...connectionOf(address),
    topic: address.topic,
    ...(key !== undefined && { keyColumn: key }),
    ...(compression !== undefined && { compression: compression as 'gzip' }),
    ...(transactionalId !== 'none' && { transactionalId }),
    ...(onRecordError && { onRecordError }),
  })
}

/** For verbs that have bytes. */
export function noRecords(file: string): UsageError {
  const withoutCredentials = file.replace(/\/\/[^@/]*@/, '//…@')
  return new UsageError(`${withoutCredentials}: a topic holds records, and this verb has bytes`)
}

function checkParameters(
  { parameters }: KafkaAddress,
  known: readonly string[],
): Partial<Record<string, string>> {
  for (const name of Object.keys(parameters))
    if (!known.includes(name)) throw new UsageError(`kafka://…?${name}: expected one of ${known.join(', ')}`)
  return parameters
}

function connectionOf({ bootstrapServers, username, password, tls, parameters }: KafkaAddress) {
  return {
    bootstrapServers,
    tls,
    ...(username !== undefined && {
      sasl: {
        mechanism: (parameters['mechanism'] ?? 'PLAIN') as 'PLAIN',
        username,
        ...(password !== undefined && { password }),
      },
    }),
  }
}

function countOf(text: string): number {
  const count = /^\d+[kKMG]?$/.test(text) ? parseCount(text) : 0
  if (count === 0) throw new UsageError(`count=${text}: expected a number of records above 0, such as 10k`)
  return count
}

function startOf(text: string): 'earliest' | 'latest' | Date {
  if (text === 'earliest' || text === 'latest') return text
  const date = new Date(text)
  if (Number.isNaN(date.getTime())) throw new UsageError(`from=${text}: expected earliest, latest or a date`)
  return date
}

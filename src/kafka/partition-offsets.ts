import type { KafkaPackage } from './kafka-client.ts'

/** Only what transactions have committed is read. */
export const READ_COMMITTED = 1
const EARLIEST = -2n
const LATEST = -1n
/** First version of the request by which offsets of transactions that are still open can be waited for: Kafka 3.0. */
const STABLE_OFFSETS = 8

/** Partitions of a topic. */
export interface Assigned {
  readonly topic: string
  readonly partitions: number[]
}

interface OffsetFetch {
  readonly version: number
  async(
    connection: unknown,
    groups: readonly object[],
    requireStable: boolean,
  ): Promise<{
    groups: {
      topics: { name: string; partitions: { partitionIndex: number; committedOffset: bigint }[] }[]
    }[]
  }>
}

/** Offsets by `topic/partition`: where partitions begin and end, and where their group has come to. */
export class PartitionOffsets {
  readonly #kafka: KafkaPackage
  readonly #member: InstanceType<KafkaPackage['Consumer']>

  constructor(kafka: KafkaPackage, member: InstanceType<KafkaPackage['Consumer']>) {
    this.#kafka = kafka
    this.#member = member
  }

  /** Where partitions end. */
  async ends(wanted: readonly Assigned[]): Promise<Map<string, bigint>> {
    return await this.#list(wanted, LATEST)
  }

  /** Where reading begins that has nothing to go on from. */
  async starts(
    wanted: readonly Assigned[],
    from: 'earliest' | 'latest' | Date,
  ): Promise<Map<string, bigint>> {
    if (from === 'earliest') return await this.#list(wanted, EARLIEST)
    const ends = await this.#list(wanted, LATEST)
    if (from === 'latest') return ends
    // a time after the last message gives -1
    const found = await this.#list(wanted, BigInt(from.getTime()))
    return new Map(
      [...ends].map(([key, end]) => [key, (found.get(key) ?? -1n) < 0n ? end : (found.get(key) as bigint)]),
    )
  }

  async #list(wanted: readonly Assigned[], timestamp: bigint): Promise<Map<string, bigint>> {
    const offsets = new Map<string, bigint>()
    if (wanted.length === 0) return offsets
    const answer = await this.#member.listOffsets({
      topics: wanted.map(({ topic }) => topic),
      partitions: Object.fromEntries(wanted.map(({ topic, partitions }) => [topic, partitions])),
      timestamp,
      isolationLevel: READ_COMMITTED,
    })
    for (const [topic, list] of answer) {
      for (const [partition, offset] of list.entries())
        if (offset !== undefined) offsets.set(`${topic}/${partition}`, offset)
    }
    return offsets
  }

  /**
   * What the group has committed. Waits for transactions that are still open: their positions are not decided, and the client's
   * own call does not wait.
   */
  async committed(wanted: readonly Assigned[]): Promise<Map<string, bigint>> {
    const offsets = new Map<string, bigint>()
    if (wanted.length === 0) return offsets
    const member = this.#member
    const coordinator = await member.findGroupCoordinator()
    const { brokers } = await member.metadata({ topics: wanted.map(({ topic }) => topic), retries: 0 })
    const broker = brokers.get(coordinator)
    if (broker === undefined)
      throw new Error(`the coordinator of the group, broker ${coordinator}, is not known`)
    const connection = await member.connections.get(broker)
    const api = await new Promise<OffsetFetch>((resolve, reject) => {
      member[this.#kafka.kGetApi]('OffsetFetch', (error: Error | null, found: unknown) =>
        error ? reject(error) : resolve(found as OffsetFetch),
      )
    })
    if (api.version < STABLE_OFFSETS) throw new Error('expected brokers of Kafka 3.0 or later')
    const topics = wanted.map(({ topic, partitions }) => ({ name: topic, partitionIndexes: partitions }))
    const request = { groupId: member.groupId, memberId: null, memberEpoch: -1, topics }
    const { groups } = await api.async(connection, [request], true)
    for (const { name, partitions } of groups.flatMap((group) => group.topics)) {
      for (const { partitionIndex, committedOffset } of partitions)
        if (committedOffset >= 0n) offsets.set(`${name}/${partitionIndex}`, committedOffset)
    }
    return offsets
  }
}

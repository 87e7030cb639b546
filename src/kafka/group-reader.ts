import { setTimeout as sleep } from 'node:timers/promises'
import { KafkaError } from '../errors.ts'
import {
  clientOptions,
  findFact,
  kafkaError,
  loadKafka,
  pauseAfter,
  type KafkaConnectionOptions,
  type KafkaPackage,
} from './kafka-client.ts'
import type { GroupMember } from './kafka-position.ts'
import { PartitionOffsets, READ_COMMITTED } from './partition-offsets.ts'
import { visibleRecords, type VisibleRecord } from './visible-records.ts'

type Consumer = InstanceType<KafkaPackage['Consumer']>

/** Messages of one partition, as they follow each other. */
export interface Slice {
  readonly topic: string
  readonly partition: number
  readonly records: readonly VisibleRecord[]
  /** Where to go on afterwards. */
  readonly next: bigint
  /** Number of the assignment by which it was read, and who read it. */
  readonly epoch: number
  readonly member: GroupMember | undefined
}

export interface ReaderOptions extends KafkaConnectionOptions {
  readonly topics: readonly string[]
  readonly groupId: string | undefined
  readonly from: 'earliest' | 'latest' | Date
  readonly untilEnd: boolean
  readonly maxFetchBytes: number
  readonly readTimeout: number
  readonly sessionTimeout: number
}

interface Place {
  readonly topic: string
  readonly partition: number
  next: bigint
  /** Where reading ends. */
  readonly end: bigint
  /** Where the topic ended when it was last looked at. */
  high: bigint
}

/** How long a broker may wait for messages before it answers, in milliseconds. */
const MAX_WAIT = 500
const HEARTBEAT = 1000
const REBALANCE_TIMEOUT = 30_000
const TOPIC_TRIES = 5
/** Each of these tries asks so often for the coordinator: 16 s in all, the time in which a broker starts again. */
const MEMBER_RETRIES = 8

/** Reads the partitions of some topics: all of them, or those that a group assigns to it. Knows nothing of streams. */
export class GroupReader {
  readonly #options: ReaderOptions
  /** Is a member of the group, and asks about offsets. */
  readonly #member: Consumer
  /** Fetches, by connections of its own: a broker that waits for messages would keep heartbeats waiting. */
  readonly #fetcher: Consumer
  readonly #offsets: PartitionOffsets
  readonly #places = new Map<string, Place>()
  readonly #inFlight = new Map<number, Promise<void>>()
  readonly #closed = new AbortController()
  #ready: Slice[] = []
  #isDirty = true
  #isStopped = false
  #wake: () => void = () => {}
  #failure: Error | undefined
  #failingSince = 0
  /** Counts assignments: what was fetched for an earlier one is dropped. */
  epoch = 0

  private constructor(kafka: KafkaPackage, options: ReaderOptions) {
    this.#options = options
    const common = {
      ...clientOptions(options),
      groupId: options.groupId ?? `millrace-${crypto.randomUUID()}`,
      autocommit: false,
      retries: 0,
      sessionTimeout: options.sessionTimeout,
      heartbeatInterval: HEARTBEAT,
      rebalanceTimeout: Math.max(REBALANCE_TIMEOUT, options.sessionTimeout),
    }
    this.#member = new kafka.Consumer({ ...common, retries: MEMBER_RETRIES })
    forgetLostCoordinators(kafka, this.#member)
    this.#fetcher = new kafka.Consumer(common)
    this.#offsets = new PartitionOffsets(kafka, this.#member)
    for (const consumer of [this.#member, this.#fetcher]) {
      consumer.topics.trackAll(...options.topics)
      consumer.on('error', (error: Error) => this.#groupFailed(error))
    }
    this.#member.on('consumer:group:join', () => this.rewind())
  }

  static async open(options: ReaderOptions): Promise<GroupReader> {
    const reader = new GroupReader(await loadKafka(), options)
    try {
      await reader.#connect()
      return reader
    } catch (error) {
      await reader.close()
      throw error
    }
  }

  /** Who reads, to the coordinator of the group. */
  get member(): GroupMember | undefined {
    const { groupId, generationId, memberId, coordinatorId } = this.#member
    if (this.#options.groupId === undefined || memberId === null || coordinatorId === null) return undefined
    const consumer = this.#member
    return {
      groupId,
      generationId,
      memberId,
      // a transaction that is committed later is told to who coordinates the group then
      get coordinatorId() {
        return consumer.coordinatorId ?? coordinatorId
      },
    }
  }

  /** Ends reading: the next that is asked for is the end. */
  stop(): void {
    this.#isStopped = true
    this.#wake()
  }

  /** Begins again where the group has committed. */
  rewind(): void {
    this.epoch++
    this.#isDirty = true
    this.#ready = []
    this.#wake()
  }

  /** What comes next, or undefined at the end. */
  async next(): Promise<Slice | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      this.#closed.signal.throwIfAborted()
      if (this.#isStopped) return undefined
      if (this.#isDirty) {
        const isRead = await this.#assign()
        if (!isRead) continue
      }
      const slice = this.#ready.shift()
      if (slice !== undefined) return slice
      if (this.#options.untilEnd && this.#isAtEnd() && this.#inFlight.size === 0) return undefined
      await this.#fetchAll()
    }
  }

  /** Messages that are there and have not been read beyond `reached`, or beyond what was read. */
  lag(reached: ReadonlyMap<string, bigint>): number {
    let lag = 0n
    for (const [key, { high, next }] of this.#places) {
      const behind = high - (reached.get(key) ?? next)
      if (behind > 0n) lag += behind
    }
    return Number(lag)
  }

  async commit(offsets: readonly { topic: string; partition: number; offset: bigint }[]): Promise<void> {
    await this.#member.commit({ offsets: offsets.map((offset) => ({ ...offset, leaderEpoch: -1 })) })
  }

  async close(): Promise<void> {
    this.#closed.abort()
    this.#wake()
    try {
      // without a callback it gives a promise, of which its types know nothing
      if (this.#options.groupId !== undefined) await Promise.resolve(this.#member.leaveGroup())
      /* v8 ignore start -- only if the broker goes at that moment: it finds out by itself */
    } catch {
      // it is no member any more
    }
    /* v8 ignore stop */
    await Promise.all([this.#member, this.#fetcher].map((consumer) => consumer.close(true).catch(() => {})))
  }

  async #connect(): Promise<void> {
    const { topics, groupId } = this.#options
    let tries = 0
    await this.#untilItWorks(
      async () => {
        tries++
        await this.#member.metadata({ topics: [...topics], retries: 0, forceUpdate: true })
        if (groupId !== undefined && this.member === undefined) await this.#join()
      },
      (error) => error.code === 'ERR_MILLRACE_KAFKA_TOPIC' && tries >= TOPIC_TRIES,
    )
  }

  async #join(): Promise<void> {
    const { sessionTimeout } = this.#options
    await this.#member.joinGroup({
      sessionTimeout,
      heartbeatInterval: HEARTBEAT,
      rebalanceTimeout: Math.max(REBALANCE_TIMEOUT, sessionTimeout),
    })
  }

  /* v8 ignore start -- when a broker is away for longer than the client tries: scripts/kafka-faults.js comes here */
  /** The client gives up a group that it cannot join again at once; a broker that comes back is worth another try. */
  #groupFailed(error: Error): void {
    if (this.#options.groupId === undefined || this.#closed.signal.aborted) return
    void this.#untilItWorks(() => this.#join()).catch((failure: Error) => {
      this.#failure ??= failure.cause === undefined ? error : failure
      this.#wake()
    })
  }
  /* v8 ignore stop */

  /** Tries until it works, or has not for `readTimeout`. */
  async #untilItWorks<T>(
    work: () => Promise<T>,
    isFinal: (error: KafkaError) => boolean = () => false,
  ): Promise<T> {
    const { topics, readTimeout } = this.#options
    const deadline = performance.now() + readTimeout
    for (let tries = 0; ; tries++) {
      try {
        return await work()
      } catch (error) {
        const failure = kafkaError(error, 'ERR_MILLRACE_KAFKA_READ', `topic ${topics.join(', ')}`, {
          topic: topics.join(', '),
        }) as KafkaError
        const isOver = performance.now() > deadline || this.#closed.signal.aborted
        if (isOver || failure.code === 'ERR_MILLRACE_KAFKA_AUTH' || isFinal(failure)) throw failure
      }
      await this.#pause(tries)
    }
    /* v8 ignore next -- the loop has no end */
  }

  async #pause(tries: number): Promise<void> {
    const { signal } = this.#closed
    await sleep(pauseAfter(tries), undefined, { signal }).catch(() => {})
  }

  /** Takes over what the group has assigned; false if that changed meanwhile. */
  async #assign(): Promise<boolean> {
    this.#isDirty = false
    const { epoch } = this
    const { topics, groupId, from, untilEnd } = this.#options
    return await this.#untilItWorks(async () => {
      const { topics: known } = await this.#member.metadata({ topics: [...topics], retries: 0 })
      const assigned = topics.map((topic) => {
        const own =
          this.#member.assignments?.find((assignment) => assignment.topic === topic)?.partitions ?? []
        const all = Array.from(
          { length: known.get(topic)?.partitionsCount ?? 0 },
          (_, partition) => partition,
        )
        return { topic, partitions: groupId === undefined ? all : own }
      })
      const wanted = assigned.filter(({ partitions }) => partitions.length > 0)
      const committed =
        groupId === undefined ? new Map<string, bigint>() : await this.#offsets.committed(wanted)
      const starts = await this.#offsets.starts(wanted, from)
      const ends = untilEnd ? await this.#offsets.ends(wanted) : new Map<string, bigint>()
      if (epoch !== this.epoch) return false
      this.#places.clear()
      for (const { topic, partitions } of wanted) {
        for (const partition of partitions) {
          const key = `${topic}/${partition}`
          const next = committed.get(key) ?? starts.get(key) ?? 0n
          const end = ends.get(key) ?? -1n
          this.#places.set(key, { topic, partition, next, end, high: ends.get(key) ?? next })
        }
      }
      return true
    })
  }

  #isAtEnd(): boolean {
    return [...this.#places.values()].every(({ next, end }) => next >= end)
  }

  /** Asks every broker that has something to say and has not been asked, and waits for one answer. */
  async #fetchAll(): Promise<void> {
    const woken = new Promise<void>((resolve) => (this.#wake = resolve))
    try {
      const metadata = await this.#fetcher.metadata({ topics: [...this.#options.topics], retries: 0 })
      const byNode = new Map<number, Place[]>()
      for (const place of this.#places.values()) {
        if (this.#options.untilEnd && place.next >= place.end) continue
        const node = metadata.topics.get(place.topic)?.partitions[place.partition]?.leader ?? -1
        byNode.set(node, [...(byNode.get(node) ?? []), place])
      }
      for (const [node, places] of byNode) {
        if (this.#inFlight.has(node)) continue
        const ids = new Map(places.map(({ topic }) => [topic, metadata.topics.get(topic)?.id as string]))
        const fetch = this.#fetch(node, places, ids).finally(() => this.#inFlight.delete(node))
        this.#inFlight.set(node, fetch)
      }
      if (this.#inFlight.size === 0 && !this.#isDirty) {
        // nothing is assigned: until that changes, there is nothing to do
        await Promise.race([woken, sleep(MAX_WAIT)])
        return
      }
      await Promise.race([woken, ...this.#inFlight.values()])
      this.#failingSince = 0
    } catch (error) {
      await this.#fetchFailed(error)
    }
  }

  async #fetch(node: number, places: readonly Place[], ids: ReadonlyMap<string, string>): Promise<void> {
    const { maxFetchBytes } = this.#options
    const { epoch } = this
    const asked = new Map<string, bigint>()
    const topics = [...ids].map(([topic, topicId]) => ({
      topicId,
      partitions: places
        .filter((place) => place.topic === topic)
        .map(({ partition, next }) => {
          asked.set(`${topic}/${partition}`, next)
          return {
            partition,
            fetchOffset: next,
            partitionMaxBytes: maxFetchBytes,
            currentLeaderEpoch: -1,
            lastFetchedEpoch: -1,
          }
        }),
    }))
    const names = new Map([...ids].map(([topic, id]) => [id, topic]))
    const { responses } = await this.#fetcher.fetch({
      node,
      topics,
      maxWaitTime: MAX_WAIT,
      minBytes: 1,
      maxBytes: maxFetchBytes,
      isolationLevel: READ_COMMITTED,
    })
    if (epoch !== this.epoch) return
    for (const response of responses) {
      const topic = names.get(response.topicId)
      for (const fetched of response.partitions) {
        const key = `${topic}/${fetched.partitionIndex}`
        const place = this.#places.get(key)
        const from = asked.get(key)
        if (place === undefined || from === undefined || from !== place.next) continue
        if (fetched.lastStableOffset >= 0n) place.high = fetched.lastStableOffset
        const { records, next } = visibleRecords(fetched, from)
        place.next = next
        const { end } = place
        const wanted = this.#options.untilEnd ? records.filter(({ offset }) => offset < end) : records
        const { partition } = place
        const { member } = this
        if (wanted.length > 0)
          this.#ready.push({ topic: place.topic, partition, records: wanted, next, epoch, member })
      }
    }
  }

  async #fetchFailed(error: unknown): Promise<void> {
    const topic = this.#options.topics.join(', ')
    if (findFact(error, 'apiId', 'OFFSET_OUT_OF_RANGE') !== undefined) {
      throw new KafkaError(
        'ERR_MILLRACE_KAFKA_OFFSET',
        `topic ${topic}: what is to be read next is not there any more`,
        {
          topic,
          cause: error,
        },
      )
    }
    if (this.#closed.signal.aborted) return
    const failure = kafkaError(error, 'ERR_MILLRACE_KAFKA_READ', `topic ${topic}`, { topic }) as KafkaError
    this.#failingSince ||= performance.now()
    if (
      failure.code === 'ERR_MILLRACE_KAFKA_AUTH' ||
      performance.now() - this.#failingSince > this.#options.readTimeout
    )
      throw failure
    this.#fetcher.clearMetadata()
    await this.#pause(2)
  }
}

/**
 * When the coordinator of a group is not in the metadata any more, because its broker has gone, the client fetches them again, and asks
 * the same coordinator again, for ever. As a failure of the network it looks for the new one, so that is what it gets.
 */
export function forgetLostCoordinators(
  { NetworkError }: Pick<KafkaPackage, 'NetworkError'>,
  member: Pick<Consumer, 'connections' | 'clearMetadata'>,
): void {
  const pool = member.connections
  const get = pool.get.bind(pool) as (...args: unknown[]) => unknown
  pool.get = ((broker: unknown, callback?: (error: Error) => void) => {
    if (broker !== undefined || callback === undefined) return get(broker, callback)
    member.clearMetadata()
    return callback(new NetworkError('the broker has left the cluster'))
  }) as typeof pool.get
}

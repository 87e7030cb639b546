/** What a sink hands to the client. */
export interface KafkaMessage {
  readonly topic: string
  readonly partition: number
  readonly key?: Buffer
  readonly value: Buffer | undefined
  readonly headers?: Map<Buffer, Buffer>
}

/** One message that waits or is on its way. */
export interface Outgoing {
  readonly message: KafkaMessage
  readonly bytes: number
  /** Number of its record. */
  readonly index: number
  readonly block: OutgoingBlock
}

/** The messages of one chunk that was written: it is settled when all of them are. */
export interface OutgoingBlock {
  /** Messages that have not been acknowledged. */
  open: number
  /** No message will be added. */
  ended: boolean
  /** What is to be told when it, and all before it, is settled. */
  readonly position: unknown
}

/** Messages that go the same way, one batch after the other, so that their order is kept. */
export interface Lane {
  readonly waiting: Outgoing[]
  /** Where in `waiting` the first one is. */
  head: number
  bytes: number
  /** When the first of them came. */
  since: number
  inFlight: boolean
}

/** Places at the front of an array that are worth a move of the rest. */
const COMPACT_AT = 4096

/** Everything between records and requests: lanes of messages, the bytes they take, and which blocks are done. */
export class Outbox {
  readonly lanes = new Map<number, Lane>()
  readonly #batchSize: number
  readonly #batchBytes: number
  readonly #blocks: OutgoingBlock[] = []
  /** Messages that wait or are on their way, and their bytes. */
  count = 0
  bytes = 0

  constructor(batchSize: number, batchBytes: number) {
    this.#batchSize = batchSize
    this.#batchBytes = batchBytes
  }

  /** A block into which messages will be added, until it is ended. */
  open(position: unknown): OutgoingBlock {
    const block = { open: 0, ended: false, position }
    this.#blocks.push(block)
    return block
  }

  add(laneKey: number, item: Outgoing, now: number): Lane {
    let lane = this.lanes.get(laneKey)
    if (lane === undefined) {
      lane = { waiting: [], head: 0, bytes: 0, since: now, inFlight: false }
      this.lanes.set(laneKey, lane)
    }
    if (lane.head === lane.waiting.length) lane.since = now
    lane.waiting.push(item)
    lane.bytes += item.bytes
    item.block.open++
    this.count++
    this.bytes += item.bytes
    return lane
  }

  isFull(lane: Lane): boolean {
    return lane.waiting.length - lane.head >= this.#batchSize || lane.bytes >= this.#batchBytes
  }

  /** The next batch of a lane: at most `batchSize` messages and `batchBytes` bytes, but one in any case. */
  take(lane: Lane): Outgoing[] {
    const batch: Outgoing[] = []
    let bytes = 0
    while (lane.head < lane.waiting.length && batch.length < this.#batchSize) {
      const item = lane.waiting[lane.head] as Outgoing
      if (batch.length > 0 && bytes + item.bytes > this.#batchBytes) break
      batch.push(item)
      bytes += item.bytes
      lane.head++
    }
    lane.bytes -= bytes
    if (lane.head >= COMPACT_AT && lane.head * 2 >= lane.waiting.length) {
      lane.waiting.splice(0, lane.head)
      lane.head = 0
    }
    return batch
  }

  /** The messages of a batch have been acknowledged, or given up. */
  settle(batch: readonly Outgoing[]): void {
    for (const { bytes, block } of batch) {
      block.open--
      this.bytes -= bytes
    }
    this.count -= batch.length
  }

  /** The next block, if it is settled; in the order in which they were opened. */
  shiftSettled(): OutgoingBlock | undefined {
    const first = this.#blocks[0]
    return first?.ended === true && first.open === 0 ? this.#blocks.shift() : undefined
  }

  /** The first block that is not settled, if there is one. */
  get firstOpen(): OutgoingBlock | undefined {
    return this.#blocks[0]
  }

  /** Gives up all that waits. */
  clearWaiting(): void {
    for (const lane of this.lanes.values()) {
      this.settle(lane.waiting.slice(lane.head))
      lane.waiting.length = lane.head = lane.bytes = 0
    }
  }
}

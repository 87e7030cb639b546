import type { DurablePosition } from '../flow/index.ts'

/** Who read a block: what a transaction tells the broker, which refuses it from members that are no longer in the group. */
export interface GroupMember {
  readonly groupId: string
  readonly generationId: number
  readonly memberId: string
  readonly coordinatorId: number
}

/** What a position needs of its source. */
export interface PositionOwner {
  /** Number of the assignment by which it reads now: blocks of an earlier one will be read again, by it or somebody else. */
  readonly epoch: number
  /** All up to this position is durable; `isCommitted` if the group has been told already. */
  reached(position: KafkaPosition, isCommitted: boolean): void
  /** Its blocks were given up: it has to begin again where the group has committed. */
  rewind(epoch: number): void
}

/** The facts of a position. */
export type KafkaPlace = Pick<
  KafkaPosition,
  'topic' | 'partition' | 'offset' | 'sequence' | 'epoch' | 'member'
>

/** Where a block came from, as its source and an exactly-once sink understand it. */
export class KafkaPosition implements DurablePosition {
  readonly topic: string
  readonly partition: number
  /** Offset of the message after the block: where to go on. */
  readonly offset: bigint
  /** Number of the block in its source. */
  readonly sequence: number
  readonly epoch: number
  readonly member: GroupMember | undefined
  readonly #owner: PositionOwner

  constructor(owner: PositionOwner, { topic, partition, offset, sequence, epoch, member }: KafkaPlace) {
    this.topic = topic
    this.partition = partition
    this.offset = offset
    this.sequence = sequence
    this.member = member
    this.epoch = epoch
    this.#owner = owner
  }

  /** False once the block will be read again: what is made of it must not be kept. */
  get isCurrent(): boolean {
    return this.epoch === this.#owner.epoch
  }

  durable(): void {
    if (this.isCurrent) this.#owner.reached(this, false)
  }

  /** Durable, and committed by a transaction. */
  committed(): void {
    if (this.isCurrent) this.#owner.reached(this, true)
  }

  rewind(): void {
    this.#owner.rewind(this.epoch)
  }
}

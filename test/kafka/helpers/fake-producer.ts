import type { KafkaMessage, KafkaProducerLike, TransactionLike } from '../../../src/kafka/index.ts'

/** A producer of the client's that keeps what it gets, and does what a test asks of it. */
export class FakeProducer implements KafkaProducerLike {
  /** One array a request. */
  readonly requests: KafkaMessage[][] = []
  readonly transactions: {
    state: 'open' | 'committed' | 'aborted'
    messages: KafkaMessage[]
    offsets: any[]
  }[] = []
  readonly partitions: number
  isClosed = false
  /** Called before a request is taken: may wait, may throw. */
  onSend: (messages: KafkaMessage[], number: number) => unknown = () => {}
  onMetadata: () => unknown = () => {}
  onOffset: () => unknown = () => {}
  onCommit: () => unknown = () => {}
  /** Requests on their way, by partition, and the most of them. */
  readonly #active = new Map<number, number>()
  mostActive = 0
  #sent = 0

  constructor(partitions = 1) {
    this.partitions = partitions
  }

  get values(): unknown[] {
    return this.requests.flat().map(({ value }) => JSON.parse(String(value)))
  }

  async metadata({ topics }: { topics: string[] }) {
    await this.onMetadata()
    return { topics: new Map(topics.map((topic) => [topic, { partitionsCount: this.partitions }])) }
  }

  async send({ messages }: { messages: KafkaMessage[] }): Promise<void> {
    const partition = messages[0]?.partition ?? 0
    const active = (this.#active.get(partition) ?? 0) + 1
    this.#active.set(partition, active)
    this.mostActive = Math.max(this.mostActive, active)
    try {
      await new Promise((resolve) => setImmediate(resolve))
      await this.onSend(messages, this.#sent++)
      this.requests.push(messages)
    } finally {
      this.#active.set(partition, active - 1)
    }
  }

  async beginTransaction(): Promise<TransactionLike> {
    const one: FakeProducer['transactions'][number] = { state: 'open', messages: [], offsets: [] }
    this.transactions.push(one)
    return {
      send: async ({ messages }) => {
        await this.onSend(messages, this.#sent++)
        one.messages.push(...messages)
      },
      addConsumer: async () => {},
      addOffset: async (offset) => {
        await this.onOffset()
        one.offsets.push(offset)
      },
      commit: async () => {
        await this.onCommit()
        one.state = 'committed'
      },
      abort: async () => void (one.state = 'aborted'),
    }
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}

/** An error as the client throws it. */
export function clientError(apiId: string, facts: object = {}): Error {
  const inner = Object.assign(new Error(`broker says ${apiId}`), {
    apiId,
    code: 'PLT_KFK_PROTOCOL',
    ...facts,
  })
  return Object.assign(new Error('Received response with error'), {
    code: 'PLT_KFK_RESPONSE',
    errors: [inner],
  })
}

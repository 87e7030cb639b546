import { Readable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import fc from 'fast-check'
import t from 'tap'
import { RecordBatch, withPosition } from '../../src/flow/index.ts'
import { KafkaSink, murmur2, type FailedRecord, type KafkaSinkOptions } from '../../src/kafka/index.ts'
import { KafkaPosition } from '../../src/kafka/kafka-position.ts'
import { FakeProducer, clientError } from './helpers/fake-producer.ts'

const base = { bootstrapServers: 'localhost:9092', topic: 'numbers', lingerMs: 1 }

function sinkOn(producer: FakeProducer, options: Partial<KafkaSinkOptions> = {}): KafkaSink {
  return new KafkaSink({ ...base, producer, ...options })
}

function numbered(count: number): { id: number }[] {
  return Array.from({ length: count }, (_, id) => ({ id }))
}

const soon = (ms = 30) => new Promise((resolve) => setTimeout(resolve, ms))

t.test('KafkaSink: every record once, in order, however they are cut into chunks and requests', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 12 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 400 }),
      fc.integer({ min: 1, max: 3 }),
      fc.boolean(),
      async (sizes, batchSize, batchBytes, partitions, isTransactional) => {
        const producer = new FakeProducer(partitions)
        const sink = sinkOn(producer, {
          batchSize,
          batchBytes,
          maxBufferedBytes: 500,
          partitioner: ({ id }) => id % partitions,
          ...(isTransactional && { transactionalId: 't', transactionInterval: 1 }),
        })
        let index = 0
        const chunks = sizes.map((size) => {
          const records = Array.from({ length: size }, () => ({ id: index++ }))
          return size === 1 ? records[0] : new RecordBatch(0, records)
        })
        await pipeline(Readable.from(chunks), sink)
        const requests = isTransactional
          ? producer.transactions.map(({ state, messages }) => (state === 'committed' ? messages : []))
          : producer.requests
        const sent = requests
          .flat()
          .map(({ value, partition }) => ({ ...JSON.parse(String(value)), partition }))
        for (let p = 0; p < partitions; p++) {
          const own = sent.filter(({ partition }) => partition === p).map(({ id }) => id)
          t.strictSame(
            own,
            own.toSorted((a, b) => a - b),
          )
        }
        t.strictSame(
          sent.map(({ id }) => id).toSorted((a, b) => a - b),
          [...Array(index).keys()],
        )
        t.equal(sink.stats().acknowledged, index)
        t.ok(producer.mostActive <= 1, 'one request a partition at a time')
        t.ok(producer.requests.every(({ length }) => length <= batchSize))
      },
    ),
    { numRuns: 60 },
  )
})

t.test(
  'KafkaSink: keys decide the partition as in the Java client; columns and functions make them',
  async (t) => {
    const producer = new FakeProducer(5)
    const records = [{ k: 'a' }, { k: 7 }, { k: null }, { k: { x: 1 } }]
    await pipeline(Readable.from(records), sinkOn(producer, { keyColumn: 'k' }))
    const sent = producer.requests.flat()
    for (const { key, partition } of sent) if (key) t.equal(partition, murmur2(key) % 5)
    t.strictSame(
      new Set(sent.map(({ key }) => key && String(key))),
      new Set(['a', '7', undefined, '{"x":1}']),
    )
    const other = new FakeProducer()
    const options = { key: ({ k }: { k: string }) => Buffer.from(`${k}!`), headers: { v: '1' } }
    await pipeline(Readable.from([{ k: 'a' }]), sinkOn(other, options))
    t.equal(String(other.requests[0]?.[0]?.key), 'a!')
    t.strictSame([...(other.requests[0]?.[0]?.headers ?? [])].map(String), ['v,1'])
  },
)

t.test('KafkaSink: records without a key fill one partition after the other', async (t) => {
  const producer = new FakeProducer(2)
  await pipeline(Readable.from([new RecordBatch(0, numbered(40))]), sinkOn(producer, { batchSize: 10 }))
  t.strictSame(
    producer.requests.map((messages) => messages[0]?.partition ?? -1).toSorted((a, b) => a - b),
    [0, 0, 1, 1],
  )
})

t.test('KafkaSink: a record that does not fit fails it with its index, after all before it', async (t) => {
  for (const options of [{}, { transactionalId: 't' }]) {
    const producer = new FakeProducer()
    const sink = sinkOn(producer, { keyColumn: 'id', ...options })
    const records = [...numbered(7), { other: 1 }, ...numbered(3)]
    await t.rejects(pipeline(Readable.from([new RecordBatch(0, records)]), sink), {
      code: 'ERR_MILLRACE_KAFKA_RECORD',
      index: 7,
      acknowledged: 7,
      message: 'record 7: expected a column id (keyColumn), got none',
    })
    const [transaction] = producer.transactions
    t.equal(transaction?.messages.length ?? producer.values.length, 7)
    if (transaction) t.equal(transaction.state, 'committed')
  }
})

t.test('KafkaSink: with onRecordError, records that do not fit are told and left out', async (t) => {
  const failed: FailedRecord[] = []
  const producer = new FakeProducer()
  const sink = sinkOn(producer, { maxMessageBytes: 100, onRecordError: (one) => failed.push(one) })
  await pipeline(Readable.from(['a', 'b'.repeat(100), Symbol('no JSON'), 'c']), sink)
  t.strictSame(producer.values, ['a', 'c'])
  t.match(failed, [
    { index: 1, error: /expected at most 100 bytes/ },
    { index: 2, error: /no text/ },
  ])
  t.equal(sink.stats().failed, 2)
  const boom = () => {
    throw new Error('enough')
  }
  const thrower = sinkOn(new FakeProducer(), { maxMessageBytes: 50, onRecordError: boom })
  await t.rejects(pipeline(Readable.from(['b'.repeat(100)]), thrower), /enough/)
})

t.test('KafkaSink: of a batch that is refused for a record in it, all others are delivered', async (t) => {
  const failed: number[] = []
  const producer = new FakeProducer()
  producer.onSend = (messages) => {
    if (messages.some(({ value }) => String(value).includes('"id":13}')))
      throw clientError('MESSAGE_TOO_LARGE')
  }
  const batch = new RecordBatch(0, numbered(50))
  await pipeline(
    Readable.from([batch]),
    sinkOn(producer, { onRecordError: ({ index }) => failed.push(index) }),
  )
  t.strictSame(failed, [13])
  t.strictSame(
    producer.values,
    numbered(50).filter(({ id }) => id !== 13),
  )
  await t.rejects(pipeline(Readable.from([batch]), sinkOn(producer)), {
    code: 'ERR_MILLRACE_KAFKA_RECORD',
    index: 13,
    acknowledged: 13,
  })
  const boom = () => {
    throw new Error('enough')
  }
  await t.rejects(pipeline(Readable.from([batch]), sinkOn(producer, { onRecordError: boom })), /enough/)
})

t.test(
  'KafkaSink: a request that fails ends it; nothing overtakes, and what was acknowledged is told',
  async (t) => {
    const producer = new FakeProducer()
    producer.onSend = (_, number) => {
      if (number === 3) throw clientError('NOT_ENOUGH_REPLICAS')
    }
    const sink = sinkOn(producer, { batchSize: 10 })
    await t.rejects(pipeline(Readable.from([new RecordBatch(0, numbered(100))]), sink), {
      code: 'ERR_MILLRACE_KAFKA_SEND',
      index: 30,
      acknowledged: 30,
      message: /records from 30 on were not acknowledged: broker says NOT_ENOUGH_REPLICAS/,
    })
    t.equal(producer.values.length, 30)
  },
)

t.test(
  'KafkaSink: a broker that stalls makes writing wait at the byte budget, and is given up',
  async (t) => {
    const producer = new FakeProducer()
    producer.onSend = () => new Promise(() => {})
    const sink = sinkOn(producer, { maxBufferedBytes: 10_000, writeTimeout: 100, batchSize: 10 })
    let taken = 0
    function* endless() {
      for (;;) yield { id: taken++, text: 'x'.repeat(100) }
    }
    await t.rejects(pipeline(Readable.from(endless()), sink), {
      code: 'ERR_MILLRACE_KAFKA_TIMEOUT',
      acknowledged: 0,
    })
    t.ok(taken < 200, `${taken} records were taken`)
    t.ok(sink.stats().maxBufferedBytes <= 10_200)
    t.ok(sink.stats().maxBufferedBytes > 9000)
  },
)

t.test('KafkaSink: positions are reported in order, once all up to them is acknowledged', async (t) => {
  const producer = new FakeProducer(3)
  // the partitions answer in any order
  producer.onSend = (messages) => soon(messages[0]?.partition === 0 ? 20 : 1)
  const told: number[] = []
  const blocks = [4, 0, 6, 5].map((size, index) =>
    withPosition(new RecordBatch(0, numbered(size)), { index, offset: 0, line: 1, column: 1 }),
  )
  const options = {
    partitioner: ({ id }: { id: number }) => id % 3,
    onDurable: ({ index }: { index: number }) => told.push(index),
  }
  await pipeline(Readable.from(blocks), sinkOn(producer, options as Partial<KafkaSinkOptions>))
  t.strictSame(told, [0, 1, 2, 3])
})

class Owner {
  epoch = 1
  readonly told: bigint[] = []
  readonly rewound: number[] = []

  reached({ offset }: KafkaPosition, isCommitted: boolean): void {
    if (isCommitted) this.told.push(offset)
  }

  rewind(epoch: number): void {
    this.rewound.push(epoch)
    this.epoch++
  }

  block(offset: number, records: unknown[]): RecordBatch {
    const member = { groupId: 'g', generationId: 3, memberId: 'm', coordinatorId: 1 }
    const place = {
      topic: 'in',
      partition: 0,
      offset: BigInt(offset),
      sequence: offset,
      epoch: this.epoch,
      member,
    }
    const source = new KafkaPosition(this, place)
    return withPosition(new RecordBatch(0, records), { index: 0, offset: 0, line: 1, column: 1, source })
  }
}

t.test(
  'KafkaSink: a transaction holds whole blocks and their position, also of blocks that gave nothing',
  async (t) => {
    const owner = new Owner()
    const producer = new FakeProducer()
    const blocks = [owner.block(5, numbered(3)), owner.block(9, []), owner.block(12, [])]
    await pipeline(Readable.from(blocks), sinkOn(producer, { transactionalId: 't' }))
    t.match(producer.transactions, [
      { state: 'committed', messages: { length: 3 }, offsets: [{ offset: 11n }] },
    ])
    t.strictSame(owner.told, [12n])
    const silent = new FakeProducer()
    await pipeline(Readable.from([owner.block(20, [])]), sinkOn(silent, { transactionalId: 't' }))
    t.match(silent.transactions, [
      { state: 'committed', messages: { length: 0 }, offsets: [{ offset: 19n }] },
    ])
  },
)

t.test('KafkaSink: what its source reads again is not written, whether or not it was sent', async (t) => {
  const owner = new Owner()
  const producer = new FakeProducer()
  const sink = sinkOn(producer, { transactionalId: 't', transactionInterval: 1e6 })
  const late = owner.block(9, numbered(4))
  sink.write(owner.block(5, numbered(5)))
  await soon()
  t.equal(producer.transactions[0]?.messages.length, 5, 'the first block is in an open transaction')
  owner.epoch++
  sink.write(late)
  sink.end(owner.block(5, numbered(5)))
  await finished(sink)
  t.strictSame(
    producer.transactions.map(({ state, messages }) => [state, messages.length]),
    [
      ['aborted', 5],
      ['committed', 5],
    ],
  )
  t.match(sink.stats(), { acknowledged: 5, reread: 9 })
})

t.test(
  'KafkaSink: a group that has moved on undoes the transaction, and its source begins again',
  async (t) => {
    const owner = new Owner()
    const producer = new FakeProducer()
    let times = 0
    producer.onOffset = () => {
      if (times++ === 0) throw clientError('ILLEGAL_GENERATION', { needsRejoin: true })
    }
    const sink = sinkOn(producer, { transactionalId: 't', transactionInterval: 1 })
    sink.write(owner.block(5, numbered(5)))
    await soon(50)
    t.strictSame(owner.rewound, [1])
    sink.end(owner.block(5, numbered(5)))
    await finished(sink)
    t.strictSame(
      producer.transactions.map(({ state }) => state),
      ['aborted', 'committed'],
    )
    const failing = new FakeProducer()
    failing.onOffset = () => {
      throw clientError('INVALID_PRODUCER_EPOCH')
    }
    const block = owner.block(9, numbered(1))
    await t.rejects(pipeline(Readable.from([block]), sinkOn(failing, { transactionalId: 't' })), {
      code: 'ERR_MILLRACE_KAFKA_TRANSACTION',
    })
    t.equal(failing.transactions[0]?.state, 'aborted')
    const unsure = new FakeProducer()
    unsure.onCommit = () => {
      throw clientError('REQUEST_TIMED_OUT')
    }
    await t.rejects(pipeline(Readable.from([block]), sinkOn(unsure, { transactionalId: 't' })), {
      code: 'ERR_MILLRACE_KAFKA_TRANSACTION',
      acknowledged: 0,
    })
  },
)

t.test('KafkaSink: a broker that answers now and then is not given up', async (t) => {
  const producer = new FakeProducer()
  producer.onSend = () => soon(40)
  const sink = sinkOn(producer, { writeTimeout: 100, batchSize: 10 })
  await pipeline(Readable.from(numbered(60)), sink)
  t.equal(sink.stats().acknowledged, 60)
})

t.test('KafkaSink: destroying it undoes the open transaction, and leaves no timer', async (t) => {
  const producer = new FakeProducer()
  const sink = sinkOn(producer, { transactionalId: 't', transactionInterval: 1e6 })
  sink.write({ id: 1 })
  await soon()
  sink.destroy()
  await new Promise((resolve) => sink.once('close', resolve))
  t.equal(producer.transactions[0]?.state, 'aborted')
  t.notOk(producer.isClosed, 'a producer that was given stays open')
})

t.test(
  'KafkaSink: opening fails for a topic that is not there, and credentials that are wrong',
  async (t) => {
    const opening = (error: Error, options = {}) => {
      const producer = new FakeProducer()
      producer.onMetadata = () => {
        throw error
      }
      return finished(sinkOn(producer, options))
    }
    await t.rejects(opening(clientError('UNKNOWN_TOPIC_OR_PARTITION')), {
      code: 'ERR_MILLRACE_KAFKA_TOPIC',
      topic: 'numbers',
    })
    const refusal = Object.assign(new Error('bad password'), { code: 'PLT_KFK_AUTHENTICATION' })
    await t.rejects(opening(Object.assign(new Error('no'), { errors: [refusal] })), {
      code: 'ERR_MILLRACE_KAFKA_AUTH',
    })
    await t.rejects(opening(new Error('nobody'), { writeTimeout: 10 }), {
      code: 'ERR_MILLRACE_KAFKA_CONNECT',
    })
  },
)

t.test('KafkaSink: hooks that throw fail it with what they threw', async (t) => {
  const boom = () => {
    throw new Error('hook')
  }
  for (const options of [{ onChunk: boom }, { onComplete: boom }, { onDurable: boom }]) {
    const block = withPosition(new RecordBatch(0, numbered(2)), { index: 0, offset: 0, line: 1, column: 1 })
    await t.rejects(pipeline(Readable.from([block]), sinkOn(new FakeProducer(), options)), /hook/)
  }
  const failing = new FakeProducer()
  failing.onSend = () => {
    throw new Error('first')
  }
  await t.rejects(pipeline(Readable.from([1]), sinkOn(failing, { onError: boom })), /hook|first/)
})

t.test('KafkaSink: options that make no sense are refused at once', async (t) => {
  const producer = new FakeProducer()
  const wrong: [Record<string, unknown>, string][] = [
    [{ bootstrapServers: '' }, 'bootstrapServers'],
    [{ bootstrapServers: ['a'] }, 'bootstrapServers'],
    [{ topic: 'a b' }, 'topic'],
    [{ acks: 'some' }, 'acks'],
    [{ acks: 'leader', idempotent: true }, 'acks'],
    [{ acks: 'leader', transactionalId: 't' }, 'idempotent'],
    [{ keyColumn: 'a', key: () => 1 }, 'key'],
    [{ compression: 'rar' }, 'compression'],
    [{ headers: 'a' }, 'headers'],
    [{ tls: 'yes' }, 'tls'],
    [{ sasl: {} }, 'sasl'],
    [{ codec: {} }, 'codec'],
    [{ producer: {} }, 'producer'],
    [{ batchSize: 0 }, 'batchSize'],
  ]
  for (const [options, option] of wrong) {
    const all = { ...base, producer, ...options } as unknown as KafkaSinkOptions
    t.throws(() => new KafkaSink(all), { code: 'ERR_MILLRACE_OPTION', option })
  }
  await t.rejects(finished(sinkOn(producer, { signal: AbortSignal.abort() })), { name: 'AbortError' })
  await t.rejects(
    pipeline(Readable.from([1]), sinkOn(producer, { partitioner: () => 9 })),
    /partition from 0 to 0/,
  )
  await t.rejects(
    pipeline(Readable.from([1]), sinkOn(producer, { headers: () => ({ a: 1 as never }) })),
    /headers.a/,
  )
})

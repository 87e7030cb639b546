import { setTimeout as sleep } from 'node:timers/promises'
import type { KafkaError } from '../errors.ts'
import { clientOptions, kafkaError, loadKafka, pauseAfter, type Trouble } from './kafka-client.ts'
import type { KafkaSinkOptions, SinkPlan } from './sink-options.ts'
import type { KafkaProducerLike } from './transaction-runner.ts'

/** A topic that has just been made, or a broker that has just started, may be unknown for a moment. */
const TOPIC_TRIES = 5
/** After this long the brokers undo a transaction by themselves, in milliseconds. */
const TRANSACTION_TIMEOUT = 15_000

/** The producer that a sink was given, or one of the client's. */
export async function openProducer(
  options: KafkaSinkOptions,
  plan: SinkPlan,
  onTrouble: (trouble: Trouble) => void,
): Promise<KafkaProducerLike> {
  if (options.producer !== undefined) return options.producer
  const { Producer } = await loadKafka()
  const { retries, idempotent, acks, transactionalId } = plan
  return new Producer({
    ...clientOptions(options, onTrouble),
    retries,
    idempotent,
    ...(acks !== 0 && { acks }),
    ...(transactionalId !== undefined && { transactionalId, timeout: TRANSACTION_TIMEOUT }),
  }) as unknown as KafkaProducerLike
}

/** How many partitions the topic has. Asks until a broker answers, or `writeTimeout` is over. */
export async function countPartitions(
  producer: KafkaProducerLike,
  { topic, writeTimeout }: SinkPlan,
  isGivenUp: () => boolean,
): Promise<number> {
  const deadline = performance.now() + writeTimeout
  for (let tries = 1; ; tries++) {
    try {
      const { topics } = await producer.metadata({ topics: [topic], retries: 0 })
      return topics.get(topic)?.partitionsCount ?? 1
    } catch (error) {
      const failure = kafkaError(error, 'ERR_MILLRACE_KAFKA_CONNECT', `topic ${topic}`, {
        topic,
      }) as KafkaError
      const isFinal =
        failure.code === 'ERR_MILLRACE_KAFKA_AUTH' ||
        (failure.code === 'ERR_MILLRACE_KAFKA_TOPIC' && tries >= TOPIC_TRIES)
      if (isFinal || performance.now() > deadline || isGivenUp()) throw failure
    }
    await sleep(pauseAfter(tries))
  }
  /* v8 ignore next -- the loop has no end */
}

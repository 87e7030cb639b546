import t from 'tap'
import { clientOptions, pauseAfter } from '../../src/kafka/kafka-client.ts'

t.test('what failed is asked again soon, however often it has failed', async (t) => {
  t.strictSame([1, 2, 3, 4, 5, 1000].map(pauseAfter), [100, 200, 250, 250, 250, 250])
})

t.test('the client says what it tries again, and waits as long as it should', async (t) => {
  const troubles: unknown[] = []
  const error = new Error('nobody answers')
  const options = { bootstrapServers: 'localhost:9092' }
  const told = clientOptions(options, (trouble) => troubles.push(trouble))
  t.equal(told.retryDelay(undefined, 'produce', 2, 9, error), 200)
  t.strictSame(troubles, [{ operation: 'produce', failures: 2, error }])
  t.equal(clientOptions(options).retryDelay(undefined, 'produce', 3, 9, error), 250, 'to nobody, too')
})

import t from 'tap'
import { forgetLostCoordinators } from '../../src/kafka/group-reader.ts'
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

t.test(
  'a coordinator that is no broker any more is a failure of the network, and metadata are fetched again',
  async (t) => {
    class NetworkError extends Error {}
    const asked: unknown[] = []
    let cleared = 0
    const member = {
      connections: {
        get: (broker: unknown, callback: (error: null, connection: string) => void) => (
          asked.push(broker),
          callback(null, 'connection')
        ),
      },
      clearMetadata: () => cleared++,
    }
    forgetLostCoordinators({ NetworkError } as never, member as never)
    const get = (broker: unknown) =>
      new Promise((resolve) =>
        member.connections.get(broker, (error, connection) => resolve(error ?? connection)),
      )
    t.equal(await get({ host: 'here', port: 1 }), 'connection')
    t.strictSame([asked, cleared], [[{ host: 'here', port: 1 }], 0])
    t.ok((await get(undefined)) instanceof NetworkError)
    t.strictSame([asked.length, cleared], [1, 1])
  },
)

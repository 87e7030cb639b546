import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import * as fc from 'fast-check'
import t from 'tap'
import { fit, type Row } from '../../src/records/index.ts'
import {
  WebSocketStreamingGenerator,
  type WebSocketStreamingGeneratorOptions,
} from '../../src/websocket/index.ts'
import { Client, refusal } from './helpers.ts'

const rows = Array.from({ length: 500 }, (_, i) => ({
  region: ['West', 'East', 'North'][i % 3]!,
  age: 18 + (i % 60),
}))
const model = await fit(rows)

const turn = () => sleep(5)

/** A server on a free port, stopped when the test is over. */
async function serve(
  t: { teardown(fn: () => unknown): void },
  options: WebSocketStreamingGeneratorOptions = {},
) {
  const server = new WebSocketStreamingGenerator({ port: 0, ...options })
  if (options.generator === undefined) await server.load(model)
  const { url } = await server.start()
  t.teardown(() => server.stop())
  return { server, url }
}

/** Numbers as records, and how many have been made. */
function numbers() {
  let next = 0
  return {
    get made() {
      return next
    },
    generate: (count: number) => Array.from({ length: count }, () => ({ n: next++ })),
  }
}

t.test('server: batches of the documented form, then complete without records', async (t) => {
  const { url } = await serve(t)
  const client = await Client.open(url)
  const messages = await client.answer({ action: 'generate', count: 250, batch_size: 100 })
  t.same(
    messages.map(({ records }) => records.length),
    [100, 100, 50, 0],
  )
  t.same(
    messages.map(({ batch }) => batch),
    [1, 2, 3, undefined],
  )
  t.match(messages.at(-1), { status: 'complete', records: [], count: 250, batches: 3 })
  // the simplest client looks at the records of every message
  let seen = 0
  for (const { records } of await client.answer({ action: 'generate', count: 7 }))
    records.forEach(() => seen++)
  t.equal(seen, 7)
  t.same(
    (await client.answer({ action: 'generate', count: 0 })).map(({ status }) => status),
    ['complete'],
  )
  await client.close()
})

t.test(
  'server: a seed gives the records of the model, for any size of batch and number of requests',
  async (t) => {
    const { url } = await serve(t)
    const client = await Client.open(url)
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 3000 }),
        fc.integer({ min: 1, max: 1500 }),
        fc.nat({ max: 99 }),
        async (count, batch, seed) => {
          const messages = await client.answer({ action: 'generate', count, batch_size: batch, seed })
          const records = messages.flatMap(({ records }) => records)
          assert.deepEqual(records, model.generate(count, { seed }))
        },
      ),
      { numRuns: 25 },
    )
    await client.close()
    t.pass('held')
  },
)

t.test(
  'server: requests without a seed go on where the last one ended, for all clients together',
  async (t) => {
    const { url } = await serve(t, { seed: 3 })
    const a = await Client.open(url)
    const b = await Client.open(url)
    const records: Row[] = []
    for (const client of [a, b, a]) {
      for (const message of await client.answer({ action: 'generate', count: 70 }))
        records.push(...(message.records as Row[]))
    }
    t.same(records, model.generate(210, { seed: 3 }))
    await Promise.all([a.close(), b.close()])
  },
)

t.test(
  'server: conditions hold for every record; what makes no sense is an error, and the connection stays',
  async (t) => {
    const { url, server } = await serve(t)
    const client = await Client.open(url)
    const conditions = { age: { gte: 40 }, region: 'West' }
    const good = (await client.answer({ action: 'generate', count: 300, conditions })).flatMap(
      ({ records }) => records,
    )
    t.equal(good.length, 300)
    t.ok(good.every(({ age, region }) => Number(age) >= 40 && region === 'West'))
    for (const bad of [{ shoe: 1 }, { age: { above: 3 } }, { region: 'Atlantis' }]) {
      const [error] = await client.answer({ action: 'generate', count: 10, conditions: bad, id: 1 })
      t.match(
        error,
        { status: 'error', code: /^ERR_MILLRACE_(OPTION|CONDITION)/, records: [], id: 1 },
        JSON.stringify(bad),
      )
    }
    for (const bad of [
      '{',
      Buffer.from('{"action":"stats"}'),
      { action: 'dance' },
      { action: 'cancel', id: 9 },
    ]) {
      t.match((await client.answer(bad))[0], {
        status: 'error',
        code: 'ERR_MILLRACE_WEBSOCKET_REQUEST',
        records: [],
      })
    }
    t.equal((await client.answer({ action: 'generate', count: 3 })).length, 2)
    t.equal(server.stats().errors, 7)
    await client.close()
  },
)

t.test('server: several requests at once are told apart by their ids, and each is whole', async (t) => {
  const { url } = await serve(t, { maxRequests: 3 })
  const client = await Client.open(url)
  const asked = [1, 'two', 3]
  for (const id of asked) client.send({ action: 'generate', count: 2000, batch_size: 50, seed: 5, id })
  client.send({ action: 'generate', count: 1, id: 4 })
  client.send({ action: 'generate', count: 1, id: 3 })
  const got = new Map<unknown, unknown[]>(asked.map((id) => [id, []]))
  const order: unknown[] = []
  const errors: unknown[] = []
  for (let open = 3; open > 0;) {
    const { id, records, status, message } = await client.next()
    if (status === 'error') errors.push(message)
    else got.get(id)!.push(...records)
    order.push(id)
    if (status === 'complete') open--
  }
  for (const id of asked) t.same(got.get(id), model.generate(2000, { seed: 5 }), String(id))
  t.ok(order.indexOf(3) < order.lastIndexOf(1), 'they took turns')
  t.match(errors, [/3 are being answered/, /with id 3 is still being answered/])
  await client.close()
})

t.test('server: cancel ends an answer, which says so, and nothing more is made', async (t) => {
  const generator = numbers()
  const { url } = await serve(t, { generator, maxCount: 1e9 })
  const client = await Client.open(url)
  client.send({ action: 'generate', count: 1e9, batch_size: 10, id: 'long' })
  await client.next()
  client.send({ action: 'cancel', id: 'long' })
  const rest = await client.answer()
  const count = 10 + rest.reduce((sum, { records }) => sum + records.length, 0)
  t.match(rest.at(-1), { status: 'cancelled', id: 'long', count })
  const { made } = generator
  await turn()
  t.equal(generator.made, made)
  await client.close()
})

t.test(
  'server: a client that does not read stops its own records, is closed with 1013, and disturbs nobody',
  async (t) => {
    const generator = numbers()
    // on a busy machine this takes seconds: it may say goodbye for longer
    const { url } = await serve(t, { generator, maxCount: 1e9, stallTimeout: 300, closeTimeout: 60_000 })
    const slow = await Client.open(url)
    const closed = once(slow.socket, 'close')
    slow.socket.pause()
    slow.send({ action: 'generate', count: 1e9, batch_size: 1000 })
    const others = await Client.open(url)
    for (let i = 0; i < 5; i++) t.equal((await others.answer({ action: 'generate', count: 500 })).length, 6)
    await sleep(500)
    const { made } = generator
    await sleep(100)
    t.equal(generator.made, made, 'nothing is made for it')
    t.ok(made < 2e6, `${made} records were made: what the kernel takes, and a batch`)
    slow.socket.resume()
    const [code] = (await closed) as [number]
    t.equal(code, 1013)
    t.equal((await others.answer({ action: 'generate', count: 1 })).length, 2)
    await others.close()
  },
)

t.test('server: a client that leaves in the middle ends its answer', async (t) => {
  const generator = numbers()
  const { url, server } = await serve(t, { generator, maxCount: 1e9 })
  const client = await Client.open(url)
  client.send({ action: 'generate', count: 1e9 })
  await client.next()
  client.socket.terminate()
  while (server.stats().connections > 0) await turn()
  const { made } = generator
  await turn()
  t.equal(generator.made, made)
})

t.test('server: a full house answers 503, and lets the next one in when somebody leaves', async (t) => {
  const { url, server } = await serve(t, { maxConnections: 2 })
  const a = await Client.open(url)
  const b = await Client.open(url)
  t.match(await refusal(url), { status: 503, headers: { 'retry-after': '1' } })
  t.match(server.stats(), { connections: 2, refused: 1 })
  await a.close()
  while (server.stats().connections > 1) await turn()
  const c = await Client.open(url)
  t.equal((await c.answer({ action: 'generate', count: 1 })).length, 2)
  await Promise.all([b.close(), c.close()])
})

t.test('server: pages from elsewhere, and clients without the token, stay outside', async (t) => {
  const token = 'a secret'
  const { url } = await serve(t, { token, origins: ['https://good.example'] })
  const bearer = { headers: { Authorization: `Bearer ${token}` } }
  t.match(await refusal(url), { status: 401, headers: { 'www-authenticate': 'Bearer' } })
  t.match(await refusal(url, { headers: { Authorization: 'Bearer wrong' } }), { status: 401 })
  t.match(await refusal(url, { ...bearer, origin: 'https://evil.example' }), { status: 403 })
  t.match(await refusal(url, { ...bearer, origin: 'not a url' }), { status: 403 })
  for (const options of [
    bearer,
    { ...bearer, origin: 'https://good.example' },
    { ...bearer, origin: url.replace('ws', 'http') },
  ]) {
    await (await Client.open(url, options)).close()
  }
  await (await Client.open(`${url}/?token=a%20secret`)).close()
  t.pass('the others came in')
})

t.test('server: limits of a message, and of what is asked for', async (t) => {
  const { url } = await serve(t, { maxPayload: 1000, maxCount: 10, maxBatchSize: 200 })
  const client = await Client.open(url)
  t.match((await client.answer({ action: 'generate', count: 11 }))[0], {
    status: 'error',
    message: /from 0 to 10/,
  })
  client.send({ action: 'generate', seed: 'x'.repeat(2000) })
  t.match(await once(client.socket, 'close'), [1009])
})

t.test(
  'server: one that stops says 1001, ends its answers and its port; who does not hear it is cut off',
  async (t) => {
    const { url, server } = await serve(t, { maxCount: 1e9, closeTimeout: 100 })
    const polite = await Client.open(url)
    const deaf = await Client.open(url)
    polite.send({ action: 'generate', count: 1e9 })
    deaf.socket.pause()
    const closed = once(polite.socket, 'close')
    await polite.next()
    await server.stop()
    t.equal((await closed)[0], 1001)
    t.match(server.stats(), { connections: 0 })
    await t.rejects(Client.open(url), { code: 'ECONNREFUSED' })
    deaf.socket.resume()
    await once(deaf.socket, 'close')
  },
)

t.test('server: a client that gives no sign of life is cut off', async (t) => {
  const { url, server } = await serve(t, { pingInterval: 50 })
  const silent = await Client.open(url, { autoPong: false })
  const alive = await Client.open(url)
  await once(silent.socket, 'close')
  while (server.stats().connections > 1) await turn()
  t.equal((await alive.answer({ action: 'generate', count: 1 })).length, 2)
  await alive.close()
})

t.test('server: stats are those of all clients', async (t) => {
  const { url, server } = await serve(t)
  const client = await Client.open(url)
  await client.answer({ action: 'generate', count: 30 })
  const [{ stats, status, records }] = (await client.answer({ action: 'stats', id: 1 })) as [Message]
  t.match(
    { status, records, stats },
    { status: 'stats', records: [], stats: { recordsOut: 30, chunks: 1, connections: 1 } },
  )
  t.equal(stats!['bytesOut'], server.stats().bytesOut)
  await client.close()
})
type Message = Awaited<ReturnType<Client['next']>>

t.test(
  'server: a generator of your own may end early, fail, or be asked for what only a model can do',
  async (t) => {
    let left = 25
    const generator = {
      async generate(count: number) {
        if (left === 0) throw new Error('the well is dry')
        const records = Array.from({ length: Math.min(count, left) }, () => ({ n: left-- }))
        return records
      },
    }
    const { url } = await serve(t, { generator, batchSize: 10 })
    const client = await Client.open(url)
    const dry = await client.answer({ action: 'generate', count: 100, id: 'a' })
    t.same(
      dry.map(({ records }) => records.length),
      [10, 10, 5, 0],
    )
    t.match(dry.at(-1), {
      status: 'error',
      code: 'ERR_MILLRACE_WEBSOCKET_INTERNAL',
      message: 'the records cannot be made',
      id: 'a',
    })
    for (const extra of [{ conditions: { n: 1 } }, { seed: 1 }]) {
      t.match((await client.answer({ action: 'generate', ...extra }))[0], {
        status: 'error',
        code: 'ERR_MILLRACE_OPTION',
      })
    }
    await client.close()

    // not one of those: it goes on, and knows seeds and conditions
    const fitted = await serve(t, { generator: model, batchSize: 10 })
    const third = await Client.open(fitted.url)
    const answers = await third.answer({ action: 'generate', count: 30 })
    t.same(
      answers.flatMap(({ records }) => records),
      model.generate(30),
    )
    await third.close()

    const empty = await serve(t, { generator: { generate: () => [] } })
    const other = await Client.open(empty.url)
    t.match(await other.answer({ action: 'generate', count: 5 }), [{ status: 'complete', count: 0 }])
    await other.close()
  },
)

t.test('server: lives on a server of your own beside other things', async (t) => {
  const http = createServer((_, response) => response.end('page'))
  http.on('upgrade', (request, socket) => {
    if (request.url === '/other') socket.end('HTTP/1.1 418 Teapot\r\n\r\n')
  })
  const server = await new WebSocketStreamingGenerator().load(model)
  await server.attach(http, '/records')
  await once(http.listen(0, '127.0.0.1'), 'listening')
  const { port } = http.address() as AddressInfo
  const client = await Client.open(`ws://127.0.0.1:${port}/records?x=1`)
  t.equal((await client.answer({ action: 'generate', count: 1 })).length, 2)
  t.match(await refusal(`ws://127.0.0.1:${port}/other`), { status: 418 })
  t.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'page')
  const closed = once(client.socket, 'close')
  await server.stop()
  t.equal((await closed)[0], 1001)
  http.close()
})

t.test('server: what cannot be is refused before anything is opened', async (t) => {
  for (const options of [
    { host: '0.0.0.0' },
    { host: '' },
    { token: '' },
    { port: -1 },
    { batchSize: 0 },
    { batchSize: 20_000 },
    { maxConnections: 0 },
    { maxRequests: 0 },
    { maxPayload: 0 },
    { stallTimeout: 0 },
    { pingInterval: 0 },
    { closeTimeout: -1 },
    { maxCount: 0 },
    { generator: {} as never },
  ]) {
    t.throws(
      () => new WebSocketStreamingGenerator(options),
      { code: 'ERR_MILLRACE_OPTION' },
      JSON.stringify(options),
    )
  }
  t.doesNotThrow(() => new WebSocketStreamingGenerator({ host: '0.0.0.0', token: 'x' }))
  await t.rejects(new WebSocketStreamingGenerator().start(), { code: 'ERR_MILLRACE_NOT_FITTED' })
  await t.rejects(new WebSocketStreamingGenerator({ generator: numbers() }).load(model), {
    code: 'ERR_MILLRACE_OPTION',
  })
  const { server, url } = await serve(t)
  await t.rejects(server.start(), { code: 'ERR_MILLRACE_WEBSOCKET_STARTED' })
  const { port } = new URL(url)
  await t.rejects((await new WebSocketStreamingGenerator({ port: Number(port) }).fit(rows)).start(), {
    code: 'EADDRINUSE',
  })
  const plain = await fetch(url.replace('ws', 'http'))
  t.equal(plain.status, 426)
})

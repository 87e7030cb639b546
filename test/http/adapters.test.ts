import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Readable } from 'node:stream'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import t from 'tap'
import { Streamer, fastifyStreamer, type StreamingReply } from '../../src/http/index.ts'
import { ask, turn } from './helpers/serve.ts'

const many = 5000

/** Items, the last one a fault if there is one. */
async function* items(count: number, fault?: Error): AsyncGenerator<{ i: number; text: string }> {
  for (let i = 0; i < count; i++) yield { i, text: 'some text to fill it up' }
  if (fault) throw fault
}
const rows = (body: Buffer | string) => JSON.parse(String(body)) as { i: number }[]

t.test('fastifyStreamer: small and large results, errors by the error handler, hooks run', async (t) => {
  const streamer = new Streamer<{ i: number }>({ compression: true })
  const app = fastify()
  app.register(fastifyStreamer)
  let sends = 0
  app.addHook('onSend', async () => void sends++)
  app.get<{ Params: { count: string } }>('/:count', async (request, reply) => {
    if (request.url.endsWith('?type')) reply.type('application/vnd.own+json')
    const response = streamer.stream(items(Number(request.params.count)), undefined, {
      status: request.url.endsWith('?201') ? 201 : 200,
    })
    return (reply as never as StreamingReply).sendStream(response)
  })
  const teapot = Object.assign(new Error('short and stout'), { statusCode: 418 })
  app.get('/fail/:count', async (request, reply) => {
    const count = Number((request.params as { count: string }).count)
    return (reply as never as StreamingReply).sendStream(streamer.stream(items(count, teapot)))
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => app.close())
  const small = await ask(`${url}/3`)
  t.match(small, { status: 200, headers: { 'content-length': String, 'content-type': 'application/json' } })
  t.equal(rows(small.body).length, 3)
  t.equal(rows((await ask(`${url}/${many}`)).body).length, many)
  t.equal(((await (await fetch(`${url}/${many}`)).json()) as unknown[]).length, many)
  t.match(await ask(`${url}/3?type`), { headers: { 'content-type': 'application/vnd.own+json' } })
  t.equal((await ask(`${url}/3?201`)).status, 201)
  const early = await ask(`${url}/fail/3`)
  t.equal(early.status, 418)
  t.match(JSON.parse(String(early.body)), { message: 'short and stout' })
  const late = await ask(`${url}/fail/${many}`)
  t.notOk(late.complete)
  t.throws(() => rows(late.body))
  t.ok(sends >= 6)
  // the client leaves
  await ask(`${url}/1000000`, {}, (response) => {
    response.once('data', () => response.destroy())
  })
  while (streamer.stats().active > 0) await turn()
  t.equal(streamer.stats().disconnected, 1)
})

t.test('StreamResponse: is sent by Express, whose own settings stand', async (t) => {
  const streamer = new Streamer<{ i: number }>()
  const app = express()
  app.get('/:count', (request, response) => {
    response.status(202).set('x-own', 'yes')
    void streamer.stream(items(Number(request.params['count']))).sendTo(response)
  })
  const server = app.listen(0)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  for (const count of [2, many]) {
    const answer = await ask(`${url}/${count}`)
    t.match(answer, { status: 202, headers: { 'x-own': 'yes' }, complete: true })
    t.equal(rows(answer.body).length, count)
  }
})

t.test('StreamResponse: is a Response for Hono and others, pulled as it is read', async (t) => {
  let produced = 0
  let stopped = 0
  const streamer = new Streamer<{ i: number }>()
  const app = new Hono()
  const fault = new Error('too late')
  app.get('/:count', async (context) => {
    async function* counted() {
      try {
        for await (const item of items(
          Number(context.req.param('count')),
          context.req.query('fail') ? fault : undefined,
        )) {
          produced++
          yield item
        }
      } finally {
        stopped++
      }
    }
    return streamer.stream(counted()).toResponse(context.req.raw)
  })
  const small = await app.request('/3')
  t.equal(small.headers.get('content-length'), '124')
  t.equal(rows(await small.text()).length, 3)
  t.equal(rows(await (await app.request(`/${many}`)).text()).length, many)
  t.equal((await app.request('/3?fail=1')).status, 500)
  const failing = await app.request(`/${many}?fail=1`)
  t.equal(failing.status, 200)
  let text = ''
  await t.rejects(async () => {
    for await (const chunk of failing.body as ReadableStream<Uint8Array>) text += String(Buffer.from(chunk))
  }, fault)
  t.equal(rows(`${text}]`).length, many, 'all before the error is delivered')
  produced = stopped = 0
  const lazy = await app.request('/1000000')
  for (let i = 0; i < 20; i++) await turn()
  t.ok(produced < 5000, `${produced} produced, and nobody has read`)
  await lazy.body?.cancel()
  for (let i = 0; i < 3; i++) await turn()
  t.equal(stopped, 1)
  const head = await streamer.stream(items(1)).toResponse(new Request('http://x/', { method: 'HEAD' }))
  t.equal(await head.text(), '')
})

t.test('StreamResponse.toReady: a body or a Readable, which may be left at any time', async (t) => {
  const streamer = new Streamer<{ i: number }>()
  t.match(await streamer.stream(items(1)).toReady(), { status: 200, body: String })
  const ready = await streamer.stream(items(many)).toReady()
  const body = ready.body as Readable
  t.equal(rows(Buffer.concat(await body.toArray())).length, many)
  const left = await streamer.stream(items(many)).toReady()
  ;(left.body as Readable).destroy()
  while (streamer.stats().active > 0) await turn()
  t.equal(streamer.stats().disconnected, 1)
  const fault = new Error('early')
  await t.rejects(streamer.stream(items(0, fault)).toReady(), fault)
  const used = streamer.stream(items(1))
  await used.toReady()
  await t.rejects(used.toReady(), { code: 'ERR_MILLRACE_RESPONSE_USED' })
})

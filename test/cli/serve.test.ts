// millrace serve: one port for HTTP, WebSockets and a page, driven as people and programs do.
import type { ChildProcess } from 'node:child_process'
import { on, once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t from 'tap'
import { WebSocket } from 'ws'
import { fit } from '../../src/records/index.ts'
import { noBrowser, openBrowser } from '../helpers/browser.ts'
import { millrace, outcome, start, userEnv } from './helpers.ts'

const folder = mkdtempSync(join(tmpdir(), 'millrace-serve-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const modelFile = join(folder, 'mills.model.json')
const rows = Array.from({ length: 2000 }, (_, i) => ({
  river: ['Aare', 'Oder', 'Tajo', 'Volga'][i % 4],
  power: (i * 7919) % 1000,
  built: new Date(Date.UTC(1800, 0, 1 + ((i * 37) % 40_000))).toISOString().slice(0, 10),
  'it runs': i % 3 === 0 ? null : i % 2 === 0,
  'its "name"': `mill ${i}`,
}))
await (await fit(rows)).save(modelFile)

interface Served {
  readonly child: ChildProcess
  readonly url: string
  stop(): Promise<Awaited<ReturnType<typeof outcome>>>
}

async function serve(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<Served> {
  const child = start(['serve', modelFile, '--port', '0', ...args], { env: userEnv(env) })
  t.teardown(() => child.kill('SIGKILL'))
  const end = outcome(child)
  let said = ''
  while (!said.includes('\n')) said += String((await once(child.stderr!, 'data'))[0])
  const url = /http:\S+/.exec(said)?.[0] as string
  const stop = () => {
    child.kill('SIGINT')
    return end
  }
  return { child, url, stop }
}

const lines = (text: string) => text.trimEnd().split('\n')

/** The messages of a WebSocket until one that has a status. */
async function ask(socket: WebSocket, message: object): Promise<any[]> {
  const messages: any[] = []
  const answers = on(socket, 'message')
  socket.send(JSON.stringify(message))
  for await (const [data] of answers) {
    messages.push(JSON.parse(String(data)))
    if (messages.at(-1).status !== undefined) break
  }
  return messages
}

t.test('serve: the records of sample, over HTTP as the client wants them, and over WebSockets', async (t) => {
  const { url, stop } = await serve(['--seed', '5', '--stats=json'])
  const sample = async (...args: string[]) => lines((await millrace(['sample', modelFile, ...args])).stdout)
  const get = async (query: string, accept = 'application/x-ndjson') =>
    (await fetch(`${url}records?${query}`, { headers: { accept } })).text()
  t.strictSame(lines(await get('count=2500')), await sample('--count', '2500', '--seed', '5'))
  t.strictSame(
    lines(await get('count=50&skip=10&seed=x&where=power>=900&where=river=Oder')),
    await sample(
      '--count',
      '50',
      '--skip',
      '10',
      '--seed',
      'x',
      '--where',
      'power>=900',
      '--where',
      'river=Oder',
    ),
  )
  t.match(lines(await get('count=2', 'text/csv'))[0], /^river,power,built,it runs,/)
  t.equal(JSON.parse(await get('', 'application/json')).length, 100)

  const socket = new WebSocket(url.replace('http', 'ws'))
  await once(socket, 'open')
  const wanted = { action: 'generate', count: 20, batch_size: 8, seed: 'x', skip: 10, id: 1 }
  const answers = await ask(socket, { ...wanted, conditions: { power: { gte: 900 }, river: 'Oder' } })
  const expected = lines(await get('count=20&skip=10&seed=x&where=power>=900&where=river=Oder'))
  t.strictSame(
    answers.flatMap(({ records }) => records),
    expected.map((line) => JSON.parse(line)),
  )
  t.match(await ask(socket, { ...wanted, skip: -1 }), [{ status: 'error', id: 1, message: /skip/ }])
  const goodbye = once(socket, 'close')
  const { status, stderr } = await stop()
  t.equal((await goodbye)[0], 1001)
  t.equal(status, 130)
  t.match(JSON.parse(lines(stderr).at(-1) ?? ''), {
    recordsOut: 2500 + 50 + 2 + 100 + 20 + 20,
    errors: 1,
  })
})

t.test('serve: what cannot be answered is told, and no page from elsewhere gets in', async (t) => {
  const { url, stop } = await serve(['--max-count', '1000'])
  const statusOf = async (path: string, init?: RequestInit) => (await fetch(url + path, init)).status
  const error = async (query: string) => ((await (await fetch(`${url}records?${query}`)).json()) as any).error
  t.match(await error('count=1001'), /count.*0 to 1000/)
  t.match(await error('skip=-1'), /skip/)
  t.match(await error('limit=1'), /limit: expected one of count/)
  t.match(await error('where=colour=red'), /colour/)
  t.match(await error('where=power>5000'), /power/)
  t.equal(await statusOf('records?count=1001'), 400)
  t.equal(await statusOf('nothing'), 404)
  t.equal(await statusOf('../../package.json'), 404)
  t.equal(await statusOf('', { method: 'POST' }), 405)
  t.equal(await statusOf('', { method: 'HEAD' }), 200)
  t.equal(await statusOf('model', { headers: { origin: 'https://elsewhere.example' } }), 403)
  const rebound = request(`${url}model`, { headers: { host: 'elsewhere.example' } }).end()
  t.equal((await once(rebound, 'response'))[0].statusCode, 403)
  const page = await fetch(url)
  t.match(page.headers.get('content-security-policy'), /default-src 'none'; script-src 'self'/)
  t.equal(page.headers.get('x-content-type-options'), 'nosniff')
  for (const headers of [{ host: 'elsewhere.example' }, { origin: 'https://elsewhere.example' }]) {
    const socket = new WebSocket(url.replace('http', 'ws'), { headers })
    t.match((await once(socket, 'error'))[0], /403/)
  }
  await stop()
})

t.test('serve: with a token only who has it is answered', async (t) => {
  const { url, stop } = await serve(['--origin', 'https://friend.example'], { MILLRACE_TOKEN: 'salt' })
  t.equal((await fetch(`${url}model`)).status, 401)
  t.equal((await fetch(`${url}records?token=pepper`)).status, 401)
  t.equal((await fetch(`${url}records?token=salt`)).status, 200)
  const headers = { authorization: 'Bearer salt', origin: 'https://friend.example' }
  t.equal((await fetch(`${url}model`, { headers })).status, 200)
  const socket = new WebSocket(url.replace('http', 'ws'))
  t.match((await once(socket, 'error'))[0], /401/)
  await stop()
})

t.test('serve: mistakes are told before anything is served', async (t) => {
  const refused = (...args: string[]) => millrace(['serve', ...args])
  t.match(await refused(modelFile, '--port', '99999'), { status: 2, stderr: /0 to 65535/ })
  t.match(await refused(modelFile, '--host', '0.0.0.0'), { status: 2, stderr: /unless there is a token/ })
  t.match(await refused(join(folder, 'none.json')), { status: 1, stderr: /ENOENT/ })
  const text = join(folder, 'text.json')
  writeFileSync(text, '{"no":"model"}')
  t.match(await refused(text), { status: 3, stderr: /expected a model/ })
  const { url, stop } = await serve()
  t.match(await refused(modelFile, '--port', new URL(url).port), { status: 1, stderr: /EADDRINUSE/ })
  await stop()
  const help = await refused('--help')
  t.match(help, { status: 0, stdout: /Ctrl-C says goodbye/ })
})

const received = async (page: Page) => Number((await page.textContent('#received'))?.replaceAll(',', ''))
/** Waits until the page has told more than so many records. */
const moreThan = (page: Page, count: number) =>
  page.waitForFunction((least) => {
    const { document } = globalThis as any
    return Number(document.querySelector('#received').textContent.replaceAll(',', '')) > least
  }, count)

t.test('the page streams, cancels, and goes on after the server was away', { skip: noBrowser }, async (t) => {
  const first = await serve()
  const { port } = new URL(first.url)
  const browser = await openBrowser()
  t.teardown(async () => browser.close())
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
  const errors: unknown[] = []
  page.on('pageerror', (error) => errors.push(error))
  page.on('console', (message) => {
    if (/Content.Security.Policy/i.test(message.text())) errors.push(message.text())
  })
  await page.goto(first.url)
  await page.waitForSelector('#connection.open')
  t.equal(await page.textContent('#name'), 'mills')

  // by keyboard alone
  await page.fill('#count', '30000')
  await page.fill('#seed', '7')
  await page.press('#seed', 'Enter')
  await page.waitForSelector('#state.good')
  t.equal(await received(page), 30_000)
  t.equal(await page.locator('#rows tr').count(), 12)
  const firstMs = Number.parseInt((await page.textContent('#first')) as string)
  t.ok(firstMs < 1000, `the first records after ${firstMs} ms`)
  const last = async () => (await page.locator('#rows tr:first-child td').allTextContents()).slice(0, 3)
  const recordAt = async (skip: number) => {
    const { stdout } = await millrace([
      'sample',
      modelFile,
      '--seed',
      '7',
      '--skip',
      `${skip}`,
      '--count',
      '1',
    ])
    return Object.values(JSON.parse(stdout)).slice(0, 3).map(String)
  }
  t.strictSame(await last(), await recordAt(29_999))
  // what the model was learnt from and what came of it lie close together
  for (const column of ['river', 'power', 'built']) {
    await page.selectOption('#column', column)
    t.ok(Number.parseFloat((await page.textContent('#distance')) as string) < 4, column)
  }
  await page.selectOption('#column', 'river')
  t.equal(await page.locator('.bars .synthetic').count(), 4)
  t.match(await page.textContent('#command'), /records\?count=30000&seed=7'/)

  // conditions
  await page.click('#add')
  const offered = await page.locator('#conditions [aria-label=column] option').allTextContents()
  t.strictSame(offered, ['river', 'power', 'built', 'it runs'], 'ids are made, and cannot be asked for')
  await page.selectOption('#conditions [aria-label=column]', 'power')
  await page.selectOption('#conditions [aria-label=operator]', 'between')
  await page.fill('#conditions .value', '100, 200')
  await page.click('#add')
  await page.selectOption('#conditions li:nth-child(2) [aria-label=column]', 'it runs')
  await page.fill('#conditions li:nth-child(2) .value', 'false')
  await page.click('#add')
  await page.selectOption('#conditions li:nth-child(3) [aria-label=column]', 'river')
  await page.fill('#conditions li:nth-child(3) .value', 'Oder')
  await page.fill('#count', '500')
  await page.click('#start')
  await page.waitForSelector('#state.good')
  const shown = await page
    .locator('#rows tr')
    .evaluateAll((all) =>
      all.map(
        (row: any) =>
          [row.cells[0].textContent, Number(row.cells[1].textContent), row.cells[3].textContent] as const,
      ),
    )
  t.equal(shown.length, 12)
  t.ok(
    shown.every(
      ([river, power, runs]) => river === 'Oder' && power >= 100 && power <= 200 && runs === 'false',
    ),
  )
  await page.fill('#conditions li:nth-child(3) .value', 'Nile')
  await page.click('#start')
  await page.waitForSelector('#state.bad')
  t.match(await page.textContent('#state'), /river/)
  for (let left = 3; left > 0; left--) await page.click('#conditions [aria-label^=remove] >> nth=0')

  // cancel
  await page.fill('#count', '10000000')
  await page.click('#start')
  await moreThan(page, 20_000)
  await page.click('#cancel')
  await page.locator('#state', { hasText: 'Cancelled' }).waitFor()
  const cancelled = await received(page)
  await page.waitForTimeout(300)
  t.equal(await received(page), cancelled, 'nothing comes afterwards')

  // the server goes, and comes back
  await page.fill('#count', '4000')
  await page.selectOption('#rate', '1000')
  await page.click('#start')
  await moreThan(page, 500)
  first.child.kill('SIGKILL')
  await page.waitForSelector('#connection.closed')
  t.match(await page.textContent('#state'), /Connection lost after [\d,]+ records/)
  const again = start(['serve', modelFile, '--port', port, '-q'])
  t.teardown(() => again.kill('SIGKILL'))
  await page.selectOption('#rate', 'Infinity')
  await page.waitForSelector('#state.good')
  t.equal(await received(page), 4000)
  t.strictSame(await last(), await recordAt(3999), 'no record is missing, and none comes twice')
  const ended = outcome(again)
  again.kill('SIGINT')
  t.equal((await ended).status, 130)
  t.same(errors, [])
})

t.test('the page asks for the token', { skip: noBrowser }, async (t) => {
  const { url, stop } = await serve([], { MILLRACE_TOKEN: 'salt' })
  const browser = await openBrowser()
  t.teardown(async () => browser.close())
  const page = await browser.newPage()
  await page.goto(url)
  await page.fill('#token', 'pepper')
  await page.press('#token', 'Enter')
  await page.locator('#token-wrong', { hasText: 'token' }).waitFor()
  await page.fill('#token', 'salt')
  await page.press('#token', 'Enter')
  await page.waitForSelector('#connection.open')
  await page.click('#start')
  await page.waitForSelector('#state.good')
  await page.reload()
  await page.waitForSelector('#connection.open')
  await page.goto('about:blank')
  await page.goto(`${url}#token=salt`)
  await page.waitForSelector('#connection.open')
  t.notMatch(page.url(), /salt/)
  await stop()
})

// The page of examples/http-api.js in a real browser.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import t from 'tap'
import { asUser } from '../helpers/as-user.ts'
import { noBrowser, openBrowser } from '../helpers/browser.ts'

const example = fileURLToPath(new URL('../../examples/http-api.js', import.meta.url))

const count = async (page: Page) => Number((await page.textContent('#count'))?.replaceAll(',', ''))

/** Runs in the page. */
const moreThan = (orders: number) =>
  `Number(document.querySelector('#count').textContent.replaceAll(',', '')) > ${orders}`

t.test(
  'the page of the example shows records while they arrive, and tells a part from the whole',
  {
    timeout: 60_000,
    skip: noBrowser,
  },
  async (t) => {
    const server = spawn(...asUser(process.execPath, example, '--serve'), {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => server.kill('SIGINT'))
    const [line] = (await once(server.stdout.setEncoding('utf8'), 'data')) as [string]
    const url = /http:\/\/\S+/.exec(line)?.[0] as string
    const browser = await openBrowser()
    t.teardown(async () => browser.close())
    const page = await browser.newPage({ viewport: { width: 1000, height: 820 } })
    const errors: unknown[] = []
    page.on('pageerror', (error) => errors.push(error))
    await page.goto(url)

    await page.click('#start')
    await page.waitForFunction(moreThan(20_000))
    const middle = await count(page)
    t.ok(middle < 100_000, `${middle} orders are there, and more to come`)
    t.equal(await page.locator('#rows tr').count(), 10)
    const screenshot = process.env['SCREENSHOT']
    if (screenshot) await page.waitForFunction(moreThan(60_000))
    if (screenshot) await page.screenshot({ path: screenshot })
    await page.waitForSelector('#state.good')
    t.equal(await count(page), 100_000)

    await page.click('#fail')
    await page.waitForSelector('#state.bad')
    t.equal(await count(page), 30_000)
    if (screenshot) await page.screenshot({ path: screenshot.replace('.png', '-failed.png') })

    await page.click('#start')
    await page.waitForFunction(moreThan(5000))
    await page.click('#stop')
    await page.waitForFunction(`document.querySelector('#state').textContent.startsWith('Stopped')`)
    t.ok((await count(page)) < 100_000)
    t.same(errors, [])
  },
)

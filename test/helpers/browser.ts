import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const path = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) =>
  existsSync(file),
)

/** Why tests in a browser are left out; false where there is one. */
export const noBrowser =
  path === undefined ? 'no Chromium: scripts/services.sh installs it, on Debian as root' : false

export async function openBrowser(): Promise<Browser> {
  return await chromium.launch({ executablePath: path as string, args: ['--no-sandbox'] })
}

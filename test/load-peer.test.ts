import t from 'tap'
import { MissingPeerError } from '../src/errors.ts'
import { loadPeer } from '../src/load-peer.ts'

t.test('loadPeer: a package that is not installed is named, with all that is to be installed', async (t) => {
  const missing: string = '@aws-sdk/not-installed'
  const load = loadPeer('Flying', [missing, 'wings'], () => import(missing))
  await t.rejects(load, MissingPeerError)
  await t.rejects(load, {
    message: /Flying needs the package .*: npm install @aws-sdk\/not-installed wings$/,
  })
})

t.test('loadPeer: another failure passes, and so does what was loaded', async (t) => {
  const inside = Object.assign(new Error("Cannot find package 'other'"), { code: 'ERR_MODULE_NOT_FOUND' })
  await t.rejects(
    loadPeer('Flying', ['wings'], () => Promise.reject(inside)),
    inside,
  )
  t.equal(await loadPeer('Flying', ['wings'], () => Promise.resolve('wing')), 'wing')
})

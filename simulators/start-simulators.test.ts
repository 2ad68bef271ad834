import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { findSimulators, type Simulators, start } from './start-simulators.ts'

const urlsOf = ({ running }: Simulators) => running.map(({ url }) => url)

test('every simulator is started, comes back where it was, and elsewhere where that port is taken', async (t) => {
  const data_directory = await mkdtemp(join(tmpdir(), 'coffer-simulators-'))
  t.after(() => rm(data_directory, { recursive: true, force: true }))
  const config = { host: '127.0.0.1', port: 0, data_directory }
  const first = await start(config)
  await first.stop()
  assert.deepEqual(
    first.running.map(({ psp }) => psp),
    (await findSimulators()).map(({ psp }) => psp),
  )
  assert.equal(new Set(urlsOf(first)).size, first.running.length)
  const second = await start(config)
  await second.stop()
  assert.deepEqual(urlsOf(second), urlsOf(first))

  const taken = Number(new URL(urlsOf(first)[0]!).port)
  const other = createServer().listen(taken, '127.0.0.1')
  await once(other, 'listening')
  t.after(() => other.close())
  await assert.rejects(start({ ...config, port: taken }), { code: 'EADDRINUSE' })
  await writeFile(join(data_directory, 'addresses.json'), JSON.stringify({ stripe: urlsOf(first)[0] }))
  const third = await start(config)
  await third.stop()
  assert.notEqual(urlsOf(third)[0], urlsOf(first)[0])
})

test('a sandbox connects one simulator first, and no two by the same name', async () => {
  const psps = await findSimulators()
  assert.deepEqual(
    psps.map(({ sandbox }) => sandbox.is_first),
    psps.map((_, index) => index === 0),
  )
  assert.equal(new Set(psps.map(({ sandbox }) => sandbox.name)).size, psps.length)
})

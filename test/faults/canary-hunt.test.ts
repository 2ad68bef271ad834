// Card numbers and CVCs that nobody else has go through the product while its PSP fails and while everything is
// killed; then every byte that is left on disk is searched for them.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { appendFileSync, copyFileSync, readFileSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { apiOf, cardFields, queryDatabase, simulatorOf } from '../support/api.ts'
import { filesBelow, newCanaries, plantedForms, scanFolder } from '../support/canary-scan.ts'
import { eventually, type Product, startProduct, temporaryFolder } from '../support/product.ts'

const data_directory = temporaryFolder({ after })
const environment = { COFFER_LOG_LEVEL: 'debug', PSP_DEADLINE_MS: '1000', ANSWER_DEADLINE_MS: '2000' }
const start = () => startProduct({ after }, { data_directory, environment })
const canaries = newCanaries()
const { cvc } = canaries

let product = await start()
let kept = 0

/** Everything a card can go through; what is cut off by a kill is what this is about. */
async function useCard(into: Product): Promise<void> {
  const api = apiOf(into.sandbox.api_url, into.sandbox.secret_key)
  const { body: card, status } = await api.createCard({ number: canaries.next(), cvc }, randomUUID())
  if (status !== 201) throw new Error(`answered ${status}`)
  kept += 1
  await api.createCard({ ...cardFields, customer: canaries.next() })
  await api.call('PATCH', `/v1/cards/${card.id}`, { body: { exp_year: 2041 } })
  await api.call('POST', `/v1/cards/${card.id}/reveal`, { body: { reason: 'a hunt' } })
  await api.createPayment({ card: card.id })
  await api.call('POST', `/v1/cards/${card.id}/cvc`, { body: { cvc } })
  await api.createPayment({ card: card.id })
  await api.call('DELETE', `/v1/cards/${card.id}`)
}

/** Until it is stopped; a connection that is cut by a kill ends one round, and the next begins. */
function startUsing(into: Product, atOnce: number) {
  const using = { rounds: 0, stopped: false, finished: Promise.resolve() as Promise<unknown> }
  async function one() {
    while (!using.stopped) {
      // There are a thousand numbers: while everything is down they are not to be used up.
      await useCard(into).catch(() => delay(100))
      using.rounds += 1
    }
  }
  using.finished = Promise.all(Array.from({ length: atOnce }, one))
  return using
}

async function faultsOfAllKinds(): Promise<void> {
  const kinds = [
    'decline',
    'hang_after',
    'reset_after',
    'server_error_after',
    'server_error_before',
    'rate_limit',
  ]
  await simulatorOf(product).faults(...kinds.map((kind) => ({ kind, probability: 0.1 })))
}

test('SEC-01, SEC-02: after faults, kills and recoveries no number and no CVC is anywhere on disk', async (t) => {
  await faultsOfAllKinds()
  for (const kill of ['everything', 'PostgreSQL', 'nothing'] as const) {
    const using = startUsing(product, 8)
    await eventually(() => using.rounds >= 60)
    if (kill === 'everything') await product.kill()
    if (kill === 'PostgreSQL') process.kill(await postmaster(), 'SIGKILL')
    using.stopped = true
    await using.finished
    if (kill === 'PostgreSQL') await eventually(() => hasEnded(product))
    if (kill !== 'nothing') product = await start()
  }
  await product.stop()
  const files = filesBelow(data_directory)
  for (const place of [/^postgres\/base\//, /^postgres\/pg_wal\/0/, /^coffer\.log/, /^postgres\.log/])
    assert.ok(
      files.some((file) => place.test(file)),
      `${place} of ${files.length} files`,
    )
  assert.ok(kept >= 150, `${kept} cards`)
  t.diagnostic(`note: ${files.length} files searched, ${kept} cards`)
  assert.deepEqual(scanFolder(data_directory, canaries), {})
})

test('SEC-01: the hunt finds a number that was planted in any of those files, in any form', () => {
  const files = filesBelow(data_directory)
  const places = [
    /^postgres\/base\/\d+\/\d+$/,
    /^postgres\/pg_wal\/0/,
    /^coffer\.log/,
    /^postgres\.log/,
    /journal|ledger/,
  ]
  for (const place of places) {
    const name = files.find((file) => place.test(file))
    if (name === undefined) assert.fail(`no ${place} in ${files.join(' ')}`)
    const file = join(data_directory, name)
    const { length } = readFileSync(file)
    for (const [form, write] of Object.entries(plantedForms)) {
      appendFileSync(file, Buffer.concat([Buffer.from([0, 1, 2]), write(canaries.next())]))
      assert.deepEqual(Object.keys(scanFolder(data_directory, canaries)), [name], `${form} in ${name}`)
      truncateSync(file, length)
    }
  }
  copyFileSync(join(data_directory, 'sandbox.json'), join(data_directory, 'copy'))
  appendFileSync(join(data_directory, 'copy'), `{"cvc":"${cvc}"}`)
  assert.deepEqual(Object.keys(scanFolder(data_directory, canaries)), ['copy'])
})

async function postmaster(): Promise<number> {
  await queryDatabase(product, 'vault', 'select 1')
  return Number(readFileSync(join(data_directory, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0])
}

async function hasEnded({ sandbox }: Product): Promise<boolean> {
  return fetch(`${sandbox.api_url}/healthz`).then(
    () => false,
    () => true,
  )
}

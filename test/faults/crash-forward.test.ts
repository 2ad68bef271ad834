// A vault dies while merchants' own requests are forwarded, at each place a forward passes; and two vaults get the
// same request at the same time. For one key at most one request arrives, whatever is repeated.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Failpoint } from '@coffer/core/failpoint.ts'
import type { Forward } from '@coffer/vault/forward/requests/schemas.ts'
import { startDestination } from '@coffer/vault/forward/test-destination.ts'
import { goodNumbers } from '../support/card-numbers.ts'
import { createMerchantKey } from '../support/retrying-merchant.ts'
import { within } from '../support/within.ts'
import { startCrashRig } from './crash-matrix.ts'

const rig = await startCrashRig({ after })
const { roles } = rig
const { secret_key } = await createMerchantKey(
  roles.postgres.url('coffer_access_service'),
  roles.postgres.url('coffer_access_relay'),
)
const psp = await startDestination({ after }, (_seen, response) => void response.end('{}'))
const boundMs = 60_000

async function ask(url: string, method: string, path: string, body?: object, key = randomUUID() as string) {
  const answer = await fetch(url + path, {
    method,
    headers: {
      authorization: `Bearer ${secret_key}`,
      'idempotency-key': key,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: answer.status, body: (await answer.json()) as Forward & { code?: string } }
}

const { url } = roles.at.vault
const number = goodNumbers.visa
const kept = await ask(url, 'POST', '/v1/cards', { number, exp_month: 12, exp_year: 2049 })
assert.equal(kept.status, 201)
assert.equal((await ask(url, 'POST', '/v1/destinations', { origin: psp.url })).status, 201)

const requestOf = (key: string) => ({
  card: kept.body.id,
  method: 'POST',
  url: `${psp.url}/${key}`,
  body: '{"number":"{{card.number}}"}',
  timeout_ms: 5_000,
})
const arrived = (key: string) => psp.seen.filter((seen) => seen.url === `/${key}`).length

/** Until there is an answer that says what became of it. */
async function forward(key: string, at = url): Promise<Forward> {
  return within(boundMs, `${key} has no outcome`, async () => {
    const answer = await ask(at, 'POST', '/v1/forward', requestOf(key), key).catch(() => undefined)
    if (answer === undefined || answer.status === 409 || answer.status >= 500) {
      await delay(200)
      return undefined
    }
    assert.ok(answer.status === 201 || answer.status === 202, JSON.stringify(answer))
    return answer.body
  })
}

/** Of the one that the crash has caught: how often it has arrived, and what its key tells. */
const crashes: { failpoint: Failpoint; caught: [arrived: number, outcome: Forward['outcome']] }[] = [
  { failpoint: 'vault.forward.before_record', caught: [1, 'succeeded'] },
  { failpoint: 'vault.forward.after_record', caught: [0, 'unknown'] },
  { failpoint: 'vault.forward.after_answer', caught: [1, 'unknown'] },
  { failpoint: 'vault.forward.after_result', caught: [1, 'succeeded'] },
]

for (const { failpoint, caught } of crashes) {
  test(`I2: the vault killed at ${failpoint}: no second request, and the key tells what may have been`, async () => {
    await roles.stop('vault')
    const armed = await roles.start('vault', { COFFER_FAILPOINT: failpoint })
    const key = randomUUID()
    const working = forward(key)
    working.catch(() => {}) // looked at below, where the crash has been seen
    assert.equal((await within(boundMs, `${failpoint} was not reached`, armed.exited)).signal, 'SIGKILL')
    await roles.start('vault')
    const told = await working
    assert.deepEqual([arrived(key), told.outcome], caught)
    assert.equal(told.sent, true)
    assert.equal((await forward(key)).id, told.id)
    assert.equal(arrived(key), caught[0])
  })
}

test('I2: of two vaults that get the same requests at the same time, one sends each', async () => {
  await roles.startMissing()
  await roles.start('second_vault')
  const keys = Array.from({ length: 20 }, () => randomUUID() as string)
  const ends = await Promise.all(
    keys.flatMap((key) => [forward(key), forward(key, roles.at.second_vault.url), forward(key)]),
  )
  assert.deepEqual([...new Set(ends.map(({ outcome }) => outcome))], ['succeeded'])
  assert.deepEqual([...new Set(keys.map(arrived))], [1])
  assert.equal(new Set(ends.map(({ id }) => id)).size, keys.length)
})

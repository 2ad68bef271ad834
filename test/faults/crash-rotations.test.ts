// The vault dies in the middle of each kind of rotation of keys, while cards come in and are revealed. It goes on where
// it was: every acknowledged card reveals its number, every number has its one fingerprint, nothing is left behind.

import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Failpoint } from '@coffer/core/failpoint.ts'
import { goodNumbers } from '../support/card-numbers.ts'
import { createMerchantKey } from '../support/retrying-merchant.ts'
import { within } from '../support/within.ts'
import { rotationPlaces, startCrashRig } from './crash-matrix.ts'

const { roles } = await startCrashRig({ after })
const { url } = roles.at.vault
const boundMs = 90_000
const numbers = Object.values(goodNumbers)

type Kind = 'data' | 'fingerprint' | 'wrapping'
type Card = { id: string; fingerprint: string }
type Census = Record<'data_keys' | 'fingerprint_keys' | 'wrapping_keys', Record<string, unknown>[]>

/** Where, the time it is reached there, in which kind of rotation. */
const crashes: [Failpoint, number, Kind][] = [
  ['vault.rotation.after_step', 1, 'data'],
  ['vault.rotation.before_step', 5, 'data'],
  ['vault.rotation.after_progress', 4, 'data'],
  ['vault.rotation.after_step', 1, 'fingerprint'],
  ['vault.rotation.after_step', 4, 'fingerprint'],
  ['vault.rotation.after_progress', 6, 'fingerprint'],
  ['vault.rotation.before_step', 2, 'wrapping'],
  ['vault.rotation.after_step', 2, 'wrapping'],
]
assert.deepEqual(new Set(crashes.map(([place]) => place)), new Set(rotationPlaces))

let wrapping = roles.postgres.environment['VAULT_WRAPPING_KEY']!
let previous = ''
const keysNow = () => ({
  VAULT_WRAPPING_KEY: wrapping,
  ...(previous === '' ? {} : { VAULT_PREVIOUS_WRAPPING_KEYS: previous }),
})

/** Until there is an answer that is none of a vault that is away. */
async function ask<Body>(key: string, method: string, path: string, body?: object): Promise<Body> {
  const headers = {
    authorization: `Bearer ${key}`,
    'idempotency-key': randomUUID(),
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  }
  return within(boundMs, `${method} ${path} has no answer`, async () => {
    const sent = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }
    const answer = await fetch(url + path, sent).catch(() => undefined)
    if (answer === undefined || answer.status === 503) return void (await delay(100))
    const text = await answer.text()
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${text}`)
    return JSON.parse(text) as Body
  })
}

for (const [place, hit, kind] of crashes)
  test(`SEC-09: killed at ${place}, time ${hit}, a rotation of ${kind} keys goes on and nothing is lost`, async () => {
    const { secret_key } = await createMerchantKey(
      roles.postgres.url('coffer_access_service'),
      roles.postgres.url('coffer_access_relay'),
    )
    if (kind === 'wrapping') [wrapping, previous] = [randomBytes(32).toString('base64'), wrapping]
    await roles.stop('vault')
    const armed = await roles.start('vault', { ...keysNow(), COFFER_FAILPOINT: `${place}@${hit}` })
    const kept: { card: Card; number: string }[] = []
    const keep = async (number: string) => {
      const body = { number, exp_month: 12, exp_year: 2049 }
      kept.push({ card: await ask<Card>(secret_key, 'POST', '/v1/cards', body), number })
    }
    const reveal = async ({ card, number }: (typeof kept)[number]) => {
      const path = `/v1/cards/${card.id}/reveal`
      const revealed = await ask<{ number: string }>(secret_key, 'POST', path, { reason: 'a test' })
      assert.equal(revealed.number, number)
    }
    for (let count = 0; count < 30; count++) await keep(numbers[count % numbers.length]!)
    const { id } = await ask<{ id: string }>(secret_key, 'POST', '/v1/keys/rotations', { kind })
    let isOver = false
    const traffic = Promise.all(
      [0, 1].map(async (lane) => {
        for (let turn = lane; !isOver; turn++) {
          await keep(numbers[turn % numbers.length]!)
          await reveal(kept[turn % kept.length]!)
        }
      }),
    )
    traffic.catch(() => {})
    const exit = await within(boundMs, () => `${place} was not reached:\n${armed.output()}`, armed.exited)
    assert.equal(exit.signal, 'SIGKILL', armed.output())
    await roles.start('vault', keysNow())
    const rotation = await within(boundMs, `the rotation of ${kind} keys does not end`, async () => {
      const found = await ask<{ state: string }>(secret_key, 'GET', `/v1/keys/rotations/${id}`)
      return found.state === 'running' ? undefined : found
    })
    isOver = true
    await traffic
    assert.equal(rotation.state, 'finished')
    for (const one of kept) await reveal(one)
    const fingerprints = new Map<string, Set<string>>()
    for (const { card, number } of kept)
      fingerprints.set(number, (fingerprints.get(number) ?? new Set()).add(card.fingerprint))
    assert.ok([...fingerprints.values()].every((found) => found.size === 1))
    const census = await ask<Census>(secret_key, 'GET', '/v1/keys')
    for (const key of [...census.data_keys, ...census.fingerprint_keys])
      assert.ok(key['superseded_at'] === null || key['rows'] === 0, JSON.stringify(census))
    if (kind === 'wrapping')
      assert.deepEqual(
        census.wrapping_keys.map((key) => key['is_current']),
        [true],
      )
  })

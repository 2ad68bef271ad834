// One process dies while cards are verified, holds are made larger and captured a second time: at every place those
// pass, several of each at once.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import { goodNumbers } from '../support/card-numbers.ts'
import {
  type Crash,
  nameOf,
  operationPlaces,
  type Scenario,
  startCrashRig,
  tryCrash,
} from './crash-matrix.ts'

const rig = await startCrashRig({ after })

/** Six operations pass a place, and three verifications pass theirs twice, the second time where the issuer is asked. */
const hits = { operation: 3, verification: 5 }
const crashes: Crash[] = [
  ...(['after_record', 'after_answer'] as const).map(
    (moment): Crash => ({ failpoint: `vault.forward.${moment}`, hit: hits.operation, place: 'vault' }),
  ),
  ...operationPlaces.map(
    (failpoint): Crash => ({
      ...{ failpoint, place: 'platform' },
      hit: failpoint.includes('resolver') ? 1 : hits.operation,
    }),
  ),
  ...(['before_step', 'after_step_answer'] as const).map(
    (moment): Crash => ({
      failpoint: `platform.attempt.${moment}`,
      hit: hits.verification,
      place: 'platform',
    }),
  ),
  ...(['before_settle', 'after_settle'] as const).map(
    (moment): Crash => ({ failpoint: `platform.attempt.${moment}`, hit: 2, place: 'platform' }),
  ),
]

type Held = { card: string; growing: Payment[]; captured: Payment[] }

const holding: Scenario<Held> = {
  settings: { multicapture: 'true', incremental_authorization: 'true' },
  // What the PSP has done and never told is left to the resolver.
  fault: {
    ...{ kind: 'hang_after', times: 1 },
    match: { path: '/v1/payment_intents/*/increment_authorization', method: 'POST' },
  },
  async prepare(merchant) {
    const { id: card } = await merchant.tokenize(goodNumbers.visa)
    const held = await Promise.all(
      Array.from({ length: 6 }, () => merchant.charge({ amount: 1_000, card, capture: 'manual' })),
    )
    const [growing, captured] = [held.slice(0, 3), held.slice(3)]
    for (const payment of captured)
      assert.equal(await merchant.operate(payment, 'capture', { amount: 300, final: false }), 201)
    return { card, growing, captured }
  },
  async traffic(merchant, { card, growing, captured }) {
    const statuses = await Promise.all([
      ...growing.map((payment) => merchant.operate(payment, 'increments', { amount: 250 })),
      ...captured.map((payment, index) =>
        merchant.operate(payment, 'capture', { amount: 200 + index, final: index > 0 }),
      ),
    ])
    for (const status of statuses) assert.ok(status === 201 || status === 202)
    await Promise.all([1, 2, 3].map(() => merchant.charge({ amount: 0, card })))
  },
}

for (const crash of crashes) {
  test(`F-01: the ${crash.place} killed at ${nameOf(crash)}: no hold grows and no part is taken twice`, async (t) => {
    const seen = await tryCrash(rig, crash, [crash.place], holding)
    t.diagnostic(`note: ${t.name}; ${seen}`)
  })
}

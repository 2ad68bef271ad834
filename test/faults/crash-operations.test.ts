// One process dies while payments are captured, canceled and refunded: at every place those pass, two of each at once.

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

/** Six pass a place; at the third of them some have gone on and some have not come there yet. */
const hit = 3
const crashes: Crash[] = [
  ...(['after_record', 'after_answer'] as const).map(
    (moment): Crash => ({ failpoint: `vault.forward.${moment}`, hit, place: 'vault' }),
  ),
  ...operationPlaces.map(
    (failpoint): Crash => ({ failpoint, hit: failpoint.includes('resolver') ? 1 : hit, place: 'platform' }),
  ),
]

type Charged = { held: Payment[]; taken: Payment }

const operating: Scenario<Charged> = {
  // What the PSP has given back and never told is left to the resolver.
  fault: { kind: 'hang_after', times: 1, match: { path: '/v1/refunds', method: 'POST' } },
  async prepare(merchant) {
    const { id: card } = await merchant.tokenize(goodNumbers.visa)
    const [taken, ...held] = await Promise.all(
      ['automatic', 'manual', 'manual', 'manual', 'manual'].map((capture) =>
        merchant.charge({ amount: 1_000, card, capture: capture as 'automatic' | 'manual' }),
      ),
    )
    return { held, taken: taken! }
  },
  async traffic(merchant, { held, taken }) {
    const statuses = await Promise.all([
      merchant.operate(taken, 'refunds', { amount: 400 }),
      merchant.operate(held[0]!, 'capture', { amount: 700 }),
      merchant.operate(held[1]!, 'cancel', {}),
      merchant.operate(taken, 'refunds', { amount: 300 }),
      merchant.operate(held[2]!, 'capture', {}),
      merchant.operate(held[3]!, 'cancel', {}),
    ])
    for (const status of statuses) assert.ok(status === 201 || status === 202)
  },
}

for (const crash of crashes) {
  test(`F-01: the ${crash.place} killed at ${nameOf(crash)}: nothing is taken, let go of or given back twice`, async (t) => {
    const seen = await tryCrash(rig, crash, [crash.place], operating)
    t.diagnostic(`note: ${t.name}; ${seen}`)
  })
}

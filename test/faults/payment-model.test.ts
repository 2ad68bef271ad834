// Thousands of random commands against the model of payments: first at a PSP in trouble, then while the platform and the
// vault are killed again and again, and come back.

import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { runPaymentModel } from '../support/payment-model-run.ts'
import { newMerchant, startCrashRig } from './crash-matrix.ts'

const rig = await startCrashRig(
  { after },
  {
    environment: {
      PSP_DEADLINE_MS: '900',
      ANSWER_DEADLINE_MS: '1300',
      CARD_TESTING_DECLINED_CARDS_MAX: '0',
    },
  },
)

/** A minute for a thousand sequences on two processors; what there is no time for is not run. */
const runs = Number(process.env['PAYMENT_MODEL_RUNS'] ?? 600)

test('I1–I5, I8, I9: thousands of commands at a PSP in trouble become what the model says', async (t) => {
  await runPaymentModel(rig.checked, await newMerchant(rig), {
    runs,
    at_once: 16,
    commands_max: 24,
    is_killed: false,
    time_limit_ms: 60_000,
    diagnostic: (message) => t.diagnostic(message),
  })
})

test('F-01: with the platform and the vault killed in between, nothing is lost, doubled or left open', async (t) => {
  const stopping = new AbortController()
  let kills = 0
  const killing = (async () => {
    for (const place of alternately(['platform', 'vault'] as const)) {
      await delay(1_500, undefined, { signal: stopping.signal })
      await rig.roles.kill(place)
      kills++
      await rig.roles.start(place)
    }
  })().catch((error: Error) => {
    if (error.name !== 'AbortError') throw error
  })
  const stop = async () => {
    stopping.abort()
    await killing
  }
  after(stop)
  await runPaymentModel(rig.checked, await newMerchant(rig), {
    runs: Math.ceil(runs / 6),
    at_once: 8,
    commands_max: 12,
    is_killed: true,
    time_limit_ms: 45_000,
    diagnostic: (message) => t.diagnostic(message),
    afterCommands: stop,
  })
  t.diagnostic(`note: ${kills} kills`)
})

function* alternately<Place>(places: readonly Place[]): Generator<Place> {
  for (;;) yield* places
}

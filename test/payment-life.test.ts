/**
 * The payment's life over HTTP: random sequences of what can be done to payments, at a PSP that misbehaves, against a
 * small model of what should become of them. Many more run among the crash tests.
 */
import { after, test } from 'node:test'
import { Secret } from '@coffer/core/secret.ts'
import { databaseUrl } from '../main/databases.ts'
import { queryDatabase } from './support/api.ts'
import type { Checked } from './support/checkers.ts'
import { runPaymentModel } from './support/payment-model-run.ts'
import { startProduct } from './support/product.ts'
import { findMerchantKey, retryingMerchant } from './support/retrying-merchant.ts'

const product = await startProduct(
  { after },
  {
    environment: {
      PSP_DEADLINE_MS: '700',
      ANSWER_DEADLINE_MS: '1000',
      CARD_TESTING_DECLINED_CARDS_MAX: '0',
    },
  },
)
const { postgres, secret_key, simulators, api_url } = product.sandbox
const checked: Checked = {
  urlOf: () => api_url,
  simulator_url: simulators.stripe,
  query: (zone, text, values) => queryDatabase(product, zone, text, values),
}
const accessUrl = new Secret(databaseUrl(postgres, 'postgres', postgres.password, 'coffer_access'))
const merchant = retryingMerchant({ after }, checked, await findMerchantKey(accessUrl, secret_key))

test('I1–I5, I8, I9: whatever is done to payments, at a PSP in trouble, they become what the model says', async (t) => {
  await runPaymentModel(checked, merchant, {
    runs: Number(process.env['PAYMENT_MODEL_RUNS'] ?? 24),
    at_once: 6,
    commands_max: 16,
    is_killed: false,
    time_limit_ms: 110_000,
    diagnostic: (message) => t.diagnostic(message),
  })
})

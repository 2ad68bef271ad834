/** The simulated Checkout.com. */
import type { Log } from '@coffer/core/log.ts'
import { type SandboxAccount, type Simulator, type SimulatorConfig, startSimulator } from '../simulator.ts'
import { accountReader } from './account.ts'
import { actionEndpoints } from './actions.ts'
import { declineCodes } from './cards.ts'
import { registerDisputes } from './disputes.ts'
import { dialect } from './errors.ts'
import { applyAndTell, sign } from './events.ts'
import { ledgerRows } from './ledger.ts'
import { paymentEndpoints } from './payments.ts'
import { createServer, type Parts, registerEndpoints } from './serve-checkout.ts'
import { type CheckoutObject, createState } from './state.ts'

export const sandbox: SandboxAccount = {
  name: 'Checkout.com simulator',
  secret: 'sk_sbox_coffersandboxcoffersandboxa',
  webhook_secret: 'coffer_sandbox_webhooks',
  settings: { incremental_authorization: 'true' },
  is_first: false,
}

/** Serves once everything in `data_directory` is read back. */
export async function start(config: SimulatorConfig, log?: Log): Promise<Simulator> {
  const state = createState()
  const checkout = {
    psp: 'checkout',
    dialect,
    decline_codes: { known: declineCodes, usual: '20005' },
    state,
    ledger: () => ledgerRows(state),
    webhooks: {
      sign,
      applyAndTell: (changes: CheckoutObject[], now_ms: number) => applyAndTell(state, changes, now_ms),
    },
  }
  const simulator = await startSimulator<CheckoutObject>(
    config,
    checkout,
    (common) => {
      const parts: Parts = { ...common, state, accountOf: accountReader(common.digest) }
      const app = createServer(log)
      registerEndpoints(app, parts, [...paymentEndpoints, ...actionEndpoints])
      registerDisputes(app, parts)
      return app
    },
    log,
  )
  state.own_url = simulator.url
  return simulator
}

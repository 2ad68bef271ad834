/** The simulated Adyen. */
import type { Log } from '@coffer/core/log.ts'
import { type SandboxAccount, type Simulator, type SimulatorConfig, startSimulator } from '../simulator.ts'
import { dialect } from './dialect.ts'
import { registerHappenings } from './happenings.ts'
import { ledgerRows } from './ledger.ts'
import { modificationEndpoints } from './modifications.ts'
import { applyAndTell, sign } from './notices.ts'
import { paymentEndpoints } from './payments.ts'
import { refusalCodes } from './refusals.ts'
import { createServer, registerEndpoints } from './serve-adyen.ts'
import { type AdyenObject, createState } from './state.ts'

export const sandbox: SandboxAccount = {
  name: 'Adyen simulator',
  secret: 'AQEsandbox_coffer',
  // Bytes in hexadecimal digits.
  webhook_secret: 'c0ffe4c0ffe4c0ffe4c0ffe4c0ffe4c0ffe4c0ffe4c0ffe4c0ffe4c0ffe4abcd',
  settings: { merchant_account: 'CofferSandbox' },
  is_first: false,
}

/** Serves once everything in `data_directory` is read back. */
export async function start(config: SimulatorConfig, log?: Log): Promise<Simulator> {
  const state = createState()
  const adyen = {
    psp: 'adyen',
    dialect,
    decline_codes: { known: refusalCodes, usual: '2' },
    state,
    settings: { idempotency_key_ttl_ms: 7 * 24 * 3_600_000 },
    ledger: () => ledgerRows(state),
    webhooks: {
      sign,
      applyAndTell: (changes: AdyenObject[], now_ms: number) => applyAndTell(state, changes, now_ms),
    },
  }
  const simulator = await startSimulator<AdyenObject>(
    config,
    adyen,
    (common) => {
      const parts = { ...common, state }
      const app = createServer(log)
      registerEndpoints(app, parts, [...paymentEndpoints, ...modificationEndpoints])
      registerHappenings(app, parts)
      return app
    },
    log,
  )
  state.own_url = simulator.url
  return simulator
}

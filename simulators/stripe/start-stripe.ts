/** The simulated Stripe. */
import type { Log } from '@coffer/core/log.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type SandboxAccount, type Simulator, type SimulatorConfig, startSimulator } from '../simulator.ts'
import type { IdParams } from '../simulator-server.ts'
import { accountReader } from './account.ts'
import { authenticated } from './confirm.ts'
import { declineCodes } from './declines.ts'
import { dialect } from './dialect.ts'
import { registerDisputes } from './disputes.ts'
import { applyAndTell, sign } from './events.ts'
import { ledgerRows } from './ledger.ts'
import { listEndpoints } from './lists.ts'
import { paymentIntentEndpoints } from './payment-intents.ts'
import { paymentMethodEndpoints } from './payment-methods.ts'
import { refundEndpoints } from './refunds.ts'
import { searchEndpoint } from './search.ts'
import { createServer, type Parts, registerEndpoints } from './serve-stripe.ts'
import { setupIntentEndpoints } from './setup-intents.ts'
import { createState, type StripeObject } from './state.ts'

const endpoints = [
  ...paymentIntentEndpoints,
  searchEndpoint,
  ...setupIntentEndpoints,
  ...paymentMethodEndpoints,
  ...refundEndpoints,
  ...listEndpoints,
]

export const sandbox: SandboxAccount = {
  name: 'Stripe simulator',
  secret: 'sk_test_coffer_sandbox',
  webhook_secret: 'whsec_coffer_sandbox',
  settings: {},
  is_first: true,
}

/** The page a cardholder is sent to, without a page: `?result=failed` for one who does not authenticate. */
function registerAuthentication(app: FastifyInstance, { state, exchange, now_ms }: Parts) {
  const handle = async (
    request: FastifyRequest<IdParams & { Querystring: { result?: string } }>,
    reply: FastifyReply,
  ) => {
    const intent = [...state.newestFirst('payment_intent')].find(({ id }) => id === request.params.id)
    const charged = intent && authenticated(state, intent, request.query.result !== 'failed', now_ms())
    if (!intent || !charged)
      return reply.code(404).send({ error: { message: 'no such payment intent waits for its cardholder' } })
    await exchange.record([charged.intent, charged.charge])
    const { return_url } = intent.options
    return return_url
      ? reply.redirect(return_url)
      : reply.send({ id: intent.id, status: charged.intent.status })
  }
  app.get('/_sim/stripe/authenticate/:id', handle)
  app.post('/_sim/stripe/authenticate/:id', handle)
}

/** Serves once everything in `data_directory` is read back. */
export async function start(config: SimulatorConfig, log?: Log): Promise<Simulator> {
  const state = createState()
  const stripe = {
    psp: 'stripe',
    dialect,
    decline_codes: { known: declineCodes, usual: 'generic_decline' },
    state,
    ledger: () => ledgerRows(state),
    webhooks: {
      sign,
      applyAndTell: (changes: StripeObject[], now_ms: number) => applyAndTell(state, changes, now_ms),
    },
  }
  const simulator = await startSimulator<StripeObject>(
    config,
    stripe,
    (common) => {
      const parts: Parts = { ...common, state, accountOf: accountReader(common.digest) }
      const app = createServer(log)
      registerEndpoints(app, parts, endpoints)
      registerAuthentication(app, parts)
      registerDisputes(app, parts)
      return app
    },
    log,
  )
  state.own_url = simulator.url
  return simulator
}

/** The simulators role: stand-ins for the world outside, each speaking its real wire protocol. */
import type { Log } from '@coffer/core/log.ts'
import { startStripe } from './stripe/start-stripe.ts'

export type SimulatorsConfig = {
  host: string
  /** 0 takes any free one. */
  port: number
  /** Where ledgers and idempotency keys are kept; made where it does not exist. */
  data_directory: string
}

export type Simulators = { stripe_url: string; stop(): Promise<void> }

/** Resolves once all are ready and know again what they knew before. */
export async function start(config: SimulatorsConfig, log?: Log): Promise<Simulators> {
  const stripe = await startStripe(config, log)
  log?.info({ url: stripe.url }, 'the Stripe simulator is ready')
  return { stripe_url: stripe.url, stop: stripe.stop }
}

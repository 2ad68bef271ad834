/** Forwards for tests: the real parts, a destination of this machine that is allowed, and a card. */
import type { Caller } from '@coffer/core/caller.ts'
import { quietLog, type TestPostgres } from '../../../test/support/postgres.ts'
import { keepCard, openTestVault } from '../../test-vault.ts'
import { createDestinations } from '../destinations/destinations.ts'
import type { NewDestination } from '../destinations/schemas.ts'
import { createExchange } from './exchange.ts'
import { createForwardRequests } from './forward-requests.ts'
import type { NewForward } from './schemas.ts'

export async function openTestForwards(postgres: TestPostgres) {
  const vault = await openTestVault(postgres)
  const clock = { now: () => new Date() }
  const deps = { ...vault, clock, allowLoopback: true, log: quietLog }
  const destinations = createDestinations(deps)
  const exchange = createExchange({ allowLoopback: true })
  const forwards = createForwardRequests({ ...deps, destinations, exchange })

  /** A merchant with a card, and the destination allowed. */
  async function prepare(url: string, card: Parameters<typeof keepCard>[2] = {}) {
    const kept = await keepCard(postgres, vault, card)
    const allow = (input: NewDestination) =>
      destinations.create(kept.caller, input, null, (destination) => JSON.stringify(destination))
    await allow({ origin: url })
    const destinationOf = () => destinations.open(kept.caller.merchant_id, url)
    const request = (changes: Partial<NewForward> = {}): NewForward => ({
      card: kept.card.id,
      method: 'POST',
      url: `${url}/pay`,
      body: '{"number":"{{card.number}}"}',
      ...changes,
    })
    const send = (
      changes: Partial<NewForward> = {},
      key: string = crypto.randomUUID(),
      caller: Caller = kept.caller,
    ) => forwards.forward(caller, request(changes), key)
    return { ...kept, allow, request, send, records: () => kept.rows('forward_requests'), destinationOf }
  }
  return { vault, destinations, exchange, forwards, prepare }
}

/** All of routing, put together. */
import type { Connector } from '@coffer/core/connector.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { findAgreement } from '../agreements/queries.ts'
import { cardInVault } from '../payments/vault-facts.ts'
import type { BinTable } from './bin-table.ts'
import { createCircuits } from './circuits.ts'
import { findCardKind, findRouting } from './queries.ts'
import { createRouting, type FindConnection } from './routing.ts'
import { createRuleSets } from './rule-sets.ts'
import { createSimulator } from './simulate.ts'
import { createSuccessRates } from './success-rates.ts'

export type RoutingParts = ReturnType<typeof createRoutingParts>

export function createRoutingParts(deps: {
  database: Database
  vault: InternalClient
  connectors: ReadonlyMap<string, Connector>
  clock: Clock
  findConnection: FindConnection
  circuit_retry_after_ms: number
  bins: BinTable
}) {
  const { database, vault } = deps
  const circuits = createCircuits({ retry_after_ms: deps.circuit_retry_after_ms, clock: deps.clock })
  const rates = createSuccessRates(deps.clock)
  const routing = createRouting({
    ...deps,
    findRouting: (merchantId) => findRouting(database, merchantId),
    // The projection of the vault's events may be a moment behind.
    findCardKind: async (merchantId, cardId) =>
      (await findCardKind(database, merchantId, cardId)) ?? cardInVault(vault, merchantId, cardId),
    findUsage: async (merchantId, agreementId) =>
      (await findAgreement(database, merchantId, agreementId))?.usage,
    circuits,
    rates,
  })
  const ruleSets = createRuleSets(deps)
  const simulator = createSimulator({ ...deps, ruleSets, routing })
  return { routing, ruleSets, simulator, circuits, rates, health: { database, circuits, rates } }
}

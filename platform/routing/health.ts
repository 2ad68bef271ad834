/** How this process finds the merchant's connections to be. Each process sends for itself, and knows what it has seen. */

import { brandNames } from '@coffer/core/card-brands.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Circuits } from './circuits.ts'
import { findConnections } from './queries.ts'
import type { RoutingHealth } from './schemas.ts'
import type { SuccessRates } from './success-rates.ts'

export type HealthDeps = { database: Database; circuits: Circuits; rates: SuccessRates }

export async function routingHealthOf(deps: HealthDeps, merchantId: string): Promise<RoutingHealth> {
  const connections = await findConnections(deps.database, merchantId, null)
  return {
    object: 'routing_health',
    data: connections.map(({ connection_id, psp, status }) => ({
      connection: connection_id,
      psp,
      status,
      circuit: deps.circuits.nameOf(connection_id),
      success_rates: brandNames.flatMap((brand) =>
        deps.rates.isKnown(connection_id, brand)
          ? [{ brand, success_rate: Number(deps.rates.of(connection_id, brand).toFixed(4)) }]
          : [],
      ),
    })),
  }
}

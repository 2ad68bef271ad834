/** Which account a payment goes through. */
import type { Connector } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { NextRoute } from './next-attempt.ts'
import type { RouteConnection } from './queries.ts'

export type Route = NextRoute & { connector: Connector }

/** A new or changed connection is used at most this much later. */
const keptMs = 1_000
const keptMax = 10_000

type Kept = { at_ms: number; connection: Promise<RouteConnection | undefined> }

export function createRouting(deps: {
  findConnection(merchantId: string, connectionId: string | null): Promise<RouteConnection | undefined>
  connectors: ReadonlyMap<string, Connector>
}) {
  const kept = new Map<string, Kept>()

  function find(merchantId: string, connectionId: string | null): Promise<RouteConnection | undefined> {
    const name = `${merchantId}|${connectionId ?? ''}`
    const now = performance.now()
    const known = kept.get(name)
    if (known !== undefined && now - known.at_ms < keptMs) return known.connection
    const connection = deps.findConnection(merchantId, connectionId)
    // Neither a failure nor an absence is kept: the next payment asks again.
    connection.then(
      (found) => found === undefined && kept.delete(name),
      () => kept.delete(name),
    )
    if (kept.size >= keptMax) kept.clear()
    kept.set(name, { at_ms: now, connection })
    return connection
  }

  return {
    /** @throws Failure connection_not_found, connection_disabled */
    async route(merchantId: string, connectionId: string | null): Promise<Route> {
      const connection = await find(merchantId, connectionId)
      const connector = connection === undefined ? undefined : deps.connectors.get(connection.psp)
      if (connection === undefined || connector === undefined)
        throw new Failure('connection_not_found', { param: 'connection' })
      if (connection.status !== 'active') throw new Failure('connection_disabled', { param: 'connection' })
      return {
        connector,
        psp: connector.psp,
        reason: connectionId === null ? 'routed' : 'named',
        connection: { connection_id: connection.connection_id, settings: connection.settings },
      }
    },
  }
}

import type { Database } from '@coffer/core/postgres.ts'

export type RouteConnection = {
  connection_id: string
  psp: string
  status: 'active' | 'disabled'
  settings: Record<string, string>
}

/** The account a payment goes through: the one that is named, else the merchant's oldest active one. */
export async function findConnection(
  database: Database,
  merchantId: string,
  connectionId: string | null,
): Promise<RouteConnection | undefined> {
  const rows = await database.read<RouteConnection>([merchantId], {
    name: 'find_route_connection',
    text: `select connection_id, psp, status, settings from connections
           where merchant_id = $1 and (connection_id = $2 or ($2::text is null and status = 'active'))
           order by merchant_id, connection_id limit 1`,
    values: [merchantId, connectionId],
  })
  return rows[0]
}

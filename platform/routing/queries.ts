import type { Database } from '@coffer/core/postgres.ts'
import type { RouteConnection } from '../payments/connection-queries.ts'
import type { RuleSet } from './rules.ts'

/** What a payment of the merchant is routed by. */
export type MerchantRouting = {
  /** Null without rules. */
  version: number | null
  rules: RuleSet | null
  /** Those that the rules name. */
  connections: RouteConnection[]
  /** The oldest active one. */
  oldest: RouteConnection | null
}

const connectionJson = `json_build_object('connection_id', connection_id, 'psp', psp, 'status', status,
  'settings', settings)`

export async function findRouting(database: Database, merchantId: string): Promise<MerchantRouting> {
  const rows = await database.read<MerchantRouting>([merchantId], {
    name: 'find_routing',
    text: `select active.version, active.rules, named.connections, oldest.connection as oldest
           from (select $1::text as merchant_id) asked
           left join lateral (
             select active_version from routing where merchant_id = asked.merchant_id limit 1) routing on true
           left join lateral (
             select version, rules, connection_ids from routing_versions
             where merchant_id = asked.merchant_id and version = routing.active_version limit 1) active on true
           cross join lateral (
             select coalesce(json_agg(found.connection), '[]') as connections
             from unnest(active.connection_ids) as wanted (id)
             cross join lateral (
               select ${connectionJson} as connection from connections
               where merchant_id = asked.merchant_id and connection_id = wanted.id limit 1) found) named
           left join lateral (
             select ${connectionJson} as connection from connections
             where merchant_id = asked.merchant_id and status = 'active'
             order by merchant_id, connection_id limit 1) oldest on true`,
    values: [merchantId],
  })
  return rows[0]!
}

/** Those of the merchant's connections that are named; without names, the oldest. */
export function findConnections(
  database: Database,
  merchantId: string,
  connectionIds: string[] | null,
): Promise<RouteConnection[]> {
  return connectionIds === null
    ? database.read([merchantId], {
        name: 'list_route_connections',
        text: `select connection_id, psp, status, settings from connections
               where merchant_id = $1 order by merchant_id, connection_id limit 100`,
        values: [merchantId],
      })
    : database.read([merchantId], {
        name: 'find_route_connections',
        text: `select found.* from unnest($2::text[]) as wanted (id)
               cross join lateral (
                 select connection_id, psp, status, settings from connections
                 where merchant_id = $1 and connection_id = wanted.id limit 1) found`,
        values: [merchantId, connectionIds],
      })
}

export type CardKind = { brand: string; bin: string }

export async function findCardKind(
  database: Database,
  merchantId: string,
  cardId: string,
): Promise<CardKind | undefined> {
  const rows = await database.read<CardKind>([merchantId], {
    name: 'find_card_kind',
    text: 'select brand, bin from card_facts where merchant_id = $1 and card_id = $2',
    values: [merchantId, cardId],
  })
  return rows[0]
}

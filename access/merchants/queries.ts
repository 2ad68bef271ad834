import type { Caller } from '@coffer/core/caller.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database } from '@coffer/core/postgres.ts'

export type MerchantRow = { merchant_id: string; name: string; created_at: Date; updated_at: Date }

export type MerchantInserted =
  | { verdict: 'inserted' }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' }

type InsertedRow = {
  is_added: boolean
  same_body: boolean | null
  response_status: number | null
  response_body: string | null
}

/** Idempotency record, merchant and audit record, together. The audit record is the new merchant's. */
const insertMerchantText = `
  with known as materialized (
    select body_hash = $10 as same_body, response_status, response_body from idempotency_records
    where merchant_id = $1 and operation = 'merchants.create' and idempotency_key = $9 limit 1
  ), claimed as materialized (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hash, object_id, response_status,
      response_body, expires_at)
    select $1, 'merchants.create', $9, $10, $2, 201, $11, now() + interval '24 hours'
    where $9::text is not null and not exists (select from known)
    on conflict do nothing
    returning object_id
  ), added as (
    insert into merchants (merchant_id, name, created_at, updated_at)
    select $2, $3, $4, $4 where $9::text is null or exists (select from claimed)
    returning merchant_id
  ), audited as (
    insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address,
      result)
    select merchant_id, $5, $6, $12, 'merchant.create', merchant_id, $7, $8, 'done' from added)
  select exists (select from added) as is_added, known.same_body, known.response_status, known.response_body
  from (select) as once left join known on true`

export async function insertMerchant(
  database: Database,
  merchant: {
    caller: Caller
    merchant_id: string
    name: string
    created_at: Date
    audit_id: string
    idempotency_key: string | null
    body_hash: Buffer
    response_body: string
  },
): Promise<MerchantInserted> {
  const { caller } = merchant
  const rows = await database.commit<InsertedRow>([caller.merchant_id, merchant.merchant_id], {
    name: 'insert_merchant',
    text: insertMerchantText,
    values: [
      caller.merchant_id,
      merchant.merchant_id,
      merchant.name,
      merchant.created_at,
      merchant.audit_id,
      caller.actor,
      caller.request_id,
      caller.source_address,
      merchant.idempotency_key,
      merchant.body_hash,
      merchant.response_body,
      caller.key_id,
    ],
  })
  const row = rows[0]!
  if (row.is_added) return { verdict: 'inserted' }
  // A request that committed beside this one took the key: asking again finds its record.
  if (row.response_status === null) return insertMerchant(database, merchant)
  if (!row.same_body) return { verdict: 'body_differs' }
  return { verdict: 'repeated', answer: { status: row.response_status, body: row.response_body! } }
}

/** Undefined where there is no such merchant. */
export async function renameMerchant(
  database: Database,
  caller: Caller,
  merchant: { merchant_id: string; name: string; audit_id: string },
): Promise<MerchantRow | undefined> {
  const rows = await database.commit<MerchantRow>([merchant.merchant_id], {
    name: 'rename_merchant',
    text: `with changed as (
        update merchants set name = $2, updated_at = now() where merchant_id = $1 returning *
      ), audited as (
        insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id,
          source_address, result)
        select merchant_id, $3, $4, $5, 'merchant.update', merchant_id, $6, $7, 'done' from changed)
      select * from changed`,
    values: [
      merchant.merchant_id,
      merchant.name,
      merchant.audit_id,
      caller.actor,
      caller.key_id,
      caller.request_id,
      caller.source_address,
    ],
  })
  return rows[0]
}

export async function findMerchant(database: Database, merchantId: string): Promise<MerchantRow | undefined> {
  const rows = await database.read<MerchantRow>([merchantId], {
    name: 'find_merchant',
    text: 'select * from merchants where merchant_id = $1',
    values: [merchantId],
  })
  return rows[0]
}

/** All of the deployment, newest first: with the relay login, which sees every merchant's name and no data. */
export function listMerchants(
  relayDatabase: Database,
  page: { cursor: string | null; limit: number },
): Promise<MerchantRow[]> {
  return relayDatabase.read<MerchantRow>([], {
    name: 'list_merchants',
    text: `select * from merchants where $1::text is null or merchant_id < $1
           order by merchant_id desc limit $2`,
    values: [page.cursor, page.limit],
  })
}

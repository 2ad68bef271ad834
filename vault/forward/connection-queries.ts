import type { Caller } from '@coffer/core/caller.ts'
import type { Database } from '@coffer/core/postgres.ts'

export type ConnectionRow = {
  merchant_id: string
  connection_id: string
  psp: string
  name: string
  status: 'active' | 'disabled'
  base_url: string
  data_key_id: string
  secret_encrypted: Buffer
  settings: Record<string, string>
  has_webhook_secret: boolean
  created_at: Date
  updated_at: Date
}

type Recorded = Caller & {
  connection_id: string
  audit_id: string
  event_id: string
  webhook_secret: { data_key_id: string; secret_encrypted: Buffer } | null
}

const hasWebhookSecret = (table: string) => `exists (
    select from webhook_secrets
    where merchant_id = ${table}.merchant_id and connection_id = ${table}.connection_id)`

/** What is told of a connection outside the vault: never the secret, never the host. */
const eventData = `json_build_object('id', connection_id, 'object', 'connection', 'psp', psp, 'name', name,
  'status', status, 'settings', settings)`

/** Is told `$9` and `$10`: the key and the sealed bytes, null where the secret stays as it is. */
const auditAndEvent = (action: string) => `
  webhook_secret as (
    insert into webhook_secrets (merchant_id, connection_id, data_key_id, secret_encrypted, updated_at)
    select merchant_id, connection_id, $9, $10::bytea, updated_at from changed where $10::bytea is not null
    on conflict (merchant_id, connection_id) do update set data_key_id = excluded.data_key_id,
      secret_encrypted = excluded.secret_encrypted, updated_at = excluded.updated_at
    returning connection_id),
  audited as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
      source_address, result)
    select $3, merchant_id, $4, $5, 'connection.${action}', connection_id, $6, $7, 'done' from changed),
  told as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select $8, merchant_id, 'connection.${action}d', connection_id, ${eventData}, updated_at from changed)
  select changed.*, exists (select from webhook_secret) or ${hasWebhookSecret('changed')} as has_webhook_secret
  from changed`

const recordedValues = (row: Recorded) => [
  row.merchant_id,
  row.connection_id,
  row.audit_id,
  row.actor,
  row.key_id,
  row.request_id,
  row.source_address,
  row.event_id,
  row.webhook_secret?.data_key_id ?? null,
  row.webhook_secret?.secret_encrypted ?? null,
]

/** Undefined where the merchant has a connection of that name. */
export async function insertConnection(
  database: Database,
  row: Recorded & {
    psp: string
    name: string
    base_url: string
    data_key_id: string
    secret_encrypted: Buffer
    settings: string
  },
): Promise<ConnectionRow | undefined> {
  const rows = await database.commit<ConnectionRow>([row.merchant_id], {
    name: 'insert_connection',
    text: `with changed as (
        insert into connections (merchant_id, connection_id, psp, name, status, base_url, data_key_id,
          secret_encrypted, settings, created_at, updated_at)
        values ($1, $2, $11, $12, 'active', $13, $14, $15, $16, now(), now())
        on conflict (merchant_id, name) do nothing returning *), ${auditAndEvent('create')}`,
    values: [
      ...recordedValues(row),
      row.psp,
      row.name,
      row.base_url,
      row.data_key_id,
      row.secret_encrypted,
      row.settings,
    ],
  })
  return rows[0]
}

/** Null leaves a column as it is. Undefined where there is no such connection. */
export async function updateConnection(
  database: Database,
  row: Recorded & {
    base_url: string | null
    data_key_id: string | null
    secret_encrypted: Buffer | null
    settings: string | null
    status: string | null
  },
): Promise<ConnectionRow | undefined> {
  const rows = await database.commit<ConnectionRow>([row.merchant_id], {
    name: 'update_connection',
    text: `with changed as (
        update connections set base_url = coalesce($11, base_url), data_key_id = coalesce($12, data_key_id),
          secret_encrypted = coalesce($13, secret_encrypted), settings = coalesce($14::json, settings),
          status = coalesce($15, status), updated_at = now()
        where merchant_id = $1 and connection_id = $2 returning *), ${auditAndEvent('update')}`,
    values: [
      ...recordedValues(row),
      row.base_url,
      row.data_key_id,
      row.secret_encrypted,
      row.settings,
      row.status,
    ],
  })
  return rows[0]
}

export async function findConnection(
  database: Database,
  merchantId: string,
  connectionId: string,
): Promise<ConnectionRow | undefined> {
  const rows = await database.read<ConnectionRow>([merchantId], {
    name: 'find_connection',
    text: `select *, ${hasWebhookSecret('connections')} as has_webhook_secret
           from connections where merchant_id = $1 and connection_id = $2`,
    values: [merchantId, connectionId],
  })
  return rows[0]
}

export type WebhookSecretRow = {
  merchant_id: string
  connection_id: string
  data_key_id: string
  secret_encrypted: Buffer
}

export async function findWebhookSecret(
  database: Database,
  merchantId: string,
  connectionId: string,
): Promise<WebhookSecretRow | undefined> {
  const rows = await database.read<WebhookSecretRow>([merchantId], {
    name: 'find_webhook_secret',
    text: `select merchant_id, connection_id, data_key_id, secret_encrypted from webhook_secrets
           where merchant_id = $1 and connection_id = $2`,
    values: [merchantId, connectionId],
  })
  return rows[0]
}

/** Oldest first, those behind `after`. */
export function listConnections(
  database: Database,
  merchantId: string,
  page: { after: string; limit: number },
): Promise<ConnectionRow[]> {
  return database.read<ConnectionRow>([merchantId], {
    name: 'list_connections',
    text: `select *, ${hasWebhookSecret('connections')} as has_webhook_secret
           from connections where merchant_id = $1 and connection_id > $2
           order by merchant_id, connection_id limit $3`,
    values: [merchantId, page.after, page.limit],
  })
}

/** The one that payments without a named connection go through. */
export async function findOldestActive(
  database: Database,
  merchantId: string,
): Promise<ConnectionRow | undefined> {
  const rows = await database.read<ConnectionRow>([merchantId], {
    name: 'find_oldest_active_connection',
    text: `select *, ${hasWebhookSecret('connections')} as has_webhook_secret
           from connections where merchant_id = $1 and status = 'active'
           order by merchant_id, connection_id limit 1`,
    values: [merchantId],
  })
  return rows[0]
}

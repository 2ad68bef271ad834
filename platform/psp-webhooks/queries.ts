import type { WebhookNotice } from '@coffer/core/connector.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { columnsOf } from '@coffer/core/rows.ts'
import type { AttemptState } from '../payments/machine.ts'

export type WebhookConnection = { merchant_id: string; connection_id: string; psp: string }

/** By its id alone: whoever sends a notice names no merchant. */
export async function findWebhookConnection(
  relayDatabase: Database,
  connectionId: string,
): Promise<WebhookConnection | undefined> {
  const rows = await relayDatabase.read<WebhookConnection>([], {
    name: 'find_webhook_connection',
    text: 'select merchant_id, connection_id, psp from connections where connection_id = $1 limit 1',
    values: [connectionId],
  })
  return rows[0]
}

export const abouts = ['attempt', 'operation', 'dispute', 'other', 'unreadable'] as const
export type About = (typeof abouts)[number]

export const webhookResults = [
  'settled',
  'known',
  'late',
  'reversed',
  'contradicts',
  'unmatched',
  'kept',
] as const
export type WebhookResult = (typeof webhookResults)[number]

export type NewWebhook = {
  merchant_id: string
  webhook_id: string
  connection_id: string
  event_id: string
  type: string
  about: About
  occurred_at: string | null
  /** JSON text of what was read; null where nothing was. */
  notice: string | null
  body: string
}

/** How many are new: those that came before stay as they are. */
export async function insertWebhooks(database: Database, webhooks: NewWebhook[]): Promise<number> {
  const rows = await database.commit([webhooks[0]!.merchant_id], {
    name: 'insert_psp_webhooks',
    text: `insert into psp_webhooks (merchant_id, webhook_id, connection_id, event_id, type, about, occurred_at,
             notice, body)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
             $7::timestamptz[], $8::json[], $9::text[])
           on conflict (connection_id, event_id, merchant_id) do nothing returning webhook_id`,
    values: columnsOf(webhooks, [
      ...(['merchant_id', 'webhook_id', 'connection_id', 'event_id', 'type', 'about'] as const),
      ...(['occurred_at', 'notice', 'body'] as const),
    ]),
  })
  return rows.length
}

export type DueWebhook = { merchant_id: string; webhook_id: string; tries: number }

/** Takes what is due, oldest first, for ten seconds: whoever dies with it leaves it due again. */
export function claimDueWebhooks(relayDatabase: Database, limit: number): Promise<DueWebhook[]> {
  return relayDatabase.commit<DueWebhook>([], {
    name: 'claim_due_psp_webhooks',
    text: `with due as materialized (
             select merchant_id, webhook_id from psp_webhooks where due_at <= now()
             order by due_at limit $1 for update skip locked)
           update psp_webhooks set due_at = now() + interval '10 seconds', tries = tries + 1
           from due
           where psp_webhooks.merchant_id = due.merchant_id and psp_webhooks.webhook_id = due.webhook_id
           returning psp_webhooks.merchant_id, psp_webhooks.webhook_id, psp_webhooks.tries`,
    values: [limit],
  })
}

export async function tryWebhookAgain(
  relayDatabase: Database,
  due: DueWebhook,
  after: { pause_ms: number; is_parked: boolean },
): Promise<void> {
  await relayDatabase.commit([], {
    name: 'try_psp_webhook_again',
    text: `update psp_webhooks set due_at = now() + $3 * interval '1 ms',
             parked_at = case when $4 then coalesce(parked_at, now()) else parked_at end
           where merchant_id = $1 and webhook_id = $2 and due_at is not null`,
    values: [due.merchant_id, due.webhook_id, after.pause_ms, after.is_parked],
  })
}

export async function webhooksSummary(
  relayDatabase: Database,
): Promise<{ oldest_seconds: number; parked: number }> {
  const rows = await relayDatabase.read<{ oldest_seconds: number | null; parked: number }>([], {
    name: 'summary_of_psp_webhooks',
    text: `select extract(epoch from now() - min(received_at))::float8 as oldest_seconds,
             count(parked_at)::int as parked
           from psp_webhooks where due_at is not null`,
    values: [],
  })
  return { oldest_seconds: rows[0]?.oldest_seconds ?? 0, parked: rows[0]?.parked ?? 0 }
}

/** Removes the texts of old notices, a few at a time. @returns how many. */
export async function removeOldBodies(relayDatabase: Database, keptDays: number): Promise<number> {
  const removed = await relayDatabase.commit([], {
    name: 'remove_psp_webhook_bodies',
    text: `with old as materialized (
             select merchant_id, webhook_id from psp_webhooks
             where has_body and received_at < now() - $1 * interval '1 day'
             order by received_at limit 500 for update skip locked)
           update psp_webhooks set body = null, has_body = false from old
           where psp_webhooks.merchant_id = old.merchant_id and psp_webhooks.webhook_id = old.webhook_id
           returning 1`,
    values: [keptDays],
  })
  return removed.length
}

export type StoredWebhook = {
  merchant_id: string
  webhook_id: string
  connection_id: string
  notice: WebhookNotice | null
}

/** Undefined where it was carried out already. */
export async function findDueWebhook(
  database: Database,
  due: DueWebhook,
): Promise<StoredWebhook | undefined> {
  const rows = await database.read<StoredWebhook>([due.merchant_id], {
    name: 'find_due_psp_webhook',
    text: `select merchant_id, webhook_id, connection_id, notice from psp_webhooks
           where merchant_id = $1 and webhook_id = $2 and due_at is not null`,
    values: [due.merchant_id, due.webhook_id],
  })
  return rows[0]
}

export async function finishWebhook(
  database: Database,
  { merchant_id, webhook_id }: { merchant_id: string; webhook_id: string },
  done: { result: WebhookResult; payment_id: string | null },
): Promise<void> {
  await database.commit([merchant_id], {
    name: 'finish_psp_webhook',
    text: `update psp_webhooks set result = $3, payment_id = $4, due_at = null, parked_at = null
           where merchant_id = $1 and webhook_id = $2 and due_at is not null`,
    values: [merchant_id, webhook_id, done.result, done.payment_id],
  })
}

export type ToldAttempt = {
  payment_id: string
  attempt_id: string
  state: AttemptState
  network_transaction_id: string | null
}

/** Of this connection alone: what another account tells of our attempt is not believed. */
export async function findToldAttempt(
  database: Database,
  webhook: StoredWebhook,
  attemptId: string,
): Promise<ToldAttempt | undefined> {
  const rows = await database.read<ToldAttempt>([webhook.merchant_id], {
    name: 'find_told_attempt',
    text: `select payment_id, attempt_id, state, network_transaction_id from attempts
           where attempt_id = $2 and merchant_id = $1 and connection_id = $3 limit 1`,
    values: [webhook.merchant_id, attemptId, webhook.connection_id],
  })
  return rows[0]
}

/** By our id where the PSP hands it back, else by its own; undefined where that names none, or more than one. */
export async function findToldOperation(
  database: Database,
  webhook: StoredWebhook,
  named: { operation_id: string | null; psp_reference: string | null },
): Promise<{ payment_id: string; operation_id: string } | undefined> {
  const isOurs = named.operation_id !== null
  const rows = await database.read<{ payment_id: string; operation_id: string }>([webhook.merchant_id], {
    name: isOurs ? 'find_told_operation' : 'find_operation_by_reference',
    text: `select payment_id, operation_id from operations
           where ${isOurs ? 'operation_id' : 'psp_reference'} = $2 and merchant_id = $1 limit 2`,
    values: [webhook.merchant_id, named.operation_id ?? named.psp_reference],
  })
  return rows.length === 1 ? rows[0] : undefined
}

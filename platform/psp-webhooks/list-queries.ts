import type { Database } from '@coffer/core/postgres.ts'
import { disputeJson, disputeOf } from '../payments/read-queries.ts'
import type { Dispute } from '../payments/schemas.ts'
import type { About, WebhookResult } from './queries.ts'
import type { PspWebhook, WebhookStatus } from './schemas.ts'

type Page<Item> = { data: Item[]; next_cursor: string | null }

/** For one page at most so many rows are looked at; a page of a rare status may be short and not the last. */
const scannedMax = 5_000

type Scanned = { scanned: number; last_id: string | null }

/** What a page's rows say of where the next begins. */
function pageOf<Item extends { id: string }>(
  data: Item[],
  { scanned, last_id }: Scanned,
  limit: number,
): Page<Item> {
  const next_cursor = data.length === limit ? data.at(-1)!.id : scanned === scannedMax ? last_id : null
  return { data, next_cursor }
}

type WebhookRow = Scanned & {
  webhook_id: string | null
  connection_id: string
  event_id: string
  type: string
  about: About
  status: WebhookStatus
  result: WebhookResult | null
  payment_id: string | null
  tries: number
  occurred_at: Date | null
  received_at: Date
}

/** Newest first, those in front of `before`. */
export async function listWebhooks(
  database: Database,
  merchantId: string,
  filter: { connection: string | null; status: string | null; before: string; limit: number },
): Promise<Page<PspWebhook>> {
  const rows = await database.read<WebhookRow>([merchantId], {
    name: 'list_psp_webhooks',
    text: `with scanned as materialized (
             select webhook_id, connection_id, event_id, type, about, result, payment_id, tries, occurred_at,
               received_at, case when result is not null then 'carried_out'
                 when parked_at is not null then 'parked' else 'received' end as status
             from psp_webhooks where merchant_id = $1 and webhook_id < $2
             order by merchant_id desc, webhook_id desc limit ${scannedMax}
           ), wanted as materialized (
             select * from scanned
             where ($3::text is null or connection_id = $3) and ($4::text is null or status = $4)
             order by webhook_id desc limit $5
           ), place as materialized (
             select count(*)::int as scanned, min(webhook_id) as last_id from scanned
           )
           select place.scanned, place.last_id, wanted.* from place left join wanted on true
           order by webhook_id desc`,
    values: [merchantId, filter.before, filter.connection, filter.status, filter.limit],
  })
  const data = rows.flatMap((row) => (row.webhook_id === null ? [] : [webhookOf(row, row.webhook_id)]))
  return pageOf(data, rows[0]!, filter.limit)
}

function webhookOf(row: WebhookRow, id: string): PspWebhook {
  return {
    id,
    object: 'psp_webhook',
    connection: row.connection_id,
    event_id: row.event_id,
    type: row.type,
    about: row.about,
    status: row.status,
    result: row.result,
    payment: row.payment_id,
    tries: row.tries,
    occurred_at: row.occurred_at?.toISOString() ?? null,
    received_at: row.received_at.toISOString(),
  }
}

/** Two ways to begin: a payment's own, or all of the merchant's. */
const leads = {
  payment:
    'payment_id = $6 and merchant_id = $1 and dispute_id < $2 order by payment_id desc, merchant_id desc',
  merchant: 'merchant_id = $1 and dispute_id < $2 and $6::text is null order by merchant_id desc',
}

/** Newest first, those in front of `before`. */
export async function listDisputes(
  database: Database,
  merchantId: string,
  filter: { payment: string | null; status: string | null; before: string; limit: number },
): Promise<Page<Dispute>> {
  const lead = filter.payment === null ? 'merchant' : 'payment'
  const rows = await database.read<Scanned & { dispute: Dispute | null }>([merchantId], {
    name: `list_disputes_by_${lead}`,
    text: `with scanned as materialized (
             select * from disputes where ${leads[lead]}, dispute_id desc limit $5
           ), wanted as materialized (
             select dispute_id, ${disputeJson} as dispute from scanned disputes
             where $3::text is null or status = $3
             order by dispute_id desc limit $4
           ), place as materialized (
             select count(*)::int as scanned, min(dispute_id) as last_id from scanned
           )
           select place.scanned, place.last_id, wanted.dispute from place left join wanted on true
           order by dispute_id desc`,
    values: [merchantId, filter.before, filter.status, filter.limit, scannedMax, filter.payment],
  })
  const data = rows.flatMap(({ dispute }) => (dispute === null ? [] : [disputeOf(dispute)]))
  return pageOf(data, rows[0]!, filter.limit)
}

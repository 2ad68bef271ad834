/** Agreements as they are read, taken from elsewhere, and ended by their merchant. */
import type { Caller } from '@coffer/core/caller.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { AgreementStatus } from './consent.ts'
import type { Agreement } from './schemas.ts'
import { agreementJson } from './settle-queries.ts'

export async function findAgreement(
  database: Database,
  merchantId: string,
  agreementId: string,
): Promise<Agreement | undefined> {
  const rows = await database.read<{ agreement: Agreement }>([merchantId], {
    name: 'find_agreement',
    text: `select ${agreementJson} as agreement from agreements where merchant_id = $1 and agreement_id = $2`,
    values: [merchantId, agreementId],
  })
  return rows[0]?.agreement
}

export type AgreementFilter = {
  card_id: string | null
  status: AgreementStatus | null
  /** Ids before this one. */
  before_id: string
  limit: number
}

/** Rows looked at for one page: of a rare status it may hold fewer than asked for. */
const scannedMax = 5_000

/** Compared as whole rows, the conditions fit the one index that begins like them, as in the lists of payments. */
const leads = {
  merchant: `merchant_id = $1 and agreement_id < $2 order by agreement_id desc`,
  card: `(card_id, merchant_id, agreement_id) < ($5, $1, $2) and (card_id, merchant_id, agreement_id) > ($5, $1, '')
    order by card_id desc, merchant_id desc, agreement_id desc`,
}

/** Newest first. */
export async function listAgreements(
  database: Database,
  merchantId: string,
  { card_id, status, before_id, limit }: AgreementFilter,
): Promise<{ data: Agreement[]; next_cursor: string | null }> {
  const lead = card_id === null ? 'merchant' : 'card'
  const scannedAtMost = status === null ? limit : scannedMax
  type Row = { agreement: Agreement | null; scanned: number; last_id: string | null }
  const rows = await database.read<Row>([merchantId], {
    name: `list_agreements_by_${lead}`,
    text: `with scanned as materialized (
             select * from agreements where ${leads[lead]} limit $6
           ), wanted as materialized (
             select * from scanned where ($3::text is null or status = $3) and ($5::text is null or card_id = $5)
             order by agreement_id desc limit $4
           ), place as materialized (
             select count(*)::int as scanned, min(agreement_id) as last_id from scanned
           )
           select place.scanned, place.last_id, case when wanted.agreement_id is not null then ${agreementJson} end
             as agreement
           from place left join wanted on true order by wanted.agreement_id desc`,
    values: [merchantId, before_id, status, limit, card_id, scannedAtMost],
  })
  const data = rows.flatMap(({ agreement }) => agreement ?? [])
  const { scanned = 0, last_id = null } = rows[0] ?? {}
  const next = data.length === limit ? data.at(-1)!.id : scanned === scannedAtMost ? last_id : null
  return { data, next_cursor: next }
}

/** A card's brand and status, as the events have told so far. */
export async function findCardFacts(
  database: Database,
  merchantId: string,
  cardId: string,
): Promise<{ brand: string; status: string } | undefined> {
  const rows = await database.read<{ brand: string; status: string }>([merchantId], {
    name: 'find_card_facts',
    text: 'select brand, status from card_facts where merchant_id = $1 and card_id = $2',
    values: [merchantId, cardId],
  })
  return rows[0]
}

export type AgreementInsert = Caller & {
  agreement: Agreement
  /** Null where the request has none. */
  idempotency_key: string | null
  body_hmac: Buffer
  answer: StoredAnswer
}

export type AgreementInserted =
  | { verdict: 'inserted' }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' }

type InsertedRow = { written: boolean; same_body: boolean | null; status: number | null; body: string | null }

const insertText = `
  with known as materialized (
    select body_hmac = $19 as same_body, response_status, response_body from idempotency_records
    where merchant_id = $1 and operation = 'agreements.create' and idempotency_key = $18 limit 1
  ), changed as materialized (
    insert into agreements (merchant_id, agreement_id, card_id, usage, status, customer, description, consented_at,
      network, network_transaction_id, transaction_link_id, created_at, updated_at)
    select $1, $2, $3, $4, 'active', $5, $6, $7::timestamptz, $8, $9, $10, $11::timestamptz, $11::timestamptz
    where not exists (select from known)
    returning agreement_id
  ), audited as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      result)
    select $12, $1, $13, $14, 'agreement.create', $2, $15, $16, 'done' from changed
  ), told as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select $17, $1, 'agreement.created', $2, $21::text::json, $11::timestamptz from changed
  ), kept as (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id, response_status,
      response_body, lease_until, expires_at)
    select $1, 'agreements.create', $18, $19, $2, $20, $21, now(), now() + interval '24 hours' from changed
    where $18 is not null
  )
  select exists (select from changed) as written, known.same_body, known.response_status as status,
    known.response_body as body
  from (values (1)) as one left join known on true`

/** Another request with the same key that is written at the same time makes this one fail: the key is in use. */
export async function insertAgreement(
  database: Database,
  entry: AgreementInsert,
): Promise<AgreementInserted> {
  const { agreement, answer } = entry
  const [row] = await database.commit<InsertedRow>([entry.merchant_id], {
    name: 'insert_agreement',
    text: insertText,
    values: [
      ...[entry.merchant_id, agreement.id, agreement.card, agreement.usage, agreement.customer],
      ...[agreement.description, agreement.consented_at, agreement.network, agreement.network_transaction_id],
      ...[agreement.transaction_link_id, agreement.created_at, newId('audit'), entry.actor, entry.key_id],
      ...[entry.request_id, entry.source_address, newId('event'), entry.idempotency_key, entry.body_hmac],
      ...[answer.status, answer.body],
    ],
  })
  if (row!.written) return { verdict: 'inserted' }
  if (!row!.same_body) return { verdict: 'body_differs' }
  return { verdict: 'repeated', answer: { status: row!.status!, body: row!.body! } }
}

export const isKeyTaken = (error: unknown) =>
  (error as { code?: unknown; constraint?: unknown } | null)?.code === '23505'

/** The agreement as it is now; undefined where there is none. What has ended stays as it ended. */
export async function endAgreement(
  database: Database,
  caller: Caller,
  agreementId: string,
  at: Date,
): Promise<Agreement | undefined> {
  const rows = await database.commit<{ agreement: Agreement }>([caller.merchant_id], {
    name: 'end_agreement',
    text: `with changed as materialized (
             update agreements set status = 'ended', ended_reason = 'ended_by_merchant', updated_at = $3
             where merchant_id = $1 and agreement_id = $2 and status <> 'ended' returning *
           ), audited as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, result)
             select $4, $1, $5, $6, 'agreement.end', $2, $7, $8, 'done' from changed
           ), told as (
             insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
             select $9, $1, 'agreement.ended', $2, ${agreementJson}, $3::timestamptz from changed
           )
           select ${agreementJson} as agreement from changed
           union all
           select ${agreementJson} from agreements
           where merchant_id = $1 and agreement_id = $2 and not exists (select from changed)`,
    values: [
      ...[caller.merchant_id, agreementId, at, newId('audit'), caller.actor, caller.key_id],
      ...[caller.request_id, caller.source_address, newId('event')],
    ],
  })
  return rows[0]?.agreement
}

/**
 * Lists of payments, newest first. An index leads to those of a merchant, a card or a reference, in the order of
 * their ids; what else is asked for is looked at row by row, so many rows at a time.
 */
import type { Database } from '@coffer/core/postgres.ts'
import type { PaymentStatus } from './machine.ts'
import { type PaymentRow, paymentColumns, paymentOf, paymentSides } from './read-queries.ts'
import type { Payment } from './schemas.ts'

export type PaymentFilter = {
  reference: string | null
  card_id: string | null
  status: PaymentStatus | null
  /** Ids from this one on. */
  from_id: string
  /** Ids before this one. */
  before_id: string
  limit: number
}

export type PaymentPage = { payments: Payment[]; next_cursor: string | null }

/** Rows looked at for one page: few where many match, and never so many that others have to wait. */
const scannedMax = 5_000

/**
 * Compared as whole rows, the conditions fit the one index that begins like them, and no other: a plan that is made
 * while the table is empty must not take the primary key instead.
 */
const leads = {
  merchant: `merchant_id = $1 and payment_id >= $2 and payment_id < $3 order by payment_id desc`,
  card: `(card_id, merchant_id, payment_id) >= ($7, $1, $2) and (card_id, merchant_id, payment_id) < ($7, $1, $3)
    order by card_id desc, merchant_id desc, payment_id desc`,
  reference: `reference is not null
      and (reference, merchant_id, payment_id) >= ($6, $1, $2) and (reference, merchant_id, payment_id) < ($6, $1, $3)
    order by reference desc, merchant_id desc, payment_id desc`,
}

type ListedRow = { scanned: number; last_id: string | null } & (PaymentRow | { payment_id: null })

/** A page may hold fewer than asked for, even none, and yet not be the last: `next_cursor` tells. */
export async function listPayments(
  database: Database,
  merchantId: string,
  filter: PaymentFilter,
): Promise<PaymentPage> {
  const { reference, card_id, status, limit } = filter
  const lead = reference !== null ? 'reference' : card_id !== null ? 'card' : 'merchant'
  const isLed = status === null && (lead !== 'reference' || card_id === null)
  const scannedAtMost = isLed ? limit : scannedMax
  const rows = await database.read<ListedRow>([merchantId], {
    name: `list_payments_by_${lead}`,
    text: `with scanned as materialized (
             select * from payments where ${leads[lead]} limit $8
           ), wanted as materialized (
             select * from scanned
             where ($4::text is null or status = $4) and ($6::text is null or reference = $6)
               and ($7::text is null or card_id = $7)
             order by payment_id desc limit $5
           ), place as materialized (
             select count(*)::int as scanned, min(payment_id) as last_id from scanned
           )
           select place.scanned, place.last_id, ${paymentColumns}
           from place left join wanted payments on true ${paymentSides} order by payments.payment_id desc`,
    values: [merchantId, filter.from_id, filter.before_id, status, limit, reference, card_id, scannedAtMost],
  })
  const payments = rows.flatMap((row) => (row.payment_id === null ? [] : [paymentOf(row as PaymentRow)]))
  const { scanned = 0, last_id = null } = rows[0] ?? {}
  const isFull = payments.length === limit
  const next_cursor = isFull ? payments.at(-1)!.id : scanned === scannedAtMost ? last_id : null
  return { payments, next_cursor }
}

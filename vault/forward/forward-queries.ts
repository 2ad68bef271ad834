import type { HttpResponse } from '@coffer/core/connector.ts'
import { newId } from '@coffer/core/ids.ts'
import type { ForwardCall, ForwardLook } from '@coffer/core/internal-api.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { columnsOf, inKeyOrder, merchantsOf } from '@coffer/core/rows.ts'
import type { BillingAddress } from '../cards/billing-address.ts'

type Delegation = Pick<ForwardCall, 'merchant_id' | 'card_id' | 'attempt_id' | 'connection_id' | 'step'>

export type ForwardInsert = Delegation &
  Pick<ForwardCall, 'card_version_id' | 'send_number' | 'moves_money' | 'answers'> & {
    needs_card: boolean
    stands_for: string | null
    forward_id: string
    role: string
    request_id: string
  }

export type ForwardCard = {
  card_version_id: string
  data_key_id: string
  number_encrypted: Buffer
  exp_month: number
  exp_year: number
  cardholder_name: string | null
  billing_address: BillingAddress | null
}

export type ForwardState = 'recorded' | 'not_sent' | 'unanswered' | 'answered' | 'closed'

/**
 * refused: the delegation does not agree. card_ended: before this attempt, which needs its data, began, the card was
 * deleted or no longer active. card_changed: it has another number than the one that is charged in its place.
 * recorded_before: this send number was used; it is not sent again.
 */
export type ForwardInserted = {
  verdict: 'recorded' | 'recorded_before' | 'refused' | 'card_ended' | 'card_changed'
  earlier_state: ForwardState | undefined
  card: ForwardCard | undefined
}

type InsertedRow = { [Name in keyof ForwardCard]: ForwardCard[Name] | null } & {
  recorded: boolean
  refused: boolean
  card_ended: boolean
  card_changed: boolean
  earlier_state: ForwardState | null
}

/**
 * Records a batch of sends and gives each its card, in one transaction. A send is refused where the card or
 * version it needs is not the merchant's, or the attempt has used another card or connection before. The data of a
 * card that is deleted or not active go to no new attempt; one that had begun goes on, because its outcome must be found
 * out. What a PSP holds in place of a number is charged under the same conditions, and while the card has that number.
 * What needs no card data goes on, too: a payment is looked up and refunded whatever has become of its card.
 */
const insertForwardsText = `
  with input as materialized (
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::smallint[],
      $8::boolean[], $9::boolean[], $10::text[], $11::text[], $12::text[], $13::json[], $14::text[])
    with ordinality as input (merchant_id, card_id, attempt_id, connection_id, step, wanted_version_id, send_number,
      moves_money, needs_card, forward_id, role, request_id, answers, stands_for, place)
  ), found as materialized (
    select input.place, card.has_ended, card.fingerprint, version.* from input
    cross join lateral (
      select merchant_id, card_id, card_version_id, fingerprint, deleted_at is not null or status <> 'active' as has_ended
      from cards where merchant_id = input.merchant_id and card_id = input.card_id limit 1) card
    cross join lateral (
      select card_version_id, data_key_id, number_encrypted, exp_month, exp_year, cardholder_name, billing_address
      from card_versions
      where merchant_id = card.merchant_id and card_id = card.card_id
        and card_version_id = coalesce(input.wanted_version_id, card.card_version_id) limit 1) version
  ), earlier as materialized (
    select input.place, other.state from input cross join lateral (
      select state from forwards
      where merchant_id = input.merchant_id and attempt_id = input.attempt_id and step = input.step
        and send_number = input.send_number limit 1) other
  ), refused as materialized (
    select place from input
    where ((needs_card or stands_for is not null) and not exists (select from found where found.place = input.place))
      or exists (
        select from forwards
        where merchant_id = input.merchant_id and attempt_id = input.attempt_id
          and (connection_id <> input.connection_id or card_id <> input.card_id))
  ), ended as materialized (
    select input.place, found.has_ended from input join found using (place)
    where (found.has_ended and (needs_card or stands_for is not null) or stands_for <> found.fingerprint) and not exists (
      select from forwards
      where merchant_id = input.merchant_id and attempt_id = input.attempt_id and state <> 'closed')
  ), added as (
    insert into forwards (merchant_id, attempt_id, step, send_number, forward_id, state, connection_id, card_id,
      card_version_id, role, request_id, moves_money, answers)
    select merchant_id, attempt_id, step, send_number, forward_id, 'recorded', connection_id, card_id,
      found.card_version_id, role, request_id, moves_money, answers
    from input left join found using (place)
    where place not in (select place from refused) and place not in (select place from ended)
    order by merchant_id, attempt_id, step, send_number
    on conflict do nothing
    returning forward_id, merchant_id, attempt_id, step, send_number, connection_id, card_id, card_version_id, role,
      request_id
  ), audited as (
    -- Before anything is sent. Its id is the forward's, with another beginning.
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      reason, result)
    select 'aud_' || substr(forward_id, 5), added.merchant_id, added.role, '',
      case when input.needs_card then 'card.forward' else 'forward.send' end, added.card_id, added.request_id, '',
      concat_ws(' ', added.attempt_id, added.step, added.send_number, added.connection_id, added.card_version_id),
      'recorded'
    from added join input using (forward_id) order by added.merchant_id, forward_id
  )
  select added.forward_id is not null as recorded, refused.place is not null as refused,
    coalesce(ended.has_ended, false) as card_ended, not coalesce(ended.has_ended, true) as card_changed,
    earlier.state as earlier_state, found.card_version_id, found.data_key_id, found.exp_month, found.exp_year,
    found.cardholder_name, found.billing_address,
    case when input.needs_card then found.number_encrypted end as number_encrypted
  from input left join added using (forward_id) left join refused using (place) left join earlier using (place)
    left join found using (place) left join ended using (place)
  order by place`

export async function insertForwards(
  database: Database,
  entries: ForwardInsert[],
): Promise<ForwardInserted[]> {
  const rows = await database.commit<InsertedRow>(merchantsOf(entries), {
    name: 'insert_forwards',
    text: insertForwardsText,
    values: [
      ...columnsOf(entries, [
        'merchant_id',
        'card_id',
        'attempt_id',
        'connection_id',
        'step',
        'card_version_id',
      ]),
      ...columnsOf(entries, ['send_number', 'moves_money', 'needs_card', 'forward_id', 'role', 'request_id']),
      entries.map((entry) => JSON.stringify(entry.answers)),
      entries.map((entry) => entry.stands_for),
    ],
  })
  return rows.map((row) => ({
    verdict: verdictOf(row),
    earlier_state: row.earlier_state ?? undefined,
    card: row.number_encrypted === null ? undefined : (row as ForwardCard),
  }))
}

function verdictOf(row: InsertedRow): ForwardInserted['verdict'] {
  if (row.recorded) return 'recorded'
  if (row.refused) return 'refused'
  if (row.card_ended) return 'card_ended'
  return row.card_changed ? 'card_changed' : 'recorded_before'
}

export type ForwardEnd = {
  merchant_id: string
  attempt_id: string
  step: string
  send_number: number
  state: 'answered' | 'not_sent' | 'unanswered'
  answer: HttpResponse | undefined
}

/** Its record of the audit trail is one more: what was written when it was sent is not touched. */
const endText = `
  with ended as (
    update forwards set state = input.state, answered_at = now(), answer_status = input.answer_status,
      answer_headers = input.answer_headers, answer_body = input.answer_body
    from unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::smallint[], $7::json[], $8::text[],
        $9::text[])
      as input (merchant_id, attempt_id, step, send_number, state, answer_status, answer_headers, answer_body, audit_id)
    where forwards.merchant_id = input.merchant_id and forwards.attempt_id = input.attempt_id
      and forwards.step = input.step and forwards.send_number = input.send_number and forwards.state = 'recorded'
    returning audit_id, forwards.merchant_id, role, card_id, request_id, forwards.attempt_id, forwards.step,
      forwards.send_number, forwards.state, forwards.answer_status
  )
  insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address, reason,
    result)
  select audit_id, merchant_id, role, '', 'forward.end', card_id, request_id, '', concat_ws(' ', attempt_id, step, send_number),
    concat_ws(' ', state, answer_status)
  from ended`

export function endForwards(database: Database, ends: ForwardEnd[]): Promise<true[]> {
  const keyOf = (end: ForwardEnd) => `${end.merchant_id}|${end.attempt_id}|${end.step}|${end.send_number}`
  return inKeyOrder(ends, keyOf, async (ordered) => {
    const answers = ordered.map(({ answer }) => answer)
    await database.commit(merchantsOf(ordered), {
      name: 'end_forwards',
      joins: 'by_key',
      text: endText,
      values: [
        ...columnsOf(ordered, ['merchant_id', 'attempt_id', 'step', 'send_number', 'state']),
        answers.map((answer) => answer?.status ?? null),
        answers.map((answer) => answer && JSON.stringify(answer.headers)),
        // PostgreSQL text cannot hold a NUL.
        answers.map((answer) => answer?.body.replaceAll('\0', '') ?? null),
        ordered.map(() => newId('audit')),
      ],
    })
    return ordered.map(() => true as const)
  })
}

export type ForwardRow = {
  send_number: number
  state: ForwardState
  recorded_at: Date
  answer_status: number | null
  answer_headers: Record<string, string> | null
  answer_body: string | null
  answers: Record<string, string>
  card_version_id: string | null
}

/**
 * All sends of a step, oldest first. A step without any is closed in the same transaction: its first send
 * number is taken, so a caller that was only slow finds it taken and sends nothing.
 */
export async function lookAndClose(
  database: Database,
  look: ForwardLook & { forward_id: string; role: string; request_id: string },
): Promise<ForwardRow[]> {
  return database.transaction([look.merchant_id], async (query) => {
    await query({
      name: 'close_forward',
      text: `insert into forwards (merchant_id, attempt_id, step, send_number, forward_id, state, connection_id,
               card_id, role, request_id, moves_money)
             values ($1, $2, $3, 0, $4, 'closed', $5, $6, $7, $8, false) on conflict do nothing`,
      values: [
        look.merchant_id,
        look.attempt_id,
        look.step,
        look.forward_id,
        look.connection_id,
        look.card_id,
        look.role,
        look.request_id,
      ],
    })
    return query<ForwardRow>({
      name: 'look_at_forwards',
      text: `select send_number, state, recorded_at, answer_status, answer_headers, answer_body,
               answers, card_version_id from forwards
             where merchant_id = $1 and attempt_id = $2 and step = $3 order by send_number`,
      values: [look.merchant_id, look.attempt_id, look.step],
    })
  })
}

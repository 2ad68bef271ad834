/**
 * Tokens that come and go with what happens elsewhere: a PSP's answer tells one, a PSP knows one no longer, a card is
 * deleted. Each is written in the transaction of what happened.
 */
import { newId } from '@coffer/core/ids.ts'
import type { OutboxEvent } from '@coffer/core/outbox.ts'
import type { Statement } from '@coffer/core/postgres.ts'
import { columnsOf } from '@coffer/core/rows.ts'

const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`

/** Everything shown of a token, which is never the token; its columns are in scope. */
export const pspTokenJson = `json_build_object('id', psp_token_id, 'object', 'psp_token', 'card', card_id,
      'connection', connection_id, 'psp', psp, 'fingerprint', fingerprint, 'token_last4', token_last4,
      'source', source, 'status', status, 'payment', payment_id,
      'created_at', ${iso('created_at')}, 'updated_at', ${iso('updated_at')})`

/**
 * Whoever adds a token of a card, and whoever ends all of them because the card is deleted, waits for the other: so
 * none is added behind the end. Held until the commit.
 */
export function lockStatement(merchantId: string, cardId: string): Statement {
  return {
    name: 'lock_psp_tokens',
    text: `select pg_advisory_xact_lock(hashtextextended('psp_tokens|' || $1 || '|' || $2, 0))`,
    values: [merchantId, cardId],
  }
}

/** Of what settles an attempt, what keeping its token needs. */
export type TokenTold = {
  merchant_id: string
  payment_id: string
  attempt_id: string
  settlement: { psp_token: string | null }
  payment: { card: string; updated_at: string }
}

const cardKey = ({ merchant_id, payment }: TokenTold) => `${merchant_id}|${payment.card}`

/**
 * Keeps what the answers of PSPs told, behind the statements that settle the attempts. In the order of the cards, so
 * that two batches cannot wait for each other. A token that there is already stays.
 */
export function keepStatements(settled: readonly TokenTold[]): Statement[] {
  return settled
    .filter(({ settlement }) => settlement.psp_token !== null)
    .toSorted((left, right) => (cardKey(left) < cardKey(right) ? -1 : 1))
    .flatMap((told) => [lockStatement(told.merchant_id, told.payment.card), keepStatement(told)])
}

function keepStatement({ merchant_id, payment_id, attempt_id, settlement, payment }: TokenTold): Statement {
  return {
    name: 'keep_psp_token',
    text: `with added as materialized (
             insert into psp_tokens (psp_token_id, merchant_id, card_id, connection_id, psp, fingerprint, token,
               token_last4, source, status, payment_id, created_at, updated_at)
             select $5, $1, $4, attempt.connection_id, attempt.psp, attempt.card_fingerprint, $6, right($6, 4), 'kept',
               'active', $2, $7::timestamptz, $7::timestamptz
             from attempts attempt
             where attempt.merchant_id = $1 and attempt.payment_id = $2 and attempt.attempt_id = $3
               and attempt.card_fingerprint is not null and attempt.psp_token_id is null
               and not exists (select from card_facts
                 where card_facts.merchant_id = $1 and card_facts.card_id = $4 and card_facts.status = 'deleted')
             on conflict do nothing
             returning *
           )
           insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           select $8, $1, 'psp_token.created', psp_token_id, ${pspTokenJson}, created_at from added`,
    values: [
      ...[merchant_id, payment_id, attempt_id, payment.card, newId('pspToken')],
      ...[settlement.psp_token, payment.updated_at, newId('event')],
    ],
  }
}

/** More tokens than there can be of one card: one for each of its numbers at each account. */
const perCardMax = 10_000

/**
 * Ends the tokens of cards that were deleted, in the transaction that appends the cards' events and brings
 * `card_facts` along. The ids of its own events follow from the card's event and the token.
 */
export function cardsDeletedStatements(
  events: readonly OutboxEvent[],
  fence: bigint,
  holder: string,
): Statement[] {
  const keyOf = ({ merchant_id, object_id }: OutboxEvent) => `${merchant_id}|${object_id}`
  const deleted = events
    .filter(({ type }) => type === 'card.deleted')
    .toSorted((left, right) => (keyOf(left) < keyOf(right) ? -1 : 1))
  if (deleted.length === 0) return []
  const erase: Statement = {
    name: 'erase_psp_tokens_of_cards',
    text: `with found as materialized (
             select token.psp_token_id, token.merchant_id, input.event_id, input.created_at as at
             from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
               as input (event_id, merchant_id, card_id, created_at)
             cross join lateral (
               select psp_token_id, merchant_id from psp_tokens
               where card_id = input.card_id and merchant_id = input.merchant_id and token is not null
               limit ${perCardMax}) token
             where exists (select from sequencer_leases where name = 'events' and fence = $5 and holder = $6)
             order by token.merchant_id, token.psp_token_id
           ), erased as (
             update psp_tokens set token = null, status = 'erased', updated_at = at
             from found
             where psp_tokens.psp_token_id = found.psp_token_id and psp_tokens.merchant_id = found.merchant_id
             returning psp_tokens.*, found.event_id as cause
           )
           insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           select substr(cause, 1, 14) || substr(md5(cause || psp_token_id), 1, 16), merchant_id, 'psp_token.ended',
             psp_token_id, ${pspTokenJson}, updated_at
           from erased on conflict do nothing`,
    values: [...columnsOf(deleted, ['event_id', 'merchant_id', 'object_id', 'created_at']), fence, holder],
  }
  return [...deleted.map(({ merchant_id, object_id }) => lockStatement(merchant_id, object_id)), erase]
}

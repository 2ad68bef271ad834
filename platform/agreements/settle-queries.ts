/**
 * What a payment does to the agreement it is made under, in the payment's own transaction: its intent begins one, and
 * its result makes that one active or ends it. What happens follows from the rows as they are, so it does not matter
 * who settles the payment, nor how often this is run.
 */
import type { Caller } from '@coffer/core/caller.ts'
import type { StoredCredential } from '@coffer/core/connector.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Statement } from '@coffer/core/postgres.ts'
import type { PaymentConsent } from './consent.ts'

const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`

/** Everything shown of an agreement; its columns are in scope. */
export const agreementJson = `json_build_object('id', agreement_id, 'object', 'agreement', 'card', card_id,
      'usage', usage, 'status', status, 'ended_reason', ended_reason, 'customer', customer,
      'description', description, 'consented_at', ${iso('consented_at')}, 'network', network,
      'network_transaction_id', network_transaction_id, 'transaction_link_id', transaction_link_id,
      'first_payment', first_payment_id, 'first_connection', first_connection_id,
      'created_at', ${iso('created_at')}, 'updated_at', ${iso('updated_at')})`

/** Of what begins a payment, what an agreement needs. */
export type PaymentBegun = Caller & {
  payment: { id: string; created_at: string }
  consent: PaymentConsent
}

/** To run behind the payments' own statement, in the same transaction: where a payment was not written, nothing is. */
export function beginStatements(begun: readonly PaymentBegun[]): Statement[] {
  return begun.flatMap((entry) =>
    entry.consent.begins === null ? [] : [beginStatement(entry, entry.consent.begins)],
  )
}

function beginStatement(
  { payment, consent, ...entry }: PaymentBegun,
  begins: NonNullable<PaymentConsent['begins']>,
): Statement {
  const { customer = null, description = null, consented_at = payment.created_at } = begins.consent
  return {
    name: 'begin_agreement',
    text: `with changed as materialized (
             insert into agreements (merchant_id, agreement_id, card_id, usage, status, customer, description,
               consented_at, first_payment_id, created_at, updated_at)
             select merchant_id, agreement_id, card_id, $4, 'pending', $5, $6, $7, payment_id, created_at, created_at
             from payments where merchant_id = $1 and payment_id = $2 and agreement_id = $3
             returning *
           ), audited as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, result)
             select $8, $1, $9, $10, 'agreement.create', agreement_id, $11, $12, 'done' from changed
           )
           insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           select $13, $1, 'agreement.created', agreement_id, ${agreementJson}, created_at from changed`,
    values: [
      ...[
        entry.merchant_id,
        payment.id,
        consent.agreement_id,
        begins.usage,
        customer,
        description,
        consented_at,
      ],
      ...[newId('audit'), entry.actor, entry.key_id, entry.request_id, entry.source_address, newId('event')],
    ],
  }
}

/** Of what settles an attempt, what an agreement needs. */
export type PaymentSettled = {
  merchant_id: string
  payment: { id: string; agreement: string | null; updated_at: string }
  stored_credential?: StoredCredential | null
}

/** A later payment tells its agreement nothing, unless the network's identifiers are not known yet. */
function mayChangeAgreement({ payment, stored_credential }: PaymentSettled): boolean {
  if (payment.agreement === null) return false
  return stored_credential?.sequence !== 'subsequent' || stored_credential.network_transaction_id === null
}

/**
 * To run behind the payments' own statements, in the same transaction. In the order of the agreements, so that two
 * batches cannot wait for each other.
 */
export function settleStatements(settled: readonly PaymentSettled[]): Statement[] {
  const keyOf = ({ merchant_id, payment }: PaymentSettled) => `${merchant_id}|${payment.agreement}`
  return settled
    .filter(mayChangeAgreement)
    .toSorted((left, right) => (keyOf(left) < keyOf(right) ? -1 : 1))
    .map(settleStatement)
}

function settleStatement({ merchant_id, payment }: PaymentSettled): Statement {
  return {
    name: 'settle_agreement',
    text: `with changed as materialized (
             update agreements set
               status = case when paid.connection_id is null then 'ended' else 'active' end,
               ended_reason = case when paid.connection_id is null then 'first_payment_failed' end,
               first_connection_id = case when first_payment_id = $2 then paid.connection_id
                 else first_connection_id end,
               network = case when paid.connection_id is null then network else paid.brand end,
               network_transaction_id = paid.network_transaction_id, transaction_link_id = paid.transaction_link_id,
               updated_at = $4
             from (
               select payments.status as payment_status, approved.*, fact.brand, before.was from payments
               left join lateral (
                 select connection_id, network_transaction_id, transaction_link_id from attempts
                 where merchant_id = $1 and payment_id = $2 and state = any($5) limit 1) approved on true
               left join lateral (
                 select brand from card_facts
                 where merchant_id = $1 and card_id = payments.card_id limit 1) fact on true
               left join lateral (
                 select status as was from agreements
                 where merchant_id = $1 and agreement_id = $3 limit 1) before on true
               where payments.merchant_id = $1 and payments.payment_id = $2) paid
             where agreements.merchant_id = $1 and agreements.agreement_id = $3
               and (status = 'pending' and first_payment_id = $2
                   and (paid.connection_id is not null or paid.payment_status = any($6))
                 or status = 'active' and agreements.network_transaction_id is null
                   and paid.network_transaction_id is not null)
             returning agreements.*, paid.was
           )
           insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           select $7, $1, case when status = 'ended' then 'agreement.ended'
               when was = 'pending' then 'agreement.activated' else 'agreement.updated' end,
             agreement_id, ${agreementJson}, updated_at
           from changed`,
    values: [
      ...[merchant_id, payment.id, payment.agreement, payment.updated_at],
      // As parameters: written out, the state would let the planner take the index of live attempts instead.
      ...[['approved'], ['declined', 'failed', 'canceled'], newId('event')],
    ],
  }
}

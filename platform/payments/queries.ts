import type { Caller } from '@coffer/core/caller.ts'
import type { StoredCredential } from '@coffer/core/connector.ts'
import { completeRaced } from '@coffer/core/group-commit.ts'
import { newId } from '@coffer/core/ids.ts'
import { CommitUnknown, type Database, type Statement } from '@coffer/core/postgres.ts'
import { columnsOf, inKeyOrder, jsonOrNull, merchantsOf } from '@coffer/core/rows.ts'
import type { PaymentConsent } from '../agreements/consent.ts'
import { beginStatements, settleStatements } from '../agreements/settle-queries.ts'
import { heldTokenOf, withTokenShown } from '../psp-tokens/held-queries.ts'
import { keepStatements } from '../psp-tokens/kept-queries.ts'
import type { HeldToken } from '../psp-tokens/token.ts'
import type { Earlier } from './answers.ts'
import type { AttemptPlan, ChargedCard } from './attempt.ts'
import { countLateSuccesses, type LateSuccessPolicy, lateSuccessStatement } from './late-successes.ts'
import { openStates } from './machine.ts'
import { type BegunRow, type NextAttempt, nextAttemptStatement } from './next-attempt-queries.ts'
import type { Payment } from './schemas.ts'
import { type SettlementUpdate, settleStatement, settleTogether } from './settlement-queries.ts'

export type IntentInsert = Caller & {
  plan: AttemptPlan
  payment: Payment
  psp: string
  audit_id: string
  idempotency_key: string
  body_hmac: Buffer
  /** When the resolver takes over, if nothing is heard any more. */
  resolve_after_ms: number
  /** How long another request with this key is told that this one is running. */
  lease_ms: number
  event_data: string
  /** As the vault has told of an active card: the projection, which may be a moment behind, is not asked. */
  card: ChargedCard | null
  /** The retry governor has allowed it: it is not asked again. */
  is_allowed: boolean
  consent: PaymentConsent
}

export type IntentInserted =
  | {
      verdict: 'inserted'
      card: ChargedCard
      stored_credential: StoredCredential | null
      psp_token: HeldToken | null
    }
  /** The number was declined lately: the governor has to allow it. */
  | { verdict: 'governed'; card: ChargedCard }
  | { verdict: 'card_not_known' }
  | { verdict: 'agreement_refused'; code: AgreementRefusal }
  | EarlierIntent

/** What speaks against charging a card under the agreement that is named. */
export type AgreementRefusal =
  | 'agreement_not_found'
  | 'agreement_not_active'
  | 'agreement_of_another_card'
  | 'usage_not_agreed'

export type EarlierIntent = Earlier<{ payment_id: string }>

export type IntentRow = {
  inserted: boolean
  card_is_known: boolean
  is_governed: boolean
  same_body: boolean | null
  leased: boolean | null
  object_id: string | null
  response_status: number | null
  response_body: string | null
  card_brand: string
  card_fingerprint: string
  card_version: string
  refusal: AgreementRefusal | null
  stored_credential: StoredCredential | null
  psp_token_id: string | null
  token: string | null
}

/** The intent of a batch of payments: idempotency record, payment, attempt, audit record and event, together. */
const insertIntentsText = `
  with input as materialized (
    select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
      $8::text[], $9::text[], $10::json[], $11::text[], $12::text[], $13::timestamptz[], $14::text[], $15::text[],
      $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::bytea[], $22::int[], $23::int[],
      $24::json[], $25::json[], $26::text[], $27::text[], $28::text[], $29::text[], $30::boolean[], $31::text[],
      $32::json[], $33::text[], $34::json[])
    with ordinality as input (merchant_id, payment_id, attempt_id, amount_minor, currency, card_id, capture,
      initiator, reference, metadata, connection_id, psp, created_at, event_id, audit_id, actor, key_id,
      request_id, source_address, idempotency_key, body_hmac, resolve_after_ms, lease_ms, event_data,
      routing, reason, told_brand, told_fingerprint, told_version,
      is_allowed, agreement_id, stored_credential, agreed_usages, retry, place)
  ), known as materialized (
    select input.place, record.* from input cross join lateral (
      select record.body_hmac = input.body_hmac as same_body, record.lease_until > now() as leased,
        record.object_id, record.response_status, record.response_body
      from idempotency_records record
      where record.merchant_id = input.merchant_id and record.operation = 'payments.create'
        and record.idempotency_key = input.idempotency_key limit 1) record
  ), charged as materialized (
    select input.place, coalesce(told_brand, fact.brand) as card_brand,
      coalesce(told_fingerprint, fact.fingerprint) as card_fingerprint,
      coalesce(told_version, fact.version) as card_version, state.fingerprint is not null as is_governed,
      held.psp_token_id, held.token
    from input left join lateral (
      select brand, fingerprint, version from card_facts
      where card_facts.merchant_id = input.merchant_id and card_facts.card_id = input.card_id
        and told_fingerprint is null and status = 'active' limit 1) fact on true
      left join lateral (
      select retry_states.fingerprint from retry_states
      where retry_states.merchant_id = input.merchant_id and not is_allowed
        and retry_states.fingerprint =
          case when told_fingerprint is null then fact.fingerprint else told_fingerprint end
        and expires_at > now() limit 1) state on true
      -- What the PSP holds of this very number. Whether a card is good is asked of the number itself.
      left join lateral (
      select psp_token_id, psp_tokens.token from psp_tokens
      where psp_tokens.card_id = input.card_id and psp_tokens.connection_id = input.connection_id
        and psp_tokens.merchant_id = input.merchant_id and psp_tokens.token is not null and amount_minor > 0
        and psp_tokens.fingerprint =
          case when told_fingerprint is null then fact.fingerprint else told_fingerprint end limit 1) held on true
  ), agreed as materialized (
    select input.place,
      case when found.status is null then 'agreement_not_found'
        when found.status <> 'active' then 'agreement_not_active'
        when found.card_id <> input.card_id then 'agreement_of_another_card'
        when found.usage <> all (string_to_array(agreed_usages, ',')) then 'usage_not_agreed' end as refusal,
      json_build_object('usage', coalesce(stored_credential ->> 'usage',
          case when initiator = 'merchant' and found.usage = 'card_on_file' then 'unscheduled' else found.usage end),
        'sequence', 'subsequent', 'network_transaction_id', found.network_transaction_id,
        'transaction_link_id', found.transaction_link_id) as stored_credential
    from input left join lateral (
      select status, card_id, usage, network_transaction_id, transaction_link_id from agreements
      where merchant_id = input.merchant_id and agreement_id = input.agreement_id limit 1) found on true
    where agreed_usages is not null
  ), refused as materialized (
    select place from charged where card_fingerprint is null or is_governed
    union all
    select place from agreed where refusal is not null
  ), claimed as materialized (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id, lease_until,
      expires_at)
    select merchant_id, 'payments.create', idempotency_key, body_hmac, payment_id,
      now() + lease_ms * interval '1 ms', now() + interval '30 days'
    from input
    where place not in (select place from known) and place not in (select place from refused)
    order by merchant_id, idempotency_key
    on conflict do nothing
    returning object_id
  ), accepted as materialized (
    select input.*, card_brand, card_fingerprint, card_version, charged.psp_token_id, charged.token,
      coalesce(agreed.stored_credential, input.stored_credential) as credential, agreed.place is not null as is_agreed
    from input join claimed on claimed.object_id = input.payment_id join charged using (place)
      left join agreed using (place)
  ), added_payments as (
    insert into payments (merchant_id, payment_id, status, amount_minor, currency, card_id, capture, initiator,
      reference, metadata, routing, agreement_id, stored_credential, retry, created_at, updated_at)
    select merchant_id, payment_id, 'processing', amount_minor, currency, card_id, capture, initiator, reference,
      metadata, routing, agreement_id, credential, retry, created_at, created_at
    from accepted
  ), added_attempts as (
    insert into attempts (merchant_id, attempt_id, payment_id, connection_id, psp, reason, state, created_at,
      updated_at, resolve_at, card_brand, card_fingerprint, card_version, psp_token_id)
    select merchant_id, attempt_id, payment_id, connection_id, psp, reason, 'sending', created_at, created_at,
      now() + resolve_after_ms * interval '1 ms', card_brand, card_fingerprint, card_version, psp_token_id
    from accepted
  ), added_audit as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
      source_address, result)
    select audit_id, merchant_id, actor, key_id, 'payment.create', payment_id, request_id, source_address, 'done'
    from accepted
  ), added_events as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select event_id, merchant_id, 'payment.created', payment_id,
      -- The usage is the agreement's where none was asked for.
      case when is_agreed then (
        select json_object_agg(key, case key when 'usage' then credential -> 'usage' else value end)
        from json_each(shown)) else shown end, created_at
    from accepted cross join lateral (select ${withTokenShown('event_data', 'psp_token_id')} as shown) told
  )
  select accepted.place is not null as inserted, charged.card_fingerprint is not null as card_is_known,
    charged.is_governed, known.same_body, known.leased, known.object_id, known.response_status,
    known.response_body, charged.card_brand, charged.card_fingerprint, charged.card_version, agreed.refusal,
    accepted.credential as stored_credential, accepted.psp_token_id, accepted.token
  from input left join accepted using (place) left join known using (place)
    left join charged using (place) left join agreed using (place)
  order by place`

export function intentsStatement(entries: IntentInsert[]): Statement {
  const plans = entries.map((entry) => entry.plan)
  return {
    name: 'insert_intents',
    text: insertIntentsText,
    values: [
      ...columnsOf(plans, ['merchant_id', 'payment_id', 'attempt_id', 'amount_minor', 'currency', 'card_id']),
      ...columnsOf(plans, ['capture', 'initiator', 'reference']),
      entries.map((entry) => JSON.stringify(entry.payment.metadata)),
      plans.map((plan) => plan.connection.connection_id),
      entries.map((entry) => entry.psp),
      entries.map((entry) => entry.payment.created_at),
      entries.map(() => newId('event')),
      ...columnsOf(entries, [
        'audit_id',
        'actor',
        'key_id',
        'request_id',
        'source_address',
        'idempotency_key',
      ]),
      ...columnsOf(entries, ['body_hmac', 'resolve_after_ms', 'lease_ms', 'event_data']),
      entries.map((entry) => jsonOrNull(entry.payment.routing)),
      entries.map((entry) => entry.payment.attempts[0]!.reason),
      entries.map(({ card }) => card?.brand ?? null),
      entries.map(({ card }) => card?.fingerprint ?? null),
      entries.map(({ card }) => card?.version ?? null),
      entries.map((entry) => entry.is_allowed),
      entries.map(({ consent }) => consent.agreement_id),
      entries.map(({ consent }) => jsonOrNull(consent.stored_credential)),
      entries.map(({ consent }) => consent.named?.usages.join(',') ?? null),
      entries.map(
        ({ payment: { retry } }) => retry && JSON.stringify({ delays_seconds: retry.delays_seconds }),
      ),
    ],
  }
}

type ChargedColumns = {
  card_brand: string | null
  card_fingerprint: string | null
  card_version: string | null
}

export function chargedCardOf(row: ChargedColumns): ChargedCard | null {
  const { card_brand: brand, card_fingerprint: fingerprint, card_version: version } = row
  return brand === null || fingerprint === null || version === null ? null : { brand, fingerprint, version }
}

export function intentOf(row: IntentRow): IntentInserted | undefined {
  if (row.inserted)
    return {
      verdict: 'inserted',
      card: chargedCardOf(row)!,
      stored_credential: row.stored_credential,
      psp_token: heldTokenOf(row),
    }
  if (row.object_id !== null) return earlierIntent({ ...row, object_id: row.object_id })
  if (!row.card_is_known) return { verdict: 'card_not_known' }
  if (row.refusal !== null) return { verdict: 'agreement_refused', code: row.refusal }
  return row.is_governed ? { verdict: 'governed', card: chargedCardOf(row)! } : undefined
}

export function earlierIntent(
  row: Pick<IntentRow, 'same_body' | 'leased' | 'response_status' | 'response_body'> & { object_id: string },
): EarlierIntent {
  if (!row.same_body) return { verdict: 'body_differs' }
  if (row.response_status !== null) {
    const answer = { status: row.response_status, body: row.response_body! }
    return { verdict: 'repeated', answer }
  }
  if (row.leased) return { verdict: 'running' }
  return { verdict: 'abandoned', payment_id: row.object_id }
}

/** One thing to write; several kinds share a transaction, because what is dear is the commit. */
export type PaymentWrite =
  | { kind: 'intent'; entry: IntentInsert }
  | { kind: 'settlement'; entry: SettlementUpdate }
  | { kind: 'next_attempt'; entry: NextAttempt }

/** What came of it. A settlement or a next attempt is not applied where something else came first. */
export type PaymentWritten =
  | { kind: 'intent'; intent: IntentInserted }
  | { kind: 'settlement'; applied: boolean }
  | { kind: 'next_attempt'; begun: BegunRow }

const keyOf = ({ kind, entry }: PaymentWrite) =>
  kind === 'intent'
    ? ` ${entry.merchant_id}|${entry.idempotency_key}`
    : `${entry.merchant_id}|${kind === 'settlement' ? entry.attempt_id : entry.after_attempt_id}`

/**
 * Writes a batch in one transaction: the intents as one statement, the settlements that may share one as another, then
 * each of the rest in the order of its key.
 */
export function writePayments(
  database: Database,
  writes: PaymentWrite[],
  late_successes: LateSuccessPolicy = 'reverse',
): Promise<PaymentWritten[]> {
  return inKeyOrder(writes, keyOf, async (ordered) => {
    const intents = ordered.flatMap((write) => (write.kind === 'intent' ? [write.entry] : []))
    // Intents come first in the order of keys, so their results come first as well.
    const others = ordered.slice(intents.length)
    const settlements = others.flatMap((write) => (write.kind === 'settlement' ? [write.entry] : []))
    const together = settleTogether(settlements)
    const alone = others.filter(({ entry }) => !together.has(entry as SettlementUpdate))
    const statements = [
      ...(intents.length > 0 ? [intentsStatement(intents)] : []),
      ...(together.size > 0 ? [settleStatement([...together])] : []),
      ...alone.map((write) =>
        write.kind === 'settlement'
          ? settleStatement([write.entry])
          : nextAttemptStatement(write.entry as NextAttempt),
      ),
      ...beginStatements(intents),
      ...settleStatements(settlements),
      ...keepStatements(settlements),
    ]
    const merchants = merchantsOf(ordered.map((write) => write.entry))
    const rows = await database.commitAll<IntentRow & BegunRow>(merchants, statements)
    const inserted = intents.length > 0 ? (rows.shift() ?? []) : []
    const settledTogether = together.size > 0 ? (rows.shift() ?? []) : []
    const nextOf = (write: PaymentWrite) =>
      (together.has(write.entry as SettlementUpdate) ? settledTogether.shift() : rows.shift()![0])!
    const written = others.map((write): PaymentWritten => {
      const row = nextOf(write)
      return write.kind === 'next_attempt'
        ? { kind: 'next_attempt', begun: row }
        : { kind: 'settlement', applied: row.changed }
    })
    await tellLate(database, others, written, late_successes)
    return [...(await intentsWritten(database, intents, inserted)), ...written]
  })
}

/**
 * Tells of the successes that came too late. Dying before it is as if the success had come to nobody.
 * @throws CommitUnknown where that fails: the batch is committed.
 */
async function tellLate(
  database: Database,
  writes: PaymentWrite[],
  written: PaymentWritten[],
  policy: LateSuccessPolicy,
): Promise<void> {
  const late = writes.flatMap((write, index) => {
    const outcome = written[index]!
    const isLate = outcome.kind === 'settlement' && !outcome.applied && write.kind === 'settlement'
    return isLate && write.entry.settlement.attempt_state === 'approved' ? [write.entry] : []
  })
  if (late.length === 0) return
  const statement = lateSuccessStatement(late, [...openStates, 'approved', 'action_required'], policy)
  const told = await database.commit(merchantsOf(late), statement).catch((error: unknown) => {
    throw new CommitUnknown(error)
  })
  countLateSuccesses(told)
}

async function intentsWritten(
  database: Database,
  intents: IntentInsert[],
  rows: IntentRow[],
): Promise<PaymentWritten[]> {
  const written = rows.map((row): PaymentWritten | undefined => {
    const intent = intentOf(row)
    return intent && { kind: 'intent', intent }
  })
  // The key was taken by a batch that committed beside this one: asking again finds its record.
  return completeRaced(intents, written, (raced) =>
    writePayments(
      database,
      raced.map((entry) => ({ kind: 'intent', entry }) as const),
    ),
  )
}

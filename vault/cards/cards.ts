/** Cards: tokenize, read, list, reveal. What is written goes through group commit, what is read through group read. */

import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { createGroupCommit, type GroupCommit } from '@coffer/core/group-commit.ts'
import { bodyHmac, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { pageOfList } from '../cursors.ts'
import type { CvcLeases, CvcPlace } from '../cvc/cvc-leases.ts'
import { type FingerprintKey, type NumberHashes, withEachBodyKey } from '../keys/fingerprints.ts'
import type { Keyring } from '../keys/keyring.ts'
import { cardNumberPlace, seal, unseal } from '../keys/sealed-text.ts'
import type { RevealRecords } from '../reveal-records.ts'
import { billingAddressOf } from './billing-address.ts'
import { binOf } from './brands.ts'
import { createDuplicates } from './duplicates.ts'
import * as inserts from './insert-queries.ts'
import { type CardFilter, listCards } from './list-queries.ts'
import * as queries from './queries.ts'
import type { Card, NewCard, RevealedCard } from './schemas.ts'
import { validateNewCard } from './validation.ts'

export type Cards = ReturnType<typeof createCards>

export type CardsDeps = {
  database: Database
  keyring: Keyring
  clock: Clock
  cvcLeases: CvcLeases
  revealRecords: RevealRecords
}

type Inserted = Exclude<inserts.CardInserted, { verdict: 'hashed_for_another_state' }>
type Unhashed = Omit<inserts.CardInsert, keyof NumberHashes | 'body_hmac'>

/** Gives the JSON text of a card as its response schema allows it. */
export type SerializeCard = (card: Card) => string

export function createCards(deps: CardsDeps) {
  const creations: GroupCommit<inserts.CardInsert, inserts.CardInserted> = createGroupCommit({
    name: 'cards.create',
    write: (entries) => inserts.insertCards(deps.database, entries),
    batch_max: 128,
    in_flight_max: 1,
    queue_max: 4_000,
  })
  const lookups: GroupCommit<queries.CardKey, queries.CardRow | undefined> = createGroupCommit({
    name: 'cards.read',
    write: (entries) => queries.findCards(deps.database, entries),
    batch_max: 128,
    in_flight_max: 2,
    queue_max: 4_000,
  })

  const duplicates = createDuplicates({ ...deps, find: (key) => lookups.add(key) })

  const bodyHashOf = (merchantId: string, input: NewCard, key: string | null) =>
    key === null ? null : bodyFingerprint(deps.keyring.fingerprints.current, merchantId, input)

  async function find(merchantId: string, cardId: string): Promise<queries.CardRow> {
    if (!isId('card', cardId)) throw new Failure('not_found')
    const row = await lookups.add({ merchant_id: merchantId, card_id: cardId })
    if (row === undefined) throw new Failure('not_found')
    return row
  }

  /** Hashed as the database asks for it, again where that has changed meanwhile. */
  async function insert(input: NewCard, entry: Unhashed): Promise<Inserted> {
    const { fingerprints } = deps.keyring
    const { merchant_id, idempotency_key } = entry
    const inserted = await withEachBodyKey(fingerprints, (key) =>
      creations.add({
        ...entry,
        ...fingerprints.hashesOf(merchant_id, input.number),
        body_hmac: idempotency_key === null ? null : bodyFingerprint(key, merchant_id, input),
      }),
    )
    if (inserted.verdict !== 'hashed_for_another_state') return inserted
    await fingerprints.refresh()
    return insert(input, entry)
  }

  /**
   * Keeps a new card. Acknowledged means: card, version, audit record, event and idempotency record are
   * committed, together. The same key with the same body gives the first answer again. Where the merchant has a
   * card with this number and its policy says so, that one is the answer, or the failure card_exists.
   */
  async function create(
    caller: Caller,
    input: NewCard,
    idempotencyKey: string | null,
    serialize: SerializeCard,
  ): Promise<StoredAnswer> {
    const now = deps.clock.now()
    const { merchant_id } = caller
    const brand = validateNewCard(input, now)
    const dataKey = await deps.keyring.forEncryption(merchant_id)
    // Also stands in the stored answer until the transaction knows the fingerprint of the number: no text of
    // the customer's can be equal to it.
    const fingerprintIfNew = newId('fingerprint', now.getTime())
    const card = newCardOf(input, brand.brand, binOf(brand, input.number), fingerprintIfNew, now)
    const place = { merchant_id, card_id: card.id, card_version_id: card.version }
    const answer = serialize(card)
    const entry: Unhashed = {
      ...place,
      ...caller,
      card,
      fingerprint_if_new: fingerprintIfNew,
      data_key_id: dataKey.data_key_id,
      number_encrypted: seal(dataKey, cardNumberPlace(place), input.number),
      audit_id: newId('audit', now.getTime()),
      event_id: newId('event', now.getTime()),
      event_data: answer,
      idempotency_key: idempotencyKey,
      response_body: answer,
    }
    const { cvc } = input
    const inserted = await (cvc === undefined
      ? insert(input, entry)
      : withCvc(deps.cvcLeases, place, cvc, () => insert(input, entry)))
    if (inserted.verdict === 'body_differs') throw keyReused()
    if (inserted.verdict === 'repeated') return inserted.answer
    if (inserted.verdict === 'exists') {
      const detail = `It is the number of ${inserted.card_id}.`
      if (inserted.duplicates === 'reject') throw new Failure('card_exists', { param: 'number', detail })
      const kept = {
        idempotency_key: idempotencyKey,
        body_hmac: bodyHashOf(merchant_id, input, idempotencyKey),
      }
      const duplicate = { ...caller, ...kept, card_id: inserted.card_id, cvc: input.cvc, serialize }
      const existing = await duplicates.returnExisting(duplicate)
      // Deleted meanwhile, or another request with this key was faster.
      return existing ?? create(caller, input, idempotencyKey, serialize)
    }
    return { status: 201, body: answer.replace(fingerprintIfNew, inserted.fingerprint) }
  }

  return {
    create,

    async get(merchantId: string, cardId: string): Promise<Card> {
      return cardOf(await find(merchantId, cardId))
    },

    /** The full number. Its audit record is committed before this resolves; if it cannot be, nothing leaves. */
    async reveal(caller: Caller, cardId: string, reason: string): Promise<RevealedCard> {
      refuseCardNumberIn('reason', reason)
      const row = await find(caller.merchant_id, cardId)
      const dataKey = await deps.keyring.forDecryption(row.merchant_id, row.data_key_id)
      const number = unseal(dataKey, cardNumberPlace(row), row.number_encrypted)
      await deps.revealRecords.add({
        ...caller,
        audit_id: newId('audit'),
        action: 'card.reveal',
        object_id: row.card_id,
        reason,
        encrypted: row.number_encrypted,
      })
      return revealedCardOf(row, number)
    },

    find,

    /** Newest first. @throws Failure invalid_request for a cursor of another list. */
    async list(
      merchantId: string,
      filter: CardFilter,
      page: { cursor: string | undefined; limit: number },
    ): Promise<{ data: Card[]; next_cursor: string | null }> {
      const list = { of: 'card', merchant_id: merchantId, filter } as const
      const find = (before: string | undefined, limit: number) =>
        listCards(deps.database, merchantId, filter, before, limit)
      return pageOfList(deps.keyring.fingerprints, list, page, find, cardOf)
    },

    async drain(): Promise<void> {
      await creations.drain()
      await Promise.all([lookups.drain(), duplicates.drain()])
    },
  }
}

function revealedCardOf(row: queries.CardRow, number: string): RevealedCard {
  return {
    id: row.card_id,
    object: 'revealed_card',
    version: row.card_version_id,
    number,
    exp_month: row.exp_month,
    exp_year: row.exp_year,
    cardholder_name: row.cardholder_name,
  }
}

/** The CVC goes before the card: what is answered as failed has kept neither. */
async function withCvc<Done extends { verdict: string }>(
  leases: CvcLeases,
  place: CvcPlace,
  cvc: string,
  insert: () => Promise<Done>,
): Promise<Done> {
  const keeping = leases.put(place, cvc)
  if (keeping !== undefined) await keeping
  let isInserted = false
  try {
    const done = await insert()
    isInserted = done.verdict === 'inserted'
    return done
  } finally {
    if (!isInserted) leases.drop(place)
  }
}

function newCardOf(input: NewCard, brand: string, bin: string, fingerprint: string, now: Date): Card {
  const at = now.toISOString()
  return {
    id: newId('card', now.getTime()),
    object: 'card',
    status: 'active',
    version: newId('cardVersion', now.getTime()),
    brand,
    bin,
    last4: input.number.slice(-4),
    exp_month: input.exp_month,
    exp_year: input.exp_year,
    fingerprint,
    cardholder_name: input.cardholder_name ?? null,
    billing_address: billingAddressOf(input.billing_address),
    customer: input.customer ?? null,
    metadata: input.metadata ?? {},
    last_replaced_at: null,
    last_used_at: null,
    attempts_30_days: 0,
    created_at: at,
    updated_at: at,
  }
}

/** The CVC is left out: a body repeated with another one is the same request, and it must not be stored. */
function bodyFingerprint(key: FingerprintKey, merchantId: string, input: NewCard): Buffer {
  const { cvc: _left_out, ...kept } = input
  const number = key.numberHmac(merchantId, input.number).toString('base64')
  return bodyHmac(key.bodyKey, { ...kept, number })
}

export function cardOf(row: queries.CardRow): Card {
  return {
    id: row.card_id,
    object: 'card',
    status: row.status,
    version: row.card_version_id,
    brand: row.brand,
    bin: row.bin,
    last4: row.last4,
    exp_month: row.exp_month,
    exp_year: row.exp_year,
    fingerprint: row.fingerprint,
    cardholder_name: row.cardholder_name,
    billing_address: row.billing_address,
    customer: row.customer,
    metadata: row.metadata,
    last_replaced_at: row.last_replaced_at?.toISOString() ?? null,
    last_used_at: row.last_used_at?.toISOString() ?? null,
    attempts_30_days: row.attempts_30_days,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }
}

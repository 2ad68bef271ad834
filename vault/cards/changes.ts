/**
 * What happens to a card after it was kept: it changes, gets another number, goes back to what it was, is deleted, or
 * its CVC is collected again. Each goes through a group commit; the id stays.
 */

import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import { keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { inKeyOrder } from '@coffer/core/rows.ts'
import { type FingerprintKey, withEachBodyKey } from '../keys/fingerprints.ts'
import { binOf } from './brands.ts'
import { nameOf } from './card-names.ts'
import type { Cards, CardsDeps, SerializeCard } from './cards.ts'
import { applyChanges, type Change, type Changed } from './change-batch.ts'
import { createCvcCollection, keyedHmac, limits } from './cvc-collection.ts'
import { type CardDeletion, deleteCards } from './deletion-queries.ts'
import type { CardChange, CardReplacement, CardRestoration } from './schemas.ts'
import { validateCardChange, validateNewNumber } from './validation.ts'

export type CardChanges = ReturnType<typeof createCardChanges>

export function createCardChanges(deps: CardsDeps & { cards: Cards }) {
  const changes = createGroupCommit<Change, Changed>({
    name: 'cards.update',
    write: (entries) => inKeyOrder(entries, nameOf, (ordered) => applyChanges(deps, ordered)),
    ...limits,
  })
  const collection = createCvcCollection(deps)
  const deletions = createGroupCommit<CardDeletion, boolean>({
    name: 'cards.delete',
    write: (entries) => deleteCards(deps.database, entries),
    ...limits,
  })

  /** Through the group commit, and what came of it. A repeated key gives the first answer. */
  async function change(
    caller: Caller,
    cardId: string,
    idempotencyKey: string | null,
    bodyFor: (key: FingerprintKey) => Record<string, unknown>,
    asked: Pick<Change, 'asked' | 'origin' | 'now' | 'serialize'>,
  ): Promise<Extract<Changed, { verdict: 'done' }>> {
    if (!isId('card', cardId)) throw new Failure('not_found')
    const changed = await withEachBodyKey(deps.keyring.fingerprints, (key) =>
      changes.add({
        ...caller,
        ...asked,
        card_id: cardId,
        idempotency_key: idempotencyKey,
        body_hmac: keyedHmac(key.bodyKey, idempotencyKey, { card: cardId, ...bodyFor(key) }),
      }),
    )
    if (changed.verdict === 'refused') throw changed.failure
    if (changed.verdict === 'body_differs') throw keyReused()
    return changed
  }

  return {
    /**
     * Changes what is named and leaves the rest; null clears, metadata is merged by name, an address replaced as a
     * whole. A changed expiry, name or address makes a new version of the card.
     * @throws Failure not_found, card_expired, invalid_request, idempotency_key_reused
     */
    async update(
      caller: Caller,
      cardId: string,
      input: CardChange,
      idempotencyKey: string | null,
      serialize: SerializeCard,
    ): Promise<StoredAnswer> {
      if (!isId('card', cardId)) throw new Failure('not_found')
      const now = deps.clock.now()
      validateCardChange(input, now)
      const { source, raw_code, note, ...fields } = input
      const asked = { kind: 'update', fields } as const
      const origin = originOf(input)
      const changed = await change(caller, cardId, idempotencyKey, () => input, {
        asked,
        origin,
        now,
        serialize,
      })
      return changed.answer
    },

    /**
     * Gives the card the number that was issued in the place of its own, with its expiry, and makes it active. The
     * CVC of the old number is gone; a new one is kept for the next payment.
     * @throws Failure not_found, card_number_invalid, card_expired, cvc_invalid, idempotency_key_reused
     */
    async replace(
      caller: Caller,
      cardId: string,
      replacement: CardReplacement,
      idempotencyKey: string | null,
      serialize: SerializeCard,
    ): Promise<StoredAnswer> {
      if (!isId('card', cardId)) throw new Failure('not_found')
      const now = deps.clock.now()
      const { merchant_id } = caller
      if (replacement.cvc !== undefined) deps.cvcLeases.ready()
      const { asked, bodyFor } = replacementOf(merchant_id, replacement, now)
      const origin = originOf(replacement)
      const changed = await change(caller, cardId, idempotencyKey, bodyFor, { asked, origin, now, serialize })
      if (!changed.is_repeated) {
        const place = { merchant_id, card_id: cardId }
        deps.cvcLeases.drop(place)
        const keeping = replacement.cvc === undefined ? undefined : deps.cvcLeases.put(place, replacement.cvc)
        if (keeping !== undefined) await keeping
      }
      return changed.answer
    },

    /**
     * Makes the card what it was in an earlier version, by a new version.
     * @throws Failure not_found, card_version_not_found, card_number_erased, idempotency_key_reused
     */
    async restore(
      caller: Caller,
      cardId: string,
      restoration: CardRestoration,
      idempotencyKey: string | null,
      serialize: SerializeCard,
    ): Promise<StoredAnswer> {
      refuseCardNumberIn('note', restoration.note)
      refuseCardNumberIn('version', restoration.version)
      const changed = await change(caller, cardId, idempotencyKey, () => restoration, {
        asked: { kind: 'restore', version: restoration.version },
        origin: originOf(restoration),
        now: deps.clock.now(),
        serialize,
      })
      // It may be another number's by now.
      if (!changed.is_repeated) deps.cvcLeases.drop({ merchant_id: caller.merchant_id, card_id: cardId })
      return changed.answer
    },

    /**
     * From now on the card is found nowhere. Attempts that had begun go on; the number is erased once none of them
     * can need it. @throws Failure not_found
     */
    async remove(caller: Caller, cardId: string): Promise<void> {
      if (!isId('card', cardId)) throw new Failure('not_found')
      const now = deps.clock.now()
      const deleted = await deletions.add({
        ...caller,
        card_id: cardId,
        audit_id: newId('audit', now.getTime()),
        event_id: newId('event', now.getTime()),
        at: now.toISOString(),
        reason: null,
        card_version_id: null,
      })
      deps.cvcLeases.drop({ merchant_id: caller.merchant_id, card_id: cardId })
      if (!deleted) throw new Failure('not_found')
    },

    collectCvc: collection.collectCvc,

    async drain(): Promise<void> {
      await Promise.all([changes.drain(), collection.drain(), deletions.drain()])
    },
  }
}

/** @throws Failure card_number_invalid, card_expired, cvc_invalid, card_number_in_wrong_field */
function replacementOf(merchantId: string, replacement: CardReplacement, now: Date) {
  const brand = validateNewNumber(replacement, now)
  const { number, cvc: _never_kept, ...rest } = replacement
  const { exp_month, exp_year } = rest
  const asked: Change['asked'] = {
    kind: 'replace',
    number,
    fingerprint_if_new: newId('fingerprint', now.getTime()),
    brand: brand.brand,
    bin: binOf(brand, number),
    fields: { exp_month, exp_year, status: 'active' },
  }
  const hashOf = (key: FingerprintKey) => key.numberHmac(merchantId, number).toString('base64')
  return { asked, bodyFor: (key: FingerprintKey) => ({ ...rest, number: hashOf(key) }) }
}

const originOf = (given: Partial<CardReplacement>): Change['origin'] => ({
  source: given.source ?? 'api',
  raw_code: given.raw_code ?? null,
  note: given.note ?? null,
})

/**
 * What happens to a card after it was kept: it changes, is deleted, or its CVC is collected again. Each goes
 * through a group commit; the id and, where nobody closes the card, the status stay.
 */
import type { KeyObject } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { completeRaced, createGroupCommit } from '@coffer/core/group-commit.ts'
import { bodyHmac, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { inKeyOrder } from '@coffer/core/rows.ts'
import { cvcLifetimeMs } from '../forward/cvc-leases.ts'
import { withEachBodyKey } from '../keys/fingerprints.ts'
import type { Keyring } from '../keys/keyring.ts'
import { cardNumberPlace, seal, unseal } from '../keys/sealed-text.ts'
import { type Cards, type CardsDeps, cardOf, type SerializeCard } from './cards.ts'
import * as queries from './change-queries.ts'
import { changedCard, isNewVersion } from './changed-card.ts'
import { type CardRow, findCards } from './queries.ts'
import type { CardChange, CollectedCvc } from './schemas.ts'
import { validateCardChange, validateCvc } from './validation.ts'

export type CardChanges = ReturnType<typeof createCardChanges>

type Change = Caller & {
  card_id: string
  change: CardChange
  now: Date
  idempotency_key: string | null
  body_hmac: Buffer | null
  serialize: SerializeCard
}

type Changed =
  | { verdict: 'done'; answer: StoredAnswer }
  | { verdict: 'body_differs' }
  | { verdict: 'refused'; failure: Failure }

const limits = { batch_max: 128, in_flight_max: 1, queue_max: 4_000 }

export function createCardChanges(deps: CardsDeps & { cards: Cards }) {
  const changes = createGroupCommit<Change, Changed>({
    name: 'cards.update',
    write: (entries) => inKeyOrder(entries, nameOf, (ordered) => applyChanges(deps, ordered)),
    ...limits,
  })
  const cvcs = createGroupCommit<queries.CvcCollected, queries.Written>({
    name: 'cards.collect_cvc',
    write: (entries) => inKeyOrder(entries, nameOf, (ordered) => recordCvcs(deps, ordered)),
    ...limits,
  })
  const deletions = createGroupCommit<queries.CardDeletion, boolean>({
    name: 'cards.delete',
    write: (entries) => queries.deleteCards(deps.database, entries),
    ...limits,
  })

  return {
    /**
     * Changes what is named and leaves the rest; null clears, metadata is merged by name, an address replaced as a
     * whole. A changed expiry, name or address makes a new version of the card.
     * @throws Failure not_found, card_expired, invalid_request, idempotency_key_reused
     */
    async update(
      caller: Caller,
      cardId: string,
      change: CardChange,
      idempotencyKey: string | null,
      serialize: SerializeCard,
    ): Promise<StoredAnswer> {
      if (!isId('card', cardId)) throw new Failure('not_found')
      const now = deps.clock.now()
      validateCardChange(change, now)
      const changed = await withEachBodyKey(deps.keyring.fingerprints, ({ bodyKey }) =>
        changes.add({
          ...caller,
          card_id: cardId,
          change,
          now,
          idempotency_key: idempotencyKey,
          body_hmac: keyedHmac(bodyKey, idempotencyKey, { card: cardId, ...change }),
          serialize,
        }),
      )
      if (changed.verdict === 'refused') throw changed.failure
      if (changed.verdict === 'body_differs') throw keyReused()
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
      })
      deps.cvcLeases.drop({ merchant_id: caller.merchant_id, card_id: cardId })
      if (!deleted) throw new Failure('not_found')
    },

    /** Keeps a CVC for the card's next payment, in memory. A repeated key brings none back. */
    async collectCvc(
      caller: Caller,
      cardId: string,
      cvc: string,
      idempotencyKey: string | null,
    ): Promise<StoredAnswer> {
      const { merchant_id } = caller
      validateCvc((await deps.cards.find(merchant_id, cardId)).brand, cvc)
      const collected: CollectedCvc = {
        object: 'collected_cvc',
        card: cardId,
        expires_at: new Date(deps.clock.now().getTime() + cvcLifetimeMs).toISOString(),
      }
      const answer = { status: 200, body: JSON.stringify(collected) }
      const recorded = await withEachBodyKey(deps.keyring.fingerprints, ({ bodyKey }) =>
        cvcs.add({
          ...caller,
          card_id: cardId,
          audit_id: newId('audit'),
          idempotency_key: idempotencyKey,
          body_hmac: keyedHmac(bodyKey, idempotencyKey, { card: cardId }),
          response_body: answer.body,
        }),
      )
      if (recorded === undefined) throw new Failure('not_found')
      if (recorded.verdict === 'body_differs') throw keyReused()
      if (recorded.verdict === 'repeated') return recorded.answer
      deps.cvcLeases.put({ merchant_id, card_id: cardId }, cvc)
      // A deletion that was answered between the record and the line above has found no CVC to drop.
      await deps.cards.find(merchant_id, cardId).catch((error: unknown) => {
        deps.cvcLeases.drop({ merchant_id, card_id: cardId })
        throw error
      })
      return answer
    },

    async drain(): Promise<void> {
      await Promise.all([changes.drain(), cvcs.drain(), deletions.drain()])
    },
  }
}

const nameOf = (entry: { merchant_id: string; card_id: string }) => `${entry.merchant_id}|${entry.card_id}`

/** The CVC is never part of a body that is compared: it must not be stored. */
function keyedHmac(bodyKey: KeyObject, key: string | null, body: Record<string, unknown>): Buffer | null {
  return key === null ? null : bodyHmac(bodyKey, body)
}

function keyReused(): Failure {
  return new Failure('idempotency_key_reused', { param: 'Idempotency-Key' })
}

/**
 * Reads the cards, applies each change to what the one before it makes of its card, and writes them all. Those of
 * a card that another process has changed meanwhile are applied again to what it is now.
 */
async function applyChanges(deps: CardsDeps, entries: Change[]): Promise<Changed[]> {
  const rows = new Map<string, CardRow>()
  for (const row of await findCards(deps.database, entries)) if (row !== undefined) rows.set(nameOf(row), row)
  const results = new Array<Changed | undefined>(entries.length).fill(undefined)
  const updates: (queries.CardUpdate & { place: number })[] = []
  for (const [place, entry] of entries.entries()) {
    const before = rows.get(nameOf(entry))
    const after =
      before === undefined ? new Failure('not_found') : changedCard(before, entry.change, entry.now)
    if (before === undefined || after instanceof Failure) {
      results[place] = { verdict: 'refused', failure: after as Failure }
      continue
    }
    const sealed = isNewVersion(before, after) ? await resealed(deps.keyring, before, after) : after
    rows.set(nameOf(entry), sealed)
    updates.push({ ...updateOf(entry, before, sealed), place })
  }
  const again = (raced: Change[]) => applyChanges(deps, raced)
  let written: queries.Written[]
  try {
    written = await queries.updateCards(deps.database, updates)
  } catch (error) {
    if (queries.isKeyTaken(error)) return again(entries)
    throw error
  }
  for (const [index, { place, response_body }] of updates.entries())
    results[place] = changedOf(written[index], response_body)
  return completeRaced(entries, results, again)
}

function updateOf(entry: Change, before: CardRow, after: CardRow): queries.CardUpdate {
  return {
    ...entry,
    before,
    after,
    audit_id: newId('audit', entry.now.getTime()),
    event_id: newId('event', entry.now.getTime()),
    changed_fields: Object.keys(entry.change).sort().join(' '),
    response_body: entry.serialize(cardOf(after)),
  }
}

function changedOf(written: queries.Written, body: string): Changed | undefined {
  if (written === undefined || written.verdict === 'body_differs') return written
  return { verdict: 'done', answer: written.verdict === 'repeated' ? written.answer : { status: 200, body } }
}

/** The same number at its new place: what is stored is bound to the version it belongs to. */
async function resealed(keyring: Keyring, before: CardRow, after: CardRow): Promise<CardRow> {
  const oldKey = await keyring.forDecryption(before.merchant_id, before.data_key_id)
  const number = unseal(oldKey, cardNumberPlace(before), before.number_encrypted)
  const dataKey = await keyring.forEncryption(before.merchant_id)
  const place = { ...after, card_version_id: newId('cardVersion', after.updated_at.getTime()) }
  return {
    ...place,
    data_key_id: dataKey.data_key_id,
    number_encrypted: seal(dataKey, cardNumberPlace(place), number),
  }
}

async function recordCvcs(deps: CardsDeps, entries: queries.CvcCollected[]): Promise<queries.Written[]> {
  try {
    return await queries.recordCvcs(deps.database, entries)
  } catch (error) {
    if (queries.isKeyTaken(error)) return recordCvcs(deps, entries)
    throw error
  }
}

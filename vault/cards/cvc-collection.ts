/** The CVC of a card that is kept, collected again for its next payment: in memory only. */
import type { KeyObject } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import { bodyHmac, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import { inKeyOrder } from '@coffer/core/rows.ts'
import { cvcLifetimeMs } from '../cvc/cvc-leases.ts'
import { withEachBodyKey } from '../keys/fingerprints.ts'
import { nameOf } from './card-names.ts'
import type { Cards, CardsDeps } from './cards.ts'
import * as queries from './change-queries.ts'
import type { CollectedCvc } from './schemas.ts'
import { validateCvc } from './validation.ts'

export const limits = { batch_max: 128, in_flight_max: 1, queue_max: 4_000 }

export function createCvcCollection(deps: CardsDeps & { cards: Cards }) {
  const cvcs = createGroupCommit<queries.CvcCollected, queries.Written>({
    name: 'cards.collect_cvc',
    write: (entries) => inKeyOrder(entries, nameOf, (ordered) => recordCvcs(deps, ordered)),
    ...limits,
  })

  return {
    /** Keeps a CVC for the card's next payment, in memory. A repeated key brings none back. */
    async collectCvc(
      caller: Caller,
      cardId: string,
      cvc: string,
      idempotencyKey: string | null,
    ): Promise<StoredAnswer> {
      const { merchant_id } = caller
      deps.cvcLeases.ready()
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
      const keeping = deps.cvcLeases.put({ merchant_id, card_id: cardId }, cvc)
      if (keeping !== undefined) await keeping
      // A deletion that was answered between the record and the line above has found no CVC to drop.
      await deps.cards.find(merchant_id, cardId).catch((error: unknown) => {
        deps.cvcLeases.drop({ merchant_id, card_id: cardId })
        throw error
      })
      return answer
    },

    drain: () => cvcs.drain(),
  }
}

/** The CVC is never part of a body that is compared: it must not be stored. */
export function keyedHmac(
  bodyKey: KeyObject,
  key: string | null,
  body: Record<string, unknown>,
): Buffer | null {
  return key === null ? null : bodyHmac(bodyKey, body)
}

async function recordCvcs(deps: CardsDeps, entries: queries.CvcCollected[]): Promise<queries.Written[]> {
  try {
    return await queries.recordCvcs(deps.database, entries)
  } catch (error) {
    if (queries.isKeyTaken(error)) return recordCvcs(deps, entries)
    throw error
  }
}

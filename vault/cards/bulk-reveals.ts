/** Full numbers of many cards at once: what takes two people, because one request could empty a vault. */

import { type Approvals, parametersDigest } from '@coffer/core/approvals.ts'
import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import type { Cards } from './cards.ts'
import type { BulkReveal, RevealedCards } from './schemas.ts'

export type BulkReveals = ReturnType<typeof createBulkReveals>

export function createBulkReveals(deps: { cards: Cards; approvals: Approvals }) {
  const { cards, approvals } = deps
  return {
    /**
     * All of the cards, or none. They are looked for first, so that a card that is not there does not use the approval
     * up; each card's audit record is committed before this resolves.
     * @throws Failure not_found, and those of `Approvals`.
     */
    async reveal(caller: Caller, input: BulkReveal, idempotencyKey: string | null): Promise<RevealedCards> {
      refuseCardNumberIn('reason', input.reason)
      const { merchant_id } = caller
      await Promise.all(input.cards.map((cardId) => cards.find(merchant_id, cardId)))
      const { approval_id, approved_by } = await approvals.consume({
        caller,
        approval_id: input.approval,
        action: 'card.bulk_reveal',
        object_id: merchant_id,
        parameters_digest: parametersDigest({ cards: input.cards }),
        used_for: idempotencyKey === null ? caller.request_id : `key:${idempotencyKey}`,
      })
      const data = await Promise.all(input.cards.map((cardId) => cards.reveal(caller, cardId, input.reason)))
      return { object: 'revealed_cards', approval: approval_id, approved_by, data }
    },
  }
}

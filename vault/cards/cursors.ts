/**
 * Where a list of cards goes on. A cursor carries a keyed hash over whose list it is and of what, so one of
 * another merchant or another filter is told from a good one.
 */
import type { KeyObject } from 'node:crypto'
import { bodyHmac } from '@coffer/core/idempotency.ts'
import { idPrefixes, isId } from '@coffer/core/ids.ts'
import { notACursor } from '@coffer/core/pages.ts'
import type { CardFilter } from './queries.ts'

export function cursorOf(key: KeyObject, merchantId: string, filter: CardFilter, cardId: string): string {
  const hash = bodyHmac(key, { list: 'cards', merchant: merchantId, ...filter, after: cardId })
  return `${cardId.slice(idPrefixes.card.length)}.${hash.subarray(0, 12).toString('base64url')}`
}

/** The card after which the list goes on. `keys`: of any of them. @throws Failure invalid_request */
export function cardOfCursor(
  keys: KeyObject[],
  merchantId: string,
  filter: CardFilter,
  cursor: string,
): string {
  const cardId = `${idPrefixes.card}${cursor.split('.', 1)[0]}`
  // Compared in the open: whoever guesses one finds their own list at another place.
  if (!isId('card', cardId) || !keys.some((key) => cursorOf(key, merchantId, filter, cardId) === cursor))
    throw notACursor()
  return cardId
}
